"""What a run reports while it runs. The command line shows it; a program may pass its own monitor or none."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StepReport:
    """One optimizer step.

    Args:
        step: steps done, from 1.
        epoch: epoch of this step, from 1.
        loss: mean loss since the last report that had one; None where reading it would make the device wait.
        learning_rate: that of parameter groups without a factor of their own.
        clips_per_second: of the whole run so far, see `training.metrics_log.Speed`.
        data_wait_share: of the whole run so far, 0–1.
        skipped_steps: steps of the run so far that changed nothing, because loss or gradient was not finite; on a GPU
            as of the last report with a loss.
        memory_gib: the most memory so far, see `peak_memory_gib`; of the main process' device.
    """

    step: int
    epoch: int
    loss: float | None
    learning_rate: float
    clips_per_second: float
    data_wait_share: float
    skipped_steps: int = 0
    memory_gib: float | None = None


class Monitor:
    """Receives the events of a run; this one ignores them."""

    def stage(self, text: str) -> None:
        """What is done before the steps begin or after they end, in a few words; it takes until the next event."""

    def start(self, title: str, *, total_steps: int, first_step: int, steps_per_epoch: int) -> None:
        """The steps begin; `first_step` of them were done before."""

    def step(self, report: StepReport) -> None:
        """A step was taken."""

    def note(self, text: str) -> None:
        """A line that the user should see."""

    def warn(self, text: str) -> None:
        """A line about something that is not as it should be."""
        self.note(text)

    def start_part(self, title: str, *, total: int) -> None:
        """A side task (validation) of `total` videos begins."""

    def advance_part(self) -> None:
        """One video of the side task is done."""

    def finish(self) -> None:
        """The steps end, in whatever way, and then the run: nothing is to be shown any more. It may be called again."""
