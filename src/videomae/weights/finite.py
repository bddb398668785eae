"""Weights that are no numbers: a run that diverged leaves NaN, a damaged file anything."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from videomae.weights import listing

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger("videomae")

# Looking at 0.35 GB of a file that is mapped takes longer than all else about opening it.
_AT_ONCE_BYTES = 32 << 20


def warn_of_nan(state: Mapping[str, Tensor], source: str) -> None:
    """Log a warning with the names of tensors that hold NaN or infinity.

    Large weights are looked at in a thread of its own: the warning may come a moment after the model is there, and the
    process ends no sooner than it.
    """

    def look() -> None:
        if broken := not_finite(state):
            named = listing.grouped(sorted(broken))
            logger.warning("%s: NaN or infinity in %s; predictions will be NaN", source, named)

    if sum(tensor.nbytes for tensor in state.values()) <= _AT_ONCE_BYTES:
        look()
    else:
        threading.Thread(target=look, name="videomae: look for NaN").start()


def not_finite(state: Mapping[str, Tensor]) -> list[str]:
    """The names of floating-point tensors on the CPU that hold NaN or infinity.

    One pass over the numbers as fast as they come from memory: a sum is finite if all its terms are, unless they
    overflow it; where it is not, the tensor is looked at in full.
    """
    import torch

    found = []
    for name, tensor in state.items():
        if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or tensor.device.type != "cpu":
            continue  # of a model in memory, not of a file
        tensor = tensor.detach()
        if tensor.dtype in (torch.float32, torch.float64):  # NumPy adds in this thread alone
            with np.errstate(all="ignore"):
                total = float(tensor.numpy().sum())
        else:
            total = tensor.sum(dtype=torch.float32).item()
        if not math.isfinite(total) and not torch.isfinite(tensor).all():
            found.append(name)
    return found
