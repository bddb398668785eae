"""The features that a classifier's head reads, kept while the classifier scores videos: they cost no forward more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor


@contextmanager
def head_inputs_kept(model: Any) -> Iterator[list[Tensor]]:
    """Within it, the list gets the (views, D) features of each forward pass, on the CPU, in the order of the passes.

    Args:
        model: a classifier; the list stays empty for one without a head.
    """
    rows: list[Tensor] = []

    def keep(module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        rows.append(inputs[0].detach().float().cpu())

    head = getattr(model, "classifier", None)
    handle = head.register_forward_pre_hook(keep) if isinstance(head, torch.nn.Module) else None
    try:
        yield rows
    finally:
        if handle is not None:
            handle.remove()


def stacked(rows: Sequence[Tensor]) -> np.ndarray | None:
    """All features as (views, D) float32; None where there are none, or they are not one row for each view."""
    if not rows or any(part.ndim != 2 for part in rows):
        return None
    features: np.ndarray = torch.cat(list(rows)).numpy()
    return features if np.isfinite(features).all() else None
