"""Progress bars of training on stderr."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from videomae.api._console import can_show_bars
from videomae.core.text import duration
from videomae.training.monitor import Monitor, StepReport

_FIRST_LINE_SECONDS = 60.0
_logger = logging.getLogger("videomae")


class LogMonitor(Monitor):
    """No bar: notices alone."""

    def note(self, text: str) -> None:
        """As a log record."""
        _logger.info("%s", text)


class ProgressMonitor(Monitor):
    """A bar with loss, the run's clips/s and data wait so far, and the time left.

    Where stderr is no terminal, a line for each tenth of the run takes its place, and of a long run lines after one
    minute, two more, four more and so on: soon it can be seen how long it will take.

    Args:
        console: where to.
        clock: seconds, from any beginning.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self._clock = clock
        self._begin = self._last_line = 0.0
        self._patience = _FIRST_LINE_SECONDS
        self._first_step = 0
        self._progress: Progress | None = None
        self._steps: TaskID | None = None
        self._part: TaskID | None = None
        self._total = 0
        self._loss = "…"
        self._tenths = -1

    def start(self, title: str, *, total_steps: int, first_step: int) -> None:
        """Show the bar."""
        self._total, self._first_step = total_steps, first_step
        self._begin = self._last_line = self._clock()
        self._patience = _FIRST_LINE_SECONDS
        self._loss = "…"  # of this run, not of one before it
        self._tenths = 10 * first_step // max(1, total_steps)
        if not can_show_bars(self.console):
            return
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self.console,
        )
        self._progress.start()
        self._steps = self._progress.add_task(title, total=total_steps, completed=first_step, text="")

    def step(self, report: StepReport) -> None:
        """Move the bar."""
        if report.loss is not None:
            self._loss = f"{report.loss:.3f}"
        speed = f"{report.clips_per_second:.1f} clips/s  {report.data_wait_share:.0%} data wait"
        text = f"loss {self._loss}  {speed}"
        if self._progress is not None and self._steps is not None:
            self._progress.update(self._steps, completed=report.step, text=text)
        elif self._is_line_due(report.step):
            left = (self._clock() - self._begin) / (report.step - self._first_step) * (self._total - report.step)
            text += f"  about {duration(left)} left" if left >= _FIRST_LINE_SECONDS else ""
            self.console.print(f"step {report.step}/{self._total}  epoch {report.epoch}  {text}")

    def _is_line_due(self, step: int) -> bool:
        tenths, now = 10 * step // self._total, self._clock()
        is_long_ago = now - self._last_line >= self._patience
        if tenths <= self._tenths and not is_long_ago:
            return False
        if is_long_ago:
            self._patience *= 2
        self._tenths, self._last_line = tenths, now
        return True

    def note(self, text: str) -> None:
        """A line above the bar."""
        _logger.info("%s", text)

    def start_part(self, title: str, *, total: int) -> None:
        """A second bar while a side task runs."""
        self._drop_part()
        if self._progress is not None:
            self._part = self._progress.add_task(title, total=total, text="")

    def advance_part(self) -> None:
        """Move the second bar; it goes when it is full."""
        if self._progress is not None and self._part is not None:
            self._progress.advance(self._part)
            task: Any = next((t for t in self._progress.tasks if t.id == self._part), None)
            if task is not None and task.finished:
                self._drop_part()

    def finish(self) -> None:
        """Leave the bar as it stands."""
        if self._progress is not None:
            self._drop_part()
            self._progress.stop()
            self._progress = None

    def _drop_part(self) -> None:
        if self._progress is not None and self._part is not None:
            self._progress.remove_task(self._part)
            self._part = None
