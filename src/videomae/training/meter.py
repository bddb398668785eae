"""Measures the speed of training and the data wait, and writes the lines of metrics.jsonl."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from videomae.core.errors import ConfigError
from videomae.data.loader import ClipBatch
from videomae.training.data_wait import DataWaitWatch, describe_data_wait
from videomae.training.memory import peak_memory_gib
from videomae.training.monitor import StepReport
from videomae.training.speed import Speed

if TYPE_CHECKING:
    from videomae.training.loop import Training

_NUM_NAMED = 8


class Meter:
    """Measures speed and waiting, and writes metrics every `log_every` steps."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self._run = Speed()  # of the lines that are written
        self.restart()
        self._outcomes = Outcomes(training.device, training.recipe.log_every)
        self._watch = DataWaitWatch()
        self._step_wait = 0.0
        self._step_begin = time.perf_counter()
        self._computing: torch.cuda.Event | None = None

    def restart(self) -> None:
        """Begin a new line: what happened in between (validation, saving) is not training."""
        self._begin = self._step_begin = time.perf_counter()
        self._waited = 0.0
        self._clips = 0

    def timed(self, batches: Iterator[ClipBatch]) -> Iterator[ClipBatch]:
        """The batches, with the time spent waiting for them on record."""
        while True:
            begin = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            # While a GPU is still at the step before, waiting costs nothing.
            is_free = self._computing is not None and not self._computing.query()
            waited = 0.0 if is_free else time.perf_counter() - begin
            self._step_wait += waited
            self._waited += waited
            yield batch

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Within it other processes are waited for, which wait for their clips: it counts as data wait."""
        begin = time.perf_counter()
        yield
        is_free = self._computing is not None and not self._computing.query()
        waited = 0.0 if is_free else time.perf_counter() - begin
        self._step_wait += waited
        self._waited += waited

    def add(self, outcome: Tensor | None, batches: Sequence[ClipBatch], rate: float, *, num_clips: int) -> None:
        """A step was taken.

        Args:
            outcome: of `Stepper.take`.
            batches: the parts of this process that it was made of.
            rate: its learning rate.
            num_clips: that it was made of, over all processes.

        Raises:
            ConfigError: where too many steps in a row had to be skipped.
        """
        training = self.training
        self._clips += num_clips
        if outcome is not None:
            self._outcomes.add(outcome, training.step, [batch.indices for batch in batches], num_clips=num_clips)
        due = training.step % training.recipe.log_every == 0 or training.step % training.steps_per_epoch == 0
        # Reading waits for a GPU, so it is done when a line is due; on the CPU it costs nothing.
        if due or training.device.type == "cpu":
            self._read()
        line = Speed(self._clips, time.perf_counter() - self._begin, self._waited)
        run = self._run + line
        report = StepReport(
            step=training.step,
            epoch=(training.step - 1) // training.steps_per_epoch + 1,
            loss=self._outcomes.mean_loss,
            learning_rate=rate,
            clips_per_second=run.clips_per_second,
            data_wait_share=run.data_wait_share,
            skipped_steps=self._outcomes.num_skipped,
            memory_gib=peak_memory_gib(training.device),
        )
        training.monitor.step(report)
        self._look_at_waiting()
        if due:
            training.folder.log({"split": "train", **vars(report), **line.logged()})
            self._run = run
            self._outcomes.begin_line()
            self.restart()

    def state_dict(self) -> dict[str, Any]:
        """For the run state: what the next line of metrics.jsonl will tell of steps taken already; waits for a GPU."""
        self._read()
        return {**self._outcomes.state_dict(), "speed": asdict(self._run)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a run state; those written before there was a speed of the run begin to count here."""
        self._outcomes.load_state_dict(state)
        self._run = Speed(**state.get("speed", {}))

    @property
    def num_skipped(self) -> int:
        """Steps of the run that were skipped, as far as they were read."""
        return self._outcomes.num_skipped

    def _read(self) -> None:
        outcomes, training = self._outcomes, self.training
        skipped = outcomes.read()
        if not skipped:
            return
        step, indices = skipped[-1]
        # All processes skip the same steps, and read of it at the same one.
        shares = training.team.processes.gather(indices)
        paths = [str(training.dataset.paths[index]) for share in shares for index in share]
        named = ", ".join(paths[:_NUM_NAMED]) + (
            f" and {len(paths) - _NUM_NAMED} more" if len(paths) > _NUM_NAMED else ""
        )
        if outcomes.num_in_a_row >= training.recipe.max_skipped_in_a_row:
            raise ConfigError(
                f"{outcomes.num_in_a_row} steps in a row up to step {step} with a loss or gradient that is not finite, "
                f"the last of {named}",
                expected=f"fewer than max_skipped_in_a_row={training.recipe.max_skipped_in_a_row}",
                hint="lower --learning-rate, use --precision bf16 or fp32, or look at these clips; the skipped steps "
                "changed no weights, and the last saved state is intact",
            )
        training.monitor.note(
            f"skipped step {step}: its loss or gradient is not finite ({outcomes.num_skipped} skipped so far), "
            f"clips of {named}"
        )

    def _look_at_waiting(self) -> None:
        now = time.perf_counter()
        share = self._watch.add(waited_seconds=self._step_wait, step_seconds=now - self._step_begin)
        self._step_begin, self._step_wait = now, 0.0
        if share is not None:
            self.training.monitor.note(describe_data_wait(self.training, share))
        if self.training.device.type == "cuda":
            self._computing = torch.cuda.Event()
            self._computing.record()


class Outcomes:
    """Losses and skipped steps, kept on the device until they are read together.

    Args:
        device: of the outcomes.
        capacity: the most that are kept unread.

    Attributes:
        num_skipped: steps skipped in the run.
        num_in_a_row: of them, those up to the last step read.
    """

    def __init__(self, device: torch.device, capacity: int) -> None:
        self._unread = torch.zeros(capacity, 2, device=device)
        self._steps: list[tuple[int, list[Tensor], int]] = []
        self._sum = 0.0
        self._count = 0
        self.num_skipped = 0
        self.num_in_a_row = 0

    @property
    def mean_loss(self) -> float | None:
        """Of the clips read since the last line, without skipped steps; None where there is none or some are unread."""
        return self._sum / self._count if self._count and not self._steps else None

    def add(self, outcome: Tensor, step: int, indices: list[Tensor], *, num_clips: int) -> None:
        """Keep the (2,) outcome of step `step`, whose clips have these places in the data set.

        Args:
            num_clips: of the step, over all processes: an epoch's last, smaller batch counts for less.
        """
        self._unread[len(self._steps)] = outcome
        self._steps.append((step, indices, num_clips))

    def read(self) -> list[tuple[int, list[int]]]:
        """Count what was kept; returns the skipped steps among it with the places of their clips."""
        found = []
        for (step, indices, num_clips), (loss, skipped) in zip(
            self._steps, self._unread[: len(self._steps)].tolist(), strict=True
        ):
            if skipped:
                self.num_skipped += 1
                self.num_in_a_row += 1
                found.append((step, torch.cat(indices).tolist()))
            else:
                self.num_in_a_row = 0
                self._sum += loss * num_clips
                self._count += num_clips
        self._steps.clear()
        return found

    def begin_line(self) -> None:
        """The mean begins anew."""
        self._sum, self._count = 0.0, 0

    def state_dict(self) -> dict[str, Any]:
        """As plain numbers."""
        return {"sum": self._sum, "count": self._count, "skipped": self.num_skipped, "in_a_row": self.num_in_a_row}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from these numbers."""
        self._sum, self._count = state["sum"], state["count"]
        self.num_skipped, self.num_in_a_row = state["skipped"], state["in_a_row"]
