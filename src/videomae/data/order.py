"""Data order: a pure function of (seed, epoch), so that a run can go on from any step and repeat itself exactly."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch


def epoch_order(num_clips: int, *, seed: int, epoch: int) -> np.ndarray:
    """The order of epoch `epoch`: a permutation of range(num_clips), int64."""
    return np.random.default_rng((seed, epoch)).permutation(num_clips)


def num_steps_per_epoch(num_clips: int, batch_size: int) -> int:
    """Batches of one epoch; the last one may be smaller, so that every clip counts once."""
    return math.ceil(num_clips / batch_size)


def generator_for(*key: int) -> torch.Generator:
    """A CPU generator whose stream depends on all numbers of the key, for instance (seed, epoch, index)."""
    # One 63-bit seed hashed from the whole key: neighbouring keys give unrelated streams.
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


class BatchOrder:
    """Batches of (epoch, index) pairs from step `first_step` to the last step of the last epoch: a batch sampler.

    The epoch travels with the index, so that worker processes that live through all epochs know it.

    Args:
        num_clips: clips of the data set.
        batch_size: clips in a batch.
        epochs: passes over the data.
        seed: of the order.
        first_step: steps already done; 0 starts at the beginning.
    """

    def __init__(self, num_clips: int, *, batch_size: int, epochs: int, seed: int, first_step: int = 0) -> None:
        self.num_clips = num_clips
        self.batch_size = batch_size
        self.epochs = epochs
        self.seed = seed
        self.first_step = first_step

    def __len__(self) -> int:
        return self.epochs * num_steps_per_epoch(self.num_clips, self.batch_size) - self.first_step

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        steps = num_steps_per_epoch(self.num_clips, self.batch_size)
        first_epoch, first_batch = divmod(self.first_step, steps)
        for epoch in range(first_epoch, self.epochs):
            order = epoch_order(self.num_clips, seed=self.seed, epoch=epoch)
            for batch in range(first_batch if epoch == first_epoch else 0, steps):
                yield [(epoch, int(index)) for index in order[batch * self.batch_size : (batch + 1) * self.batch_size]]
