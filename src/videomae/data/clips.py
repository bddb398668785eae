"""Data sets: an index becomes the views of one decoded video, uint8."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from videomae.core.errors import VideoError
from videomae.core.grid import pair
from videomae.core.random_keys import generator_for
from videomae.data.augmentation import Augmentation, SampleAugmentation
from videomae.data.index_store import IndexStore
from videomae.data.workers import Broken
from videomae.datasets import VideoEntry, frames_of_part
from videomae.processing import (
    CropBox,
    center_crop_box,
    crop_and_resize,
    evaluation_crop_boxes,
    multi_scale_crop,
    random_flip,
    random_resized_crop,
)
from videomae.processing.rand_augment import DrawnOperations
from videomae.video import ClipSampling, FrameReader, ReadLimits, VideoSource, fit_channels, open_video

# Frames of no more than this in all are cut at once; of 208 × 208 pixels and more, each by itself.
# Of those that are augmented whole, shrunk before, a clip of 16: what is worked out for a view then serves all of it.
_GATHERED_BYTES, _AUGMENTED_BYTES = 1 << 18, 10 << 20

logger = logging.getLogger("videomae")


@dataclass(frozen=True)
class Crop:
    """How a training clip is cut out of the frame; the same for all its frames.

    Args:
        kind: "multi-scale" (the published pre-training), "resized" (area and shape at random, for fine-tuning) or
            "center" (the largest box in the middle that has the clip's shape).
        min_area: of "resized": the smallest share of the frame that is kept.
        max_ratio: of "resized": the most that the result may be stretched in one direction.
        flip: mirror half of the clips.
    """

    kind: str
    min_area: float = 0.08
    max_ratio: float = 4 / 3
    flip: bool = False

    def draw(self, height: int, width: int, generator: torch.Generator, aspect: float = 1.0) -> CropBox:
        """The box for frames of `height` × `width` pixels, for clips of an aspect (width / height)."""
        if self.kind == "multi-scale":
            box = multi_scale_crop(height, width, generator, aspect)
        elif self.kind == "resized":
            ratio = (aspect / self.max_ratio, aspect * self.max_ratio)
            box = random_resized_crop(height, width, generator, (self.min_area, 1.0), ratio)
        else:
            box = center_crop_box(height, width, aspect)
        return random_flip(box, generator) if self.flip else box


@dataclass(frozen=True)
class Sample:
    """The views of one video.

    Args:
        clips: (V, T, C, H, W) uint8.
        index: place in the data set.
        label: class index, -1 for none.
        damage: what is wrong with the video, which was read nevertheless; None for a sound one.
        operations: of RandAugment for each view, which the training device is to apply; empty where it is not.
    """

    clips: Tensor
    index: int
    label: int
    damage: str | None = None
    operations: tuple[DrawnOperations, ...] = ()


def label_indices(entries: Sequence[VideoEntry], class_names: Sequence[str]) -> list[int]:
    """The class index of each entry; -1 where it has no label or no classes are wanted."""
    index_of = {name: index for index, name in enumerate(class_names)}
    return [index_of.get(entry.label, -1) if entry.label is not None else -1 for entry in entries]


def multi_hot(entries: Sequence[VideoEntry], class_names: Sequence[str]) -> Tensor:
    """(entries, classes) float32: 1 for each class that an entry has, 0 for the others."""
    index_of = {name: index for index, name in enumerate(class_names)}
    targets = torch.zeros(len(entries), len(class_names))
    for row, entry in zip(targets, entries, strict=True):
        row[[index_of[name] for name in entry.classes]] = 1
    return targets


# (number of frames, seconds of each or None) to frame numbers (K, T).
_ChooseFrames = Callable[[int, np.ndarray | None], np.ndarray]
# (height, width) of the frames to boxes.
_ChooseBoxes = Callable[[int, int], Sequence[CropBox]]


class VideoClips(Dataset[Sample | Broken]):
    """Clips cut from videos; however long these and large their frames, one frame at a time is held in full size."""

    def __init__(
        self,
        entries: Sequence[VideoEntry],
        labels: Sequence[int],
        *,
        sampling: ClipSampling,
        image_size: int | tuple[int, int],
        limits: ReadLimits | None,
        num_channels: int = 3,
    ) -> None:
        self.entries = list(entries)
        self.labels = list(labels)
        self.sampling = sampling
        self.image_size = image_size
        self.num_channels = num_channels
        self.limits = limits or ReadLimits()
        self.damage: dict[str, str] = {}  # path → what is wrong, of the videos that a loader has reported
        self._indices = IndexStore()

    @property
    def paths(self) -> list[VideoSource]:
        """Where the videos are."""
        return [entry.path for entry in self.entries]

    @property
    def aspect(self) -> float:
        """Width / height of a clip."""
        high, wide = pair(self.image_size)
        return wide / high

    def _sample_num_bytes(self, num_views: int) -> int:
        high, wide = pair(self.image_size)
        return num_views * self.sampling.num_frames * self.num_channels * high * wide

    def __len__(self) -> int:
        return len(self.entries)

    def _sample(
        self,
        index: int,
        choose_frames: _ChooseFrames,
        choose_boxes: _ChooseBoxes,
        augmentation: SampleAugmentation | None = None,
    ) -> Sample | Broken:
        try:
            clips, _, damage = self._cut(index, choose_frames, choose_boxes, augmentation)
        except VideoError as error:
            return Broken(index, error)
        augmentation = augmentation or SampleAugmentation(None)
        views = augmentation.change_clips(clips.flatten(0, 1))
        return Sample(views, index, self.labels[index], damage, augmentation.left_to_device)

    def _cut(
        self,
        index: int,
        choose_frames: _ChooseFrames,
        choose_boxes: _ChooseBoxes,
        augmentation: SampleAugmentation | None = None,
    ) -> tuple[Tensor, np.ndarray, str | None]:
        """Clips uint8 (K, V, T, C, H, W): V boxes out of K clips; the frame numbers (K, T); the video's damage."""
        entry = self.entries[index]
        known = self._indices.find(entry.path)
        try:
            with open_video(entry.path, index=known, limits=self.limits, num_channels=self.num_channels) as reader:
                while True:
                    before = reader.index
                    try:
                        frames = _choose(reader, entry, self.sampling, choose_frames)
                        clips = cut_clips(
                            reader, frames, choose_boxes, self.image_size, augmentation, self.num_channels
                        )
                        break
                    except VideoError:
                        # A reader finds out while it decodes that its index is wrong about the file; it has a new one.
                        if reader.index is before:
                            raise
                self._indices.keep(entry.path, reader.index)
        except MemoryError as error:
            raise VideoError(
                f"{entry.path} (memory ran out)",
                expected="frames that fit into memory",
                hint="convert it to a smaller size, or lower --num-workers",
            ) from error
        return clips, frames, reader.damage


def _choose(reader: FrameReader, entry: VideoEntry, sampling: ClipSampling, choose_frames: _ChooseFrames) -> np.ndarray:
    """Frame numbers (K, T) within the part of the video that counts."""
    part = frames_of_part(reader, entry)
    times = reader.frame_times[part.start : part.stop] if sampling.frame_rate is not None else None
    return part.start + choose_frames(len(part), times)


def cut_clips(
    reader: FrameReader,
    frames: np.ndarray,
    choose_boxes: _ChooseBoxes,
    size: int | tuple[int, int],
    augmentation: SampleAugmentation | None = None,
    num_channels: int = 3,
) -> Tensor:
    """Cut boxes out of clips as frames are decoded: of large frames no more than one is held in full size.

    Very small ones are gathered first: for frames of 32 × 32 pixels the calls cost more than the pixels.

    Args:
        reader: an open video.
        frames: numbers (K, T) of the frames of K clips.
        choose_boxes: called once, with the (height, width) of the frames, for the V boxes.
        size: height and width of the result, or one number for both.
        augmentation: used only where it works on whole frames (`before_crop`), not on clips.
        num_channels: C; frames become gray for 1.

    Returns:
        uint8 (K, V, T, C, height, width), without augmentation bit for bit what `crop_and_resize` makes of whole clips.

    Raises:
        VideoError: if the video cannot be read, its size changes midway, or it has other channels.
    """
    high, wide = (size, size) if isinstance(size, int) else size
    clips = torch.empty(0)
    shape: tuple[int, ...] = ()
    boxes: Sequence[CropBox] = ()
    whole = augmentation if augmentation is not None and augmentation.is_before_crop else None
    gathered: list[tuple[list[list[int]], np.ndarray]] = []  # (clip, time) of each place, and the frame

    def cut() -> None:
        for view, box in enumerate(boxes):
            seen = gathered[0][1][None] if len(gathered) == 1 else np.stack([frame for _, frame in gathered])
            pictures = crop_and_resize(seen if whole is None else whole.change_frames(seen, view), box, size)
            for (places, _), picture in zip(gathered, pictures, strict=True):  # (C, height, width)
                for clip, time in places:
                    clips[clip, view, time] = picture
        gathered.clear()

    for number, frame in reader.stream(frames.ravel()):
        if frame.shape[-1] != num_channels:
            frame = fit_channels(frame, num_channels, reader.info.path)
        shape = shape or frame.shape
        if frame.shape != shape:
            raise VideoError(
                f"frame {number} of {frame.shape[1]}x{frame.shape[0]} pixels in {reader.info.path}",
                expected=f"the size of the frames before, {shape[1]}x{shape[0]}",
                hint="the size changes midway: convert the video to a single one",
            )
        frame = frame if whole is None else whole.shrink(frame)
        if not boxes:
            boxes = choose_boxes(*frame.shape[:2])
            clips = torch.empty((len(frames), len(boxes), frames.shape[1], shape[2], high, wide), dtype=torch.uint8)
        gathered.append((np.argwhere(frames == number).tolist(), frame))
        if (len(gathered) + 1) * frame.nbytes > (_GATHERED_BYTES if whole is None else _AUGMENTED_BYTES):
            cut()
    if gathered:
        cut()
    return clips


class TrainingClips(VideoClips):
    """Random clips for training.

    The time of a clip is a function of (seed, epoch, index), its crop and augmentation of (seed, epoch, index, view),
    whatever worker draws them and however many views there are.

    Args:
        entries: the videos.
        class_names: names of the classes, in the order of the model's outputs; empty for pre-training.
        sampling: which frames make a clip.
        crop: how a clip is cut out of the frame.
        image_size: height and width of a clip in pixels, or a (height, width) pair.
        num_channels: of a frame.
        seed: of time and crop.
        num_views: crops of each decoded clip (repeated augmentation, Hoffer et al. 2020).
        augmentation: further changes of the pixels.
        limits: what one file may cost.
    """

    def __init__(
        self,
        entries: Sequence[VideoEntry],
        class_names: Sequence[str],
        *,
        sampling: ClipSampling,
        crop: Crop,
        image_size: int | tuple[int, int],
        num_channels: int = 3,
        seed: int,
        num_views: int = 1,
        augmentation: Augmentation | None = None,
        limits: ReadLimits | None = None,
    ) -> None:
        super().__init__(
            entries,
            label_indices(entries, class_names),
            sampling=sampling,
            image_size=image_size,
            limits=limits,
            num_channels=num_channels,
        )
        self.crop = crop
        self.seed = seed
        self.num_views = num_views
        self.augmentation = augmentation

    @property
    def sample_num_bytes(self) -> int:
        """Memory of one sample's clips."""
        return self._sample_num_bytes(self.num_views)

    def __getitem__(self, key: tuple[int, int]) -> Sample | Broken:
        """The clip of (epoch, index): `clips` (num_views, T, C, H, W)."""
        epoch, index = key
        augmentation = SampleAugmentation(self.augmentation)

        def choose_frames(num_frames: int, times: np.ndarray | None) -> np.ndarray:
            generator = generator_for(self.seed, epoch, index)
            return self.sampling.training_indices(num_frames, generator, frame_times=times)[None]

        def choose_boxes(height: int, width: int) -> list[CropBox]:
            # From 1: zeros at the end of a key are ignored, so view 0 would reuse the generator of the clip's time.
            generators = [generator_for(self.seed, epoch, index, view + 1) for view in range(self.num_views)]
            boxes = [self.crop.draw(height, width, generator, self.aspect) for generator in generators]
            augmentation.draw(generators)
            return boxes

        return self._sample(index, choose_frames, choose_boxes, augmentation)


class ViewClips(VideoClips):
    """All test views of each video, from one decode: `num_clips` in time × `num_crops` along the longer side.

    Args:
        videos: the videos, or their entries where only a part of a video counts.
        labels: class indices, -1 for none.
        sampling: which frames make a clip.
        image_size: height and width of a clip in pixels, or a (height, width) pair.
        num_clips: views in time; 1 is the video's center.
        num_crops: views in space; 1 is the center.
        num_channels: of a frame.
        limits: what one file may cost.
    """

    def __init__(
        self,
        videos: Sequence[VideoEntry | VideoSource],
        labels: Sequence[int] | None = None,
        *,
        sampling: ClipSampling,
        image_size: int | tuple[int, int],
        num_clips: int = 1,
        num_crops: int = 1,
        num_channels: int = 3,
        limits: ReadLimits | None = None,
    ) -> None:
        super().__init__(
            [video if isinstance(video, VideoEntry) else VideoEntry(video) for video in videos],
            labels if labels is not None else [-1] * len(videos),
            sampling=sampling,
            image_size=image_size,
            limits=limits,
            num_channels=num_channels,
        )
        self.num_clips = num_clips
        self.num_crops = num_crops

    @property
    def sample_num_bytes(self) -> int:
        """Memory of one sample's clips."""
        return self._sample_num_bytes(self.num_clips * self.num_crops)

    def __getitem__(self, index: int) -> Sample | Broken:
        """The views of one video: `clips` (num_clips · num_crops, T, C, H, W)."""
        return self._sample(index, self._choose_frames, self._choose_boxes)

    def read(self, index: int) -> tuple[Tensor, np.ndarray]:
        """Views of one video (V, T, C, H, W) uint8, and which frames the clips are (num_clips, T).

        Raises:
            VideoError: if the video cannot be read.
        """
        clips, frames, damage = self._cut(index, self._choose_frames, self._choose_boxes)
        if damage is not None:
            logger.warning("damaged video, read as far as possible: %s (%s)", self.paths[index], damage)
        return clips.flatten(0, 1), frames

    def _choose_frames(self, num_frames: int, times: np.ndarray | None) -> np.ndarray:
        return self.sampling.test_indices(num_frames, num_clips=self.num_clips, frame_times=times)

    def _choose_boxes(self, height: int, width: int) -> list[CropBox]:
        return evaluation_crop_boxes(height, width, self.num_crops, self.aspect)
