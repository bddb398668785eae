"""What RandAugment does to pixels, for many clips at once; the arithmetic is that of Pillow, frame by frame.

The 15 operations come in seven kinds. Clips whose turn it is to get the same kind go through it together, each with its
own parameters: a GPU then has few kernels to start, and nothing waits for it. A table of 256 values that is looked up
equals Pillow's operation to the last bit. What moves pixels rounds where Pillow cuts fractions off.

Clips are uint8 (N, T, C, H, W), parameters float64 (N, …) on their device.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from videomae.core.device import send

# Weights of neighboring pixels, a row for each power of t, the distance to the first of the two nearest. Bicubic is
# that of Keys (1981) with a = -1, as Pillow has it; none takes the pixel itself.
_WEIGHTS: dict[str, list[list[float]]] = {
    "bicubic": [[0, 1, 0, 0], [-1, 0, 1, 0], [2, -2, 1, -1], [-1, 1, -1, 1]],
    "bilinear": [[1, 0], [-1, 1]],
    "none": [[1]],
}
# What lies outside of a frame that was moved.
FILL = 128
# On a CPU as much at a time as stays in its cache.
_VALUES_AT_ONCE = 300_000

# --- parameters, on the CPU ----------------------------------------------------------------------------------------

# Tables (256,) of the values 0–255 that depend on the argument alone.
TABLES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "Invert": lambda values, _: 255 - values,
    "Posterize": lambda values, num_bits: values & (0xFF << (8 - min(int(num_bits), 8)) & 0xFF),
    "Solarize": lambda values, threshold: torch.where(values < int(threshold), values, 255 - values),
    "SolarizeAdd": lambda values, addend: torch.where(values < 128, (values + int(addend)).clamp(max=255), values),
    "Brightness": lambda values, factor: _blend(torch.zeros(256), values.float(), factor),
}


def _rotation(degrees: float, height: int, width: int) -> list[float]:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = width / 2, height / 2
    return [cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y]


# (argument, height, width) to (a, b, c, d, e, f): a pixel whose middle is (x, y) shows what was at
# (a · x + b · y + c, d · x + e · y + f). Rotation is counter-clockwise, in degrees; shifts are shares of a side.
WARPS: dict[str, Callable[[float, int, int], list[float]]] = {
    "Rotate": _rotation,
    "ShearX": lambda factor, height, width: [1, factor, 0, 0, 1, 0],
    "ShearY": lambda factor, height, width: [1, 0, 0, factor, 1, 0],
    "TranslateX": lambda share, height, width: [1, 0, share * width, 0, 1, 0],
    "TranslateY": lambda share, height, width: [1, 0, 0, 0, 1, share * height],
}


def as_kinds(drawn: list[tuple[str, float]], height: int, width: int) -> list[tuple[str, Tensor]]:
    """Drawn operations as kinds with their parameters, float64 (…,); tables that follow each other become one."""
    found: list[tuple[str, Tensor]] = []
    for name, argument in drawn:
        if name in TABLES:
            table = TABLES[name](torch.arange(256), argument).long()
            if found and found[-1][0] == "Table":
                table = table[found.pop()[1].long()]
            found.append(("Table", table.double()))
        elif name in WARPS:
            found.append(("Warp", torch.tensor(WARPS[name](argument, height, width), dtype=torch.float64)))
        else:
            found.append((name, torch.tensor([argument], dtype=torch.float64)))
    return found


# --- pixels, on any device -------------------------------------------------------------------------------------------


def _by_frames(change: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Run on a CPU for a few frames of a clip at a time."""

    @functools.wraps(change)
    def changed(clips: Tensor, parameters: Tensor) -> Tensor:
        if not on_cpu(clips):
            return change(clips, parameters)
        result = torch.empty_like(clips, memory_format=torch.contiguous_format)
        for into, clip, parameter in zip(result, clips, parameters, strict=True):
            at_once = max(1, _VALUES_AT_ONCE // clip[0].numel())
            for target, frames in zip(into.split(at_once), clip.split(at_once), strict=True):
                target.copy_(change(frames[None], parameter[None])[0])
        return result

    return changed


def look_up(clips: Tensor, tables: Tensor) -> Tensor:
    """Replace each value through the table (N, 256) of its clip."""
    return _look_up(clips, tables.to(torch.uint8).repeat_interleave(clips.shape[1] * clips.shape[2], dim=0))


def auto_contrast(clips: Tensor, _: Tensor) -> Tensor:
    """Stretch each channel of each frame so that its darkest value becomes 0 and its brightest 255."""
    planes = _planes(clips)
    darkest, brightest = planes.amin(1, keepdim=True), planes.amax(1, keepdim=True)
    span = (brightest.double() - darkest).clamp(min=1)
    scale = torch.full_like(span, 255).div(span)  # not 255 / span, which is 255 · (1 / span)
    values = _values(clips)
    tables = (values.double() * scale - darkest * scale).clamp(0, 255)
    return _look_up(clips, torch.where(brightest > darkest, tables.to(torch.uint8), values))


def equalize(clips: Tensor, _: Tensor) -> Tensor:
    """Spread the values of each channel of each frame so that all are about equally frequent."""
    planes = _planes(clips)
    counts = _bincounts(planes) if on_cpu(clips) else _scattered_counts(planes)
    below = counts.cumsum(1) - counts
    last = counts.gather(1, 255 - counts.flip(1).ne(0).int().argmax(1, keepdim=True))
    step = (counts.sum(1, keepdim=True) - last) // 255
    tables = ((step // 2 + below) // step.clamp(min=1)).clamp(max=255)
    return _look_up(clips, torch.where(step > 0, tables.to(torch.uint8), _values(clips)))


@_by_frames
def contrast(clips: Tensor, factors: Tensor) -> Tensor:
    """0 is each frame's mean gray, 1 leaves the clip as it is."""
    num_channels, height, width = clips.shape[-3:]
    gray, _ = _gray(clips)
    means = (gray.sum((2, 3, 4), dtype=torch.float64) / (height * width) + 0.5).floor()  # (N, T)
    tables = _blend(means[..., None].float(), _values(clips).float(), factors[:, None].float())  # (N, T, 256)
    return _look_up(clips, tables.flatten(0, 1).repeat_interleave(num_channels, dim=0))


@_by_frames
def color(clips: Tensor, factors: Tensor) -> Tensor:
    """0 is the gray clip, 1 leaves it as it is."""
    gray, pixels = _gray(clips)
    return _blend(gray, pixels, _per_clip(factors))


@_by_frames
def sharpness(clips: Tensor, factors: Tensor) -> Tensor:
    """0 is a smoothed clip, 1 leaves it as it is, above 1 is sharper."""
    pixels = clips.short()
    rows = pixels[..., :-2] + pixels[..., 1:-1]
    rows += pixels[..., 2:]
    smooth = rows[..., :-2, :] + rows[..., 1:-1, :]
    smooth += rows[..., 2:, :]
    inner = pixels[..., 1:-1, 1:-1]
    smooth.add_(inner, alpha=4)  # the middle counts 5 of 13
    result = clips.clone()  # pixels at the border have no eight neighbors and stay
    result[..., 1:-1, 1:-1] = _blend(smooth.float().div_(13).add_(0.5).floor_(), inner, _per_clip(factors))
    return result


def warp(clips: Tensor, matrices: Tensor, interpolation: str = "bicubic") -> Tensor:
    """Move pixels, each clip by its own (a, b, c, d, e, f) of `WARPS`; `FILL` for what was outside.

    A pixel is a weighed sum of 16 (bilinear: 4) others, the same for all frames and channels of a clip: the product of
    a sparse matrix and a dense one, which `embedding_bag` is.
    """
    num_clips, num_frames, num_channels, height, width = clips.shape
    y, x = (torch.arange(side, dtype=torch.float64, device=clips.device) + 0.5 for side in (height, width))
    a, b, c, d, e, f = matrices.t()[..., None, None]  # (N, 1, 1) each
    across, down = a * x + b * y[:, None] + c, d * x + e * y[:, None] + f  # (N, H, W)
    inside = (across >= 0) & (across < width) & (down >= 0) & (down < height)
    # On a CPU no row is read that counts for nothing: it takes a third of the time to move along one axis.
    is_moved = (matrices != torch.tensor([1, 0, 0, 0, 1, 0])).any(0).tolist() if on_cpu(clips) else [True] * 6
    columns, across_weights = _taps(across, width, interpolation if any(is_moved[:3]) else "none")
    rows, down_weights = _taps(down, height, interpolation if any(is_moved[3:]) else "none")
    rows = (rows + torch.arange(num_clips, dtype=torch.int32, device=clips.device)[:, None, None] * height) * width
    down_weights = down_weights * inside  # what lies outside weighs nothing and becomes FILL
    fill = (~inside).flatten()[:, None] * float(FILL)
    shape = (num_clips, height, width, len(rows), len(columns))
    indices = torch.empty(shape, dtype=torch.int32, device=clips.device)
    weights = torch.empty(shape, device=clips.device)
    torch.add(rows[:, None], columns, out=indices.permute(3, 4, 0, 1, 2))
    torch.mul(down_weights[:, None], across_weights, out=weights.permute(3, 4, 0, 1, 2))
    # Frames and channels side by side, for all pixels of all clips.
    planes = clips.reshape(num_clips, num_frames * num_channels, height * width).transpose(1, 2)
    pixels = torch.empty(planes.shape, device=clips.device).copy_(planes).flatten(0, 1)
    moved = torch.empty_like(pixels, dtype=torch.uint8)
    parts = (moved, indices.flatten(3).flatten(0, 2), weights.flatten(3).flatten(0, 2), fill)
    at_once = max(1, _VALUES_AT_ONCE // pixels.shape[1]) if on_cpu(clips) else len(pixels)
    for into, chosen, shares, outside in zip(*(part.split(at_once) for part in parts), strict=True):
        sums = F.embedding_bag(chosen, pixels, mode="sum", per_sample_weights=shares)
        into.copy_(sums.add_(outside).round_().clamp_(0, 255))
    # Of one matrix a CPU makes the transpose block by block.
    moved = moved.t() if num_clips == 1 else moved.view(planes.shape).transpose(1, 2)
    return moved.contiguous().view(clips.shape)


KINDS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Table": look_up,
    "AutoContrast": auto_contrast,
    "Equalize": equalize,
    "Contrast": contrast,
    "Color": color,
    "Sharpness": sharpness,
    "Warp": warp,
}


def _taps(at: Tensor, size: int, interpolation: str) -> tuple[Tensor, Tensor]:
    """Which pixels are weighed along one axis, int32 (taps, N, H, W), and their weights, float32.

    Args:
        at: (N, H, W) float64: where to look, the middle of the first pixel being at 1/2.
        size: pixels along the axis; the outermost ones continue beyond it.
        interpolation: of `_WEIGHTS`.
    """
    at = at - 0.5
    first = at.floor()
    t = (at - first).float()  # (N, H, W): how far behind the first of the two nearest pixels
    powers = send(torch.tensor(_WEIGHTS[interpolation], dtype=torch.float32), at.device)[
        ..., None, None, None
    ]  # (powers, taps, 1, 1, 1)
    weights = powers[-1].expand(-1, *t.shape)
    for power in powers[:-1].flip(0):
        weights = (weights * t).add_(power)
    num_taps = len(weights)
    steps = torch.arange(num_taps, dtype=torch.int32, device=at.device) - (num_taps - 1) // 2
    return (first.int() + steps[:, None, None, None]).clamp_(0, size - 1), weights


def on_cpu(clips: Tensor) -> bool:
    """Whether many small calls are cheap, and nothing has to be waited for."""
    return clips.device.type == "cpu"


def _planes(clips: Tensor) -> Tensor:
    return clips.flatten(0, 2).flatten(1)  # (N · T · C, H · W)


def _values(clips: Tensor) -> Tensor:
    return torch.arange(256, dtype=torch.uint8, device=clips.device)


def _per_clip(parameters: Tensor) -> Tensor:
    return parameters.float()[..., None, None, None]  # (N, 1, 1, 1, 1)


def _look_up(clips: Tensor, tables: Tensor) -> Tensor:
    """Replace each value through the table of its frame and channel, uint8 (N · T · C, 256)."""
    planes = _planes(clips)
    if not on_cpu(clips):
        return tables.gather(1, planes.long()).view(clips.shape)
    found = torch.empty_like(planes, memory_format=torch.contiguous_format)
    for out, plane, table in zip(found, planes, tables, strict=True):
        torch.index_select(table, 0, plane.int(), out=out)
    return found.view(clips.shape)


def _bincounts(planes: Tensor) -> Tensor:
    """How often each value is in each plane: (P, H · W) uint8 to (P, 256) int64."""
    return torch.stack([torch.bincount(plane, minlength=256) for plane in planes])


def _scattered_counts(planes: Tensor) -> Tensor:
    """`_bincounts` for devices, where `bincount` waits for the result."""
    counts = torch.zeros(len(planes), 256, dtype=torch.int64, device=planes.device)
    return counts.scatter_add_(1, planes.long(), counts.new_ones(()).expand(planes.shape))


def _blend(plain: Tensor, pixels: Tensor, factor: Tensor | float) -> Tensor:
    """`plain` at factor 0, `pixels` at 1, beyond it the opposite of `plain`; fractions are cut off."""
    return (pixels - plain).mul_(factor).add_(plain).clamp_(0, 255).to(torch.uint8)


def _gray(clips: Tensor) -> tuple[Tensor, Tensor]:
    """Luma of ITU-R 601, (N, T, 1, H, W), rounded as Pillow rounds, and the clips; both float32.

    Of other channels than RGB it is their mean. No sum exceeds 2²⁴: float32 has it exactly.
    """
    pixels = clips.float()
    if clips.shape[2] != 3:
        return pixels.mean(dim=2, keepdim=True).round_(), pixels
    red, green, blue = pixels.split(1, dim=2)
    luma = (red * 19595).add_(green, alpha=38470).add_(blue, alpha=7471)
    return luma.add_(0x8000).mul_(2**-16).floor_(), pixels
