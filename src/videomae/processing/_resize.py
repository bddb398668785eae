"""Bilinear, antialiased resizing of uint8 frames, one axis after the other; only what a crop keeps is computed.

torch resizes 8-bit pixels of three or four interleaved channels with vector instructions, but takes many times as long
for planes, and goes over the columns first. Two facts make it faster without another kernel:

- Resizing along the vertical axis treats every byte of a row alike. So a row of any layout passes for one of pixels
  with four channels, and planes need not be interleaved for it.
- Going over the rows first leaves fewer of them for the slower horizontal axis.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F

# So much of a clip is taken through all steps at a time, so that what one step leaves is still in the caches.
_CHUNK_BYTES = 6 << 20
_CHANNELS_OF_KERNEL = 4


def chunks_of(frames: torch.Tensor) -> Iterator[slice]:
    """Parts of a clip (n, …) that fit into the cache, at least one frame each."""
    frame_bytes = max(1, frames[:1].numel() * frames.element_size())
    step = max(1, _CHUNK_BYTES // frame_bytes)
    for start in range(0, len(frames), step):
        yield slice(start, start + step)


def resize_window(
    frames: torch.Tensor, size: tuple[int, int], window: tuple[int, int, int, int] | None = None
) -> torch.Tensor:
    """Resize frames and keep a window of the result.

    Args:
        frames: uint8 (n, C, H, W) on the CPU, with channels or columns innermost in memory, or strided otherwise.
        size: height and width of the resized frames.
        window: top, left, height and width of what is kept of them; None for all.

    Returns:
        uint8 (n, C, height, width) of the window, mostly with the channels innermost; equal, bit for bit, for all
        memory layouts, and 1 level at most (2 at rare values) away from Pillow's.
    """
    top, left, height, width = window or (0, 0, *size)
    high, wide = size
    old_high, old_wide = frames.shape[-2:]
    if high >= old_high:
        resized = frames if size == (old_high, old_wide) else _interpolate(frames, size)
        return resized[:, :, top : top + height, left : left + width]
    if frames.is_contiguous() and old_wide % _CHANNELS_OF_KERNEL == 0 and not _is_interleaved(frames):
        planes = _shrink_rows(frames.reshape(-1, old_high, old_wide), high).view(*frames.shape[:2], high, old_wide)
        pixels = _interleave(planes[:, :, top : top + height], _columns_needed(old_wide, wide, left, width))
    else:
        pixels = _shrink_interleaved(frames, high)[:, :, top : top + height]
    if wide != old_wide and pixels.shape[-1] == old_wide:
        pixels = _interpolate(pixels, (height, wide))
    elif wide != old_wide:  # columns to the right of the window are missing: the scale cannot follow from the sizes
        scales = (1.0, wide / old_wide)
        pixels = F.interpolate(pixels, scale_factor=scales, mode="bilinear", antialias=True)
    return pixels[:, :, :, left : left + width]


def write_planes(frames: torch.Tensor, target: torch.Tensor, *, flip: bool = False) -> None:
    """Copy uint8 frames (n, C, H, W), mirrored left to right with `flip`, into `target` of the same shape."""
    # NumPy moves single bytes faster than torch does, and mirrors on the way.
    pixels = frames.numpy()
    target.numpy()[...] = pixels[..., ::-1] if flip else pixels


def _interpolate(frames: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(frames, size=size, mode="bilinear", antialias=True)


def _is_interleaved(frames: torch.Tensor) -> bool:
    return frames.stride(1) == 1 and frames.shape[1] > 1


def _shrink_rows(rows: torch.Tensor, high: int) -> torch.Tensor:
    """Resize (n, H, bytes) along the vertical axis; the bytes of a row are a multiple of 4."""
    num_frames, old_high, num_bytes = rows.shape
    pixels = rows.view(num_frames, old_high, -1, _CHANNELS_OF_KERNEL).permute(0, 3, 1, 2)
    shrunk = _interpolate(pixels, (high, num_bytes // _CHANNELS_OF_KERNEL))
    return shrunk.permute(0, 2, 3, 1).reshape(num_frames, high, num_bytes)


def _shrink_interleaved(frames: torch.Tensor, high: int) -> torch.Tensor:
    num_frames, num_channels, old_high, wide = frames.shape
    rows = frames.permute(0, 2, 3, 1).contiguous()  # (n, H, W, C)
    if wide * num_channels % _CHANNELS_OF_KERNEL:
        return _interpolate(rows.permute(0, 3, 1, 2), (high, wide))
    shrunk = _shrink_rows(rows.view(num_frames, old_high, -1), high)
    return shrunk.view(num_frames, high, wide, num_channels).permute(0, 3, 1, 2)


def _columns_needed(old_wide: int, wide: int, left: int, width: int) -> tuple[int, int]:
    """The input columns that may touch the output columns [left, left + width), generously."""
    scale = old_wide / wide
    reach = max(scale, 1.0)  # of the triangle filter
    first = math.floor((left + 0.5) * scale - reach) - 1
    # Widened, too narrow a part could come out as wide as it is, and torch then skips the axis.
    last = math.ceil((left + width - 0.5) * scale + reach) + 1 if wide < old_wide else old_wide
    return max(first, 0), min(last, old_wide)


def _interleave(planes: torch.Tensor, columns: tuple[int, int]) -> torch.Tensor:
    """Planes (n, C, H, W) with the channels innermost, without what lies to the right of `columns`.

    What lies to their left is there, so that the columns keep their numbers, but black.
    """
    num_frames, num_channels, high, _ = planes.shape
    pixels = torch.zeros(num_frames, high, columns[1], num_channels, dtype=torch.uint8)
    kept = slice(*columns)
    # NumPy moves single bytes faster than torch does.
    source, target = planes.numpy(), pixels.numpy()
    for channel in range(num_channels):
        target[:, :, kept, channel] = source[:, channel, :, kept]
    return pixels.permute(0, 3, 1, 2)
