"""Progress of work on many files, most of which may be done already."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from videomae.api._console import can_show_bars
from videomae.curation.pack.journal import PackedRecord
from videomae.curation.pack.packer import BrokenSource


class FileProgress:
    """A bar with videos a second and the time left; where stderr is no terminal, a line for each tenth.

    Args:
        console: where.
        verb: what is being done, "scanning".
        total: how many videos there are.
        done: what Ctrl-C leaves, "scanned"; "" where nothing is kept.
        shown: False shows nothing.
    """

    def __init__(self, console: Console, *, verb: str, total: int, done: str, shown: bool = True) -> None:
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
        self._is_shown = shown
        self._has_bar = shown and can_show_bars(console)
        self._progress = Progress(*columns, console=console, disable=not self._has_bar)
        self._task = self._progress.add_task(verb, total=total, text="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        if self._done and isinstance(error, KeyboardInterrupt):
            self._console.print(
                f"{self._num_done} of {self._total} videos are {self._done}; repeat the command to resume"
            )

    def advance(self, *, was_known: bool, is_broken: bool, text: str = "") -> None:
        """One video more; `text` is shown beside the speed."""
        tenths = 10 * self._num_done // self._total
        self._num_done += 1
        self._num_now += not was_known
        self._num_broken += is_broken
        parts = [f"{self._num_now / max(1e-3, time.monotonic() - self._start):.1f} videos/s", text]
        parts += [f"{self._num_broken} broken"] if self._num_broken else []
        line = "  ".join(filter(None, parts))
        if self._has_bar:
            self._progress.update(self._task, completed=self._num_done, text=line)
        elif self._is_shown and not was_known and 10 * self._num_done // self._total > tenths:
            self._console.print(f"{self._num_done}/{self._total} videos  {line}", markup=False)


class PackProgress(FileProgress):
    """A bar with videos a second, sizes so far and the time left."""

    def __init__(self, console: Console, *, total: int, shown: bool = True) -> None:
        super().__init__(console, verb="packing", total=total, done="packed", shown=shown)
        self._num_bytes = self._source_num_bytes = 0

    def add(self, outcome: PackedRecord | BrokenSource, was_known: bool) -> None:
        """One video more."""
        if isinstance(outcome, PackedRecord):
            self._num_bytes += outcome.num_bytes
            self._source_num_bytes += outcome.source_num_bytes
        self.advance(
            was_known=was_known,
            is_broken=isinstance(outcome, BrokenSource),
            text=f"{decimal(self._source_num_bytes)} → {decimal(self._num_bytes)}",
        )
