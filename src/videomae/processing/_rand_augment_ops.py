"""What RandAugment does to pixels, for all frames of a clip at once; the arithmetic is that of Pillow, frame by frame.

All functions take and return uint8 (T, C, H, W). Most operations are tables of 256 values that are looked up: several
times faster than general image functions, and equal to Pillow's to the last bit. What moves pixels rounds where Pillow
cuts fractions off; its bicubic rotation has Keys' a = -0.75 where Pillow has -1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def auto_contrast(clip: Tensor) -> Tensor:
    """Stretch each channel of each frame so that its darkest value becomes 0 and its brightest 255."""
    darkest, brightest = torch.aminmax(_planes(clip), dim=1, keepdim=True)
    span = (brightest.double() - darkest).clamp(min=1)
    scale = torch.full_like(span, 255).div(span)
    tables = (_values(clip).double() * scale - darkest * scale).clamp(0, 255)
    return _look_up(clip, torch.where(brightest > darkest, tables.to(torch.uint8), _values(clip)))


def equalize(clip: Tensor) -> Tensor:
    """Spread the values of each channel of each frame so that all are about equally frequent."""
    counts = torch.stack([torch.bincount(plane, minlength=256) for plane in _planes(clip)])  # (T · C, 256)
    below = counts.cumsum(1) - counts
    last = counts.gather(1, 255 - counts.flip(1).ne(0).int().argmax(1, keepdim=True))
    step = (counts.sum(1, keepdim=True) - last) // 255
    tables = ((step // 2 + below) // step.clamp(min=1)).clamp(max=255)
    return _look_up(clip, torch.where(step > 0, tables.to(torch.uint8), _values(clip)))


def invert(clip: Tensor) -> Tensor:
    """Dark becomes bright."""
    return ~clip


def posterize(clip: Tensor, num_bits: float) -> Tensor:
    """Keep the highest bits of each value, 0 to 8."""
    return clip & (0xFF << (8 - min(int(num_bits), 8)) & 0xFF)


def solarize(clip: Tensor, threshold: float) -> Tensor:
    """Invert values of at least `threshold`."""
    values = _values(clip).int()
    return _look_up(clip, torch.where(values < int(threshold), values, 255 - values).to(torch.uint8))


def solarize_add(clip: Tensor, addend: float) -> Tensor:
    """Brighten values below 128."""
    values = _values(clip).int()
    return _look_up(clip, torch.where(values < 128, (values + int(addend)).clamp(max=255), values).to(torch.uint8))


def brightness(clip: Tensor, factor: float) -> Tensor:
    """0 is black, 1 leaves the clip as it is."""
    values = _values(clip).float()
    return _look_up(clip, _blend(torch.zeros_like(values), values, factor))


def contrast(clip: Tensor, factor: float) -> Tensor:
    """0 is each frame's mean gray, 1 leaves the clip as it is."""
    means = _gray(clip).flatten(1).sum(1, dtype=torch.int64) / clip[0, 0].numel()
    means = (means + 0.5).floor().repeat_interleave(clip.shape[1])[:, None]
    return _look_up(clip, _blend(means, _values(clip).float(), factor))


def color(clip: Tensor, factor: float) -> Tensor:
    """0 is the gray clip, 1 leaves it as it is."""
    return _blend(_gray(clip)[:, None].float(), clip.float(), factor)


def sharpness(clip: Tensor, factor: float) -> Tensor:
    """0 is a smoothed clip, 1 leaves it as it is, above 1 is sharper."""
    pixels = clip.float()
    rows = pixels[..., :-2] + pixels[..., 1:-1] + pixels[..., 2:]
    smooth = rows[..., :-2, :] + rows[..., 1:-1, :] + rows[..., 2:, :]
    inner = pixels[..., 1:-1, 1:-1]
    smooth.add_(inner, alpha=4).div_(13).add_(0.5).floor_()  # the middle counts 5 of 13
    result = clip.clone()  # pixels at the border have no eight neighbors and stay
    result[..., 1:-1, 1:-1] = _blend(smooth, inner, factor)
    return result


COLOR_OPS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "AutoContrast": lambda clip, _: auto_contrast(clip),
    "Equalize": lambda clip, _: equalize(clip),
    "Invert": lambda clip, _: invert(clip),
    "Posterize": posterize,
    "Solarize": solarize,
    "SolarizeAdd": solarize_add,
    "Color": color,
    "Contrast": contrast,
    "Brightness": brightness,
    "Sharpness": sharpness,
}


def rotate(clip: Tensor, degrees: float, interpolation: str = "bicubic", fill: int = 128) -> Tensor:
    """Turn counter-clockwise about the middle. `interpolation`: "bicubic" or "bilinear"; `fill`: what was outside."""
    height, width = clip.shape[-2:]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    y = torch.arange(height, dtype=torch.float64, device=clip.device)[:, None] + 0.5 - height / 2
    x = torch.arange(width, dtype=torch.float64, device=clip.device) + 0.5 - width / 2
    across, down = cos * x - sin * y, sin * x + cos * y  # (H, W) each: where in the frame the pixel's content lies
    outside = (across < -width / 2) | (across >= width / 2) | (down < -height / 2) | (down >= height / 2)
    grid = torch.stack([across * (2 / width), down * (2 / height)], dim=-1)[None].float()
    # The frames go in as channels of one picture: where its points lie is then worked out once for all of them.
    moved = F.grid_sample(
        clip.flatten(0, 1)[None].float(), grid, mode=interpolation, padding_mode="border", align_corners=False
    )
    return _as_pixels(moved, outside, fill).view_as(clip)


def shear_x(clip: Tensor, factor: float, interpolation: str = "bicubic", fill: int = 128) -> Tensor:
    """Move each row to the left by `factor` times its distance from the upper border; options as in `rotate`."""
    return _shift_rows(clip, factor, 0.0, interpolation, fill)


def shear_y(clip: Tensor, factor: float, interpolation: str = "bicubic", fill: int = 128) -> Tensor:
    """Move each column up by `factor` times its distance from the left border; options as in `rotate`."""
    return _shift_rows(clip.transpose(-1, -2), factor, 0.0, interpolation, fill).transpose(-1, -2).contiguous()


def translate_x(clip: Tensor, share: float, interpolation: str = "bicubic", fill: int = 128) -> Tensor:
    """Move to the left by a share of the width; options as in `rotate`."""
    return _shift_rows(clip, 0.0, share * clip.shape[-1], interpolation, fill)


def translate_y(clip: Tensor, share: float, interpolation: str = "bicubic", fill: int = 128) -> Tensor:
    """Move up by a share of the height; options as in `rotate`."""
    shifted = _shift_rows(clip.transpose(-1, -2), 0.0, share * clip.shape[-2], interpolation, fill)
    return shifted.transpose(-1, -2).contiguous()


WARPS: dict[str, Callable[[Tensor, float, str, int], Tensor]] = {
    "Rotate": rotate,
    "ShearX": shear_x,
    "ShearY": shear_y,
    "TranslateX": translate_x,
    "TranslateY": translate_y,
}


def _shift_rows(clip: Tensor, slope: float, offset: float, interpolation: str, fill: int) -> Tensor:
    """Move row y to the left by slope · (y + 1/2) + offset pixels.

    Along a row all pixels lie equally far between two of the frame, so four (or two) shifted copies are weighed and
    added: several times faster than sampling in two dimensions.
    """
    height, width = clip.shape[-2:]
    shifts = slope * (torch.arange(height, dtype=torch.float64) + 0.5) + offset
    # Beyond the frame there is nothing to see, however far.
    whole = shifts.floor().clamp(-width - 1, width + 1).int().tolist()
    weights, first_tap = _row_weights(shifts - shifts.floor(), interpolation)
    weights = weights.float().to(clip.device)[..., None]  # (taps, H, 1)
    margin = max(map(abs, whole)) + 2
    padded = torch.empty(clip.shape[0] * clip.shape[1], height, width + 2 * margin, device=clip.device)
    padded[..., margin : margin + width] = clip.flatten(0, 1)
    padded[..., :margin] = padded[..., margin, None]
    padded[..., margin + width :] = padded[..., margin + width - 1, None]
    moved = torch.empty(len(padded), height, width, device=clip.device)
    for shift, group in itertools.groupby(range(height), key=whole.__getitem__):
        rows = list(group)
        span = slice(rows[0], rows[-1] + 1)
        start = margin + shift + first_tap
        into = moved[:, span]
        torch.mul(padded[:, span, start : start + width], weights[0, span], out=into)
        for tap in range(1, len(weights)):
            into.addcmul_(padded[:, span, start + tap : start + tap + width], weights[tap, span])
    across = torch.arange(width, dtype=torch.float64) + 0.5 + shifts[:, None]
    outside = ((across < 0) | (across >= width)).to(clip.device)
    return _as_pixels(moved, outside, fill).view(clip.shape)


def _row_weights(fraction: Tensor, interpolation: str) -> tuple[Tensor, int]:
    """Weights (taps, H) of a pixel's neighbors in its row, and which neighbor is the first of them.

    `fraction`: how far each row's pixels lie behind the neighbor 0. Cubic: Keys (1981) with a = -1, as Pillow has it.
    """
    t = fraction
    if interpolation == "bilinear":
        return torch.stack([1 - t, t]), 0
    before, after = -t * (1 - t) ** 2, -(1 - t) * t**2
    nearest = 1 - 2 * t**2 + t**3
    return torch.stack([before, nearest, 1 - nearest - before - after, after]), -1


def _as_pixels(values: Tensor, outside: Tensor, fill: int) -> Tensor:
    return values.round_().clamp_(0, 255).masked_fill_(outside, fill).to(torch.uint8)


def _planes(clip: Tensor) -> Tensor:
    return clip.flatten(0, 1).flatten(1)  # (T · C, H · W)


def _values(clip: Tensor) -> Tensor:
    return torch.arange(256, dtype=torch.uint8, device=clip.device)


def _look_up(clip: Tensor, tables: Tensor) -> Tensor:
    """Replace each value through a table (256,), or the table of its frame and channel (T · C, 256)."""
    planes = _planes(clip)
    found = torch.empty_like(planes)
    for out, plane, table in zip(found, planes, tables.expand(len(planes), 256), strict=True):
        torch.index_select(table, 0, plane.int(), out=out)
    return found.view_as(clip)


def _blend(plain: Tensor, pixels: Tensor, factor: float) -> Tensor:
    """`plain` at factor 0, `pixels` at 1, beyond it the opposite of `plain`; fractions are cut off."""
    return (pixels - plain).mul_(factor).add_(plain).clamp_(0, 255).to(torch.uint8)


def _gray(clip: Tensor) -> Tensor:
    """Luma of ITU-R 601, (T, H, W) int32, rounded as Pillow rounds; of other channels than RGB their mean."""
    if clip.shape[1] != 3:
        return clip.float().mean(dim=1).round().int()
    red, green, blue = clip.int().unbind(1)
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
