"""The processor's arithmetic on stacks of frames (n, C, H, W): levels, resize, crop, rescale and normalize."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from videomae.core.errors import ConfigError, ShapeError
from videomae.processing._chunks import CHUNK_BYTES
from videomae.processing._frames import Stack
from videomae.processing._resize import resize_window
from videomae.processing._steps import CHANNELS_LAST, Steps

logger = logging.getLogger(__name__)


def process(stack: Stack, steps: Steps, *, data_format: str | None) -> list[tuple[tuple[int, ...], torch.Tensor]]:
    """Take a stack of like frames through all steps.

    Returns:
        Pairs of the frames' positions in the clip and their pixels, (n, C, h, w) or (n, h, w, C) by `data_format`
        (None: as they came), in memory of their own. More than one pair only where float frames of one clip are read
        differently (see `level_stacks`).

    Raises:
        ShapeError: values that cannot be resized.
        ConfigError: a mean or standard deviation for another number of channels.
    """
    if steps.rescale_factor is not None and stack.dtype != np.uint8 and _lies_in_unit_range(stack.array):
        _warn_of_rescaling_twice()
    parts = [(stack, 1.0)] if steps.size is None else level_stacks(stack)
    results = []
    for part, unit in parts:
        channels_last = (data_format or part.layout) == CHANNELS_LAST
        results.append((part.positions, _process_part(part, unit, steps, channels_last=channels_last)))
    return results


def _process_part(stack: Stack, unit: float, steps: Steps, *, channels_last: bool) -> torch.Tensor:
    """Take frames through all steps, some at a time, into new memory of the wanted layout."""
    num_channels, *size = stack.frame_shape
    values = values_of(num_channels, stack.dtype, unit, steps)
    high, wide = steps.crop_size or steps.output_size(*size)
    shape = (
        (len(stack.frames), high, wide, num_channels)
        if channels_last
        else (len(stack.frames), num_channels, high, wide)
    )
    result = np.empty(shape, dtype=values.dtype)
    view = result.transpose(0, 3, 1, 2) if channels_last else result
    for chunk in stack.chunks(CHUNK_BYTES):
        piece = stack.tensor(chunk)
        if steps.size is not None:
            piece = resize(piece, steps.output_size(*size), steps.resample, steps.crop_size)
        if steps.crop_size is not None:
            piece = center_crop(piece, steps.crop_size)
        values.write(piece.numpy(), view[chunk])
    return torch.from_numpy(result)


def level_stacks(stack: Stack) -> list[tuple[Stack, float]]:
    """Frames as gray levels 0 to 255 in uint8, each with what one level is worth in the frame's own unit.

    Resizing is done on 8-bit levels, whatever the frames come in. Frames of whole numbers are levels already (unit 1).
    A frame with fractions between 0 and 1 is multiplied by 255 and cut off (unit 1/255). Each frame is
    classified by itself: an all-black frame among fractions counts as whole numbers, and the values agree.

    Raises:
        ShapeError: other values than these.
    """
    if stack.dtype == np.uint8:
        return [(stack, 1.0)]
    array = stack.array
    fractional = np.array([_is_fractional(frame) for frame in array])
    parts = []
    for chosen, factor, unit in ((~fractional, 1, 1.0), (fractional, 255, 1 / 255)):
        if chosen.any():
            positions = tuple(np.array(stack.positions)[chosen].tolist())
            frames = array if chosen.all() else array[chosen]
            # In float32, as a frame of fractions is scaled there: the cut-off decides between neighboring levels.
            levels = frames if factor == 1 else (frames * factor).astype(np.float32)
            parts.append((Stack(positions, levels.astype(np.uint8), stack.layout), unit))
    return parts


def _is_fractional(frame: np.ndarray) -> bool:
    low, high = frame.min(), frame.max()
    if np.isfinite(low) and np.isfinite(high):
        if frame.dtype.kind in "biu" or np.allclose(frame, frame.astype(np.int64)):
            if low >= 0 and high <= 255:
                return False
        elif low >= 0 and high <= 1:
            return True
    raise ShapeError(
        f"pixel values from {low} to {high}",
        expected="whole numbers from 0 to 255, or fractions from 0 to 1, to resize",
        hint="pass the frames as decoded, or resize them yourself and set do_resize=False",
    )


def _lies_in_unit_range(array: np.ndarray) -> bool:
    return bool(array.min() >= 0 and array.max() <= 1)


@cache
def _warn_of_rescaling_twice() -> None:
    logger.warning(
        "The frames' values lie between 0 and 1 already and are rescaled once more; pass do_rescale=False if that is "
        "not meant."
    )


def resize(
    pixels: torch.Tensor,
    size: tuple[int, int],
    resample: Image.Resampling,
    crop_size: tuple[int, int] | None = None,
) -> torch.Tensor:
    """Resize uint8 frames (n, C, H, W) to (height, width), within 2 levels of Pillow's result.

    Bilinear, the usual filter, resizes all frames at once in torch (1 level off at most but for rare pixels). Its
    bicubic differs from Pillow's by up to 30 levels, and the other filters it has not: these go through Pillow.

    Args:
        pixels: the frames.
        size: height and width of a resized frame.
        resample: the filter.
        crop_size: what `center_crop` will keep; the rest may be omitted already.
    """
    if tuple(pixels.shape[-2:]) == size:
        return pixels
    if resample != Image.Resampling.BILINEAR:
        return resize_with_pillow(pixels, size, resample)
    spans = [_kept_span(*lengths) for lengths in zip(size, crop_size or size, strict=True)]
    (top, high), (left, wide) = spans
    return resize_window(pixels, size, (top, left, high, wide))


def resize_with_pillow(pixels: torch.Tensor, size: tuple[int, int], resample: Image.Resampling) -> torch.Tensor:
    """Resize uint8 frames (n, C, H, W) one by one in Pillow, the plain way that the fast one is tested against."""
    num_channels = pixels.shape[1]
    # Pillow takes 2 and 4 channels for color with alpha, and weights colors by it: such frames go channel by channel.
    planes = 3 if num_channels == 3 else 1
    frames = pixels.permute(0, 2, 3, 1).numpy()  # (n, H, W, C)
    resized = np.empty((len(frames), *size, num_channels), dtype=np.uint8)
    for frame, result in zip(frames, resized, strict=True):
        for start in range(0, num_channels, planes):
            plane = np.ascontiguousarray(frame[:, :, start : start + planes])
            image = Image.fromarray(plane if planes == 3 else plane[:, :, 0])
            small = np.asarray(image.resize((size[1], size[0]), resample=resample))
            result[:, :, start : start + planes] = small.reshape(*size, planes)
    return torch.from_numpy(resized).permute(0, 3, 1, 2)


def center_crop(pixels: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Cut (height, width) out of the middle of frames (n, C, H, W); smaller frames are padded with zeros.

    Of an odd surplus the smaller half is cut (or padded) at the top and left. The result always has the requested size:
    transformers 4.34.0 drops the last row or column where an odd number of them has to be padded.
    """
    for axis, length in ((-2, size[0]), (-1, size[1])):
        found = pixels.shape[axis]
        if found >= length:
            pixels = pixels.narrow(axis, *_kept_span(found, length))
        else:
            before = (length - found) // 2
            after = length - found - before
            pixels = F.pad(pixels, (before, after) if axis == -1 else (0, 0, before, after))
    return pixels


def _kept_span(found: int, wanted: int) -> tuple[int, int]:
    """Start and length of what a center crop keeps of an axis."""
    return max(found - wanted, 0) // 2, min(found, wanted)


@dataclass(frozen=True)
class Values:
    """How pixels become the values of the result: `pixel * scale + shift`, each (C, 1, 1) or None for 1 and 0."""

    dtype: np.dtype
    scale: np.ndarray | None
    shift: np.ndarray | None

    def write(self, pixels: np.ndarray, target: np.ndarray) -> None:
        """Write the values of pixels (n, C, H, W) into `target` of the same shape."""
        np.copyto(target, pixels, casting="unsafe")
        if self.scale is not None:
            target *= self.scale
        if self.shift is not None:
            target += self.shift


def values_of(num_channels: int, dtype: np.dtype, unit: float, steps: Steps) -> Values:
    """Rescaling and normalizing in one; see `Values`.

    The result is float32; without either step of the pixels' type, and normalized only, of their own floating type.
    """
    scale = np.full(num_channels, unit)
    shift = None
    if steps.rescale_factor is not None:
        scale = scale * steps.rescale_factor
    if steps.mean is not None and steps.std is not None:
        std = _per_channel(steps.std, num_channels, name="image_std")
        if not std.all():
            raise ConfigError(f"image_std={list(steps.std)}", expected="no zeros", hint="the pixels are divided by it")
        scale = scale / std
        shift = -_per_channel(steps.mean, num_channels, name="image_mean") / std
    changes_values = steps.rescale_factor is not None or steps.mean is not None or unit != 1
    if steps.size is not None:
        dtype = np.dtype(np.uint8)
    if steps.rescale_factor is not None or (changes_values and dtype.kind != "f"):
        dtype = np.dtype(np.float32)
    return Values(
        dtype,
        scale.astype(dtype).reshape(-1, 1, 1) if changes_values else None,
        shift.astype(dtype).reshape(-1, 1, 1) if shift is not None else None,
    )


def _per_channel(values: tuple[float, ...], num_channels: int, *, name: str) -> np.ndarray:
    if len(values) not in (1, num_channels):
        raise ConfigError(
            f"{name}={list(values)}",
            expected=f"one number, or {num_channels}, as the frames have {num_channels} channels",
            hint=f"set {name}, or pass input_data_format if the channels are elsewhere",
        )
    return np.broadcast_to(np.array(values, dtype=np.float64), (num_channels,))
