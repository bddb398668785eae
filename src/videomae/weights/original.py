"""The layout of MCG-NJU/VideoMAE and OpenGVLab/VideoMAEv2: its names, and the network that its shapes describe.

Query, key and value are one matrix there (`attn.qkv`), LayerNorms have ε = 1e-6 everywhere, and a fine-tuned model has
no prefix: `blocks.0.…` and `head.weight`, where pre-training has `encoder.blocks.0.…`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from videomae.core.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

LAYER_NORM_EPS = 1e-6

# Ours → theirs, inside a block.
_IN_BLOCK = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.output.dense": "attn.proj",
    "attention.attention.q_bias": "attn.q_bias",
    "attention.attention.v_bias": "attn.v_bias",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}
_TO_OURS = {theirs: ours for ours, theirs in _IN_BLOCK.items()}
_QKV = "attn.qkv.weight"
# What options of the original code add, with which no weights were published.
_OTHER_NETWORKS = {"gamma_1": "LayerScale", "gamma_2": "LayerScale", "attn.scale": "cosine attention"}
_PARTS = ("query", "key", "value")
_OUR_BLOCK = re.compile(r"(videomae\.encoder\.layer|decoder\.decoder_layers)\.(\d+)\.(.+)")
_THEIR_BLOCK = re.compile(r"(encoder\.|decoder\.)?blocks\.(\d+)\.(.+)")
_PREFIXES = ("module.", "backbone.", "_orig_mod.", "model.")


def without_prefixes(state: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors without the prefixes of wrappers that all names have, in any order and depth."""
    names = dict(state)
    while names and (prefix := next((p for p in _PREFIXES if all(name.startswith(p) for name in names)), None)):
        names = {name.removeprefix(prefix): value for name, value in names.items()}
    return names


def known_settings(arguments: Any) -> dict[str, Any]:
    """What the `args` of a file of the original code tell about its network, as keywords of `VideoMAEConfig`."""
    keys = {"num_frames": "num_frames", "input_size": "image_size", "normlize_target": "norm_pix_loss"}
    given = arguments if isinstance(arguments, dict) else {}
    return {ours: given[theirs] for theirs, ours in keys.items() if isinstance(given.get(theirs), int)}


def is_original(state: Mapping[str, Any]) -> bool:
    """Whether the names, without prefixes, are those of the original code bases."""
    return any(_THEIR_BLOCK.fullmatch(name) for name in state)


def to_current(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their tensors under our names; those that are neither keep theirs, so that they show as unexpected.

    Args:
        state: as `without_prefixes` leaves it.

    Raises:
        CheckpointError: if a fused matrix is not three of one size.
    """
    ours: dict[str, Tensor] = {}
    is_pretraining = any(name.startswith("encoder.") for name in state)
    for name, tensor in state.items():
        block = _THEIR_BLOCK.fullmatch(name)
        if block is None:
            ours[_our_name(name, is_pretraining=is_pretraining)] = tensor
            continue
        stack, index, rest = block.groups()
        home = f"decoder.decoder_layers.{index}." if stack == "decoder." else f"videomae.encoder.layer.{index}."
        if rest == _QKV:
            if tensor.ndim != 2 or tensor.shape[0] != 3 * tensor.shape[1]:
                raise CheckpointError(
                    f"{name} of shape {tuple(tensor.shape)}",
                    expected="(3 · width, width): queries, keys and values",
                    hint="this is no VideoMAE of a known kind",
                )
            for part, weight in zip(_PARTS, tensor.chunk(3), strict=True):
                ours[f"{home}attention.attention.{part}.weight"] = weight
            continue
        if rest in _OTHER_NETWORKS:
            raise CheckpointError(
                f"{name}, of {_OTHER_NETWORKS[rest]}",
                expected="a VideoMAE as published, which has none",
                hint="such a network is not supported: without these weights it would compute something else",
            )
        module, _, last = rest.rpartition(".")
        if rest in _TO_OURS:
            ours[home + _TO_OURS[rest]] = tensor
        else:
            ours[f"{home}{_TO_OURS.get(module, module)}.{last}".replace("..", ".")] = tensor
    return ours


def _our_name(name: str, *, is_pretraining: bool) -> str:
    encoder = "encoder." if is_pretraining else ""
    for theirs, ours in (
        (f"{encoder}patch_embed.proj.", "videomae.embeddings.patch_embeddings.projection."),
        (f"{encoder}norm.", "videomae.layernorm."),
        ("head.", "classifier."),
    ):
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def to_original(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors (as `state_dict` of a model with a head names them) under their names.

    Raises:
        CheckpointError: if one of query, key and value is missing, or heads are pruned.
    """
    import torch

    is_pretraining = any(name.startswith("decoder.") for name in state)
    encoder = "encoder." if is_pretraining else ""
    theirs: dict[str, Tensor] = {}
    fused: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        block = _OUR_BLOCK.fullmatch(name)
        if block is None:
            theirs[_their_name(name, encoder)] = tensor
            continue
        stack, index, rest = block.groups()
        home = f"{'decoder.' if stack.startswith('decoder') else encoder}blocks.{index}."
        part = re.fullmatch(r"attention\.attention\.(query|key|value)\.weight", rest)
        if part is not None:
            fused.setdefault(home + _QKV, {})[part[1]] = tensor
            continue
        module, _, last = rest.rpartition(".")
        theirs[home + (_IN_BLOCK[rest] if rest in _IN_BLOCK else f"{_IN_BLOCK.get(module, module)}.{last}")] = tensor
    for name, parts in fused.items():
        missing = [part for part in _PARTS if part not in parts]
        if missing:
            raise CheckpointError(
                f"{name} without {missing[0]}", expected="query, key and value", hint="the checkpoint is not whole"
            )
        if parts["query"].shape[0] != parts["query"].shape[1]:
            raise CheckpointError(
                f"{name} without some heads", expected="all heads", hint="the original code has no way to prune them"
            )
        theirs[name] = torch.cat([parts[part] for part in _PARTS])
    return theirs


def _their_name(name: str, encoder: str) -> str:
    for ours, theirs in (
        ("videomae.embeddings.patch_embeddings.projection.", f"{encoder}patch_embed.proj."),
        ("videomae.layernorm.", f"{encoder}norm."),
        ("classifier.", "head."),
    ):
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name
