"""Measures the speed of training and the waiting for clips."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from videomae.core.errors import ConfigError
from videomae.data.loader import ClipBatch
from videomae.training.data_wait import DataWaitWatch, describe_data_wait
from videomae.training.monitor import StepReport

if TYPE_CHECKING:
    from videomae.training.loop import Training


class Meter:
    """Measures speed and waiting, and writes metrics every `log_every` steps."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.restart()
        self._losses: list[Tensor] = []
        self._watch = DataWaitWatch()
        self._step_wait = 0.0
        self._step_begin = time.perf_counter()
        self._computing: torch.cuda.Event | None = None

    def restart(self) -> None:
        """Begin a new measurement: what happened between (validation, saving) is not training."""
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
            self._step_wait = 0.0 if is_free else time.perf_counter() - begin
            self._waited += self._step_wait
            yield batch

    def add(self, loss: Tensor | None, num_clips: int, rate: float) -> None:
        """A step was taken."""
        training = self.training
        if loss is not None:
            self._losses.append(loss)
        self._clips += num_clips
        due = training.step % training.recipe.log_every == 0 or training.step % training.steps_per_epoch == 0
        # Reading the loss waits for a GPU, so it is done when a line is due; on the CPU it costs nothing.
        readable = bool(self._losses) and (due or training.device.type == "cpu")
        mean_loss = float(torch.stack(self._losses).mean()) if readable else None
        seconds = max(time.perf_counter() - self._begin, 1e-9)
        report = StepReport(
            step=training.step,
            epoch=(training.step - 1) // training.steps_per_epoch,
            loss=mean_loss,
            learning_rate=rate,
            clips_per_second=self._clips / seconds,
            data_wait_share=min(1.0, self._waited / seconds),
        )
        if report.loss is not None and not math.isfinite(report.loss):
            raise ConfigError(
                f"a loss of {report.loss} at step {training.step}",
                expected="a finite loss",
                hint="lower --learning-rate, or use --precision bf16 or fp32; the last saved state is intact",
            )
        training.monitor.step(report)
        self._look_at_waiting()
        if due:
            training.folder.log({"split": "train", **vars(report)})
            self._losses.clear()
            self.restart()

    def _look_at_waiting(self) -> None:
        now = time.perf_counter()
        share = self._watch.add(waited_seconds=self._step_wait, step_seconds=now - self._step_begin)
        self._step_begin = now
        if share is not None:
            self.training.monitor.note(describe_data_wait(self.training, share))
        if self.training.device.type == "cuda":
            self._computing = torch.cuda.Event()
            self._computing.record()
