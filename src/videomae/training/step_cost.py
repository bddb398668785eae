"""Time and memory of a run, measured by taking steps of it."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace

import psutil
import torch

from videomae.core.allocator import freed_memory_kept
from videomae.core.device import random_state_kept, synchronize
from videomae.core.machine import peak_memory_bytes
from videomae.data.loader import ClipBatch, hard_limit_seconds, training_loader
from videomae.training.background import HostCopy
from videomae.training.trainer import Trainer

# A step of a whole micro-batch is taken where it needs no longer than this; else it is estimated from a smaller one.
_MAX_STEP_SECONDS = 45.0


@dataclass(frozen=True)
class MeasuredSteps:
    """What steps of a run need.

    Args:
        num_clips: of the largest step that was taken.
        clip_seconds: of a step, for each clip.
        fixed_seconds: of a step, whatever its clips.
        process_bytes: peak memory of this process with a whole micro-batch; None where the system does not report it.
        device_bytes: peak memory reserved on the GPU; None on a CPU.
    """

    num_clips: int
    clip_seconds: float
    fixed_seconds: float
    process_bytes: int | None
    device_bytes: int | None


def measured_steps(
    trainer: Trainer, batch: ClipBatch, activation_bytes: int, progress: Callable[[str], object]
) -> MeasuredSteps:
    """Take steps of one clip, of those of `batch`, and of a whole micro-batch where that is quick enough.

    They change the weights, so the run must not take place afterwards.

    Args:
        trainer: the run, with no step taken.
        batch: some clips, repeated for a whole micro-batch.
        activation_bytes: of a whole micro-batch: how memory grows where it is not measured.
        progress: is given what is being done.
    """
    micro_batch = trainer.recipe.batch_size // trainer.recipe.accumulation
    is_cpu = trainer.device.type == "cpu"

    def seconds(num_clips: int) -> float:
        progress(f"a step of {num_clips} {'clip' if num_clips == 1 else 'clips'}")
        # Where a step has several micro-batches, gradients are there already when the second one begins.
        micro_batches = [repeated(batch, num_clips)] * min(2, trainer.recipe.accumulation)
        synchronize(trainer.device)
        begin = time.perf_counter()
        trainer.take_step(micro_batches, trainer.schedule.peak)
        synchronize(trainer.device)
        return (time.perf_counter() - begin) / len(micro_batches)

    with freed_memory_kept() if is_cpu else nullcontext(), random_state_kept(trainer.device):
        seconds(1)  # what is made once: state of the optimizer, memory, kernels
        one = seconds(1)
        host_copy = HostCopy()  # a run saves in the background, from a copy that it keeps
        host_copy.take(trainer.checkpointing.state_dict())
        largest, last = 1, one
        peaks = {1: _peaks(trainer)}
        for num_clips in (min(len(batch.indices), micro_batch), micro_batch):
            if num_clips > largest and (
                num_clips <= len(batch.indices) or num_clips * last / largest < _MAX_STEP_SECONDS
            ):
                last, largest = seconds(num_clips), num_clips
                peaks[num_clips] = _peaks(trainer)
        del host_copy
    clip_seconds = max(0.0, last - one) / (largest - 1) if largest > 1 else one
    growth = round((micro_batch - largest) * activation_bytes / micro_batch)
    # The writer turns the weights into bytes of their own.
    written = sum(parameter.nbytes for parameter in trainer.model.parameters())
    process, device = peaks[largest]
    return MeasuredSteps(
        num_clips=largest,
        clip_seconds=clip_seconds,
        fixed_seconds=max(0.0, one - clip_seconds),
        process_bytes=None if process is None else process + written + (growth if is_cpu else 0),
        device_bytes=None if device is None else device + growth,
    )


def measured_worker_bytes(trainer: Trainer, num_workers: int) -> int | None:
    """What a decode worker holds for itself once the first batch is there; the largest of all workers."""
    if not num_workers:
        return None
    recipe = trainer.recipe
    before = {process.pid for process in multiprocessing.active_children()}
    batches = training_loader(
        trainer.dataset,
        trainer.order,
        num_workers=num_workers,
        pin_memory=False,
        limit_seconds=hard_limit_seconds(recipe.read_limit_seconds),
        excluded=dict(trainer.unreadable.excluded),
        note=lambda text: None,
    )
    with closing(batches):
        next(batches)
        found = [_own_bytes(child.pid) for child in multiprocessing.active_children() if child.pid not in before]
    known = [number for number in found if number is not None]
    return max(known, default=None)


def repeated(batch: ClipBatch, num_clips: int) -> ClipBatch:
    """`num_clips` clips: the first of the batch, and again from its beginning."""
    rows = torch.arange(num_clips) % len(batch.indices)
    return replace(
        batch,
        clips=batch.clips[rows],
        labels=batch.labels[rows],
        indices=batch.indices[rows],
        places=torch.arange(num_clips),
        operations=tuple(batch.operations[row] for row in rows.tolist()) if batch.operations else (),
    )


def _peaks(trainer: Trainer) -> tuple[int | None, int | None]:
    """Peak bytes of this process, and those reserved on its GPU."""
    is_cuda = trainer.device.type == "cuda"
    reserved = torch.cuda.max_memory_reserved(trainer.device) if is_cuda else None
    return peak_memory_bytes(), reserved


def _own_bytes(pid: int | None) -> int | None:
    """Memory that a process shares with no other; None where the system does not report it."""
    try:
        return int(psutil.Process(pid).memory_full_info().uss)
    except (psutil.Error, AttributeError):  # it has ended, or the system counts otherwise
        return None
