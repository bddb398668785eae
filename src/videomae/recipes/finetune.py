"""The fine-tuning recipe."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from videomae.core.errors import ConfigError
from videomae.recipes.recipe import TrainingRecipe, out_of_range


@dataclass(frozen=True, kw_only=True)
class FinetuneRecipe(TrainingRecipe):
    """Fine-tuning in the manner of VideoMAE (Tong et al. 2022, table 9), at a batch that fits one machine.

    Mixup and cutmix, which pay in long runs, are off, and the crops are larger than published.
    """

    recipe: str = "finetune"
    """Settings to begin with, which the other options change: a name of `videomae recipes`, or a run's recipe.json."""
    epochs: int = 50
    """Passes over the data."""
    batch_size: int = 16
    """Clips per optimiser step, over all devices."""
    learning_rate: float = 5e-3
    """Peak learning rate for a batch of 256 clips; the run uses this × batch size / 256."""
    min_learning_rate: float = 1e-5
    """Where the cosine ends, for a batch of 256 clips."""
    layer_decay: float = 0.75
    """Each layer below the head learns at this share of the rate of the one above it."""
    drop_path: float = 0.1
    """Probability with which a clip skips a part of the last layer, less in the layers before it."""
    head_dropout: float = 0.0
    """Share of the pooled features that the head does not see."""
    init_scale: float = 0.001
    """A new head's weights are multiplied by this."""
    label_smoothing: float = 0.1
    """Share of the target spread over all classes."""
    mixup: float = 0.0
    """Mix clips pixel by pixel; both parameters of the Beta distribution of the shares (published: 0.8). 0 does not."""
    cutmix: float = 0.0
    """Put boxes of one clip into another; parameters as for mixup (published: 1.0). 0 does not."""
    cutmix_probability: float = 0.5
    """Share of the batches that take cutmix where both are on."""
    rand_augment: str = "rand-m7-n4-mstd0.5-inc1"
    """RandAugment in timm's notation, the same for all frames of a clip; '' does not."""
    augment_before_crop: bool = False
    """Apply RandAugment to whole frames, as the published code does, in place of the crop: some four times the cost."""
    erasing: float = 0.25
    """Share of the clips with a box of noise."""
    flip: bool = True
    """Mirror half of the clips; turn it off where left and right differ in meaning."""
    min_crop_area: float = 0.5
    """Smallest share of the frame that a random crop may keep (published: 0.08); 1 keeps the centre square."""
    max_crop_ratio: float = 4 / 3
    """Most that a random crop's width and height may differ, before it becomes square."""
    class_balance: float = 0.0
    """0 takes classes as often as the data have them, 1 all equally often, 0.5 lies between."""
    val_every: int = 1
    """Epochs between validations."""

    def faults(self) -> Iterator[ConfigError]:
        """As `TrainingRecipe.faults`."""
        yield from super().faults()
        yield from out_of_range(self, "layer_decay", 0 < self.layer_decay <= 1, "a share above 0, up to 1")
        for name in ("label_smoothing", "drop_path", "head_dropout"):
            yield from out_of_range(self, name, 0 <= getattr(self, name) < 1, "a share from 0 to below 1")
        for name in ("erasing", "cutmix_probability", "class_balance"):
            yield from out_of_range(self, name, 0 <= getattr(self, name) <= 1, "a share from 0 to 1")
        for name in ("mixup", "cutmix"):
            yield from out_of_range(self, name, 0 <= getattr(self, name) < math.inf, "0 or more")
        yield from out_of_range(self, "init_scale", 0 < self.init_scale < math.inf, "a number above 0")
        yield from out_of_range(self, "max_crop_ratio", 1 <= self.max_crop_ratio < math.inf, "1 or more")
        yield from out_of_range(self, "min_crop_area", 0 < self.min_crop_area <= 1, "a share above 0, up to 1")
        yield from out_of_range(self, "val_every", self.val_every >= 1, "at least 1")
