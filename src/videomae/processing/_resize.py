"""Bilinear, antialiased resizing of uint8 frames, one axis after the other; only what a crop keeps is computed.

torch resizes 8-bit pixels of four interleaved channels along the vertical axis with vector instructions, several times
as fast as planes, or as pixels along the horizontal axis. Vertically, every byte of a row is treated alike: so rows of
any layout pass for rows of such pixels. For the horizontal axis the frames are turned by a quarter, which has to move
bytes no more often than to interleave planes, or part pixels, would.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

_CHANNELS_OF_KERNEL = 4


def resize_window(
    frames: torch.Tensor, size: tuple[int, int], window: tuple[int, int, int, int] | None = None
) -> torch.Tensor:
    """Resize frames and keep a window of the result.

    Args:
        frames: uint8 (n, C, H, W) on the CPU, with channels or columns innermost in memory, or strided otherwise.
        size: height and width of the resized frames.
        window: top, left, height and width of what is kept of them; None for all.

    Returns:
        uint8 (n, C, height, width) of the window, in some order in memory; equal, bit for bit, for all memory layouts,
        and 1 level at most (2 at rare values) away from Pillow's.
    """
    top, left, height, width = window or (0, 0, *size)
    high, wide = size
    old_high, old_wide = frames.shape[-2:]
    if high >= old_high:
        resized = frames if size == (old_high, old_wide) else _interpolate(frames, size)
        return resized[:, :, top : top + height, left : left + width]
    rows = _shrink_height(frames, high)[:, :, top : top + height]
    return rows[..., left : left + width] if wide == old_wide else _resize_width(rows, wide, left, width)


def write_planes(frames: torch.Tensor, target: torch.Tensor, *, flip: bool = False) -> None:
    """Copy uint8 frames (n, C, H, W), mirrored left to right with `flip`, into `target` of the same shape."""
    # NumPy moves single bytes faster than torch does, and mirrors on the way.
    pixels = frames.numpy()
    target.numpy()[...] = pixels[..., ::-1] if flip else pixels


def _interpolate(frames: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(frames, size=size, mode="bilinear", antialias=True)


def _resize_rows(rows: torch.Tensor, high: int) -> torch.Tensor:
    """Resize (n, H, bytes) along the vertical axis; the bytes of a row are a multiple of 4."""
    pixels = rows.view(*rows.shape[:2], -1, _CHANNELS_OF_KERNEL).permute(0, 3, 1, 2)
    resized = _interpolate(pixels, (high, pixels.shape[-1]))
    return resized.permute(0, 2, 3, 1).reshape(len(rows), high, -1)


def _shrink_height(frames: torch.Tensor, high: int) -> torch.Tensor:
    num_frames, num_channels, old_high, wide = frames.shape
    if frames.is_contiguous() and wide % _CHANNELS_OF_KERNEL == 0:
        planes = _resize_rows(frames.view(-1, old_high, wide), high)
        return planes.view(num_frames, num_channels, high, wide)
    # (n, H, W, C); NumPy copies without torch's threads, which are slow to begin where others use the cores.
    rows = torch.from_numpy(np.ascontiguousarray(frames.permute(0, 2, 3, 1).numpy()))
    if wide * num_channels % _CHANNELS_OF_KERNEL:
        return _interpolate(rows.permute(0, 3, 1, 2), (high, wide))
    shrunk = _resize_rows(rows.view(num_frames, old_high, -1), high)
    return shrunk.view(num_frames, high, wide, num_channels).permute(0, 3, 1, 2)


def _resize_width(frames: torch.Tensor, wide: int, left: int, width: int) -> torch.Tensor:
    """The columns [left, left + width) of frames (n, C, H, W) resized to `wide` columns."""
    num_frames, num_channels, high, old_wide = frames.shape
    first, last = _columns_needed(old_wide, wide, left, width)
    num_bytes = num_channels * high
    padded = -(-num_bytes // _CHANNELS_OF_KERNEL) * _CHANNELS_OF_KERNEL
    # A row for each column. The ones left of `first` keep the others at their numbers; nothing is computed of them.
    turned = torch.zeros(num_frames, last, padded, dtype=torch.uint8)
    target = turned[:, first:, :num_bytes].view(num_frames, last - first, num_channels, high)
    # NumPy moves single bytes faster than torch does.
    target.numpy()[...] = frames[..., first:last].permute(0, 3, 1, 2).numpy()
    if last == old_wide:
        resized = _resize_rows(turned, wide)
    else:  # the scale cannot follow from the sizes
        pixels = turned.view(num_frames, last, -1, _CHANNELS_OF_KERNEL).permute(0, 3, 1, 2)
        scales = (wide / old_wide, 1.0)
        pixels = F.interpolate(pixels, scale_factor=scales, mode="bilinear", antialias=True)
        resized = pixels.permute(0, 2, 3, 1).reshape(num_frames, -1, padded)
    kept = resized[:, left : left + width, :num_bytes].unflatten(-1, (num_channels, high))
    return kept.permute(0, 2, 3, 1)


def _columns_needed(old_wide: int, wide: int, left: int, width: int) -> tuple[int, int]:
    """The input columns that may touch the output columns [left, left + width), generously."""
    scale = old_wide / wide
    reach = max(scale, 1.0)  # of the triangle filter
    first = math.floor((left + 0.5) * scale - reach) - 1
    # Widened, too narrow a part could come out as wide as it is, and torch then skips the axis.
    last = math.ceil((left + width - 0.5) * scale + reach) + 1 if wide < old_wide else old_wide
    return max(first, 0), min(last, old_wide)
