"""Weights that are no numbers: a run that diverged leaves NaN, a damaged file anything."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def not_finite(tensors: Iterable[tuple[str, Tensor]]) -> list[str]:
    """The names of floating-point tensors that hold NaN or infinity.

    One pass over the numbers as fast as they come from memory: a sum is finite if all its terms are, unless they
    overflow it; where it is not, the tensor is looked at in full.
    """
    import torch

    found = []
    for name, tensor in tensors:
        tensor = tensor.detach()
        if tensor.dtype in (torch.float32, torch.float64):  # NumPy adds in this thread alone
            with np.errstate(all="ignore"):
                total = float(tensor.numpy().sum())
        else:
            total = tensor.sum(dtype=torch.float32).item()
        if not math.isfinite(total) and not torch.isfinite(tensor).all():
            found.append(name)
    return found
