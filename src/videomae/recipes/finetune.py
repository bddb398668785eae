"""The fine-tuning recipe."""

from __future__ import annotations

from dataclasses import dataclass

from videomae.recipes.recipe import TrainingRecipe, require


@dataclass(frozen=True, kw_only=True)
class FinetuneRecipe(TrainingRecipe):
    """Fine-tuning in the manner of VideoMAE (Tong et al. 2022, table 9), at a batch that fits one machine."""

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
    label_smoothing: float = 0.1
    """Share of the target spread over all classes."""
    flip: bool = True
    """Mirror half of the clips; turn it off where left and right differ in meaning."""
    min_crop_area: float = 0.5
    """Smallest share of the frame that a random crop may keep (published: 0.08); 1 keeps the centre square."""
    val_every: int = 1
    """Epochs between validations."""

    def validate(self) -> None:
        """As `TrainingRecipe.validate`."""
        super().validate()
        require(self, "layer_decay", 0 < self.layer_decay <= 1, "a share above 0, up to 1")
        require(self, "label_smoothing", 0 <= self.label_smoothing < 1, "a share from 0 to below 1")
        require(self, "min_crop_area", 0 < self.min_crop_area <= 1, "a share above 0, up to 1")
        require(self, "val_every", self.val_every >= 1, "at least 1")
