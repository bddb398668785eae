"""The fine-tuning recipe."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from videomae.core.errors import ConfigError
from videomae.core.field_texts import documented
from videomae.recipes.recipe import TrainingRecipe, out_of_range

# Of `freeze`: the whole encoder.
ALL_LAYERS = -1


@documented
@dataclass(frozen=True, kw_only=True)
class FinetuneRecipe(TrainingRecipe):
    """Fine-tuning in the manner of VideoMAE (Tong et al. 2022, table 9), at a batch that fits one machine.

    Mixup and cutmix, which pay in long runs, are off, and the crops are larger than published.
    """

    recipe: str = "finetune"
    """Settings that the other options change: a name that `videomae recipes` lists, or a run's recipe.json."""
    epochs: int = 50
    """Passes over the data."""
    batch_size: int = 16
    """Clips per optimizer step, over all devices; auto (-1) tries steps, and takes the largest power of two that fits
    into memory (at most 256, and 16 steps an epoch). The learning rate follows the batch size."""
    learning_rate: float = 5e-3
    """Peak learning rate for a batch of 256 clips; the run uses this × batch size / 256."""
    min_learning_rate: float = 1e-5
    """Where the cosine ends, for a batch of 256 clips."""
    layer_decay: float = 0.75
    """Layer-wise learning-rate decay: the rate of each layer as a share of that of the layer above."""
    freeze: int = 0
    """Freeze the embeddings and this many layers, from the first: less memory and time; all (-1) trains the head
    alone, with augmentation; 0 trains everything."""
    lora: int = 0
    """Rank of low-rank adapters on queries and values (LoRA), trained in place of the encoder's own weights and
    merged into them when saved; needs the package peft. 0 disables them."""
    drop_path: float = 0.1
    """Stochastic-depth rate of the last layer; it grows linearly from 0 at the first."""
    head_dropout: float = 0.0
    """Dropout before the head."""
    head: Literal["linear", "attentive"] | None = None
    """Head of the classifier: linear on the mean of the tokens, or attentive, where a learned query pools them; by
    default the checkpoint's, or linear."""
    init_scale: float = 0.001
    """Factor on the initial weights of a new head."""
    label_smoothing: float = 0.1
    """Label smoothing: share of the target that is spread over all classes."""
    mixup: float = 0.0
    """Mixup α, the parameter of the Beta distribution (published: 0.8); 0 disables it."""
    cutmix: float = 0.0
    """CutMix α (published: 1.0); 0 disables it."""
    cutmix_probability: float = 0.5
    """Share of the batches that use CutMix where Mixup is enabled too."""
    rand_augment: str = "rand-m7-n4-mstd0.5-inc1"
    """RandAugment in timm's notation, the same for all frames of a clip; '' disables it."""
    augment_before_crop: bool = False
    """Apply RandAugment to whole frames before the crop, as the published code does: about four times the cost."""
    augment_on: Literal["auto", "workers", "device"] = "auto"
    """Where RandAugment runs: in the decode workers, or on the training device for whole batches, with the same result
    up to rounding. auto is the device where that is an NVIDIA GPU; before the crop it is always the workers."""
    erasing: float = 0.25
    """Random erasing: share of the clips in which a box is replaced by noise."""
    flip: bool = True
    """Flip half of the clips horizontally; disable it where left and right differ in meaning."""
    min_crop_area: float = 0.5
    """Minimum area of a random crop as a share of the frame (published: 0.08); 1 takes the center square."""
    max_crop_ratio: float = 4 / 3
    """Maximum aspect ratio of a random crop, before it is resized to a square."""
    ordinal: bool = False
    """Take numbers (labels, or few different scores) for ordered classes: the target of a video is spread over the
    neighbors of its class."""
    score_loss: Literal["mse", "huber"] = "mse"
    """Loss of scores: the squared error, or Huber's, which heeds outliers less; of standardized scores."""
    class_balance: float = 0.0
    """Correction of class imbalance: 0 samples classes as the data has them, 1 all equally often."""
    class_weights: tuple[str, ...] = ()
    """Weights of the classes in the loss: balanced (the rarer, the more), NAME=WEIGHT … (1 for the others), or a CSV
    or JSON file of names and weights."""
    teacher: str = ""
    """Classifier of the same classes, mostly a larger one, whose scores of the same views are learned (knowledge
    distillation): a checkpoint."""
    distill_share: float = 1.0
    """Share of the teacher in the loss; the rest is that of the labels."""
    distill_temperature: float = 1.0
    """Temperature by which the logits of teacher and student are divided."""
    early_stopping: int = 0
    """Stop after this many epochs that were no better on validation than the best one; 0 disables it."""
    val_every: int = 1
    """Epochs between validations."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if str(self.freeze) == "all":  # an editor knows only numbers
            object.__setattr__(self, "freeze", ALL_LAYERS)
        if isinstance(self.teacher, os.PathLike):
            object.__setattr__(self, "teacher", os.fspath(self.teacher))
        weights: Any = self.class_weights
        if isinstance(weights, Mapping):
            weights = [f"{name}={weight}" for name, weight in weights.items()]
        object.__setattr__(self, "class_weights", (weights,) if isinstance(weights, str) else tuple(weights))

    def faults(self) -> Iterator[ConfigError]:
        """As `TrainingRecipe.faults`."""
        yield from super().faults()
        yield from out_of_range(self, "freeze", self.freeze >= ALL_LAYERS, "a number of layers from 0, or all")
        fits = self.lora >= 0 and (self.freeze != ALL_LAYERS or not self.lora)
        yield from out_of_range(self, "lora", fits, "a rank of 0 or more; 0 with --freeze all")
        yield from out_of_range(self, "layer_decay", 0 < self.layer_decay <= 1, "a share above 0, up to 1")
        for name in ("label_smoothing", "drop_path", "head_dropout"):
            yield from out_of_range(self, name, 0 <= getattr(self, name) < 1, "a share from 0 to below 1")
        for name in ("erasing", "cutmix_probability", "class_balance", "distill_share"):
            yield from out_of_range(self, name, 0 <= getattr(self, name) <= 1, "a share from 0 to 1")
        for name in ("mixup", "cutmix"):
            yield from out_of_range(self, name, 0 <= getattr(self, name) < math.inf, "0 or more")
        fits = 0 < self.distill_temperature < math.inf
        yield from out_of_range(self, "distill_temperature", fits, "a number above 0")
        yield from out_of_range(self, "init_scale", 0 < self.init_scale < math.inf, "a number above 0")
        yield from out_of_range(self, "max_crop_ratio", 1 <= self.max_crop_ratio < math.inf, "1 or more")
        yield from out_of_range(self, "min_crop_area", 0 < self.min_crop_area <= 1, "a share above 0, up to 1")
        fits = self.augment_on != "device" or not self.augment_before_crop
        yield from out_of_range(self, "augment_on", fits, "auto or workers with --augment-before-crop")
        yield from out_of_range(self, "val_every", self.val_every >= 1, "at least 1")
        yield from out_of_range(self, "early_stopping", self.early_stopping >= 0, "0 or more epochs")
        are_words = all(isinstance(word, str) for word in self.class_weights)
        yield from out_of_range(self, "class_weights", are_words, "balanced, NAME=WEIGHT …, or a file")
