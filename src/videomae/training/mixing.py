"""Mixup and CutMix of a batch on its device, and the soft targets that belong to it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from videomae.core.errors import ConfigError
from videomae.processing.transforms import CropBox


@dataclass(frozen=True)
class Mix:
    """How the clips of one batch are mixed with their partners.

    Args:
        share: of each clip itself in its mixture, 0–1; the rest is its partner's.
        box: of CutMix: this part of the frame is the partner's. None mixes all pixels.
    """

    share: float
    box: CropBox | None = None


@dataclass(frozen=True)
class Mixing:
    """Mixup (Zhang et al. 2018) or CutMix (Yun et al. 2019), drawn anew for each batch; the defaults are published.

    Args:
        mixup: both parameters of mixup's Beta distribution; 0 turns mixup off.
        cutmix: the same for CutMix.
        cutmix_probability: of CutMix in place of mixup, where both are on.

    Raises:
        ConfigError: for numbers out of range.
    """

    mixup: float = 0.8
    cutmix: float = 1.0
    cutmix_probability: float = 0.5

    def __post_init__(self) -> None:
        for name in ("mixup", "cutmix"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name}={getattr(self, name)}", expected="0 or more", hint="0 turns it off")
        if not 0 <= self.cutmix_probability <= 1:
            raise ConfigError(
                f"cutmix_probability={self.cutmix_probability}", expected="a share from 0 to 1", hint="published: 0.5"
            )

    def draw(self, height: int, width: int, generator: torch.Generator) -> Mix:
        """The mix of one batch of frames of `height` × `width` pixels; `generator` is the CPU's."""
        # torch has no Beta distribution that takes a generator.
        draws = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        if not self.mixup and not self.cutmix:
            return Mix(1.0)
        use_cutmix = bool(self.cutmix) and (not self.mixup or draws.random() < self.cutmix_probability)
        alpha = self.cutmix if use_cutmix else self.mixup
        share = float(draws.beta(alpha, alpha))
        return _cut(height, width, share, draws) if use_cutmix else Mix(share)


def mix_clips_(clips: Tensor, mix: Mix) -> Tensor:
    """Mix each clip with its partner, the first with the last and so on, in place.

    Args:
        clips: (B, T, C, H, W) float, normalized. With an odd B the one in the middle stays as it is.
        mix: the same for all.

    Returns:
        `clips`.
    """
    if len(clips) == 1 or mix.share == 1:
        return clips
    if mix.box is None:
        return clips.lerp_(clips.flip(0), 1 - mix.share)
    box = mix.box
    inside = clips[..., box.top : box.top + box.height, box.left : box.left + box.width]
    inside.copy_(inside.flip(0))
    return clips


def soft_targets(labels: Tensor, num_classes: int, *, mix: Mix, label_smoothing: float = 0.0) -> Tensor:
    """The targets of a mixed batch.

    `F.cross_entropy(logits, targets)` is then the loss, or the binary one of several classes; without mixing it is that
    of the labels with the same `label_smoothing`.

    Args:
        labels: (B,) class indices, or (B, K) float32 with 1 for each of several classes.
        num_classes: K.
        mix: as given to `mix_clips_`.
        label_smoothing: share of each target that is spread over all classes, the right one included.

    Returns:
        (B, K) float32, each row adding up to 1, or, for several classes, to as many as there are before smoothing.
    """
    spread = label_smoothing / num_classes
    if labels.ndim == 2:
        targets = labels * (1 - label_smoothing) + spread
    else:
        targets = torch.full((len(labels), num_classes), spread, device=labels.device)
        targets.scatter_(1, labels[:, None], 1 - label_smoothing + spread)
    return targets if mix.share == 1 else targets.lerp(targets.flip(0), 1 - mix.share)


def _cut(height: int, width: int, share: float, draws: np.random.Generator) -> Mix:
    """A box with 1 - `share` of the frame, in the frame's shape and about any of its pixels, cut off at the border.

    The share of what remains is that of the pixels.
    """
    ratio = math.sqrt(1 - share)
    high, wide = int(height * ratio), int(width * ratio)
    row, column = int(draws.integers(height)), int(draws.integers(width))
    top, bottom = max(row - high // 2, 0), min(row + high // 2, height)
    left, right = max(column - wide // 2, 0), min(column + wide // 2, width)
    if bottom <= top or right <= left:
        return Mix(1.0)
    return Mix(1 - (bottom - top) * (right - left) / (height * width), CropBox(top, left, bottom - top, right - left))
