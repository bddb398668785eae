"""Random erasing of normalized clips, on whatever device they are."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from videomae.core.errors import ConfigError, ShapeError
from videomae.processing.transforms import CropBox

ERASED_AREA = (0.02, 1 / 3)
ERASED_ASPECT = (0.3, 1 / 0.3)
_ATTEMPTS = 100


def draw_erased_box(
    height: int, width: int, generator: torch.Generator, *, probability: float = 0.25
) -> CropBox | None:
    """Draw the box to erase from a clip, or with 1 - `probability` none (Zhong et al., Random Erasing, 2020).

    Its share of the frame is uniform in `ERASED_AREA`, its height / width in `ERASED_ASPECT`, uniform in the logarithm;
    the first of 100 draws that is smaller than the frame is taken. As many numbers are drawn whatever comes of them.

    Raises:
        ConfigError: for a probability outside 0–1.
    """
    if not 0 <= probability <= 1:
        raise ConfigError(
            f"probability={probability} of random erasing", expected="0 to 1", hint="published: 0.25; 0 turns it off"
        )
    chosen = float(torch.rand((), generator=generator)) < probability
    shares, shapes = torch.rand(2, _ATTEMPTS, generator=generator, dtype=torch.float64).tolist()
    down, across = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    if not chosen:
        return None
    for share, shape in zip(shares, shapes, strict=True):
        pixels = height * width * _between(ERASED_AREA, share)
        aspect = math.exp(_between((math.log(ERASED_ASPECT[0]), math.log(ERASED_ASPECT[1])), shape))
        high, wide = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if 1 <= high < height and 1 <= wide < width:
            return CropBox(int(down * (height - high + 1)), int(across * (width - wide + 1)), high, wide)
    return None


def erase_randomly_(clips: Tensor, generator: torch.Generator, *, probability: float = 0.25) -> Tensor:
    """Put noise into a box of some clips, in place: the same box in all frames, N(0, 1) in each of its values.

    That is the "pixel" mode of the published fine-tuning (probability 0.25), which comes after normalization.

    Args:
        clips: (B, T, C, H, W) float, normalized.
        generator: of the CPU. The noise is drawn where the clips are, by a generator seeded from it: nothing is copied
            to a device, and on the same kind of device the same generator gives the same noise.
        probability: share of the clips from which a box is erased.

    Returns:
        `clips`.

    Raises:
        ShapeError: for other clips.
        ConfigError: for a probability outside 0–1.
    """
    if clips.ndim != 5 or not clips.is_floating_point():
        raise ShapeError(
            f"{clips.dtype} clips of shape {tuple(clips.shape)}",
            expected="float (B, T, C, H, W)",
            hint="normalize the clips first",
        )
    height, width = clips.shape[-2:]
    boxes = [draw_erased_box(height, width, generator, probability=probability) for _ in range(len(clips))]
    if not any(boxes):
        return clips
    seed = int(torch.randint(2**62, (), generator=generator))
    noise = torch.Generator(clips.device).manual_seed(seed)
    for clip, box in zip(clips, boxes, strict=True):
        if box is not None:
            inside = clip[..., box.top : box.top + box.height, box.left : box.left + box.width]
            inside.copy_(torch.randn(inside.shape, generator=noise, device=clip.device, dtype=clip.dtype))
    return clips


def _between(ends: tuple[float, float], share: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * share
