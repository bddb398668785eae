"""The training loop: short, the same for pre-training and fine-tuning, and able to stop and go on at any step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from videomae.core.allocator import freed_memory_kept
from videomae.core.device import random_state_kept
from videomae.core.errors import ConfigError
from videomae.core.precision import Precision
from videomae.data.loader import ClipBatch, hard_limit_seconds, training_loader
from videomae.data.order import BatchOrder, num_steps_per_epoch
from videomae.recipes.recipe import TrainingRecipe
from videomae.training.broken import BrokenVideos
from videomae.training.ema import WeightAverage
from videomae.training.meter import Meter
from videomae.training.monitor import Monitor
from videomae.training.processes import Team
from videomae.training.run_folder import RunFolder
from videomae.training.saving import Saver, take_up
from videomae.training.schedule import Schedule
from videomae.training.step import Loss, Stepper
from videomae.training.stop_signal import StopSignal
from videomae.training.trackers import tracked


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
        end_epoch: called after each epoch with the epoch, from 0, to judge it; may add to `extra`. It is repeated where
            it was interrupted, so it must give the same again.
        save_weights: makes the folder a checkpoint with these weights, by name; called in another thread of the main
            process, with every save of the state until `extra` has a `best_epoch`.
        extra: plain values kept with the run state.
        monitor: is told what happens.
        title: what the monitor calls the run.
        data: the data set, as the user names it.
        order_of: epoch to the order of its clips, see `BatchOrder`; None for the plain one.
        precision: what the recipe's precision is, and why; None where it needs no reason.
        average: of the weights, updated with each step and kept in the run state; None for none.
        team: the processes that share each step.

    Attributes:
        step: steps done.
        num_judged: epochs whose `end_epoch` was called.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    recipe: TrainingRecipe
    dataset: Any
    folder: RunFolder
    device: torch.device
    loss: Loss
    end_epoch: Callable[[int], None]
    save_weights: Callable[[Mapping[str, Tensor]], object]
    monitor: Monitor
    title: str
    data: str = "DATA"
    order_of: Callable[[int], np.ndarray] | None = None
    precision: Precision | None = None
    average: WeightAverage | None = None
    team: Team = field(default_factory=Team)
    extra: dict[str, Any] = field(default_factory=dict)
    step: int = 0
    num_judged: int = 0
    left_out: BrokenVideos = field(init=False)
    meter: Meter = field(init=False)
    saver: Saver = field(init=False)
    stop: StopSignal = field(init=False, default_factory=StopSignal)
    scaler: torch.amp.GradScaler = field(init=False)

    def __post_init__(self) -> None:
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.recipe.precision == "fp16")
        self.left_out = BrokenVideos(self.dataset, self.recipe.max_broken, self.monitor)
        self.meter = Meter(self)
        self.saver = Saver(self)

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
            f"in {self.precision or recipe.precision}; "
            f"learning rate {recipe.learning_rate:g} × {recipe.batch_size} / 256 = {self.schedule.peak:.3g}"
            f"{self._cut_warmup()}"
        )

    def _cut_warmup(self) -> str:
        asked, used = self.recipe.warmup_epochs, self.used_warmup_epochs
        return "" if used == asked else f"; warm-up cut from {asked:g} to {used:.3g} epochs, half of the run"

    @property
    def used_warmup_epochs(self) -> float:
        """The recipe's, but at most half of the run."""
        asked, used = self.recipe.warmup_epochs, self.schedule.warmup_steps / self.steps_per_epoch
        return used if used < asked and self.schedule.warmup_steps == self.total_steps // 2 else asked

    @property
    def is_judging_due(self) -> bool:
        """Whether the steps of an epoch are done, but not its `end_epoch`."""
        return self.step // self.steps_per_epoch > self.num_judged

    def advance_part(self) -> None:
        """To be called by `end_epoch` for each video of its own: tells the monitor, and gives way to Ctrl-C.

        Raises:
            JudgingStopped: when the user stops a run of one process; judging can be repeated.
        """
        self.monitor.advance_part()
        # Several processes hear of it at different videos; they stop together after the next step.
        if self.stop.requested and self.team.world_size == 1:
            raise JudgingStopped

    def keep_weights(self) -> None:
        """Make the folder a checkpoint of the model as it is, or of its average; written while training goes on."""
        self.saver.keep_weights()


class JudgingStopped(Exception):
    """The user stopped the run while an epoch was judged."""


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
    _refuse_fewer_steps(training)
    if training.used_warmup_epochs != training.recipe.warmup_epochs:
        training.folder.description["used"] = {"warmup_epochs": training.used_warmup_epochs}
    with training.folder.opened():
        return _run_to_end(training, summary, write_report)


def _refuse_fewer_steps(training: Training) -> None:
    """A run that goes on with other settings must not have done more steps than they ask for."""
    done = training.folder.states.last_step
    if training.folder.differences and done > training.total_steps:
        raise ConfigError(
            f"a run of {training.total_steps} steps, where {training.folder.path} has done {done}",
            expected="as many steps or more",
            hint="raise --epochs, or choose another --output",
        )


def _run_to_end(training: Training, summary: str, write_report: Callable[[], object]) -> bool:
    resumed = take_up(training)
    was_finished = training.step >= training.total_steps and not training.is_judging_due
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
    monitor.start(training.title, total_steps=training.total_steps, first_step=training.step)
    # Each step seeds torch's global generators; the caller gets them back as they were.
    memory = freed_memory_kept() if training.device.type == "cpu" else nullcontext()
    with memory, closing(batches), random_state_kept(training.device), training.stop:
        try:
            _take_steps(training, batches, Stepper(training, order))
            training.saver.wait()
        except Exception:
            training.saver.join()
            raise
        finally:
            monitor.finish()


def _take_steps(training: Training, batches: Iterator[ClipBatch], stepper: Stepper) -> None:
    meter, saver = training.meter, training.saver
    meter.restart()
    timed = meter.timed(batches)
    if training.is_judging_due:
        _end_epoch(training)
    training.model.train()
    while parts := list(islice(timed, training.recipe.accumulation)):
        with meter.waiting():  # for the clips of the other processes
            num_clips, broken = training.team.collect(parts)
        training.left_out.count(broken)
        rate = training.schedule.at(training.step)
        outcome = stepper.take(parts, rate) if num_clips else None
        training.step += 1
        meter.add(outcome, parts, rate, num_clips=num_clips)
        stop, due = training.team.processes.any_of(training.stop.requested, saver.is_due())
        if stop and training.step < training.total_steps:
            _stop(training)
        if training.is_judging_due:
            _end_epoch(training)
            training.model.train()
        elif due:
            saver.save()


def _end_epoch(training: Training) -> None:
    saver, processes = training.saver, training.team.processes
    num_epochs = training.step // training.steps_per_epoch
    if processes.any(saver.is_worth_it_before_judging()):
        saver.save()
    extra = copy.deepcopy(training.extra)
    try:
        training.end_epoch(num_epochs - 1)
    except JudgingStopped:
        training.extra = extra
        _stop(training)
    training.num_judged = num_epochs
    if processes.any(saver.is_due(ends_epoch=True)) or training.step == training.total_steps:
        saver.save()
    training.meter.restart()


def _stop(training: Training) -> NoReturn:
    training.saver.save()
    training.saver.wait()
    raise TrainingStopped(training.step, training.total_steps, training.folder.path)


def _require_even_parts(training: Training) -> None:
    """All parts of all processes must have equally many clips; only an epoch's last batch may be smaller."""
    recipe, world_size = training.recipe, training.team.world_size
    # A batch of the whole data set is each epoch's last one too; their number is not for the user to choose.
    if recipe.batch_size % (recipe.accumulation * world_size) == 0 or recipe.batch_size == len(training.dataset):
        return
    share = recipe.batch_size // world_size
    fitting = [str(n) for n in range(1, share + 1) if recipe.batch_size % (n * world_size) == 0]
    among = f" and {world_size} processes" if world_size > 1 else ""
    raise ConfigError(
        f"accumulation={recipe.accumulation} with batch_size={recipe.batch_size}{among}",
        expected=f"--accumulation {', '.join(fitting[:12])}" if fitting else f"a batch that {world_size} divides",
        hint=f"or a --batch-size that {recipe.accumulation * world_size} divides",
    )
