"""The training loop: short, the same for pre-training and fine-tuning, and able to stop and go on at any step."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from videomae.data.loader import ClipBatch, hard_limit_seconds, training_loader
from videomae.data.order import BatchOrder, num_steps_per_epoch
from videomae.inference.device import autocast
from videomae.recipes.recipe import TrainingRecipe
from videomae.training.broken import BrokenVideos
from videomae.training.meter import Meter
from videomae.training.monitor import Monitor
from videomae.training.optimizer import set_learning_rate
from videomae.training.run_folder import RunFolder
from videomae.training.schedule import Schedule
from videomae.training.stop_signal import StopSignal

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
        data: the data set, as the user names it.
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
    data: str = "DATA"
    extra: dict[str, Any] = field(default_factory=dict)
    step: int = 0
    left_out: BrokenVideos = field(init=False)
    scaler: torch.amp.GradScaler = field(init=False)

    def __post_init__(self) -> None:
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.recipe.precision == "fp16")
        self.left_out = BrokenVideos(self.dataset, self.recipe.max_broken, self.monitor)

    @property
    def broken(self) -> dict[str, str]:
        """Path and reason of each video that is left out."""
        return self.left_out.reasons

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
        self.step, self.extra = state["step"], state["extra"]
        self.left_out.load_state({"reasons": state["broken"], "lethal": state.get("lethal", {})})
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
                "lethal": self.left_out.lethal(),
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
    training.left_out.count_known()
    batches = training_loader(
        training.dataset,
        order,
        num_workers=recipe.num_workers,
        pin_memory=training.device.type == "cuda",
        limit_seconds=hard_limit_seconds(recipe.read_limit_seconds),
        excluded=training.left_out.excluded,
        note=monitor.note,
    )
    schedule = training.schedule
    meter = Meter(training)
    last_save, save_seconds = time.perf_counter(), 0.0
    monitor.start(training.title, total_steps=training.total_steps, first_step=training.step)
    training.model.train()
    with closing(batches), StopSignal() as stop:
        try:
            for batch in meter.timed(batches):
                training.left_out.count(batch.broken)
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
