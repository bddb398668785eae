"""Clips whose frames are known beforehand, and what is needed to choose them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from videomae.core.errors import VideoError
from videomae.data.clips import Sample, VideoClips
from videomae.data.workers import Broken
from videomae.datasets import VideoEntry, frames_of_part
from videomae.processing import evaluation_crop_boxes
from videomae.video import ClipSampling, ReadLimits, open_video


class ListedClips(VideoClips):
    """The center squares of listed frames.

    Args:
        entries: the videos; one may come several times.
        frames: of each, the frame numbers (K, T) of K clips.
        sampling: what the frames were chosen by.
        image_size: height and width of a clip in pixels, or a (height, width) pair.
        num_channels: of a frame.
        limits: what one file may cost.
    """

    def __init__(
        self,
        entries: Sequence[VideoEntry],
        frames: Sequence[np.ndarray],
        *,
        sampling: ClipSampling,
        image_size: int | tuple[int, int],
        num_channels: int = 3,
        limits: ReadLimits | None = None,
    ) -> None:
        super().__init__(
            entries,
            [-1] * len(entries),
            sampling=sampling,
            image_size=image_size,
            limits=limits or ReadLimits(),
            num_channels=num_channels,
        )
        self.frames = list(frames)

    def __getitem__(self, index: int) -> Sample | Broken:
        """The clips of one item: `clips` (K, T, C, H, W)."""
        return self._sample(
            index,
            # Damage that is met while decoding may leave fewer frames than were counted.
            lambda num_frames, _: np.minimum(self.frames[index], num_frames - 1),
            lambda height, width: evaluation_crop_boxes(height, width, 1, self.aspect),
        )


class FrameTimes(VideoClips):
    """When the frames of each video are shown, as the data set of a loader, whose workers open the videos."""

    def __init__(self, entries: Sequence[VideoEntry], *, limits: ReadLimits | None = None) -> None:
        super().__init__(entries, [-1] * len(entries), sampling=ClipSampling(), image_size=1, limits=limits)

    def __getitem__(self, index: int) -> Sample | Broken:
        """`clips` float64 (1 + N,): the number of the first of the entry's N frames, then their times in seconds."""
        entry = self.entries[index]
        try:
            with open_video(entry.path, index=self._indices.find(entry.path), limits=self.limits) as reader:
                part = frames_of_part(reader, entry)
                times = reader.frame_times[part.start : part.stop]
                self._indices.keep(entry.path, reader.index)
        except VideoError as error:
            return Broken(index, error)
        return Sample(torch.from_numpy(np.concatenate([[part.start], times])), index, -1)
