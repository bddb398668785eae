"""How much memory a run has needed."""

from __future__ import annotations

import torch

from videomae.core.machine import peak_memory_bytes


def peak_memory_gib(device: torch.device) -> float | None:
    """The most memory so far, in GiB; asking costs microseconds and makes no device wait.

    Args:
        device: of the network. Of a GPU: what torch had allocated on it; else: what this process had in memory,
            without its workers; None where the system does not tell.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    peak = peak_memory_bytes()
    return None if peak is None else peak / 2**30
