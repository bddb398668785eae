"""Loaders: worker processes that decode, batches of uint8 clips that come back."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from videomae.data.clips import Broken, Sample
from videomae.data.order import BatchOrder

MAX_AUTOMATIC_WORKERS = 8


@dataclass(frozen=True)
class ClipBatch:
    """What a loader yields.

    Args:
        clips: (B, V, T, C, H, W) uint8.
        labels: (B,) int64 class indices, -1 for none.
        indices: (B,) int64 places in the data set.
        broken: the videos of this batch that could not be read; they are not among the B.
    """

    clips: Tensor
    labels: Tensor
    indices: Tensor
    broken: tuple[Broken, ...] = ()

    def pin_memory(self) -> ClipBatch:
        """The batch in page-locked memory, from where a GPU can fetch it while it computes."""
        return ClipBatch(self.clips.pin_memory(), self.labels, self.indices, self.broken)


def training_loader(
    dataset: Dataset[Sample | Broken], order: BatchOrder, *, num_workers: int, pin_memory: bool
) -> Iterator[ClipBatch]:
    """Batches in the given order; the same whatever the number of workers (-1: `automatic_workers`)."""
    return _batches(dataset, num_workers=num_workers, pin_memory=pin_memory, batch_sampler=order)


def view_loader(
    dataset: Dataset[Sample | Broken], *, batch_size: int, num_workers: int, pin_memory: bool
) -> Iterator[ClipBatch]:
    """The whole data set once, in its own order."""
    return _batches(dataset, num_workers=num_workers, pin_memory=pin_memory, batch_size=batch_size)


def automatic_workers() -> int:
    """One worker for each core that this process may use, at most 8."""
    return min(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, MAX_AUTOMATIC_WORKERS
    )


def collate(samples: Sequence[Sample | Broken]) -> ClipBatch:
    """Stack what could be read, and pass on what could not."""
    whole = [sample for sample in samples if isinstance(sample, Sample)]
    return ClipBatch(
        clips=torch.stack([sample.clips for sample in whole]) if whole else torch.empty(0, dtype=torch.uint8),
        labels=torch.tensor([sample.label for sample in whole], dtype=torch.int64),
        indices=torch.tensor([sample.index for sample in whole], dtype=torch.int64),
        broken=tuple(sample for sample in samples if isinstance(sample, Broken)),
    )


def _batches(
    dataset: Dataset[Sample | Broken], *, num_workers: int, pin_memory: bool, **order: Any
) -> Iterator[ClipBatch]:
    workers = automatic_workers() if num_workers < 0 else num_workers
    loader: DataLoader[Any] = DataLoader(
        dataset,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        worker_init_fn=_leave_stopping_to_parent,
        prefetch_factor=2 if workers else None,
        **order,
    )
    # A converter of FFmpeg's that waits for the garbage collector has threads; freed in a forked worker, where these do
    # not run, it would wait for them for ever.
    gc.collect()
    return iter(loader)


def _leave_stopping_to_parent(_: int) -> None:
    # Ctrl-C reaches every process of the terminal, a scheduler's SIGTERM every process of the job; the training process
    # alone decides what they mean. A worker ends when it is told to, or when its parent is gone.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
