"""A checkpoint for clips of another length, size, tubelet or number of channels than it was trained for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from videomae.core.grid import pair
from videomae.models.config import VideoMAEConfig

_PATCHES = "embeddings.patch_embeddings.projection.weight"
_HEAD = "decoder.head."
# What may differ between a checkpoint and the clips that it is to be used for.
CLIP_KEYS = ("num_frames", "image_size", "tubelet_size", "num_channels")


def adapted_config(stored: VideoMAEConfig, overrides: Mapping[str, Any]) -> VideoMAEConfig:
    """The configuration with `overrides`, whose positions are interpolated from the stored grid.

    A shorter clip keeps the positions of the first time steps. Measured on models for clips of 8 × 32 × 32 pixels
    (benchmarks/results/positions-*.json): the loss of pre-training at 64 × 64 is 0.022 with interpolated positions and
    0.207 with those that a table for the new grid has, at 16 frames 0.026 and 0.136; at 4 frames it is 0.037 with
    interpolated and 0.027 with the first ones. Classifiers hardly differ.

    Other channels have the statistics of those that they stand for (`adapt_weights`).

    Args:
        stored: of the checkpoint.
        overrides: keys of the configuration. An explicit `position_grid` is kept; None computes the grid's own
            positions, as transformers does.

    Raises:
        ConfigError: if the values describe no network.
    """
    values = stored.to_dict()
    known = stored.pixel_statistics
    if known is not None and overrides.get("num_channels", stored.num_channels) != stored.num_channels:
        means = (channel_means(numbers, overrides["num_channels"]) for numbers in known)
        values["image_mean"], values["image_std"] = means
    config = VideoMAEConfig.from_dict(values, **overrides)
    if "position_grid" not in overrides and config.grid.shape != stored.grid.shape:
        time, height, width = stored.grid.shape
        trained = stored.position_grid or (min(time, config.grid.time), height, width)
        config.position_grid = None if trained == config.grid.shape else trained
    return config


def adapt_weights(state: dict[str, Tensor], stored: VideoMAEConfig, config: VideoMAEConfig) -> None:
    """Change the weights in `state` that read and rebuild pixels for the tubelets and channels of `config`, in place.

    Of the patch embedding, frames and channels share the weights of those that they stand for: a clip that repeats
    frames or channels is given the same tokens as before, whatever their number, so the scale is kept. What the decoder
    rebuilds is repeated or averaged.

    Args:
        state: tensors under our names, of a model with or without a head.
        stored: the configuration that they belong to.
        config: the configuration that they are to fit.
    """
    if (config.tubelet_size, config.num_channels) == (stored.tubelet_size, stored.num_channels):
        return
    over_time = _shares(stored.tubelet_size, config.tubelet_size)
    over_channels = _sources(stored.num_channels, config.num_channels)
    height, width = pair(stored.patch_size)
    patches = (stored.num_channels, stored.tubelet_size, height, width)
    for name, tensor in state.items():
        # Those of another shape than their own configuration has are listed later.
        if name.endswith(_PATCHES) and tensor.shape[1:] == patches:  # (D, C, t, y, x)
            parts = _parted(over_time), _parted(over_channels)
            state[name] = _mixed(tensor, "dcthw,st,ec->deshw", *parts)
        elif name.startswith(_HEAD) and tensor.shape[:1] == (math.prod(patches),):  # (t · y · x · C, width) or a bias
            rows = tensor.reshape(stored.tubelet_size, height * width, stored.num_channels, -1)
            averages = _averaged(over_time), _averaged(over_channels)
            state[name] = _mixed(rows, "tpcw,st,ec->spew", *averages).reshape(-1, *tensor.shape[1:])


def describe_adaptation(stored: VideoMAEConfig, config: VideoMAEConfig) -> str:
    """What differs, in one line, such as "16 → 8 frames; positions 8×14×14 → 4×14×14, interpolated"; "" for nothing."""
    changes = []
    for key, unit in (("num_frames", "frames"), ("image_size", "px"), ("num_channels", "channels")):
        before, after = getattr(stored, key), getattr(config, key)
        if key == "image_size":
            before, after = ("×".join(map(str, pair(size))) for size in (before, after))
        if before != after:
            changes.append(f"{before} → {after} {unit}")
    if stored.tubelet_size != config.tubelet_size:
        changes.append(f"tubelets of {stored.tubelet_size} → {config.tubelet_size} frames")
    if stored.grid.shape != config.grid.shape:
        before, after = ("×".join(map(str, grid.shape)) for grid in (stored.grid, config.grid))
        changes.append(f"positions {before} → {after}" + ("" if config.position_grid is None else ", interpolated"))
    return "; ".join(changes)


def channel_means(values: tuple[float, ...], number: int) -> tuple[float, ...]:
    """Values of channels for another number of them, as `adapt_weights` assigns them."""
    averages = _averaged(_sources(len(values), number))
    return tuple((averages @ torch.tensor(values, dtype=torch.float64)).tolist())


def _sources(old: int, new: int) -> Tensor:
    """(new, old): which old channels a new one stands for: more repeat them in turn, fewer each stand for all."""
    if new < old:
        return torch.ones(new, old, dtype=torch.float64)
    table = torch.zeros(new, old, dtype=torch.float64)
    places = torch.arange(new)
    table[places, places % old] = 1
    return table


def _shares(old: int, new: int) -> Tensor:
    """(new, old): for how long each new frame of a tubelet shows at the time of each old one."""
    moments = torch.arange(old * new)
    table = torch.zeros(new, old, dtype=torch.float64)
    return table.index_put_((moments // old, moments // new), table.new_ones(()), accumulate=True)


def _parted(table: Tensor) -> Tensor:
    """Each old one's weight parted among its new ones: columns sum to 1."""
    return table / table.sum(dim=0, keepdim=True)


def _averaged(table: Tensor) -> Tensor:
    """Each new one the mean of its old ones: rows sum to 1."""
    return table / table.sum(dim=1, keepdim=True)


def _mixed(tensor: Tensor, equation: str, over_time: Tensor, over_channels: Tensor) -> Tensor:
    return torch.einsum(equation, tensor.double(), over_time, over_channels).to(tensor.dtype)
