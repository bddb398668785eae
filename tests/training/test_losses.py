"""What a classifier is fed: boxes, mixtures and targets follow from seed, step and place."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from videomae.checkpoint import new_processor
from videomae.data.loader import ClipBatch
from videomae.models.config import VideoMAEConfig
from videomae.recipes.finetune import FinetuneRecipe
from videomae.training.classifier_inputs import ClassifierInputs
from videomae.training.losses import classification_loss
from videomae.training.micro_batch import MicroBatch
from videomae.video.sampling import ClipSampling

PROCESSOR = new_processor(VideoMAEConfig(num_frames=4, image_size=32), ClipSampling(num_frames=4))
PLAIN: dict[str, Any] = {"erasing": 0.0, "mixup": 0.0, "cutmix": 0.0, "label_smoothing": 0.0}


def _batch(num_clips: int, views: int = 1) -> ClipBatch:
    clips = torch.randint(0, 256, (num_clips, views, 4, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    numbers = torch.arange(num_clips)
    return ClipBatch(clips.to(torch.uint8), numbers % 3, numbers, numbers)


def _inputs(batch: ClipBatch, step: int = 0, rows: torch.Tensor | None = None, **changes: Any) -> tuple[Any, Any]:
    recipe = FinetuneRecipe(**{**PLAIN, "views": batch.clips.shape[1], **changes})
    rows = torch.arange(batch.clips[:, :, 0, 0, 0, 0].numel()) if rows is None else rows
    micro_batch = MicroBatch(batch.clips.flatten(0, 1), batch, step, rows, num_rows=len(rows))
    return ClassifierInputs(recipe, PROCESSOR, 3)(micro_batch)


def test_without_ingredients_clips_are_normalized_and_targets_are_labels() -> None:
    batch = _batch(4, views=2)
    pixel_values, targets = _inputs(batch)
    expected = (batch.clips.flatten(0, 1) / 255 - torch.tensor(PROCESSOR.image_mean).view(-1, 1, 1)) / torch.tensor(
        PROCESSOR.image_std
    ).view(-1, 1, 1)
    torch.testing.assert_close(pixel_values, expected)
    assert targets.argmax(1).tolist() == [0, 0, 1, 1, 2, 2, 0, 0]
    assert torch.equal(targets.sum(1), torch.ones(8))


def test_the_loss_is_cross_entropy_with_smoothing_summed() -> None:
    batch = _batch(5)
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    _, targets = _inputs(batch, label_smoothing=0.1)
    total = classification_loss(logits, targets, is_multi_label=False)
    torch.testing.assert_close(total / 5, F.cross_entropy(logits, batch.labels, label_smoothing=0.1))


def test_noise_boxes_follow_from_step_and_place() -> None:
    batch = _batch(8)
    plain, _ = _inputs(batch)
    erased, _ = _inputs(batch, erasing=1.0)
    again, _ = _inputs(batch, erasing=1.0)
    later, _ = _inputs(batch, step=1, erasing=1.0)
    assert torch.equal(erased, again)
    assert all(not torch.equal(one, two) for one, two in zip(erased, plain, strict=True))
    assert not torch.equal(erased, later)
    # The last three clips by themselves, as in accumulation, meet the same noise.
    rest = ClipBatch(batch.clips[5:], batch.labels[5:], batch.indices[5:], torch.arange(3))
    assert torch.equal(_inputs(rest, rows=torch.tensor([5, 6, 7]), erasing=1.0)[0], erased[5:])


@pytest.mark.parametrize("ingredient", [{"mixup": 0.8}, {"cutmix": 1.0}])
def test_mixtures_follow_from_the_step_and_targets_go_with_them(ingredient: dict[str, float]) -> None:
    batch = _batch(6)
    plain, _ = _inputs(batch)
    changed = 0
    for step in range(4):
        mixed, targets = _inputs(batch, step=step, **ingredient)
        again, same = _inputs(batch, step=step, **ingredient)
        assert torch.equal(mixed, again)
        assert torch.equal(targets, same)
        torch.testing.assert_close(targets.sum(1), torch.ones(6))
        changed += not torch.equal(mixed, plain)
        # First and last are partners: what one has of its class, the other has of the same share of its own.
        torch.testing.assert_close(targets[0, 0], targets[5, 2])
        torch.testing.assert_close(targets[0, 2], targets[5, 0])
    assert changed >= 3
