"""RandAugment of clips from the loader: after the crop, there or on the device, or on whole frames as published."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from videomae.processing import CropBox, RandAugment, crop_and_resize
from videomae.processing.rand_augment import DrawnOperations

# The published code augments videos that were shrunk to this before.
MAX_SHORT_SIDE = 320


@dataclass(frozen=True)
class Augmentation:
    """How training clips are augmented.

    The published code augments the frames and crops then. The other way round, timm's for images, the operations see
    only what the crop keeps: about a quarter of the cost, at 320 × 427 pixels. What differs is that histograms and mean
    grays are those of the crop, and shifts are shares of it.

    Args:
        operations: what is done.
        before_crop: augment whole frames, shrunk to a short side of at most 320 pixels.
        on_device: only draw, for the training device to apply to whole batches; not with `before_crop`.
    """

    operations: RandAugment
    before_crop: bool = False
    on_device: bool = False


@dataclass
class SampleAugmentation:
    """The augmentation of one sample: each view has its own operations, the same for all frames.

    Args:
        augmentation: None changes nothing.
    """

    augmentation: Augmentation | None
    _drawn: list[DrawnOperations] = field(default_factory=list)

    @property
    def is_before_crop(self) -> bool:
        """Whether frames are to go through `shrink` and `change_frames`."""
        return self.augmentation is not None and self.augmentation.before_crop

    def draw(self, generators: list[torch.Generator]) -> None:
        """Draw the operations of the views, one generator for each."""
        if self.augmentation is not None:
            self._drawn = [self.augmentation.operations.draw(generator) for generator in generators]

    def shrink(self, frame: np.ndarray) -> np.ndarray:
        """A frame (H, W, C) with a short side of at most 320 pixels."""
        high, wide = frame.shape[:2]
        share = MAX_SHORT_SIDE / min(high, wide)
        if share >= 1:
            return frame
        size = (max(1, round(high * share)), max(1, round(wide * share)))
        shrunk: np.ndarray = crop_and_resize(frame[None], CropBox(0, 0, high, wide), size)[0].permute(1, 2, 0).numpy()
        return np.ascontiguousarray(shrunk)

    def change_frames(self, frames: np.ndarray, view: int) -> np.ndarray:
        """Whole frames (T, H, W, C) as a view sees them."""
        assert self.augmentation is not None
        planes = torch.from_numpy(frames.transpose(0, 3, 1, 2).copy())[None]
        changed = self.augmentation.operations.apply(planes, [self._drawn[view]])
        return np.ascontiguousarray(changed[0].permute(0, 2, 3, 1).numpy())

    def change_clips(self, clips: Tensor) -> Tensor:
        """Cut clips (V, T, C, H, W), as the views see them."""
        if self.augmentation is None or self.augmentation.before_crop or self.augmentation.on_device:
            return clips
        return self.augmentation.operations.apply(clips, self._drawn)

    @property
    def left_to_device(self) -> tuple[DrawnOperations, ...]:
        """The drawn operations of each view that the training device is to apply; none where it has nothing to do."""
        return tuple(self._drawn) if self.augmentation is not None and self.augmentation.on_device else ()
