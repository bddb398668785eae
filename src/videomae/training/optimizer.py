"""AdamW with its parameter groups, and its step without waiting for a GPU."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from videomae.core.errors import ConfigError

_LAYER = re.compile(r"encoder\.layer\.(\d+)\.")
_TOKENS = ("mask_token", "pooling.query")


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
        num_layers: L, the encoder's depth; used only if d < 1.

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


def freeze_layers(model: Any, num_layers: int) -> None:
    """Stop training the embeddings and the first layers of the encoder: no gradients, no state in the optimizer.

    Args:
        model: a classifier.
        num_layers: how many; -1 freezes the whole encoder.

    Raises:
        ConfigError: if the encoder has fewer layers.
    """
    depth = model.config.num_hidden_layers
    if num_layers > depth:
        raise ConfigError(
            f"freeze={num_layers} of {depth} layers", expected=f"0 to {depth}, or all", hint="change --freeze"
        )
    encoder = model.base_model
    layers = list(encoder.encoder.layer)[: None if num_layers < 0 else num_layers]
    for module in [encoder] if num_layers < 0 else [encoder.embeddings, *layers]:
        module.requires_grad_(False)
    for layer in layers:
        layer.is_frozen = True


def make_optimizer(
    groups: list[dict[str, Any]], *, betas: tuple[float, float], device: torch.device
) -> torch.optim.AdamW:
    """AdamW over the groups; the rate is set before each step by `set_learning_rate`."""
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, fused=device.type in ("cuda", "cpu"))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give each group its share of `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """The norm of all gradients together, a 0-dim tensor on the device; not finite where any of them is not."""
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if all(type(grad) is Tensor and grad.device.type == "cpu" for grad in grads):
        # The dot products of a BLAS take half the time of torch's norms there.
        return torch.stack([torch.dot(grad.flatten(), grad.flatten()) for grad in grads]).sum().sqrt()
    norm: Any = nn.utils.get_total_norm(grads)
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # of sharded weights, over all processes


def apply_gradients(optimizer: torch.optim.Optimizer, *, divisor: Tensor | None, skipped: Tensor) -> None:
    """Let the optimizer take a step with the gradients divided by `divisor`, or leave everything as it is.

    Args:
        optimizer: a fused one decides on the device; any other one makes the CPU wait for the device.
        divisor: 0-dim, on the device; None for 1.
        skipped: 0-dim float32, on the device: 1 takes no step.
    """
    if not all(group.get("fused") for group in optimizer.param_groups):
        if bool(skipped):
            return
        if divisor is not None:
            grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            torch._foreach_div_(grads, divisor)
        optimizer.step()
        return
    # torch's gradient scaler sets these attributes of a fused optimizer.
    optimizer.found_inf = skipped  # type: ignore[attr-defined]
    optimizer.grad_scale = divisor  # type: ignore[attr-defined]
    try:
        optimizer.step()
    finally:
        del optimizer.found_inf, optimizer.grad_scale  # type: ignore[attr-defined]
