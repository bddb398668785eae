"""The training loop: short, the same for pre-training and fine-tuning, and able to stop and go on at any step."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from videomae.core.errors import ConfigError
from videomae.data.loader import hard_limit_seconds, training_loader
from videomae.data.order import BatchOrder, num_steps_per_epoch
from videomae.recipes.recipe import TrainingRecipe
from videomae.training.broken import BrokenVideos
from videomae.training.ema import WeightAverage
from videomae.training.meter import Meter
from videomae.training.monitor import Monitor
from videomae.training.processes import Team, load_model, load_optimizer
from videomae.training.run_folder import RunFolder
from videomae.training.schedule import Schedule
from videomae.training.step import Loss, Stepper
from videomae.training.stop_signal import StopSignal
from videomae.training.trackers import tracked

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
        loss: of a part of a batch, see `training.step.Loss`.
        end_epoch: called after each epoch with the epoch, before the state is saved; may add to `extra`.
        save_weights: makes the folder a checkpoint of the model as it is; called with every save of the state.
        extra: plain values kept with the run state.
        monitor: is told what happens.
        title: what the monitor calls the run.
        data: the data set, as the user names it.
        order_of: epoch to the order of its clips, see `BatchOrder`; None for the plain one.
        average: of the weights, updated with each step and kept in the run state; None for none.
        team: the processes that share each step.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    recipe: TrainingRecipe
    dataset: Any
    folder: RunFolder
    device: torch.device
    loss: Loss
    end_epoch: Callable[[int], None]
    save_weights: Callable[[], None]
    monitor: Monitor
    title: str
    data: str = "DATA"
    order_of: Callable[[int], np.ndarray] | None = None
    average: WeightAverage | None = None
    team: Team = field(default_factory=Team)
    extra: dict[str, Any] = field(default_factory=dict)
    step: int = 0
    left_out: BrokenVideos = field(init=False)
    meter: Meter = field(init=False)
    scaler: torch.amp.GradScaler = field(init=False)

    def __post_init__(self) -> None:
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.recipe.precision == "fp16")
        self.left_out = BrokenVideos(self.dataset, self.recipe.max_broken, self.monitor)
        self.meter = Meter(self)

    @property
    def broken(self) -> dict[str, str]:
        """Path and reason of each video that is left out."""
        return self.left_out.reasons

    @cached_property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of one epoch."""
        return num_steps_per_epoch(len(self.dataset), self.recipe.batch_size)

    @cached_property
    def total_steps(self) -> int:
        """Optimiser steps of the run."""
        return self.recipe.epochs * self.steps_per_epoch

    @cached_property
    def schedule(self) -> Schedule:
        """The learning rate over the run."""
        recipe = self.recipe
        peak = recipe.scaled(recipe.learning_rate)
        return Schedule(
            total_steps=self.total_steps,
            warmup_steps=min(round(recipe.warmup_epochs * self.steps_per_epoch), self.total_steps // 2),
            peak=peak,
            minimum=min(peak, recipe.scaled(recipe.min_learning_rate)),
            start=min(peak, recipe.scaled(recipe.start_learning_rate)),
        )

    def after_step(self, skipped: Tensor) -> None:
        """The optimiser has taken a step, unless `skipped`, on the device, is 1."""
        if self.average is not None:
            self.average.update(self.model, skipped=skipped)

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
        processes = self.team.processes
        state = processes.from_main(processes.on_main(self.folder.load_state))
        if state is None:
            self.folder.drop_metrics_after(0)
            return False
        load_model(self.model, state["model"])
        load_optimizer(self.optimizer, state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.meter.load_state_dict(state["meter"])
        self.step, self.extra = state["step"], state["extra"]
        self.left_out.load_state({"reasons": state["broken"], "lethal": state.get("lethal", {})})
        self.folder.drop_metrics_after(self.step)
        return True

    def save(self) -> float:
        """Save weights and run state; returns the seconds it took."""
        begin = time.perf_counter()
        self.save_weights()
        lethal: dict[str, list[Any]] = {}
        for found in self.team.processes.gather(self.left_out.lethal()):
            lethal |= found
        state = self.team.gathered(
            {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "average": None if self.average is None else self.average.state_dict(),
                "meter": self.meter.state_dict(),
                "step": self.step,
                "extra": self.extra,
                "broken": self.broken,
                "lethal": lethal,
            }
        )
        self.team.processes.on_main(lambda: self.folder.save_state(state))
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
        names = training.recipe.trackers if training.team.rank == 0 else ()
        with tracked(names, training.folder, first_step=training.step, note=training.monitor.note):
            train(training)
    if training.team.processes.any(not was_finished or not training.folder.report_path.exists()):
        write_report()
    return was_finished


def train(training: Training) -> None:
    """Take all steps that are left.

    Raises:
        TrainingStopped: on Ctrl-C or SIGTERM, after the state was saved.
        VideoError: if more videos are broken than the recipe allows.
        ConfigError: if too many steps in a row have a loss or gradient that is not finite.
    """
    recipe, monitor = training.recipe, training.monitor
    _require_even_parts(training)
    order = BatchOrder(
        len(training.dataset),
        batch_size=recipe.batch_size,
        epochs=recipe.epochs,
        seed=recipe.seed,
        first_step=training.step,
        rank=training.team.rank,
        world_size=training.team.world_size,
        num_parts=recipe.accumulation,
        order_of=training.order_of,
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
    meter, stepper = training.meter, Stepper(training, order)
    meter.restart()
    timed = meter.timed(batches)
    last_save, save_seconds = time.perf_counter(), 0.0
    monitor.start(training.title, total_steps=training.total_steps, first_step=training.step)
    training.model.train()
    devices = [training.device] if training.device.type == "cuda" else []
    # Each step seeds torch's global generators; the caller gets them back as they were.
    with closing(batches), torch.random.fork_rng(devices=devices), StopSignal() as stop:
        try:
            while parts := list(islice(timed, recipe.accumulation)):
                num_clips, broken = training.team.collect(parts)
                training.left_out.count(broken)
                rate = training.schedule.at(training.step)
                outcome = stepper.take(parts, rate) if num_clips else None
                training.step += 1
                meter.add(outcome, parts, rate)
                epoch, place = divmod(training.step, training.steps_per_epoch)
                if place == 0:
                    training.end_epoch(epoch - 1)
                    training.model.train()
                    since_save = time.perf_counter() - last_save
                    due = save_seconds < _QUICK_SAVE_SECONDS or since_save > save_seconds / _MAX_SAVE_SHARE
                    if training.team.processes.any(due) or training.step == training.total_steps:
                        save_seconds = training.save()
                        last_save = time.perf_counter()
                    meter.restart()
                if training.team.processes.any(stop.requested) and training.step < training.total_steps:
                    training.save()
                    raise TrainingStopped(training.step, training.total_steps, training.folder.path)
        finally:
            monitor.finish()


def _require_even_parts(training: Training) -> None:
    """All parts of all processes must have equally many clips; only an epoch's last batch may be smaller."""
    recipe, world_size = training.recipe, training.team.world_size
    if recipe.batch_size % (recipe.accumulation * world_size) == 0:
        return
    share = recipe.batch_size // world_size
    fitting = [str(n) for n in range(1, share + 1) if recipe.batch_size % (n * world_size) == 0]
    among = f" and {world_size} processes" if world_size > 1 else ""
    raise ConfigError(
        f"accumulation={recipe.accumulation} with batch_size={recipe.batch_size}{among}",
        expected=f"--accumulation {', '.join(fitting[:12])}" if fitting else f"a batch that {world_size} divides",
        hint=f"or a --batch-size that {recipe.accumulation * world_size} divides",
    )
