"""The pre-training recipe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from videomae.core.choices import MaskName
from videomae.core.errors import ConfigError
from videomae.core.field_texts import documented
from videomae.recipes.recipe import TrainingRecipe, out_of_range


@documented
@dataclass(frozen=True, kw_only=True)
class PretrainRecipe(TrainingRecipe):
    """Pre-training as VideoMAE does it (Tong et al. 2022, table 8), at a batch that fits one machine.

    The published batches are 30 times larger and their rate is 1.5e-4 for 256 clips. Scaled down linearly that rate
    would barely move a small batch, so the default is higher.
    """

    recipe: str = "pretrain"
    """Settings that the other options change: a name that `videomae recipes` lists, or a run's recipe.json."""
    epochs: int = 200
    """Passes over the data; the published runs take 800 to 3200."""
    learning_rate: float = 1.5e-3
    """Peak learning rate for a batch of 256 clips; the run uses this × batch size / 256."""
    warmup_epochs: float = 10.0
    """Epochs of linear warm-up."""
    beta2: float = 0.95
    """AdamW β2."""
    decoder_depth: int | None = None
    """Decoder depth of a new model; by default the published one of its size."""
    decoder_width: int | None = None
    """Decoder width of a new model; by default the published one of its size."""
    mask: MaskName = "tube"
    """tube masks the same positions in every frame, random any tubelet."""
    mask_ratio: float = 0.9
    """Share of the tubelets that are masked: the encoder does not see them."""
    decoder_mask_ratio: float = 0.0
    """Dual masking: share of the tubelets that are not rebuilt: 0, 0.25, 0.5 (VideoMAE V2) or 0.75."""
    norm_pix_loss: bool = True
    """Normalize the target of each tubelet to zero mean and unit variance."""
    crop: Literal["multi-scale", "center"] = "multi-scale"
    """multi-scale is the published random crop, center the largest center square."""

    def faults(self) -> Iterator[ConfigError]:
        """As `TrainingRecipe.faults`."""
        yield from super().faults()
        for name in ("decoder_depth", "decoder_width"):
            yield from out_of_range(self, name, getattr(self, name) is None or getattr(self, name) >= 1, "at least 1")
        yield from out_of_range(self, "mask_ratio", 0 < self.mask_ratio < 1, "a share between 0 and 1")
        yield from out_of_range(
            self, "decoder_mask_ratio", self.decoder_mask_ratio in (0, 0.25, 0.5, 0.75), "0, 0.25, 0.5 or 0.75"
        )
