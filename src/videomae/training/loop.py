"""The training loop: short, the same for pre-training and fine-tuning, and able to stop and go on at any step."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from videomae.core.errors import ConfigError, VideoError
from videomae.data.loader import ClipBatch, training_loader
from videomae.data.order import BatchOrder, num_steps_per_epoch
from videomae.inference.device import autocast
from videomae.recipes.recipe import TrainingRecipe
from videomae.training.monitor import Monitor, StepReport
from videomae.training.optimizer import set_learning_rate
from videomae.training.run_folder import RunFolder
from videomae.training.schedule import Schedule

# The original code's warm-up begins here, for 256 clips.
_WARMUP_START = 1e-6
# Each epoch is saved. Only saves that take longer than this (a large network) are spaced out where epochs are short,
# so that saving takes no more than this share of the time.
_QUICK_SAVE_SECONDS = 1.0
_MAX_SAVE_SHARE = 0.1


class TrainingStopped(Exception):
    """The user stopped the run; its state is saved.

    Args:
        step: steps done.
        total_steps: steps of the whole run.
        folder: the run's folder.
    """

    def __init__(self, step: int, total_steps: int, folder: Path) -> None:
        super().__init__(f"stopped after step {step} of {total_steps}")
        self.step = step
        self.total_steps = total_steps
        self.folder = folder


@dataclass
class Training:
    """Everything a loop needs.

    Args:
        model: on its device.
        optimizer: over the model's parameters, its groups with a `scale`.
        recipe: the run's settings.
        dataset: yields clips by (epoch, index).
        folder: where the run is kept.
        device: where the model is.
        loss: (clips uint8 on the device, the batch, the step) to a scalar loss.
        end_epoch: called after each epoch with the epoch, before the state is saved; may add to `extra`.
        save_weights: makes the folder a checkpoint of the model as it is; called with every save of the state.
        extra: plain values kept with the run state.
        monitor: is told what happens.
        title: what the monitor calls the run.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    recipe: TrainingRecipe
    dataset: Any
    folder: RunFolder
    device: torch.device
    loss: Callable[[Tensor, ClipBatch, int], Tensor]
    end_epoch: Callable[[int], None]
    save_weights: Callable[[], None]
    monitor: Monitor
    title: str
    extra: dict[str, Any] = field(default_factory=dict)
    step: int = 0
    broken: dict[str, str] = field(default_factory=dict)
    scaler: torch.amp.GradScaler = field(init=False)

    def __post_init__(self) -> None:
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.recipe.precision == "fp16")

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of one epoch."""
        return num_steps_per_epoch(len(self.dataset), self.recipe.batch_size)

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the run."""
        return self.recipe.epochs * self.steps_per_epoch

    @property
    def schedule(self) -> Schedule:
        """The learning rate over the run."""
        recipe = self.recipe
        peak = recipe.scaled(recipe.learning_rate)
        return Schedule(
            total_steps=self.total_steps,
            warmup_steps=min(round(recipe.warmup_epochs * self.steps_per_epoch), self.total_steps // 2),
            peak=peak,
            minimum=min(peak, recipe.scaled(recipe.min_learning_rate)),
            start=min(peak, recipe.scaled(_WARMUP_START)),
        )

    def summary(self) -> str:
        """Length, place and learning rate of the run in one line."""
        recipe = self.recipe
        epochs = "1 epoch" if recipe.epochs == 1 else f"{recipe.epochs} epochs"
        return (
            f"{epochs} = {self.total_steps} steps of {recipe.batch_size} clips, on {self.device.type} "
            f"in {recipe.precision}; learning rate {recipe.learning_rate:g} × {recipe.batch_size} / 256 "
            f"= {self.schedule.peak:.3g}"
        )

    def resume(self) -> bool:
        """Take up the saved state; False for a new run."""
        state = self.folder.load_state()
        if state is None:
            self.folder.drop_metrics_after(0)
            return False
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.step, self.extra, self.broken = state["step"], state["extra"], state["broken"]
        self.folder.drop_metrics_after(self.step)
        return True

    def save(self) -> float:
        """Save weights and run state; returns the seconds it took."""
        begin = time.perf_counter()
        self.save_weights()
        self.folder.save_state(
            {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "step": self.step,
                "extra": self.extra,
                "broken": self.broken,
            }
        )
        return time.perf_counter() - begin


def run_to_end(training: Training, *, summary: str, write_report: Callable[[], object]) -> bool:
    """Take up what was saved, train what is left, write the report.

    Args:
        training: the run.
        summary: a line about it for the user.
        write_report: called at the end; also where a run was killed between its last step and its report.

    Returns:
        Whether the run was finished before.

    Raises:
        TrainingStopped, VideoError, ConfigError: as `train`.
    """
    resumed = training.resume()
    was_finished = training.step >= training.total_steps
    if not was_finished:
        if resumed:
            training.monitor.note(f"going on after step {training.step} of {training.total_steps}")
        training.monitor.note(summary)
        train(training)
    if not was_finished or not training.folder.report_path.exists():
        write_report()
    return was_finished


def train(training: Training) -> None:
    """Take all steps that are left.

    Raises:
        TrainingStopped: on Ctrl-C or SIGTERM, after the state was saved.
        VideoError: if more videos are broken than the recipe allows.
        ConfigError: if the loss is not finite.
    """
    recipe, monitor = training.recipe, training.monitor
    order = BatchOrder(
        len(training.dataset),
        batch_size=recipe.batch_size,
        epochs=recipe.epochs,
        seed=recipe.seed,
        first_step=training.step,
    )
    batches = training_loader(
        training.dataset, order, num_workers=recipe.num_workers, pin_memory=training.device.type == "cuda"
    )
    schedule = training.schedule
    meter = _Meter(training, monitor)
    last_save, save_seconds = time.perf_counter(), 0.0
    monitor.start(training.title, total_steps=training.total_steps, first_step=training.step)
    training.model.train()
    with _StopSignal() as stop:
        try:
            for batch in meter.timed(batches):
                _count_broken(training, batch)
                rate = schedule.at(training.step)
                loss = _take_step(training, batch, rate) if len(batch.indices) else None
                training.step += 1
                meter.add(loss, len(batch.indices), rate)
                epoch, place = divmod(training.step, training.steps_per_epoch)
                if place == 0:
                    training.end_epoch(epoch - 1)
                    training.model.train()
                    since_save = time.perf_counter() - last_save
                    due = save_seconds < _QUICK_SAVE_SECONDS or since_save > save_seconds / _MAX_SAVE_SHARE
                    if due or training.step == training.total_steps:
                        save_seconds = training.save()
                        last_save = time.perf_counter()
                    meter.restart()
                if stop.requested and training.step < training.total_steps:
                    training.save()
                    raise TrainingStopped(training.step, training.total_steps, training.folder.path)
        finally:
            monitor.finish()


def _take_step(training: Training, batch: ClipBatch, rate: float) -> Tensor:
    recipe, optimizer, scaler = training.recipe, training.optimizer, training.scaler
    set_learning_rate(optimizer, rate)
    clips = batch.clips.flatten(0, 1).to(training.device, non_blocking=True)
    with autocast(training.device, recipe.precision):
        loss = training.loss(clips, batch, training.step)
    scaler.scale(loss).backward()
    if recipe.clip_grad:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(training.model.parameters(), recipe.clip_grad)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


def _count_broken(training: Training, batch: ClipBatch) -> None:
    """Name each broken video once; stop when there are too many."""
    for broken in batch.broken:
        path = str(training.dataset.paths[broken.index])
        if path in training.broken:
            continue
        training.broken[path] = str(broken.error)
        training.monitor.note(f"left out, cannot be read: {broken.error}")
        share = training.recipe.max_broken
        allowed = max(1, math.floor(share * len(training.dataset))) if share else 0
        if len(training.broken) > allowed or len(training.broken) == len(training.dataset):
            raise VideoError(
                f"{len(training.broken)} of {len(training.dataset)} videos cannot be read, the last one {path}",
                expected=f"at most {allowed} (max_broken={share})",
                hint="replace or remove the files named above, or allow more with --max-broken",
            ) from broken.error


class _Meter:
    """Measures speed and waiting, and writes metrics every `log_every` steps."""

    def __init__(self, training: Training, monitor: Monitor) -> None:
        self.training = training
        self.monitor = monitor
        self.restart()
        self._losses: list[Tensor] = []

    def restart(self) -> None:
        """Begin a new measurement: what happened between (validation, saving) is not training."""
        self._begin = time.perf_counter()
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
            self._waited += time.perf_counter() - begin
            yield batch

    def add(self, loss: Tensor | None, num_clips: int, rate: float) -> None:
        """A step was taken."""
        training = self.training
        if loss is not None:
            self._losses.append(loss)
        self._clips += num_clips
        due = training.step % training.recipe.log_every == 0 or training.step % training.steps_per_epoch == 0
        seconds = max(time.perf_counter() - self._begin, 1e-9)
        # Reading the loss waits for a GPU, so it is done when a line is due; on the CPU it costs nothing.
        readable = bool(self._losses) and (due or training.device.type == "cpu")
        report = StepReport(
            step=training.step,
            epoch=(training.step - 1) // training.steps_per_epoch,
            loss=float(torch.stack(self._losses).mean()) if readable else None,
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
        self.monitor.step(report)
        if due:
            training.folder.log({"split": "train", **vars(report)})
            self._losses.clear()
            self.restart()


class _StopSignal:
    """Turns the first Ctrl-C or SIGTERM into a request to stop after this step; a second one acts at once."""

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> _StopSignal:
        # Python hands signals to the main thread alone; a run in another thread is stopped by its owner.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self.__exit__()
