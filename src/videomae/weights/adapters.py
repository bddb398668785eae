"""Adapter folders of PEFT (LoRA): merged into the weights of their base, without importing PEFT."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from videomae.core.errors import CheckpointError
from videomae.weights import listing, names

if TYPE_CHECKING:
    from torch import Tensor

ADAPTER_CONFIG_NAME = "adapter_config.json"
ADAPTER_WEIGHT_NAMES = ("adapter_model.safetensors", "adapter_model.bin")

_PREFIX = "base_model.model."
# Settings that change nothing about the merged weights, or that the tensors themselves tell. Any other that is set,
# such as `use_dora`, belongs to a method that computes something else, or to a release of PEFT that is not known here.
# PEFT itself sets `fan_in_fan_out` to false for Linear and convolutions, whatever the file holds.
_KNOWN = frozenset(
    (
        *("peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"),
        *("inference_mode", "target_modules", "exclude_modules", "modules_to_save", "layers_to_transform"),
        *("layers_pattern", "lora_dropout", "bias", "fan_in_fan_out", "ensure_weight_tying", "runtime_config"),
        *("megatron_core", "loftq_config", "eva_config", "qalora_group_size"),
        *("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "init_lora_weights"),
    )
)
# Other ways to start change the base's weights as well (PiSSA, OLoRA, CorDA, LoftQ).
_PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")
# A name or a simple pattern: repetitions in groups can take forever to match.
_MAX_REPEATS = 3
_MAX_ALPHA = 1e9


def check_settings(settings: Mapping[str, Any], source: str) -> None:
    """Raise a CheckpointError that names what in an `adapter_config.json` is not plain LoRA."""
    peft_type = settings.get("peft_type")
    foreign = sorted(name for name, value in settings.items() if value and name not in _KNOWN)
    if peft_type != "LORA":
        foreign = [f"peft_type {peft_type!r}"]
    elif settings.get("init_lora_weights") not in _PLAIN_STARTS:
        foreign = [f"init_lora_weights {settings['init_lora_weights']!r}"]
    if foreign:
        raise CheckpointError(
            f"{source} with {', '.join(foreign[:5])}",
            expected="an adapter of plain LoRA",
            hint="merge it with PEFT and save the model",
        )


def merge(
    base: Mapping[str, Tensor], adapter: Mapping[str, Tensor], settings: Mapping[str, Any], source: str
) -> dict[str, Tensor]:
    """The weights of the model that base and adapter make; each tensor of the adapter is used once.

    Args:
        base: under our names, with the prefix `videomae.`.
        adapter: as the file names them.
        settings: of `adapter_config.json`, as `check_settings` accepts them.
        source: what to call the adapter in an error.

    Raises:
        CheckpointError: if a tensor has no place in the base, another shape, or lacks its counterpart.
    """
    merged = dict(base)
    pairs: dict[str, dict[str, Tensor]] = {}
    replaced: dict[str, Tensor] = {}
    for name, tensor in _inner_names(adapter).items():
        part = re.fullmatch(r"(.+)\.lora_([AB])(?:\.\w+)?\.weight", name)
        if part is not None:
            pairs.setdefault(part[1], {})[part[2]] = tensor
        else:
            replaced[name] = tensor
    home = dict(zip(pairs, names.fit_prefix(pairs, bare=False), strict=True))
    lonely = [f"{home[module]}.lora_{'AB'['A' in pair]}" for module, pair in pairs.items() if len(pair) != 2]
    unknown = [f"{home[module]}.lora_A" for module in pairs if f"{home[module]}.weight" not in base]
    # Whole modules that were trained, biases, and a head that the base lacks.
    for name, tensor in names.fit_prefix(names.to_current(replaced), bare=False).items():
        if name not in base and not name.startswith(("classifier.", "fc_norm.")):
            unknown.append(name)
        merged[name] = tensor
    problems = listing.misfits(missing=lonely, unexpected=unknown, mismatched=())
    if problems:
        raise CheckpointError(
            f"{source} ({problems})", expected="LoRA for modules of its base", hint="the base may be another model"
        )
    for module, pair in pairs.items():
        name = f"{home[module]}.weight"
        scale = _scale(module, len(pair["A"]) if pair["A"].ndim else 0, settings, source)
        merged[name] = _added(base[name], pair["A"], pair["B"], scale, f"{source}: {home[module]}")
    return merged


def _inner_names(adapter: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The names inside the model; of a module that was trained whole, PEFT may also keep what it was before."""
    inner: dict[str, Tensor] = {}
    for name, tensor in adapter.items():
        plain = name.removeprefix(_PREFIX).replace(".base_layer.", ".")
        if ".original_module." in plain:
            continue
        inner[re.sub(r"\.modules_to_save(\.default)?\.", ".", plain)] = tensor
    return inner


def _scale(module: str, rank: int, settings: Mapping[str, Any], source: str) -> float:
    """How much the product of a module's two matrices counts: α / r, or α / √r."""
    alpha = settings.get("lora_alpha")
    patterns = settings.get("alpha_pattern") or {}
    if not isinstance(patterns, dict):
        alpha, patterns = patterns, {}
    for pattern, value in patterns.items():
        if _matches(pattern, module, source):
            alpha = value
            break
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) < _MAX_ALPHA or not rank:
        raise CheckpointError(
            f"{source} with lora_alpha={alpha!r} of rank {rank}",
            expected="a number, and a rank of 1 or more",
            hint=f"correct {ADAPTER_CONFIG_NAME}",
        )
    return alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)


def _matches(pattern: str, module: str, source: str) -> bool:
    """Whether PEFT takes the value of this pattern for this module."""
    repeats = len(re.findall(r"[*+?{]", pattern))
    try:
        if not repeats or (repeats <= _MAX_REPEATS and "(" not in pattern):
            return re.match(rf"(.*\.)?({pattern})$", module) is not None
    except re.error:
        pass
    raise CheckpointError(
        f"{source} with alpha_pattern {pattern!r}", expected="names of modules", hint=f"correct {ADAPTER_CONFIG_NAME}"
    )


def _added(weight: Tensor, down: Tensor, up: Tensor, scale: float, name: str) -> Tensor:
    """The weight plus the product of the two: those of a Linear, or of a convolution whose second kernel is 1."""
    fits = up.ndim == down.ndim == weight.ndim >= 2 and up.shape[0] == weight.shape[0] and up.shape[1] == down.shape[0]
    if not fits or down.shape[1:] != weight.shape[1:] or up[0, 0].numel() != 1:
        shapes = " and ".join(str(tuple(tensor.shape)) for tensor in (down, up))
        raise CheckpointError(
            f"{name} with LoRA of shapes {shapes}",
            expected=f"what fits a weight of shape {tuple(weight.shape)}",
            hint="the base may be another model",
        )
    if not all(tensor.dtype.is_floating_point for tensor in (weight, down, up)):
        raise CheckpointError(f"{name} of type {weight.dtype}", expected="floating-point numbers", hint="convert it")
    product = (up.flatten(1).float() @ down.flatten(1).float()).view(weight.shape)
    return weight + product * scale  # promoted to the wider type, as PEFT computes in that of the base
