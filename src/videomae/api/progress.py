"""Progress of a training run on stderr."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.text import Text

from videomae.api._console import can_show_bars
from videomae.core.text import duration
from videomae.training.monitor import Monitor, StepReport

_FIRST_LINE_SECONDS = 60.0
_logger = logging.getLogger("videomae")


class LogMonitor(Monitor):
    """No bar: notices alone.

    Args:
        on_stage: is given what is being done.
    """

    def __init__(self, on_stage: Callable[[str], object] = lambda text: None) -> None:
        self._on_stage = on_stage

    def stage(self, text: str) -> None:
        """Passed on."""
        self._on_stage(text)

    def note(self, text: str) -> None:
        """As a log record."""
        _logger.info("%s", text)

    def warn(self, text: str) -> None:
        """As a log record that is a warning."""
        _logger.warning("%s", text)


class ProgressMonitor(LogMonitor):
    """A bar, and below it epoch, step, loss, learning rate, the run's clips/s and data wait so far, and the time left.

    Where stderr is no terminal, a line for each tenth of the run takes its place, and of a long run lines after one
    minute, two more, four more and so on: soon it can be seen how long it will take.

    Args:
        console: where to.
        clock: seconds, from any beginning.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.console = console
        self._clock = clock
        self._begin = self._last_line = 0.0
        self._patience = _FIRST_LINE_SECONDS
        self._first_step = 0
        self._steps_per_epoch = 1
        self._bars: _Bars | None = None
        self._steps: TaskID | None = None
        self._part: TaskID | None = None
        self._total = 0
        self._loss = "…"
        self._tenths = -1

    def stage(self, text: str) -> None:
        """Show it where a bar will be; a log needs no such line."""
        if can_show_bars(self.console):
            self._opened().text = f"{text} …"
            self._opened().refresh()

    def start(self, title: str, *, total_steps: int, first_step: int, steps_per_epoch: int) -> None:
        """Show the bar."""
        self._total, self._first_step, self._steps_per_epoch = total_steps, first_step, steps_per_epoch
        self._begin = self._last_line = self._clock()
        self._patience = _FIRST_LINE_SECONDS
        self._loss = "…"  # of this run, not of one before it
        self._tenths = 10 * first_step // max(1, total_steps)
        if can_show_bars(self.console):
            self._steps = self._opened().add_task(title, total=total_steps, completed=first_step, left="")

    def step(self, report: StepReport) -> None:
        """Move the bar."""
        if report.loss is not None:
            self._loss = f"{report.loss:.3f}"
        if self._bars is not None and self._steps is not None:
            left = self._seconds_left(report.step)
            self._bars.text = self._text(report)
            self._bars.update(self._steps, completed=report.step, left=f"{duration(round(left))} left" if left else "")
        elif self._is_line_due(report.step):
            left = self._seconds_left(report.step)
            more = f" · {duration(round(left))} left" if left >= _FIRST_LINE_SECONDS else ""
            self.console.print(f"{self._text(report)}{more}", markup=False)

    def _text(self, report: StepReport) -> str:
        size = self._steps_per_epoch
        parts = [
            f"epoch {report.epoch}/{-(-self._total // size)}",
            f"step {(report.step - 1) % size + 1}/{size}",
            f"loss {self._loss}",
            f"lr {report.learning_rate:.2g}",
            f"{report.clips_per_second:.1f} clips/s",
            f"data wait {report.data_wait_share:.0%}",
        ]
        return " · ".join(parts)

    def _seconds_left(self, step: int) -> float:
        return (self._clock() - self._begin) / (step - self._first_step) * (self._total - step)

    def _is_line_due(self, step: int) -> bool:
        tenths, now = 10 * step // self._total, self._clock()
        is_long_ago = now - self._last_line >= self._patience
        if tenths <= self._tenths and not is_long_ago:
            return False
        if is_long_ago:
            self._patience *= 2
        self._tenths, self._last_line = tenths, now
        return True

    def start_part(self, title: str, *, total: int) -> None:
        """A bar of its own while a side task runs."""
        self._drop_part()
        if can_show_bars(self.console):
            self._part = self._opened().add_task(title, total=total, left="")

    def advance_part(self) -> None:
        """Move that bar; it goes when it is full."""
        if self._bars is not None and self._part is not None:
            self._bars.advance(self._part)
            task = next((t for t in self._bars.tasks if t.id == self._part), None)
            if task is not None and task.finished:
                self._drop_part()

    def finish(self) -> None:
        """Leave the bar of the steps as it stands; without one nothing stays."""
        if self._bars is not None:
            self._drop_part()
            if self._steps is None:
                self._bars.text = ""
            self._bars.stop()
            self._bars = self._steps = None

    def _opened(self) -> _Bars:
        if self._bars is None:
            self._bars = _Bars(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TaskProgressColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[left]}"),
                console=self.console,
            )
            self._bars.start()
        return self._bars

    def _drop_part(self) -> None:
        if self._bars is not None and self._part is not None:
            self._bars.remove_task(self._part)
            self._part = None


class _Bars(Progress):
    """Bars with a text below them that wraps at words, whatever the width of the terminal."""

    text = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        if self.text:
            yield Text(self.text)
