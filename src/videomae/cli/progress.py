"""Progress bars of training on stderr."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from videomae.training.monitor import Monitor, StepReport


class ProgressMonitor(Monitor):
    """A bar with loss, clips/s, the share of time spent waiting for clips, and the time left.

    Where stderr is no terminal, a line for each tenth of the run takes its place.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress: Progress | None = None
        self._steps: TaskID | None = None
        self._part: TaskID | None = None
        self._total = 0
        self._loss = "…"
        self._tenths = -1

    def start(self, title: str, *, total_steps: int, first_step: int) -> None:
        """Show the bar."""
        self._total = total_steps
        self._loss = "…"  # of this run, not of one before it
        self._tenths = 10 * first_step // max(1, total_steps)
        if not self.console.is_terminal:
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
        speed = f"{report.clips_per_second:.1f} clips/s  {report.data_wait_share:.0%} waiting for clips"
        text = f"loss {self._loss}  {speed}"
        if self._progress is not None and self._steps is not None:
            self._progress.update(self._steps, completed=report.step, text=text)
        elif 10 * report.step // self._total > self._tenths:
            self._tenths = 10 * report.step // self._total
            self.console.print(f"step {report.step}/{self._total}  epoch {report.epoch + 1}  {text}")

    def note(self, text: str) -> None:
        """A line above the bar."""
        self.console.print(text, markup=False)

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
