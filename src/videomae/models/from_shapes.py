"""The configuration that the shapes of a file's tensors describe, where no config.json lies beside them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from videomae.core.errors import CheckpointError, ConfigError
from videomae.models.config import VideoMAEConfig
from videomae.recipes.sizes import SIZES

_PATCHES = "videomae.embeddings.patch_embeddings.projection.weight"
_LAYER = re.compile(r"(videomae\.encoder\.layer|decoder\.decoder_layers)\.(\d+)\.(.+)")
# Width → heads, of the published sizes; a file does not hold them.
_ENCODER_HEADS = {size["hidden_size"]: size["num_attention_heads"] for size in SIZES.values()}
_DECODER_HEADS = {size["decoder_hidden_size"]: size["decoder_num_attention_heads"] for size in SIZES.values()}


def config_of_tensors(state: Mapping[str, Tensor], source: str, given: Mapping[str, Any]) -> VideoMAEConfig:
    """The configuration of a model whose tensors are `state`, under our names with the prefix `videomae.`.

    Args:
        state: the tensors.
        source: what to call the file in an error.
        given: values of the configuration that the caller knows, among them what the shapes do not determine:
            `num_frames` and `image_size`, and the number of heads of a network of an unusual width.

    Raises:
        CheckpointError: if the tensors are not those of a VideoMAE.
        ConfigError: if a value is missing, or together they describe no network.
    """
    patches = state.get(_PATCHES)
    encoder, decoder = _stack(state, "videomae.encoder.layer"), _stack(state, "decoder.decoder_layers")
    if patches is None or patches.ndim != 5 or not encoder:
        raise CheckpointError(
            source,
            expected="the tensors of a VideoMAE model",
            hint=f"its tensors have names such as {', '.join(sorted(state)[:3]) or '(none)'}",
        )
    width, channels, tubelet, height, patch_width = patches.shape
    found: dict[str, Any] = {
        "hidden_size": width,
        "num_channels": channels,
        "tubelet_size": tubelet,
        "patch_size": height if height == patch_width else (height, patch_width),
        "num_hidden_layers": len(encoder),
        "intermediate_size": _rows(encoder[0], "intermediate.dense.weight"),
        "qkv_bias": "attention.attention.q_bias" in encoder[0],
        "use_mean_pooling": "fc_norm.weight" in state or "videomae.layernorm.weight" not in state,
    }
    guessed: dict[str, Any] = {"num_frames": None, "image_size": None, "num_attention_heads": _ENCODER_HEADS.get(width)}
    if decoder:
        decoder_width = _rows(decoder[0], "output.dense.weight")
        found |= {
            "decoder_hidden_size": decoder_width,
            "decoder_num_hidden_layers": len(decoder),
            "decoder_intermediate_size": _rows(decoder[0], "intermediate.dense.weight"),
        }
        guessed["decoder_num_attention_heads"] = _DECODER_HEADS.get(decoder_width)
    if "classifier.weight" in state:
        found["num_labels"] = len(state["classifier.weight"])
    if "pooling.query" in state:
        found["classifier_head"] = "attentive"
    kind = "VideoMAEForPreTraining" if decoder else "VideoMAEForVideoClassification" if "num_labels" in found else None
    values = {**guessed, **given, **found}
    missing = [name for name, value in values.items() if value is None]
    if missing:
        options = " ".join(f"--{name.replace('_', '-')} {_usual(name, width)}" for name in missing)
        raise ConfigError(
            f"{source} without {' and '.join(missing)}",
            expected="values that the shapes do not determine",
            hint=f"give {options}; or make a checkpoint folder of it: videomae convert {source} FOLDER {options}",
        )
    if "id2label" in values:
        values.pop("num_labels", None)
    return VideoMAEConfig(**values, architectures=[kind or "VideoMAEModel"])


def _stack(state: Mapping[str, Tensor], name: str) -> list[dict[str, Tensor]]:
    """The tensors of each layer of a stack, whose numbers must be 0, 1, 2, …."""
    layers: dict[int, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        match = _LAYER.fullmatch(key)
        if match is not None and match[1] == name:
            layers.setdefault(int(match[2]), {})[match[3]] = tensor
    if sorted(layers) != list(range(len(layers))):
        raise CheckpointError(
            f"{name} with layers {', '.join(map(str, sorted(layers)[:5]))}, …",
            expected="layers from 0 without a gap",
            hint="the file is not whole; copy or download it again",
        )
    return [layers[index] for index in range(len(layers))]


def _rows(layer: Mapping[str, Tensor], name: str) -> int:
    if name not in layer or layer[name].ndim != 2:
        raise CheckpointError(
            f"a layer without a matrix {name}",
            expected="all tensors of a layer",
            hint="copy or download the file again",
        )
    return int(layer[name].shape[0])


def _usual(name: str, width: int) -> str:
    return {"num_frames": "16", "image_size": "224", "num_attention_heads": str(math.ceil(width / 64))}.get(name, "N")
