"""What a classifier is trained on: clips from the loader become inputs and targets on the device, and a loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from videomae.core.device import send
from videomae.core.random_keys import generator_for
from videomae.data.loader import ClipBatch
from videomae.processing.erasing import erase_randomly_
from videomae.processing.image_processor import VideoMAEImageProcessor
from videomae.processing.transforms import normalize
from videomae.recipes.finetune import FinetuneRecipe
from videomae.training.mixing import Mixing, mix_clips_, soft_targets
from videomae.training.step import Part

# Streams of randomness of their own: crops are keyed by their epoch in this place, which is never so high.
_ERASING_STREAM, _MIXING_STREAM = 2**32 - 4, 2**32 - 5


class ClassifierInputs:
    """Normalised clips with noise boxes, mixed, and the soft targets that belong to them.

    Everything follows from (seed, step): boxes and noise from a clip's place in the whole batch, so that they do not
    depend on accumulation or the number of processes; the mixture, which is one for all clips that go through the
    network together, from the number of the part.

    Args:
        recipe: which ingredients, and the seed.
        processor: of the checkpoint, for mean and deviation.
        num_classes: of the data set.
        labels_of: of videos that may have several classes: places in the data set (B,) to (B, classes) float32, 1 for
            each class that a video has; None where each has one.
    """

    def __init__(
        self,
        recipe: FinetuneRecipe,
        processor: VideoMAEImageProcessor,
        num_classes: int,
        labels_of: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self._labels_of = labels_of
        self._recipe = recipe
        self._processor = processor
        self._num_classes = num_classes
        self._mixing = Mixing(recipe.mixup, recipe.cutmix, recipe.cutmix_probability)

    @property
    def is_multi_label(self) -> bool:
        """Whether a video may have several classes."""
        return self._labels_of is not None

    def __call__(self, clips: Tensor, batch: ClipBatch, step: int, part: Part) -> tuple[Tensor, Tensor]:
        """Inputs float (B·V, T, C, H, W) and targets float32 (B·V, classes), both where the clips are.

        Arguments are those of `training.step.Loss`.
        """
        recipe = self._recipe
        pixel_values = normalize(clips, self._processor.image_mean, self._processor.image_std)
        if recipe.erasing:
            for row, clip in zip(part.rows.tolist(), pixel_values, strict=True):
                generator = generator_for(recipe.seed, _ERASING_STREAM, step, row)
                erase_randomly_(clip[None], generator, probability=recipe.erasing)
        height, width = clips.shape[-2:]
        mix = self._mixing.draw(height, width, generator_for(recipe.seed, _MIXING_STREAM, step, part.number))
        mix_clips_(pixel_values, mix)
        labels = batch.labels if self._labels_of is None else self._labels_of(batch.indices)
        labels = send(labels.repeat_interleave(recipe.views, dim=0), clips.device)
        targets = soft_targets(labels, self._num_classes, mix=mix, label_smoothing=recipe.label_smoothing)
        return pixel_values, targets


class ClassifierLoss:
    """Cross entropy with soft targets, of several classes the mean of their binary ones; a `training.step.Loss`.

    Args:
        network: pixel values to an output with `logits` (B·V, classes).
        inputs: what it is fed with.
    """

    def __init__(self, network: Callable[[Tensor], Any], inputs: ClassifierInputs) -> None:
        self._network = network
        self.inputs = inputs

    def __call__(self, clips: Tensor, batch: ClipBatch, step: int, part: Part) -> tuple[Tensor, float]:
        """The sum over the clips, and their number."""
        pixel_values, targets = self.inputs(clips, batch, step, part)
        logits = self._network(pixel_values).logits.float()
        if self.inputs.is_multi_label:
            total = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / targets.shape[1]
        else:
            total = F.cross_entropy(logits, targets, reduction="sum")
        return total, len(targets)
