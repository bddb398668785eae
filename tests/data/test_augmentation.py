"""RandAugment in the data set: which frames meet what, before and after the crop."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from videomae.core.random_keys import generator_for
from videomae.data.augmentation import MAX_SHORT_SIDE, Augmentation, SampleAugmentation
from videomae.data.clips import Crop, Sample, TrainingClips, cut_clips
from videomae.data.loader import ClipBatch, training_loader
from videomae.datasets.manifest import VideoEntry
from videomae.processing.rand_augment import RandAugment
from videomae.processing.transforms import CropBox, center_crop_box, crop_and_resize
from videomae.video.sampling import ClipSampling

STRONG = RandAugment(magnitude=9, num_ops=4, probability=1.0)


def _data(videos: list[Path], augmentation: Augmentation | None, *, num_views: int = 1) -> TrainingClips:
    return TrainingClips(
        [VideoEntry(path) for path in videos],
        (),
        sampling=ClipSampling("dense", num_frames=4, frame_stride=3),
        crop=Crop("resized", min_area=0.3),
        image_size=16,
        seed=3,
        num_views=num_views,
        augmentation=augmentation,
    )


def _clips(data: TrainingClips, key: tuple[int, int]) -> torch.Tensor:
    sample = data[key]
    assert isinstance(sample, Sample)
    return sample.clips


def test_after_the_crop_the_cut_clip_is_augmented(videos: list[Path]) -> None:
    plain = _clips(_data(videos, None, num_views=2), (1, 2))
    augmented = _clips(_data(videos, Augmentation(STRONG), num_views=2), (1, 2))
    for view in range(2):
        generator = generator_for(3, 1, 2, view + 1)
        Crop("resized", min_area=0.3).draw(32, 48, generator)
        assert torch.equal(augmented[view], STRONG(plain[view], generator))
    assert not torch.equal(augmented[0], augmented[1])


def test_what_is_left_to_the_device_is_what_workers_would_do(videos: list[Path]) -> None:
    """The draws travel with the batch, whoever loads it; applied there they give what the workers give."""
    order = [[(1, 2), (1, 0)], [(2, 1)]]

    def batches(*, on_device: bool, num_workers: int) -> list[ClipBatch]:
        data = _data(videos, Augmentation(STRONG, on_device=on_device), num_views=2)
        return list(training_loader(data, order, num_workers=num_workers, pin_memory=False))

    plain = list(training_loader(_data(videos, None, num_views=2), order, num_workers=0, pin_memory=False))
    expected = batches(on_device=False, num_workers=0)
    for num_workers in (0, 1, 2):
        for left, bare, done in zip(batches(on_device=True, num_workers=num_workers), plain, expected, strict=True):
            assert torch.equal(left.clips, bare.clips)
            drawn = [operations for views in left.operations for operations in views]
            assert torch.equal(STRONG.apply(left.clips.flatten(0, 1), drawn), done.clips.flatten(0, 1))
            assert not done.operations


@pytest.mark.parametrize("before_crop", [False, True])
def test_what_a_clip_meets_follows_from_seed_epoch_index_and_view(videos: list[Path], before_crop: bool) -> None:
    augmentation = Augmentation(STRONG, before_crop=before_crop)
    one, two = (_clips(_data(videos, augmentation, num_views=views), (0, 1)) for views in (1, 2))
    assert torch.equal(one[0], two[0])
    again = _data(videos, augmentation)
    assert not torch.equal(_clips(again, (1, 1)), one)
    assert torch.equal(_clips(again, (0, 1)), one)


def test_the_crop_does_not_depend_on_the_augmentation(videos: list[Path]) -> None:
    """Operations that change nothing leave the plain clip, whichever comes first."""
    plain = _clips(_data(videos, None), (0, 0))
    for before_crop in (False, True):
        idle = Augmentation(RandAugment(probability=0.0), before_crop=before_crop)
        assert torch.equal(_clips(_data(videos, idle), (0, 0)), plain)


class _Frames:
    """A video in memory, of frames that may not be written to."""

    def __init__(self, frames: np.ndarray) -> None:
        frames.setflags(write=False)
        self.frames = frames
        self.info = SimpleNamespace(path="memory")

    def stream(self, indices: np.ndarray) -> list[tuple[int, np.ndarray]]:
        return [(int(number), self.frames[number]) for number in np.unique(indices)]


def test_before_the_crop_whole_frames_are_augmented() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 40, 60, 3), dtype=np.uint8)
    operations = STRONG.draw(generator_for(5))
    sample = SampleAugmentation(Augmentation(STRONG, before_crop=True))
    boxes = [CropBox(4, 6, 30, 40), CropBox(0, 0, 20, 20, flip=True)]

    def choose(height: int, width: int) -> list[CropBox]:
        assert (height, width) == (40, 60)
        sample.draw([generator_for(5), generator_for(6)])
        return boxes

    clips = cut_clips(_Frames(frames), np.array([[0, 1, 2]]), choose, 16, sample)[0]
    whole = STRONG.apply(torch.from_numpy(frames.copy()).permute(0, 3, 1, 2)[None], [operations])[0]
    assert torch.equal(clips[0], crop_and_resize(whole.permute(0, 2, 3, 1).contiguous(), boxes[0], 16))
    assert sample.change_clips(clips) is clips


def test_large_frames_are_shrunk_before_they_are_augmented() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (1, 700, 1000, 3), dtype=np.uint8)
    seen: list[tuple[int, int]] = []

    def choose(height: int, width: int) -> list[CropBox]:
        seen.append((height, width))
        sample.draw([generator_for(1)])
        return [center_crop_box(height, width)]

    sample = SampleAugmentation(Augmentation(STRONG, before_crop=True))
    clips = cut_clips(_Frames(frames), np.array([[0]]), choose, 8, sample)
    assert seen == [(MAX_SHORT_SIDE, round(1000 * MAX_SHORT_SIDE / 700))]
    assert clips.shape == (1, 1, 1, 3, 8, 8)


def test_the_ratio_of_the_crop_is_bounded() -> None:
    boxes = [Crop("resized", min_area=0.2, max_ratio=1.0).draw(300, 500, generator_for(seed)) for seed in range(20)]
    assert all(abs(box.height - box.width) <= 1 for box in boxes)
