"""`log.txt` of a run: what it noted and when, whatever became of its terminal."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from videomae.core.environment import command_line, machine_facts
from videomae.core.errors import InputError
from videomae.core.files import append_text
from videomae.core.text import one_line
from videomae.training.monitor import Monitor, StepReport

LOG_NAME = "log.txt"
# Of thousands of epochs not each has a line.
_MAX_EPOCH_LINES = 200


class RunLog(Monitor):
    """A monitor that passes everything on to another one, and writes notes and epochs into the run's folder.

    Args:
        monitor: the other one.
    """

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._path: Path | None = None
        # Until the folder is this process' own; None where nothing is kept any more.
        self._waiting: list[str] | None = []
        self._steps_per_epoch = self._epochs_per_line = 1

    def open(self, folder: Path) -> None:
        """Begin to write into the run's folder, with what came before."""
        about = "; ".join(f"{name}: {value}" for name, value in [("command", command_line()), *machine_facts()])
        self._path = folder / LOG_NAME
        waiting, self._waiting = self._waiting, None
        self.write("\n".join([about, *(waiting or ())]))

    def write(self, text: str) -> None:
        """Add lines with the time."""
        if self._path is None:
            if self._waiting is not None:
                self._waiting.append(text)
            return
        now = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
        try:
            append_text(self._path, "".join(f"{now}  {one_line(line)}\n" for line in text.splitlines()))
        except InputError as error:  # no reason to end a run of days
            self._path = None
            self._monitor.warn(f"no more lines in {LOG_NAME}: {error}")

    def stage(self, text: str) -> None:
        """Passed on."""
        self._monitor.stage(text)

    def start(self, title: str, *, total_steps: int, first_step: int, steps_per_epoch: int) -> None:
        """Passed on."""
        self._steps_per_epoch = steps_per_epoch
        self._epochs_per_line = max(1, total_steps // steps_per_epoch // _MAX_EPOCH_LINES)
        self._monitor.start(title, total_steps=total_steps, first_step=first_step, steps_per_epoch=steps_per_epoch)

    def step(self, report: StepReport) -> None:
        """Passed on; the last step of an epoch has a line."""
        if report.step % self._steps_per_epoch == 0 and report.epoch % self._epochs_per_line == 0:
            loss = "" if report.loss is None else f", loss {report.loss:.3f}"
            speed = f"{report.clips_per_second:.1f} clips/s, data wait {report.data_wait_share:.0%}"
            self.write(f"epoch {report.epoch}, step {report.step}{loss}, {speed}")
        self._monitor.step(report)

    def note(self, text: str) -> None:
        """Written and passed on."""
        self.write(text)
        self._monitor.note(text)

    def warn(self, text: str) -> None:
        """Written and passed on."""
        self.write(f"warning: {text}")
        self._monitor.warn(text)

    def start_part(self, title: str, *, total: int) -> None:
        """Passed on."""
        self._monitor.start_part(title, total=total)

    def advance_part(self) -> None:
        """Passed on."""
        self._monitor.advance_part()

    def finish(self) -> None:
        """Passed on."""
        self._monitor.finish()
