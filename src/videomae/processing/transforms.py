"""Training-time transforms of uint8 clips: draw a box, crop before the resize, normalize on the device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch

from videomae.core.device import send
from videomae.core.errors import ConfigError, ShapeError
from videomae.processing._chunks import chunks_of
from videomae.processing._frames import as_tensor
from videomae.processing._resize import resize_window, write_planes

MULTI_SCALES = (1.0, 0.875, 0.75, 0.66)
# Where a multi-scale crop may lie, in quarters of the free (vertical, horizontal) space: corners, middles of the sides,
# center, and the four points half-way between the center and the corners.
CROP_POSITIONS = (*product((0, 2, 4), repeat=2), *product((1, 3), repeat=2))
RESIZED_CROP_ATTEMPTS = 10


@dataclass(frozen=True)
class CropBox:
    """A rectangle of a frame in pixels; with `flip`, what is cut out is mirrored left to right.

    One box is drawn for a clip and cut from all its frames.
    """

    top: int
    left: int
    height: int
    width: int
    flip: bool = False

    def __post_init__(self) -> None:
        if min(self.top, self.left) < 0 or min(self.height, self.width) < 1:
            raise ShapeError(self, expected="a box of at least one pixel inside the frame", hint="change the box")


def center_crop_box(height: int, width: int, aspect: float = 1.0) -> CropBox:
    """The largest box of an aspect (width / height; a square by default) in the middle of a frame."""
    return evaluation_crop_boxes(height, width, 1, aspect)[0]


def evaluation_crop_boxes(height: int, width: int, num_crops: int, aspect: float = 1.0) -> list[CropBox]:
    """The largest boxes of an aspect (width / height), spread evenly from end to end; a single one in the middle.

    Squares, cut out and resized, are the test crops of the VideoMAE paper (3 on Kinetics-400 and Something-Something
    V2).
    """
    if num_crops < 1:
        raise ConfigError(f"num_crops={num_crops}", expected="at least 1", hint="use 1 or 3")
    high, wide = _largest_sides(height, width, aspect)
    down, across = height - high, width - wide  # one of them is 0
    shares = [(1, 2)] if num_crops == 1 else [(k, num_crops - 1) for k in range(num_crops)]
    return [CropBox(down * k // of, across * k // of, high, wide) for k, of in shares]


def multi_scale_crop(height: int, width: int, generator: torch.Generator, aspect: float = 1.0) -> CropBox:
    """Draw the crop of VideoMAE's pre-training (multi-scale crop of Wang et al., Temporal Segment Networks, 2016).

    Its height and width are those of the largest box of an aspect (width / height; a square by default) times one of
    `MULTI_SCALES` each, at most one step of the scales apart, every such pair being equally likely; it lies at one of
    the 13 `CROP_POSITIONS`, equally likely too.
    """
    sides = _largest_sides(height, width, aspect)
    pairs = [pair for pair in product(range(len(MULTI_SCALES)), repeat=2) if abs(pair[0] - pair[1]) <= 1]
    steps = pairs[_draw_integer(len(pairs), generator)]
    high, wide = (max(1, int(side * MULTI_SCALES[step])) for side, step in zip(sides, steps, strict=True))
    down, across = CROP_POSITIONS[_draw_integer(len(CROP_POSITIONS), generator)]
    return CropBox((height - high) * down // 4, (width - wide) * across // 4, high, wide)


def random_resized_crop(
    height: int,
    width: int,
    generator: torch.Generator,
    area: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> CropBox:
    """Draw the crop of fine-tuning (Szegedy et al., Going Deeper with Convolutions, 2015).

    Args:
        height, width: of the frames, in pixels.
        generator: where the randomness comes from.
        area: range of the box's share of the frame, drawn uniformly.
        ratio: range of its width / height, drawn uniformly in the logarithm.

    Returns:
        The first of 10 draws that fits into the frame, else the largest box in the middle whose ratio is in range.
    """
    _check_frame(height, width)
    for name, (low, high), most in (("area", area, 1.0), ("ratio", ratio, math.inf)):
        if not 0 < low <= high <= most:
            raise ConfigError(
                f"{name}=({low}, {high})", expected="0 < low <= high, an area up to 1", hint=f"set {name}"
            )
    for _ in range(RESIZED_CROP_ATTEMPTS):
        pixels = height * width * _draw_uniform(*area, generator)
        aspect = math.exp(_draw_uniform(math.log(ratio[0]), math.log(ratio[1]), generator))
        high, wide = round(math.sqrt(pixels / aspect)), round(math.sqrt(pixels * aspect))
        if 1 <= high <= height and 1 <= wide <= width:
            top, left = _draw_integer(height - high + 1, generator), _draw_integer(width - wide + 1, generator)
            return CropBox(top, left, high, wide)
    wide = min(width, max(1, round(height * ratio[1])))
    high = min(height, max(1, round(width / ratio[0])))
    return CropBox((height - high) // 2, (width - wide) // 2, high, wide)


def random_flip(box: CropBox, generator: torch.Generator, probability: float = 0.5) -> CropBox:
    """Mirror a box's content with a probability."""
    return replace(box, flip=box.flip != (_draw_uniform(0.0, 1.0, generator) < probability))


def crop_and_resize(
    frames: np.ndarray | torch.Tensor,
    box: CropBox,
    size: int | tuple[int, int],
    *,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cut a box out of a clip and resize it (bilinear with antialiasing).

    Cropping comes first, so that only its pixels are resized; at the box's border this differs from cropping a resized
    frame by a few gray levels. Frame by frame or all at once, the result is the same.

    Args:
        frames: uint8 (T, H, W, C) on the CPU; a single frame is (1, H, W, C).
        box: inside the frames.
        size: height and width of the result, or one number for both.
        out: where the result goes, uint8 (T, C, height, width); a part of a larger tensor will do. None: new memory.

    Returns:
        uint8 (T, C, height, width): `out`, where it is given.

    Raises:
        ShapeError: other frames, a box that reaches out of them, or an `out` that does not fit.
    """
    high, wide = (size, size) if isinstance(size, int) else size
    if min(high, wide) < 1:
        raise ConfigError(f"size={size}", expected="positive whole numbers", hint="give the model's image size")
    if len(frames.shape) != 4 or frames.dtype not in (np.uint8, torch.uint8) or 0 in frames.shape:
        raise ShapeError(
            f"{frames.dtype} frames of shape {tuple(frames.shape)}",
            expected="uint8 (T, H, W, C)",
            hint="use read_video",
        )
    if box.top + box.height > frames.shape[1] or box.left + box.width > frames.shape[2]:
        raise ShapeError(
            box, expected=f"a box inside {frames.shape[1]}×{frames.shape[2]} pixels", hint="draw it for these frames"
        )
    clip = frames if isinstance(frames, torch.Tensor) else as_tensor(frames)
    clip = clip[:, box.top : box.top + box.height, box.left : box.left + box.width]
    clip = clip.permute(0, 3, 1, 2)  # (T, C, H, W)
    result = _result_of((*clip.shape[:2], high, wide), out)
    write_planes(resize_window(clip, (high, wide)), result, flip=box.flip)
    return result


def _result_of(shape: tuple[int, ...], out: torch.Tensor | None) -> torch.Tensor:
    if out is None:
        return torch.empty(shape, dtype=torch.uint8)
    if tuple(out.shape) != shape or out.dtype != torch.uint8 or out.device.type != "cpu":
        raise ShapeError(
            f"out of type {out.dtype} and shape {tuple(out.shape)} on {out.device}",
            expected=f"uint8 {shape} on the CPU",
            hint="give memory that fits the clip, or leave it out",
        )
    return out


def normalize(clips: torch.Tensor, mean: float | Sequence[float], std: float | Sequence[float]) -> torch.Tensor:
    """Take 8-bit clips to the values that a model reads, on whatever device they are.

    Args:
        clips: uint8 (..., C, H, W), values 0 to 255.
        mean, std: of values from 0 to 1; one number, or one per channel.

    Returns:
        float32 (..., C, H, W): (clips / 255 - mean) / std.

    Raises:
        ShapeError: clips of another type, or with another number of channels.
    """
    if clips.dtype != torch.uint8 or clips.ndim < 3:
        raise ShapeError(
            f"{clips.dtype} clips of shape {tuple(clips.shape)}",
            expected="uint8 (..., C, H, W)",
            hint="normalize the clips once, as they come from crop_and_resize",
        )
    means, stds = (np.atleast_1d(np.asarray(values, dtype=np.float64)) for values in (mean, std))
    for name, values in (("mean", means), ("std", stds)):
        if values.shape not in ((1,), (clips.shape[-3],)):
            raise ShapeError(
                f"{name} of {values.size} numbers",
                expected=f"one number, or {clips.shape[-3]}, as the clips have {clips.shape[-3]} channels",
                hint="take mean and std from the image processor of the checkpoint",
            )
    if not (stds > 0).all():
        raise ConfigError(f"std={stds.tolist()}", expected="numbers above 0", hint="the pixels are divided by it")
    scale, shift = (
        send(torch.tensor(values, dtype=torch.float32).reshape(-1, 1, 1), clips.device)
        for values in (1 / (255 * stds), -means / stds)
    )
    if clips.device.type != "cpu":
        return torch.mul(clips, scale).add_(shift)
    normalized = torch.empty(clips.shape, dtype=torch.float32)
    if clips.numel():
        sources, targets = (tensor.reshape(-1, *clips.shape[-3:]) for tensor in (clips, normalized))
        for chunk in chunks_of(sources):
            target = targets[chunk].numpy()
            np.copyto(target, sources[chunk].numpy())
            target *= scale.numpy()
            target += shift.numpy()
    return normalized


def _largest_sides(height: int, width: int, aspect: float) -> tuple[int, int]:
    """Height and width of the largest box of an aspect (width / height) in a frame."""
    _check_frame(height, width)
    return min(height, max(1, round(width / aspect))), min(width, max(1, round(height * aspect)))


def _check_frame(height: int, width: int) -> None:
    if min(height, width) < 1:
        raise ShapeError(f"frames of {height}×{width} pixels", expected="at least one pixel", hint="check the video")


def _draw_integer(below: int, generator: torch.Generator) -> int:
    return int(torch.randint(below, (), generator=generator, device=generator.device))


def _draw_uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator, device=generator.device, dtype=torch.float64))
