"""What a classifier is trained on: clips from the loader become inputs and soft targets on the device.

RandAugment, where the loader has left it to the device; normalization; noise boxes; mixup or CutMix.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from videomae.core.device import send
from videomae.core.random_keys import Stream, generator_for
from videomae.processing.erasing import erase_randomly_
from videomae.processing.image_processor import VideoMAEImageProcessor
from videomae.processing.rand_augment import RandAugment
from videomae.processing.transforms import normalize
from videomae.recipes.finetune import FinetuneRecipe
from videomae.training.micro_batch import MicroBatch
from videomae.training.mixing import Mixing, mix_clips_, soft_targets


class ClassifierInputs:
    """Normalized clips, augmented, with noise boxes and mixup or CutMix, and their soft targets.

    The operations of RandAugment come with the batch. All else follows from (seed, step): boxes and noise from a
    clip's row in the whole batch, so that they do not depend on accumulation or the number of processes; the mixture,
    which is one for all clips that go through the network together, from the number of the micro-batch.

    Args:
        recipe: which augmentations, and the seed.
        processor: of the checkpoint, for mean and deviation.
        num_classes: of the data set.
        labels_of: of videos that may have several labels: places in the data set (B,) to (B, classes) float32, 1 for
            each class that a video has; None where each has one label.
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
        self._augment = RandAugment.parse(recipe.rand_augment) if recipe.rand_augment else None
        self._mixing = Mixing(recipe.mixup, recipe.cutmix, recipe.cutmix_probability)

    def __call__(self, micro_batch: MicroBatch) -> tuple[Tensor, Tensor]:
        """Inputs float (B·V, T, C, H, W) and targets float32 (B·V, classes), both where the clips are."""
        batch, step = micro_batch.batch, micro_batch.step
        recipe, clips = self._recipe, micro_batch.clips
        if self._augment is not None and batch.operations:
            clips = self._augment.apply(clips, [drawn for views in batch.operations for drawn in views])
        pixel_values = normalize(clips, self._processor.image_mean, self._processor.image_std)
        if recipe.erasing:
            for row, clip in zip(micro_batch.rows.tolist(), pixel_values, strict=True):
                generator = generator_for(recipe.seed, Stream.ERASING, step, row)
                erase_randomly_(clip[None], generator, probability=recipe.erasing)
        height, width = pixel_values.shape[-2:]
        mix = self._mixing.draw(height, width, generator_for(recipe.seed, Stream.MIXING, step, micro_batch.number))
        mix_clips_(pixel_values, mix)
        labels = batch.labels if self._labels_of is None else self._labels_of(batch.indices)
        labels = send(labels.repeat_interleave(recipe.views, dim=0), pixel_values.device)
        targets = soft_targets(labels, self._num_classes, mix=mix, label_smoothing=recipe.label_smoothing)
        return pixel_values, targets
