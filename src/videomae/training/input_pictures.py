"""What a model gets, as pictures: clips un-normalized, mixtures by their names, hidden tubelets painted over."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from videomae.core import tubelets
from videomae.core.grid import TubeletGrid

_GRAY = 128
# Smaller shares of a target are smoothing.
_MIN_SHARE = 0.005

TitledClip = tuple[str, np.ndarray]


def as_pixels(pixel_values: Tensor, mean: float | Sequence[float], std: float | Sequence[float]) -> np.ndarray:
    """Normalized clips (B, T, C, H, W) as uint8 (B, T, H, W, C); noise beyond black and white is cut off."""
    means, stds = (torch.tensor(values, device=pixel_values.device).reshape(-1, 1, 1) for values in (mean, std))
    pixels = (pixel_values.float() * stds + means).mul(255).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(0, 1, 3, 4, 2).cpu().numpy()


def masked_clips(
    names: Sequence[str], pixels: np.ndarray, hidden: Tensor, not_rebuilt: Tensor | None, grid: TubeletGrid
) -> list[TitledClip]:
    """Each clip, then what the encoder sees of it and, under dual masking, what the decoder rebuilds.

    Args:
        names: of the B clips.
        pixels: uint8 (B, T, H, W, C).
        hidden: (B, N) bool, True = not seen by the encoder.
        not_rebuilt: (B, N) bool, True = not rebuilt; None where all that is hidden is.
        grid: of the clips.
    """
    shown: list[TitledClip] = []
    for index, name in enumerate(names):
        share = float(hidden[index].float().mean())
        shown.append((name, pixels[index]))
        shown.append((f"what the encoder sees, {1 - share:.0%}", _painted(pixels[index], hidden[index], grid)))
        if not_rebuilt is not None:
            counted = hidden[index] & ~not_rebuilt[index]
            share = float(counted.float().mean())
            shown.append((f"what is rebuilt, {share:.0%}", _painted(pixels[index], ~counted, grid)))
    return shown


def labelled_clips(names: Sequence[str], pixels: np.ndarray, targets: Tensor, smoothing: float) -> list[TitledClip]:
    """Each clip with the classes of its target.

    Args:
        names: of the classes.
        pixels: uint8 (B, T, H, W, C).
        targets: (B, classes), as `soft_targets` makes them.
        smoothing: share of the targets that is spread over all classes, which the titles do not include.
    """
    shares = (targets.cpu() - smoothing / len(names)) / (1 - smoothing)
    titles = []
    for row in shares:
        found = sorted(((float(share), names[index]) for index, share in enumerate(row)), reverse=True)
        parts = [
            f"{name} {share:.0%}" if share < 1 - _MIN_SHARE else name for share, name in found if share > _MIN_SHARE
        ]
        titles.append(", ".join(parts) or "none of the classes")
    return list(zip(titles, pixels, strict=True))


def _painted(clip: np.ndarray, covered: Tensor, grid: TubeletGrid) -> np.ndarray:
    """A clip (T, H, W, C) with the covered tubelets (N,) in gray."""
    tokens = tubelets.patchify(torch.from_numpy(clip).permute(0, 3, 1, 2)[None], grid)
    tokens = tokens.masked_fill(covered.cpu()[None, :, None], _GRAY)
    painted: np.ndarray = tubelets.unpatchify(tokens, grid)[0].permute(0, 2, 3, 1).numpy()
    return painted
