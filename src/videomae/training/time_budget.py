"""How many epochs a run can take in a given time: some of its steps, and a part of a validation, are timed."""

from __future__ import annotations

import gc
import tempfile
import time
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, replace
from itertools import islice

import torch

from videomae.core.allocator import freed_memory_kept
from videomae.core.device import random_state_kept, synchronize
from videomae.core.distributed import ProcessGroup
from videomae.core.errors import ConfigError
from videomae.core.text import duration
from videomae.data.loader import hard_limit_seconds, training_loader
from videomae.recipes.recipe import TrainingRecipe
from videomae.training.monitor import Monitor
from videomae.training.run_folder import RunFolder
from videomae.training.tasks.task import Task
from videomae.training.trainer import Trainer

# Of the budget, and seconds, that timing steps may take; and as much again for a validation.
_MAX_SHARE, _MAX_SECONDS = 0.05, 60.0
# The first step makes what all others use; the next ones find clips that were read meanwhile.
_NUM_WARMUP_STEPS, _MIN_STEPS = 1, 4
# Of the budget: saves, and steps that are slower than those that were timed.
_USED_SHARE = 0.95


class _EnoughTimed(Exception):
    """Ends a validation that is timed."""


@dataclass(frozen=True)
class EpochTime:
    """What an epoch takes.

    Args:
        step_seconds: of one optimizer step, waiting for clips included.
        num_steps: of an epoch.
        validation_seconds: of one validation; 0 where there is none.
        validations: of an epoch, 0–1.
    """

    step_seconds: float
    num_steps: int
    validation_seconds: float = 0.0
    validations: float = 1.0

    @property
    def seconds(self) -> float:
        """Of an epoch, with its share of a validation."""
        return self.step_seconds * self.num_steps + self.validation_seconds * self.validations

    def epochs_within(self, seconds: float) -> int:
        """How many epochs fit, one at least; the report evaluates once more."""
        return max(1, int((_USED_SHARE * seconds - self.validation_seconds) / self.seconds))

    def __str__(self) -> str:
        validation = f", a validation {duration(self.validation_seconds)}" if self.validation_seconds else ""
        steps = "1 step" if self.num_steps == 1 else f"{self.num_steps} steps"
        return f"an epoch of {steps} takes {duration(self.step_seconds * self.num_steps)}{validation}"


def measured_epoch(
    task: Task, recipe: TrainingRecipe, device: torch.device, world_size: int, budget_seconds: float
) -> EpochTime:
    """Take steps of a run that does not take place, and validate some videos.

    The model of the task is built for it and changed: build it again.

    Args:
        task: its data are read.
        recipe: of the run; the batch size fits the data.
        device: of this process, which measures alone.
        world_size: how many processes will share batches and validations.
        budget_seconds: of the run.

    Raises:
        ConfigError: for a model that is sharded, which one process cannot try.
    """
    if recipe.sharding == "full":
        raise ConfigError(
            "--time-budget with --sharding full",
            expected="a number of epochs: a process alone cannot try a step of a sharded model",
            hint="give --epochs",
        )
    limit = min(_MAX_SHARE * budget_seconds, _MAX_SECONDS)
    unit = recipe.accumulation
    share = max(unit, recipe.batch_size // world_size // unit * unit)
    with tempfile.TemporaryDirectory() as aside:
        task.build(replace(recipe, batch_size=share), device, lambda text: None)
        if recipe.gradient_checkpointing:
            task.checkpoint.model.gradient_checkpointing_enable()
        trainer = Trainer(task, RunFolder(aside, {}), Monitor())
        step_seconds = _step_seconds(trainer, limit)
        validation_seconds = _validation_seconds(task, limit) / world_size
        validations = sum(map(task.validates_after, range(1, recipe.epochs + 1))) / recipe.epochs
    del trainer
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    num_steps = -(-len(task.manifest) // recipe.batch_size)
    return EpochTime(step_seconds, num_steps, validation_seconds, validations)


def _step_seconds(trainer: Trainer, limit: float) -> float:
    recipe, device = trainer.recipe, trainer.device
    batches = training_loader(
        trainer.dataset,
        trainer.order,
        num_workers=recipe.num_workers,
        pin_memory=device.type == "cuda",
        limit_seconds=hard_limit_seconds(recipe.read_limit_seconds),
        excluded=dict(trainer.unreadable.excluded),
        note=lambda text: None,
    )
    ends = [time.perf_counter()]
    memory = freed_memory_kept() if device.type == "cpu" else nullcontext()
    with memory, closing(batches), random_state_kept(device):
        trainer.model.train()
        while micro_batches := list(islice(batches, recipe.accumulation)):
            trainer.take_step(micro_batches, trainer.schedule.at(0))
            synchronize(device)
            ends.append(time.perf_counter())
            if len(ends) > _MIN_STEPS and ends[-1] - ends[0] > limit:
                break
    first = min(_NUM_WARMUP_STEPS, len(ends) - 2)
    return (ends[-1] - ends[first]) / (len(ends) - 1 - first)


def _validation_seconds(task: Task, limit: float) -> float:
    if task.validation is None:
        return 0.0
    begin, num_videos = time.perf_counter(), 0

    def on_video() -> None:
        nonlocal num_videos
        num_videos += 1
        if time.perf_counter() - begin > limit:
            raise _EnoughTimed

    with suppress(_EnoughTimed):
        task.validate(on_video, ProcessGroup())
    return (time.perf_counter() - begin) / num_videos * len(task.validation)
