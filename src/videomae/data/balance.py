"""Data order for skewed classes: a pure function of (seed, epoch), as the plain order is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from videomae.core.errors import ConfigError
from videomae.data.order import epoch_order


def balanced_order(labels: Sequence[int] | np.ndarray, *, seed: int, epoch: int, power: float) -> np.ndarray:
    """The order of epoch `epoch` in which a class of n clips takes a share proportional to n^(1 − power).

    The epoch has as many clips as the data set, and each class as many of them as its share says, to less than one
    clip. Within a class all clips come equally often, to one time more or less: a small class is gone through
    several times, of a large one other clips are left out in each epoch.

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
