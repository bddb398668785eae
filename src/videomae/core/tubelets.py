"""Clips ↔ tubelets: the only home of token order and pixel order.

A clip is (B, T, C, H, W). Its tokens are ordered time, row, column. Inside a token two pixel orders exist and differ:
the patch embedding reads (C, t, y, x), because its weight is that of a 3-D convolution, and the reconstruction target
is (t, y, x, C), as in the original recipe (VideoMAE, Tong et al. 2022, §3; facts of both code bases).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor
from torch.nn import functional as F

from videomae.core.errors import ShapeError
from videomae.core.grid import TubeletGrid


def patchify(clips: Shaped[Tensor, "B T C H W"], grid: TubeletGrid) -> Shaped[Tensor, "B N P"]:
    """All tubelets of each clip as rows in target order (t, y, x, C)."""
    return _blocks(clips, grid).permute(0, 1, 4, 6, 2, 5, 7, 3).reshape(clips.shape[0], grid.num_tokens, -1)


def unpatchify(tokens: Shaped[Tensor, "B N P"], grid: TubeletGrid) -> Shaped[Tensor, "B T C H W"]:
    """The inverse of `patchify`: rows in target order (t, y, x, C) back to clips."""
    blocks = tokens.reshape(
        tokens.shape[0], *grid.shape, grid.tubelet_size, grid.patch_height, grid.patch_width, grid.num_channels
    )
    return blocks.permute(0, 1, 4, 7, 2, 5, 3, 6).reshape(tokens.shape[0], *grid.clip_shape)


def embedding_patches(clips: Shaped[Tensor, "B T C H W"], grid: TubeletGrid) -> Shaped[Tensor, "B N P"]:
    """All tubelets of each clip as rows in the order of the patch embedding's weight (C, t, y, x)."""
    return _blocks(clips, grid).permute(0, 1, 4, 6, 3, 2, 5, 7).reshape(clips.shape[0], grid.num_tokens, -1)


def gather_embedding_patches(
    clips: Shaped[Tensor, "B T C H W"], index: Int64[Tensor, "B K"], grid: TubeletGrid
) -> Shaped[Tensor, "B K P"]:
    """The tubelets at `index` alone, (C, t, y, x) each: nothing is copied for the other tokens."""
    return _gather(clips, index, grid).transpose(2, 3).flatten(2)


def gather_targets(
    clips: Shaped[Tensor, "B T C H W"], index: Int64[Tensor, "B K"], grid: TubeletGrid
) -> Shaped[Tensor, "B K P"]:
    """The tubelets at `index` alone in target order (t, y, x, C)."""
    return _gather(clips, index, grid).permute(0, 1, 2, 4, 5, 3).flatten(2)


def normalize_targets(targets: Float[Tensor, "*rows P"], num_channels: int) -> Float[Tensor, "*rows P"]:
    """Each tubelet to zero mean and unit variance per channel: the target of `norm_pix_loss`.

    Args:
        targets: rows in target order (t, y, x, C).
        num_channels: C.
    """
    mean, std = target_statistics(targets, num_channels)
    return ((targets.unflatten(-1, (-1, num_channels)) - mean) / std).flatten(-2)


def denormalize_targets(
    normalized: Float[Tensor, "*rows P"], reference: Float[Tensor, "*rows P"], num_channels: int
) -> Float[Tensor, "*rows P"]:
    """Undo `normalize_targets` with the mean and deviation of `reference`, the true pixels of the same tubelets."""
    mean, std = target_statistics(reference, num_channels)
    return (normalized.unflatten(-1, (-1, num_channels)) * std + mean).flatten(-2)


def target_statistics(
    targets: Float[Tensor, "*rows P"], num_channels: int
) -> tuple[Float[Tensor, "*rows 1 C"], Float[Tensor, "*rows 1 C"]]:
    """Mean and deviation (sqrt of the unbiased variance, + 1e-6) of each tubelet and channel."""
    pixels = targets.unflatten(-1, (-1, num_channels))
    variance, mean = torch.var_mean(pixels, dim=-2, unbiased=True, keepdim=True)
    return mean, variance.sqrt() + 1e-6


class TokenSplit(NamedTuple):
    """The tokens that a mask shows and those that it hides, as indices in token order.

    Where clips hide unequal numbers of tokens, the shorter rows are padded at their end with any token, and the second
    pair of masks is False there; None means that nothing is padded.
    """

    visible: Int64[Tensor, "B K"]
    hidden: Int64[Tensor, "B M"]
    visible_valid: Bool[Tensor, "B K"] | None = None
    hidden_valid: Bool[Tensor, "B M"] | None = None


def split_mask(mask: Bool[Tensor, "B N"], name: str = "masks", *, pad: bool = False) -> TokenSplit:
    """Token indices of a mask: `visible` where it is False, `hidden` where it is True.

    A mask on the CPU needs no device; counting a mask on a device waits for it.

    Args:
        mask: one row for each clip.
        name: of the mask in an error, such as the argument that it came from.
        pad: pad rows that hold unequal numbers of True, instead of raising.

    Raises:
        ShapeError: if the rows hold unequal numbers of True, because then they do not stack.
    """
    num_tokens = mask.shape[1]
    counts = mask.sum(dim=1)
    low, high = int(counts.min()), int(counts.max())
    order = torch.argsort(mask.to(torch.uint8), dim=1, stable=True)  # visible tokens first, then hidden ones
    if low == high:
        return TokenSplit(order[:, : num_tokens - low], order[:, num_tokens - low :])
    if not pad:
        raise ShapeError(
            f"a batch of {name} hiding from {low} to {high} tokens",
            expected="masks that hide the same number of tokens in every clip of a batch",
            hint="draw the batch with tube_mask or random_mask, or run these clips one by one",
        )
    places = torch.arange(num_tokens, device=mask.device)
    num_visible = (num_tokens - counts).unsqueeze(1)
    hidden = order.gather(1, (num_visible + places[:high]).clamp(max=num_tokens - 1))
    return TokenSplit(
        order[:, : num_tokens - low], hidden, places[: num_tokens - low] < num_visible, places[:high] < counts[:, None]
    )


def take_tokens(tokens: Shaped[Tensor, "#B N D"], index: Int64[Tensor, "B K"]) -> Shaped[Tensor, "B K D"]:
    """The tokens at `index`, per clip. Tokens of batch size 1 (a position table) serve all clips."""
    if tokens.shape[0] == 1:
        return tokens[0][index]
    return torch.take_along_dim(tokens, index.unsqueeze(-1), dim=1)


_ROWS_AT_ONCE = 2048


@lru_cache(maxsize=32)
def position_table(num_positions: int, width: int) -> Float[Tensor, "1 N D"]:
    """Fixed sinusoids over the flat token index, (1, num_positions, width), float32 on the CPU. Do not write into it.

    angle(position, j) = position / 10000^(2·floor(j/2)/width); sine on even j, cosine on odd j
    (Attention Is All You Need, §3.5; one axis over time, rows and columns together). Computed in float64.
    """
    table = np.empty((num_positions, width), np.float32)
    for start in range(0, num_positions, _ROWS_AT_ONCE):  # float64 of a long table would take twice its memory
        rows = table[start : start + _ROWS_AT_ONCE]
        rows[:] = _sinusoids(np.arange(start, start + len(rows)), width)
    return torch.from_numpy(table).unsqueeze(0)


@lru_cache(maxsize=32)
def grid_positions(
    shape: tuple[int, int, int], width: int, trained_shape: tuple[int, int, int] | None = None
) -> Float[Tensor, "1 N D"]:
    """The positions of a grid's tokens, (1, N, width), float32 on the CPU. Do not write into it.

    Args:
        shape: (time, height, width) in tokens.
        width: of a token.
        trained_shape: the grid whose table is interpolated linearly over time, rows and columns, its corners covering
            the corners of `shape`. None, or `shape` itself: `position_table` of the grid.
    """
    if trained_shape in (None, shape):
        return position_table(math.prod(shape), width)
    trained = torch.from_numpy(_sinusoids(np.arange(math.prod(trained_shape)), width))
    volume = trained.reshape(1, *trained_shape, width).permute(0, 4, 1, 2, 3)
    volume = F.interpolate(volume, size=shape, mode="trilinear", align_corners=False)
    return volume.flatten(2).transpose(1, 2).float().contiguous()


def _sinusoids(positions: np.ndarray, width: int) -> np.ndarray:
    """Rows of `position_table` as float64 (len(positions), width)."""
    exponent = 2 * np.arange((width + 1) // 2) / width
    angle = positions[:, None] / np.power(10000, exponent)[None, :]
    table = np.empty((len(positions), width))
    table[:, 0::2] = np.sin(angle)
    table[:, 1::2] = np.cos(angle[:, : width // 2])
    return table


def _blocks(clips: Tensor, grid: TubeletGrid) -> Tensor:
    """A view of the clips as (B, time, tubelet, C, rows, patch height, columns, patch width)."""
    return clips.reshape(
        clips.shape[0],
        grid.time,
        grid.tubelet_size,
        grid.num_channels,
        grid.height,
        grid.patch_height,
        grid.width,
        grid.patch_width,
    )


def _gather(clips: Tensor, index: Tensor, grid: TubeletGrid) -> Tensor:
    """The tubelets at `index` as (B, K, tubelet, C, patch height, patch width)."""
    per_step = grid.height * grid.width
    batch = torch.arange(clips.shape[0], device=index.device).unsqueeze(1)
    time, place = index // per_step, index % per_step
    row, column = place // grid.width, place % grid.width
    return _blocks(clips, grid)[batch, time, :, :, row, :, column]
