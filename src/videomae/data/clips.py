"""Data sets: an index becomes the views of one decoded video, uint8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from videomae.core.errors import VideoError
from videomae.data.manifest import VideoEntry
from videomae.data.order import generator_for
from videomae.processing.transforms import (
    CropBox,
    center_crop_box,
    crop_and_resize,
    multi_scale_crop,
    random_flip,
    random_resized_crop,
    test_crop_boxes,
)
from videomae.video.reader import VideoReader
from videomae.video.sampling import ClipSampling


@dataclass(frozen=True)
class Crop:
    """How a training clip is cut out of the frame; the same for all its frames.

    Args:
        kind: "multi-scale" (the published pre-training), "resized" (area and shape at random, for fine-tuning) or
            "center" (the largest square in the middle).
        min_area: of "resized": the smallest share of the frame that is kept.
        flip: mirror half of the clips.
    """

    kind: str
    min_area: float = 0.08
    flip: bool = False

    def draw(self, height: int, width: int, generator: torch.Generator) -> CropBox:
        """The box for frames of `height` × `width` pixels."""
        if self.kind == "multi-scale":
            box = multi_scale_crop(height, width, generator)
        elif self.kind == "resized":
            box = random_resized_crop(height, width, generator, area=(self.min_area, 1.0))
        else:
            box = center_crop_box(height, width)
        return random_flip(box, generator) if self.flip else box


@dataclass(frozen=True)
class Sample:
    """The views of one video.

    Args:
        clips: (V, T, C, H, W) uint8.
        index: place in the data set.
        label: class index, -1 for none.
    """

    clips: Tensor
    index: int
    label: int


@dataclass(frozen=True)
class Broken:
    """A video that could not be read, in the place of its sample: it is reported, never replaced."""

    index: int
    error: VideoError


def label_indices(entries: Sequence[VideoEntry], class_names: Sequence[str]) -> list[int]:
    """The class index of each entry; -1 where it has no label or no classes are wanted."""
    index_of = {name: index for index, name in enumerate(class_names)}
    return [index_of.get(entry.label, -1) if entry.label is not None else -1 for entry in entries]


class TrainingClips(Dataset[Sample | Broken]):
    """Random clips for training; time and crop are a function of (seed, epoch, index), whatever worker draws them.

    Args:
        entries: the videos.
        class_names: names of the classes, in the order of the model's outputs; empty for pre-training.
        sampling: which frames make a clip.
        crop: how a clip is cut out of the frame.
        image_size: height and width of a clip in pixels, or a (height, width) pair.
        seed: of time and crop.
        num_views: crops of each decoded clip (repeated augmentation, Hoffer et al. 2020).
    """

    def __init__(
        self,
        entries: Sequence[VideoEntry],
        class_names: Sequence[str],
        *,
        sampling: ClipSampling,
        crop: Crop,
        image_size: int | tuple[int, int],
        seed: int,
        num_views: int = 1,
    ) -> None:
        self.paths = [entry.path for entry in entries]
        self.labels = label_indices(entries, class_names)
        self.sampling = sampling
        self.crop = crop
        self.image_size = image_size
        self.seed = seed
        self.num_views = num_views

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: tuple[int, int]) -> Sample | Broken:
        """The clip of (epoch, index): `clips` (num_views, T, C, H, W)."""
        epoch, index = key
        generator = generator_for(self.seed, epoch, index)
        try:
            with VideoReader(self.paths[index]) as reader:
                frames = reader.read(self.sampling.training_indices(reader.num_frames, generator))
        except VideoError as error:
            return Broken(index, error)
        boxes = [self.crop.draw(frames.shape[1], frames.shape[2], generator) for _ in range(self.num_views)]
        clips = torch.stack([crop_and_resize(frames, box, self.image_size) for box in boxes])
        return Sample(clips, index, self.labels[index])


class ViewClips(Dataset[Sample | Broken]):
    """All test views of each video, from one decode: `num_clips` in time × `num_crops` along the longer side.

    Args:
        paths: the videos.
        labels: class indices, -1 for none.
        sampling: which frames make a clip.
        image_size: height and width of a clip in pixels, or a (height, width) pair.
        num_clips: views in time; 1 is the video's centre.
        num_crops: views in space; 1 is the centre square.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        labels: Sequence[int] | None = None,
        *,
        sampling: ClipSampling,
        image_size: int | tuple[int, int],
        num_clips: int = 1,
        num_crops: int = 1,
    ) -> None:
        self.paths = list(paths)
        self.labels = list(labels) if labels is not None else [-1] * len(self.paths)
        self.sampling = sampling
        self.image_size = image_size
        self.num_clips = num_clips
        self.num_crops = num_crops

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample | Broken:
        """The views of one video: `clips` (num_clips · num_crops, T, C, H, W)."""
        try:
            clips, _ = self.read(index)
        except VideoError as error:
            return Broken(index, error)
        return Sample(clips, index, self.labels[index])

    def read(self, index: int) -> tuple[Tensor, np.ndarray]:
        """Views of one video (V, T, C, H, W) uint8, and which frames the clips are (num_clips, T).

        Raises:
            VideoError: if the video cannot be read.
        """
        with VideoReader(self.paths[index]) as reader:
            indices = self.sampling.test_indices(reader.num_frames, num_clips=self.num_clips)
            frames = reader.read(indices.ravel())
        boxes = test_crop_boxes(frames.shape[1], frames.shape[2], self.num_crops)
        crops = [crop_and_resize(frames, box, self.image_size) for box in boxes]
        views = [crop.unflatten(0, (self.num_clips, -1)) for crop in crops]  # (clips, T, C, H, W) each
        return torch.stack(views, dim=1).flatten(0, 1), indices
