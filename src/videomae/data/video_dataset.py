"""A `torch.utils.data.Dataset` of clips, for a training loop of one's own."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset

from videomae.core.errors import ConfigError, VideoError
from videomae.core.pixels import IMAGENET_MEAN, IMAGENET_STD
from videomae.data.clips import Crop, Sample, TrainingClips, ViewClips, label_indices, multi_hot
from videomae.datasets.manifest import Manifest, read_manifest
from videomae.processing.image_processor import VideoMAEImageProcessor
from videomae.processing.transforms import normalize
from videomae.video.reader import ReadLimits
from videomae.video.sampling import ClipSampling

_logger = logging.getLogger("videomae")


class ClipItem(TypedDict):
    """What `VideoDataset` gives for a video: the keyword arguments of a `VideoMAEForVideoClassification`.

    Attributes:
        pixel_values: (T, C, H, W) float32, normalized.
        labels: () int64, the place of its class in `class_names`, -100 for a video without a label, which losses
            ignore; (classes,) float32 of zeros and ones where a video may have several labels. Absent where no video
            has one.
    """

    pixel_values: Tensor
    labels: NotRequired[Tensor]


class VideoDataset(Dataset[ClipItem]):
    """One clip of each video, normalized for a VideoMAE.

    Training clips begin at a random frame and are cut at random, as a function of (seed, epoch, index): call
    `set_epoch` before each epoch, and two runs see the same clips whatever the number of workers. Evaluation clips are
    the center ones.

    Args:
        data: any form of DATA, such as a folder of class folders, a CSV or a packed folder.
        split: of DATA with splits, the videos to take, such as "train" or "val"; None takes all.
        training: draw clips at random; False takes the center of each video.
        num_frames: T, frames in a clip.
        frame_stride: distance between the frames of a clip.
        frame_rate: frames of a clip per second, in place of a stride.
        sampling: "dense" (exact stride), "uniform" or "linspace", see `sample_frame_indices`.
        image_size: H and W in pixels.
        min_crop_area: in training, the smallest share of the frame that a random crop keeps, above 0 up to 1.
        flip: in training, mirror half of the clips; not where left and right differ in meaning.
        image_mean: of each channel, of pixels from 0 to 1.
        image_std: of each channel.
        seed: of everything that is random.
        on_unreadable: "raise" a VideoError for a video that cannot be read, or log a warning and "replace" it with the
            next readable one.
        video_root: of lists: the folder that their paths are relative to.
        read_limit_seconds: for opening one video and for reading its clip.

    Attributes:
        class_names: sorted; empty where the videos have no labels.
        paths: of the videos, in order.
        processor: makes the same clips of frames, by `sampling`, `image_size`, mean and deviation; save it beside the
            model: `dataset.processor.save_pretrained(folder)`.

    Raises:
        InputError: if the data or an option does not fit.

    Examples:
        >>> dataset = videomae.VideoDataset("clips", split="train", num_frames=16, image_size=224)
        >>> for batch in torch.utils.data.DataLoader(dataset, batch_size=8, shuffle=True, num_workers=4):
        ...     loss = model(**batch).loss
    """

    def __init__(
        self,
        data: str | Path,
        *,
        split: str | None = None,
        training: bool = True,
        num_frames: int = 16,
        frame_stride: int = 4,
        frame_rate: float | None = None,
        sampling: Literal["dense", "uniform", "linspace"] = "dense",
        image_size: int = 224,
        min_crop_area: float = 0.5,
        flip: bool = False,
        image_mean: tuple[float, ...] = IMAGENET_MEAN,
        image_std: tuple[float, ...] = IMAGENET_STD,
        seed: int = 0,
        on_unreadable: Literal["raise", "replace"] = "raise",
        video_root: str | Path | None = None,
        read_limit_seconds: float = 60.0,
    ) -> None:
        if on_unreadable not in ("raise", "replace"):
            raise ConfigError(
                f"on_unreadable={on_unreadable!r}", expected="raise or replace", hint="choose one of them"
            )
        manifest = _videos(data, split, video_root)
        self.class_names = manifest.class_names
        self._split = split
        self._epoch = 0
        self._on_unreadable = on_unreadable
        chosen = ClipSampling(sampling, num_frames, frame_stride=frame_stride, frame_rate=frame_rate)
        limits = ReadLimits(max_seconds=read_limit_seconds)
        self.processor = VideoMAEImageProcessor(
            size={"shortest_edge": image_size},
            crop_size={"height": image_size, "width": image_size},
            image_mean=list(image_mean),
            image_std=list(image_std),
            sampling=chosen.to_dict(),
        )
        self._clips: TrainingClips | ViewClips
        if training:
            crop = Crop("center" if min_crop_area == 1 else "resized", min_area=min_crop_area, flip=flip)
            self._clips = TrainingClips(
                manifest.entries,
                manifest.class_names,
                sampling=chosen,
                crop=crop,
                image_size=image_size,
                seed=seed,
                limits=limits,
            )
        else:
            self._clips = ViewClips(manifest.entries, sampling=chosen, image_size=image_size, limits=limits)
        self._labels = (
            multi_hot(manifest.entries, manifest.class_names)
            if manifest.is_multi_label
            else torch.tensor(
                [-100 if label < 0 else label for label in label_indices(manifest.entries, self.class_names)]
            )
        )
        self.paths = tuple(str(entry.path) for entry in manifest.entries)

    def __repr__(self) -> str:
        classes = f" of {len(self.class_names)} classes" if self.class_names else ""
        split = f", split {self._split!r}" if self._split is not None else ""
        return f"VideoDataset({len(self)} videos{classes}{split}, {self.processor.sampling})"

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, of which clips are drawn; with persistent workers, create a new loader."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> ClipItem:
        """The clip of one video."""
        for tried in range(len(self)):
            place = (index + tried) % len(self)
            sample = self._clips[(self._epoch, place)] if isinstance(self._clips, TrainingClips) else self._clips[place]
            if isinstance(sample, Sample):
                pixel_values = normalize(sample.clips, self.processor.image_mean, self.processor.image_std)[
                    0
                ]  # (V, T, C, H, W) → one view
                if not self.class_names:
                    return {"pixel_values": pixel_values}
                return {"pixel_values": pixel_values, "labels": self._labels[place]}
            if self._on_unreadable == "raise":
                raise sample.error
            _logger.warning("replacing unreadable video: %s", sample.error)
        raise VideoError(f"all {len(self)} videos", expected="one that can be read", hint="see `videomae scan DATA`")


def _videos(data: str | Path, split: str | None, video_root: str | Path | None) -> Manifest:
    manifest = read_manifest(data, root=video_root)
    for notice in manifest.notices:
        _logger.info("%s", notice)
    if split is None:
        return manifest
    if split not in manifest.splits:
        raise ConfigError(
            f"split={split!r} of {data}",
            expected=" or ".join(manifest.splits) or "data with splits",
            hint="leave split out to take all videos",
        )
    return manifest.take_split(split)
