"""Random generators that are functions of a key of numbers, such as (seed, epoch, index)."""

from __future__ import annotations

import numpy as np
import torch


def generator_for(*key: int) -> torch.Generator:
    """A CPU generator whose stream depends on all numbers of the key, for instance (seed, epoch, index)."""
    # One 63-bit seed hashed from the whole key: neighbouring keys give unrelated streams.
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))
