"""What a checkpoint is, read from its files without building a model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videomae.checkpoint import HEADS, TASKS, processor_place, split_options, stored_inputs, stored_task
from videomae.models import loading
from videomae.models.adapt import adapted_config, describe_adaptation
from videomae.models.config import VideoMAEConfig
from videomae.models.stored import read_stored
from videomae.recipes.sizes import SIZES
from videomae.weights import hub, listing, names
from videomae.weights.finite import not_finite

_ENCODER_KEYS = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
_PARTS = ("decoder", "encoder_to_decoder", "mask_token", "pooling", "fc_norm", "classifier")
_CHUNK_BYTES = 64 << 20


@hub.one_commit()
def describe_checkpoint(source: str | Path, **options: Any) -> dict[str, Any]:
    """What a checkpoint is, as plain data: layout, task, network, clip, sampling, classes, weights, their checksum.

    Options as for `load_checkpoint`.

    Raises:
        CheckpointError: if it is missing or damaged.
    """
    _, overrides = split_options(options)
    stored = read_stored(source, options)
    config = adapted_config(stored.config, overrides)
    processor, sampling = stored_inputs(source, config, options)
    num_frames, num_channels, height, width = config.grid.clip_shape
    task = stored_task(config)
    state = names.fit_prefix(stored.state, bare=False)
    return {
        "checkpoint": str(source),
        "layout": stored.layout,
        "names": stored.names,
        "container": stored.container,
        "base": stored.base,
        "task": task,
        "size": size_name(config),
        "num_parameters": sum(tensor.numel() for tensor in state.values()),
        "num_tensors": len(state),
        "dtypes": sorted({str(tensor.dtype).removeprefix("torch.") for tensor in state.values()}),
        "not_finite": not_finite(state),
        "checksum": checksum(state),
        "network": {
            "width": config.hidden_size,
            "depth": config.num_hidden_layers,
            "heads": config.num_attention_heads,
            "mlp_width": config.intermediate_size,
            "patch": [config.grid.tubelet_size, config.grid.patch_height, config.grid.patch_width],
            "decoder_width": config.decoder_hidden_size,
            "decoder_depth": config.decoder_num_hidden_layers,
            "decoder_heads": config.decoder_num_attention_heads,
        },
        "head": _head(state, config),
        "clip": {
            "num_frames": num_frames,
            "num_channels": num_channels,
            "height": height,
            "width": width,
            "grid": list(config.grid.shape),
            "num_tokens": config.grid.num_tokens,
            "position_grid": None if config.position_grid is None else list(config.position_grid),
        },
        "has_processor": processor_place(source, options) is not None,
        "sampling": sampling.to_dict(),
        "image_mean": processor.image_mean,
        "image_std": processor.image_std,
        # Every configuration has label names, but only a classifier's mean anything.
        "classes": [config.id2label[index] for index in sorted(config.id2label)] if task == "classification" else [],
        "misfits": _misfits(source, state, config, task),
        "adapted": describe_adaptation(stored.config, config),
        "uses": _uses(state, config),
    }


def size_name(config: VideoMAEConfig) -> str | None:
    """The published size whose encoder the network has; None for another one."""
    network = {key: getattr(config, key) for key in _ENCODER_KEYS}
    return next((name for name, size in SIZES.items() if {key: size[key] for key in _ENCODER_KEYS} == network), None)


def checksum(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and numbers of all tensors in the order of their names.

    Args:
        state: under our names, so that the same weights have the same checksum in every container and layout.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach()
        digest.update(f"{name}\0{str(tensor.dtype).removeprefix('torch.')}\0{tuple(tensor.shape)}\0".encode())
        for part in tensor.reshape(-1).split(_CHUNK_BYTES):
            digest.update(part.contiguous().view(torch.uint8).numpy())
    return f"sha256:{digest.hexdigest()}"


def _head(state: Mapping[str, Tensor], config: VideoMAEConfig) -> str | None:
    """What comes after the encoder, in words."""
    if any(name.startswith("classifier.") for name in state):
        if config.classifier_head == "attentive":
            return f"attentive classifier of {config.num_labels} classes: a learned query pools the tokens"
        pooled = "the normalized mean of the tokens" if config.use_mean_pooling else "the first token"
        return f"linear classifier of {config.num_labels} classes on {pooled}"
    return "decoder" if any(name.startswith("decoder.") for name in state) else None


def _misfits(source: str | Path, state: Mapping[str, Tensor], config: VideoMAEConfig, task: str) -> str:
    """Why the checkpoint does not open for its own task: what does not fit its configuration; "" where all does."""
    loading.check_width(config, state, str(source))
    with torch.device("meta"), loading.WithoutDraws():
        model = TASKS[task](config)
    info, _ = loading.compare(model, state)
    unexpected = [name for name in info["unexpected_keys"] if config.architectures or not name.startswith(HEADS)]
    return listing.misfits(missing=info["missing_keys"], unexpected=unexpected, mismatched=info["mismatched_keys"])


def _uses(state: Mapping[str, Tensor], config: VideoMAEConfig) -> dict[str, dict[str, list[str]] | None]:
    """For each task what is dropped from the checkpoint and what starts fresh; None where it cannot serve."""
    parts = [part for part in _PARTS if any(name == part or name.startswith(f"{part}.") for name in state)]
    norm = ["final norm"] if "videomae.layernorm.weight" in state else []
    decoder = [part for part in parts if part in ("decoder", "encoder_to_decoder", "mask_token")]
    uses: dict[str, dict[str, list[str]] | None] = {
        "features": {"drops": [*parts, *norm] if config.use_mean_pooling else parts, "new": []},
        "pretraining": None,
        "classification": {"drops": decoder + norm, "new": ["fc_norm", "classifier"]},
    }
    if "classifier" in parts:
        uses["classification"] = {"drops": decoder, "new": []}
    if "decoder" in parts:
        uses["pretraining"] = {"drops": [part for part in parts if part not in decoder], "new": []}
    return uses
