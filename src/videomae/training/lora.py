"""Low-rank adapters (LoRA, Hu et al. 2022) on a classifier: PEFT makes them, saved weights have them merged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from videomae.core.errors import ConfigError
from videomae.weights import adapters

# How much an adapter counts, as a multiple of its rank (α / r).
_SCALE = 2


def add_lora(model: Any, rank: int, *, first_layer: int = 0) -> None:
    """Give queries and values of the encoder's layers adapters, and train these and the head alone.

    Args:
        model: a classifier; changed in place. Its outputs stay as they are until the adapters are trained.
        rank: of the adapters, which are drawn from torch's global generator.
        first_layer: the layers before it have none.

    Raises:
        ConfigError: if PEFT is not installed, or no layer is left.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ConfigError(
            f"lora={rank} without the package peft", expected="peft", hint="pip install 'videomae[lora]'"
        ) from error
    depth = model.config.num_hidden_layers
    if first_layer >= depth:
        raise ConfigError(
            f"lora={rank} with freeze={first_layer} of {depth} layers",
            expected="a layer that is trained",
            hint="freeze fewer layers, or leave --lora out",
        )
    layers = "|".join(map(str, range(first_layer, depth)))
    inject_adapter_in_model(
        LoraConfig(
            r=rank,
            lora_alpha=_SCALE * rank,
            target_modules=rf"videomae\.encoder\.layer\.({layers})\.attention\.attention\.(query|value)",
        ),
        model,
    )
    for name, parameter in model.named_parameters():
        if not name.startswith(f"{model.base_model_prefix}."):
            parameter.requires_grad_(True)


def merged(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a model with adapters as those of one without, which computes the same."""
    rank = next(len(tensor) for name, tensor in weights.items() if ".lora_A." in name)
    base = {name.replace(".base_layer.", "."): tensor for name, tensor in weights.items() if ".lora_" not in name}
    added = {name: tensor for name, tensor in weights.items() if ".lora_" in name}
    return adapters.merge(base, added, {"lora_alpha": _SCALE * rank}, "adapters")
