"""Progress of work on many files, most of which may be done already."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class FileProgress:
    """A bar with videos a second and the time left; where stderr is no terminal, a line for each tenth.

    Args:
        console: where.
        verb: what is being done, "scanning".
        total: how many videos there are.
        done: what Ctrl-C leaves, "scanned".
    """

    def __init__(self, console: Console, *, verb: str, total: int, done: str) -> None:
        self._console = console
        self._total = total
        self._done = done
        self._num_done = self._num_now = self._num_broken = 0
        self._start = time.monotonic()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._progress.add_task(verb, total=total, text="")

    def __enter__(self) -> FileProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        if isinstance(error, KeyboardInterrupt):
            self._console.print(f"{self._num_done} of {self._total} videos are {self._done}; the same command goes on")

    def advance(self, *, was_known: bool, is_broken: bool, text: str = "") -> None:
        """One video more; `text` is shown beside the speed."""
        tenths = 10 * self._num_done // self._total
        self._num_done += 1
        self._num_now += not was_known
        self._num_broken += is_broken
        parts = [f"{self._num_now / max(1e-3, time.monotonic() - self._start):.1f} videos/s", text]
        parts += [f"{self._num_broken} broken"] if self._num_broken else []
        line = "  ".join(filter(None, parts))
        if self._console.is_terminal:
            self._progress.update(self._task, completed=self._num_done, text=line)
        elif not was_known and 10 * self._num_done // self._total > tenths:
            self._console.print(f"{self._num_done}/{self._total} videos  {line}", markup=False)
