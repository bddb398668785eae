"""Memory of a training step: what to do where it does not suffice, and the largest batch for which it does."""

from __future__ import annotations

import gc
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import psutil
import torch

from videomae.core.allocator import freed_memory_kept
from videomae.core.device import random_state_kept
from videomae.core.errors import ConfigError
from videomae.core.memory import (
    LESS_MEMORY,
    MEMORY_ERRORS,
    available_bytes,
    gigabytes,
    is_out_of_memory,
    memory_errors_explained,
    out_of_memory,
)
from videomae.data.loader import ClipBatch, automatic_workers
from videomae.recipes.recipe import TrainingRecipe
from videomae.training.monitor import Monitor
from videomae.training.run_folder import RunFolder
from videomae.training.tasks.task import Task
from videomae.training.trainer import Trainer

# Of the memory that is free; the rest is for what a few steps do not show.
_USED_SHARE = 0.9
# Of an automatic batch: the size for which recipes give their learning rates; and an epoch of few steps learns little.
_MAX_BATCH, _MIN_STEPS_PER_EPOCH, _ALWAYS_WORTH = 256, 16, 8
_POLL_SECONDS = 0.005


# --- what to do where memory runs out ----------------------------------------------------------------------------


@contextmanager
def step_memory_explained(trainer: Trainer) -> Iterator[None]:
    """Within it, memory that runs out is one line with the batch that was tried and what needs less."""
    recipe, world_size = trainer.recipe, trainer.parallel.world_size
    try:
        yield
    except MEMORY_ERRORS as error:
        if not is_out_of_memory(error):
            raise
        micro_batch = -(-recipe.batch_size // (recipe.accumulation * world_size))
        views = "" if recipe.views == 1 else f" × {recipe.views} views"
        what = f"a micro-batch of {_clips(micro_batch)}{views} (--batch-size {recipe.batch_size})"
        hint = _less_memory(recipe, micro_batch, world_size)
        raise out_of_memory(error, what, hint=hint, device=trainer.device) from error


def _less_memory(recipe: TrainingRecipe, micro_batch: int, world_size: int) -> str:
    """A remedy that keeps the optimization, where there is one; the run may be resumed with it."""
    share = recipe.batch_size // world_size
    wanted = 2 * recipe.accumulation
    fitting = [n for n in range(wanted, share + 1) if recipe.batch_size % (n * world_size) == 0]
    remedies = []
    if micro_batch > 1 and fitting:
        size = share // fitting[0]
        remedies.append(f"--accumulation {fitting[0]} takes the same steps in micro-batches of {_clips(size)}")
    if not recipe.gradient_checkpointing:
        remedies.append("--gradient-checkpointing needs much less memory")
    if remedies:
        return f"{', or '.join(remedies)}; a run that has begun resumes with either"
    return f"lower --batch-size, or {LESS_MEMORY}"


def _clips(number: int) -> str:
    return "1 clip" if number == 1 else f"{number} clips"


# --- the largest batch -------------------------------------------------------------------------------------------


def largest_worthwhile_batch(num_clips: int) -> int:
    """The largest batch that is chosen automatically for so many clips, whatever fits: a power of two."""
    most = min(_MAX_BATCH, max(_ALWAYS_WORTH, num_clips // _MIN_STEPS_PER_EPOCH), num_clips)
    return 1 << (most.bit_length() - 1)


def automatic_batch_size(task: Task, recipe: TrainingRecipe, device: torch.device, world_size: int) -> tuple[int, str]:
    """The largest batch whose steps fit into memory, and why it is no larger; steps are tried, of clips of noise.

    The model of the task is built for it and changed: build it again.

    Args:
        task: its data are read.
        recipe: of the run; its accumulation holds.
        device: of this process, which tries alone.
        world_size: how many processes share the batch.

    Raises:
        OutOfMemory: if a single clip does not fit.
        ConfigError: for a model that is sharded, which one process cannot try.
    """
    if recipe.sharding == "full":
        raise ConfigError(
            "--batch-size auto with --sharding full",
            expected="a number: a process alone cannot try a step of a sharded model",
            hint="give --batch-size",
        )
    most = largest_worthwhile_batch(len(task.manifest))
    unit = recipe.accumulation * world_size
    most_at_once = 1 << (max(1, most // unit).bit_length() - 1)
    with tempfile.TemporaryDirectory() as aside:
        task.build(replace(recipe, batch_size=most_at_once * recipe.accumulation), device, lambda text: None)
        if recipe.gradient_checkpointing:
            task.checkpoint.model.gradient_checkpointing_enable()
        trial = _Trial(Trainer(task, RunFolder(aside, {}), Monitor()), world_size)
        with random_state_kept(device):
            trial.first_step()
            found, why = trial.on_cuda(most_at_once) if device.type == "cuda" else trial.elsewhere(most_at_once)
    del trial
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if found == most_at_once:
        why = f"more is not taken for an epoch of {len(task.manifest)} clips; memory is not the limit"
    return found * unit, why


class _Trial:
    """Steps of a run that does not take place.

    Args:
        trainer: has taken no step.
        world_size: of the run; what its processes need to exchange gradients is counted in.
    """

    def __init__(self, trainer: Trainer, world_size: int) -> None:
        self.trainer = trainer
        trainer.model.train()
        self._weight_bytes = sum(parameter.nbytes for parameter in trainer.model.parameters())
        self._exchange_bytes = self._weight_bytes if world_size > 1 else 0

    def first_step(self) -> None:
        """One of a single clip, which makes the optimizer's state."""
        hint = _less_memory(self.trainer.recipe, 1, 1)
        with memory_errors_explained("a step of 1 clip", hint=hint, device=self.trainer.device):
            self.step(1)

    def step(self, num_clips: int) -> None:
        """One of micro-batches of so many clips."""
        trainer, recipe = self.trainer, self.trainer.recipe
        shape = (num_clips, recipe.views, *trainer.model.config.grid.clip_shape)
        numbers = torch.arange(num_clips)
        batch = ClipBatch(
            clips=torch.randint(256, shape, dtype=torch.uint8),
            labels=torch.zeros_like(numbers),
            indices=numbers,
            places=numbers,
        )
        # The gradients of the first micro-batch are there when the second one begins.
        trainer.take_step([batch] * min(2, recipe.accumulation), trainer.schedule.at(0))

    def on_cuda(self, most: int) -> tuple[int, str]:
        """Larger and larger steps until one does not fit."""
        device = self.trainer.device
        torch.cuda.empty_cache()
        there = available_bytes(device) + torch.cuda.memory_allocated(device)
        limit = _USED_SHARE * there - self._exchange_bytes
        found, peak = 1, 0
        number = 1
        while number <= most:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
            if not self._fits(number):
                break
            reserved = torch.cuda.max_memory_reserved(device)
            if reserved > limit and number > 1:
                break
            found, peak = number, reserved
            number *= 2
        return found, f"the most that fits: {gigabytes(peak)} of {gigabytes(there)} with {_clips(found)} at once"

    def _fits(self, num_clips: int) -> bool:
        try:
            self.step(num_clips)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            self.trainer.optimizer.zero_grad(set_to_none=True)
            return False
        return True

    def elsewhere(self, most: int) -> tuple[int, str]:
        """From what a second clip adds to the peak of a step, and the memory that is free."""
        is_cpu = self.trainer.device.type == "cpu"
        with freed_memory_kept() if is_cpu else nullcontext():
            one = _peak_of(lambda: self.step(1))
            free = available_bytes(None) - max(0, one - int(psutil.Process().memory_info().rss))
            growth = _peak_of(lambda: self.step(2)) - one if most > 1 else 0
        sample_bytes = self.trainer.dataset.sample_num_bytes
        asked = self.trainer.recipe.num_workers
        workers = automatic_workers() if asked < 0 else asked
        # A clip is there as bytes and as numbers, and two batches wait in each worker.
        each = max(growth, 8 * sample_bytes) + 2 * workers * sample_bytes
        # A save copies the weights and the optimizer's state, and then makes bytes of the weights.
        budget = _USED_SHARE * free - 5 * self._weight_bytes - self._exchange_bytes
        fitting = 1 + max(0, int(budget // each))
        found = min(most, 1 << (fitting.bit_length() - 1))
        left = gigabytes(max(0, int(budget)))
        return found, f"the most that fits: each clip takes {gigabytes(each)}, and {left} are free for clips"


def _peak_of(step: Callable[[], object]) -> int:
    """The most memory of this process while `step` runs, and right after it."""
    process, peak, is_done = psutil.Process(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not is_done.wait(_POLL_SECONDS):
            peak = max(peak, int(process.memory_info().rss))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        step()
    finally:
        is_done.set()
        watcher.join()
    return max(peak, int(process.memory_info().rss))
