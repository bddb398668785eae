"""Random generators that are functions of a key of numbers, such as (seed, epoch, index)."""

from __future__ import annotations

from enum import IntEnum, unique

import numpy as np
import torch


@unique
class Stream(IntEnum):
    """Streams of random numbers in training, as the second number of a key.

    The crops of a clip have its epoch in this place, which never gets so high.
    """

    MASK = 2**32 - 1
    DECODER_MASK = 2**32 - 2
    DROPOUT = 2**32 - 3
    ERASING = 2**32 - 4
    MIXING = 2**32 - 5


def generator_for(*key: int) -> torch.Generator:
    """A CPU generator whose stream depends on all numbers of the key, for instance (seed, epoch, index)."""
    # One 63-bit seed hashed from the whole key: neighboring keys give unrelated streams.
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))
