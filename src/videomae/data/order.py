"""Data order: a pure function of (seed, epoch), so that a run can resume at any step and repeat itself exactly."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from videomae.core.errors import ConfigError


def epoch_order(num_clips: int, *, seed: int, epoch: int) -> np.ndarray:
    """The order of epoch `epoch`: a permutation of range(num_clips), int64."""
    return np.random.default_rng((seed, epoch)).permutation(num_clips)


def balanced_order(labels: Sequence[int] | np.ndarray, *, seed: int, epoch: int, power: float) -> np.ndarray:
    """The order of epoch `epoch` in which a class of n clips takes a share proportional to n^(1 − power).

    The epoch has as many clips as the data set, and each class its share of them, to less than one clip. Within a
    class all clips come equally often, to one time more or less: the clips of a small class come several times, and
    of a large class each epoch takes other clips.

    Args:
        labels: class of each clip.
        seed: of the order.
        epoch: from 0.
        power: 0 leaves the classes as they are (`epoch_order`), 1 gives all the same share, 0.5 lies between.

    Returns:
        Indices of clips, int64, as many as there are labels.

    Raises:
        ConfigError: for a power outside 0–1.
    """
    if not 0 <= power <= 1:
        raise ConfigError(
            f"power={power} of class balance", expected="0 (as it is) to 1 (all classes alike)", hint="try 0.5 or 1"
        )
    if power == 0 or len(labels) == 0:
        return epoch_order(len(labels), seed=seed, epoch=epoch)
    # Another stream than the plain order's, which is seeded with (seed, epoch).
    draws = np.random.default_rng((seed, epoch, 1))
    _, class_of, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    shares = counts ** (1.0 - power)
    ends = np.cumsum(shares) * (len(class_of) / shares.sum())
    ends[-1] = len(class_of)
    # One common offset rounds all shares up or down so that they are right on average and in sum.
    numbers = np.diff(np.floor(ends + draws.random()), prepend=0.0).astype(np.int64)
    members = np.split(np.argsort(class_of, kind="stable"), np.cumsum(counts)[:-1])
    chosen = [_repeated(indices, number, draws) for indices, number in zip(members, numbers, strict=True)]
    return draws.permutation(np.concatenate(chosen))


def _repeated(indices: np.ndarray, number: int, draws: np.random.Generator) -> np.ndarray:
    """`number` of the indices, each as often as any other, to one time; who comes once more is drawn."""
    times, rest = divmod(number, len(indices))
    return np.concatenate([np.tile(indices, times), draws.permutation(indices)[:rest]])


def num_steps_per_epoch(num_clips: int, batch_size: int) -> int:
    """Batches of one epoch; the last one may be smaller, so that every clip counts once."""
    return math.ceil(num_clips / batch_size)


def share_of(number: int, *, rank: int, world_size: int) -> range:
    """Which of `number` things process `rank` of `world_size` has: consecutive, as even as can be."""
    return range(number * rank // world_size, number * (rank + 1) // world_size)


class BatchOrder:
    """Batches of (epoch, index) pairs from step `first_step` to the last step of the last epoch: a batch sampler.

    The epoch travels with the index, so that workers, which live through all epochs, know it.

    Several processes share every batch: put together in the order of their ranks, their parts are the batch that a
    single process would have, the smaller last one of an epoch too. Parts differ by at most one clip; where a last
    batch has fewer clips than there are processes some parts are empty, so that all processes take equally many steps.

    Args:
        num_clips: clips of the data set.
        batch_size: clips in a batch, over all processes.
        epochs: passes over the data.
        seed: of the order.
        first_step: steps already done; 0 starts at the beginning.
        rank: which process this is, from 0.
        world_size: how many processes share the batches.
        num_parts: parts in which a process takes its share of each batch, one after the other (gradient
            accumulation): that many lists are yielded for each step, consecutive and as even as can be.
        order_of: epoch to the indices of its `num_clips` clips, in order; None for `epoch_order`.

    Raises:
        ConfigError: for a rank that does not exist.
    """

    def __init__(
        self,
        num_clips: int,
        *,
        batch_size: int,
        epochs: int,
        seed: int,
        first_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
        num_parts: int = 1,
        order_of: Callable[[int], np.ndarray] | None = None,
    ) -> None:
        require_rank(rank, world_size)
        self.num_clips = num_clips
        self.batch_size = batch_size
        self.epochs = epochs
        self.seed = seed
        self.first_step = first_step
        self.rank = rank
        self.world_size = world_size
        self.num_parts = num_parts
        self._order_of = order_of or partial(_plain_order, num_clips, seed)
        self._num_skipped = 0  # parts, from the first step on

    def __len__(self) -> int:
        num_steps = self.epochs * num_steps_per_epoch(self.num_clips, self.batch_size) - self.first_step
        return num_steps * self.num_parts - self._num_skipped

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        steps = num_steps_per_epoch(self.num_clips, self.batch_size)
        skipped_steps, skipped_parts = divmod(self._num_skipped, self.num_parts)
        first_epoch, first_batch = divmod(self.first_step + skipped_steps, steps)
        for epoch in range(first_epoch, self.epochs):
            order = self._order_of(epoch)
            for step in range(first_batch if epoch == first_epoch else 0, steps):
                batch = order[step * self.batch_size : (step + 1) * self.batch_size]
                for part in range(skipped_parts, self.num_parts):
                    mine = self.places(len(batch), part)
                    yield [(epoch, int(index)) for index in batch[mine.start : mine.stop]]
                skipped_parts = 0

    def places(self, num_clips: int, part: int = 0) -> range:
        """Which places of a batch of `num_clips` the `part`-th list of this process has."""
        mine = share_of(num_clips, rank=self.rank, world_size=self.world_size)
        return mine[_slice(share_of(len(mine), rank=part, world_size=self.num_parts))]

    def num_clips_of(self, step: int) -> int:
        """Clips of the whole batch of step `step` of the run, over all processes and parts."""
        place = step % num_steps_per_epoch(self.num_clips, self.batch_size)
        return min(self.batch_size, self.num_clips - place * self.batch_size)

    def after(self, num_batches: int) -> BatchOrder:
        """The order without its first `num_batches` lists; costs nothing."""
        rest = copy.copy(self)
        rest._num_skipped += num_batches
        return rest


def _plain_order(num_clips: int, seed: int, epoch: int) -> np.ndarray:
    return epoch_order(num_clips, seed=seed, epoch=epoch)


def _slice(places: range) -> slice:
    return slice(places.start, places.stop)


def require_rank(rank: int, world_size: int) -> None:
    """Raise a ConfigError unless there is such a process."""
    if not 0 <= rank < world_size:
        raise ConfigError(
            f"rank={rank} of world_size={world_size}", expected="a rank from 0 to world_size - 1", hint="correct it"
        )
