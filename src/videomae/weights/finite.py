"""Weights that are no numbers: a run that diverged leaves NaN, a damaged file anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def not_finite(state: Mapping[str, Tensor]) -> list[str]:
    """The names of floating-point tensors that hold NaN or infinity.

    One pass over the numbers as fast as they come from memory: a sum is finite if all its terms are, unless they
    overflow it; where it is not, the tensor is looked at in full.
    """
    import torch

    found = []
    for name, tensor in state.items():
        wide = torch.float32 if tensor.element_size() < 4 else tensor.dtype
        if not torch.isfinite(tensor.sum(dtype=wide)) and not torch.isfinite(tensor).all():
            found.append(name)
    return found
