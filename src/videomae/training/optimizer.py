"""AdamW with its parameter groups."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

_LAYER = re.compile(r"encoder\.layer\.(\d+)\.")
_TOKENS = ("mask_token",)


def parameter_groups(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    weight_decay: float,
    layer_decay: float = 1.0,
    num_layers: int = 0,
) -> list[dict[str, Any]]:
    """Every trainable parameter in exactly one group, by weight decay and by share of the learning rate (`scale`).

    Biases, norms and tokens are not decayed. With `layer_decay` d and depth L, embeddings learn at d^(L+1) of the rate,
    layer i (from 0) at d^(L−i), what follows the layers at the whole rate (BEiT, Bao et al. 2022, §A).

    Args:
        named_parameters: of the model.
        weight_decay: for the decayed ones.
        layer_decay: d.
        num_layers: L, the encoder's depth; heeded where d < 1.

    Raises:
        ValueError: for a name of a layer beyond `num_layers`, which would learn faster than the head.
    """
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in named_parameters:
        if not parameter.requires_grad:
            continue
        decay = 0.0 if parameter.ndim <= 1 or name.endswith(_TOKENS) else weight_decay
        layer = layer_of(name, num_layers)
        if layer_decay != 1 and layer > num_layers + 1:
            raise ValueError(f"{name} is of layer {layer}, with num_layers={num_layers}")
        scale = layer_decay ** (num_layers + 1 - layer)
        group = groups.setdefault((decay, scale), {"params": [], "weight_decay": decay, "scale": scale})
        group["params"].append(parameter)
    return list(groups.values())


def layer_of(name: str, num_layers: int) -> int:
    """0 for the embeddings, 1 to L for the encoder's layers, L + 1 for what follows them."""
    if ".embeddings." in name or name.startswith("embeddings."):
        return 0
    layer = _LAYER.search(name)
    return int(layer[1]) + 1 if layer else num_layers + 1


def make_optimizer(
    groups: list[dict[str, Any]], *, betas: tuple[float, float], device: torch.device
) -> torch.optim.AdamW:
    """AdamW over the groups; the rate is set before each step by `set_learning_rate`."""
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, fused=device.type in ("cuda", "cpu"))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give each group its share of `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]
