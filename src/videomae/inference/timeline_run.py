"""Scoring the windows of a video as they are read."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing

import numpy as np
import torch
from torch import Tensor

from videomae.checkpoint import Checkpoint
from videomae.core.errors import VideoError
from videomae.data.loader import ClipBatch
from videomae.inference.forwards import run_batches, views_per_forward
from videomae.inference.scores import view_probabilities
from videomae.inference.segments import SegmentOptions
from videomae.inference.timeline import Timeline
from videomae.inference.window_clips import TimelineSource, VideoWindows, read_ahead
from videomae.inference.window_layout import Window, WindowOptions, WindowScores

# Windows that wait for the model beside those of the next forward.
_MAX_WAITING = 4


class TimelineRun:
    """Scores the windows of one video as they are read, and keeps what there is at any moment.

    Args:
        checkpoint: a classifier on `device`.
        source: a video, its entry, or a stream.
        windows: which windows.
        segments: how they become segments.
        precision: of the matrix products.
        device: where to compute.
        needs_pictures: keep thumbnails for a chart.
        known: scores of the first windows, from an earlier run.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        source: TimelineSource,
        *,
        windows: WindowOptions,
        segments: SegmentOptions,
        precision: str = "auto",
        device: torch.device,
        needs_pictures: bool = False,
        known: tuple[WindowScores, ...] = (),
    ) -> None:
        _, num_channels, height, width = checkpoint.model.config.grid.clip_shape
        self.windows = VideoWindows(
            source,
            sampling=checkpoint.sampling,
            image_size=(height, width),
            num_channels=num_channels,
            options=windows,
            needs_pictures=needs_pictures,
        )
        self.found: list[WindowScores] = list(known)
        self.ended: VideoError | None = None
        self._checkpoint = checkpoint
        self._segments = segments
        self._precision = precision
        self._device = device

    def __iter__(self) -> Iterator[WindowScores]:
        """Yield each window's scores as soon as they are there.

        Where the video cannot be read further, the windows until then are scored, and `ended` says why.

        Raises:
            VideoError: no window could be read.
        """
        known: dict[int, Window] = {}
        num_views = views_per_forward(self._checkpoint.model.config, self._device)
        per_window = self.windows.options.num_clips * self.windows.options.num_crops
        if self.windows.is_real_time:  # whoever watches waits for an answer, not for a full forward
            num_views = min(num_views, per_window)
        batches = self._batches(known, max_waiting=_MAX_WAITING + num_views // per_window)
        with closing(batches):
            for number, rows in run_batches(
                batches, self._probabilities, device=self._device, num_views=num_views, finite="scores"
            ):
                assert isinstance(rows, Tensor)
                window = known.pop(number)
                scores = WindowScores(number, window.start_seconds, window.end_seconds, rows.mean(dim=0).numpy())
                self.found.append(scores)
                yield scores
        if self.ended is not None and not self.found:
            raise self.ended

    def timeline(self) -> Timeline:
        """What was found so far."""
        layout, found = self.windows.layout, self.found
        classes = self._checkpoint.model.config.id2label
        return Timeline(
            path=self.windows.name,
            labels=tuple(classes[index] for index in range(len(classes))),
            start_seconds=np.array([window.start_seconds for window in found]),
            end_seconds=np.array([window.end_seconds for window in found]),
            window_scores=np.stack([window.scores for window in found])
            if found
            else np.zeros((0, len(classes)), dtype=np.float32),
            duration_seconds=layout.duration_seconds if layout else 0.0,
            window_seconds=layout.window_seconds if layout else 0.0,
            hop_seconds=layout.hop_seconds if layout else 0.0,
            options=self._segments,
            ended=None if self.ended is None else str(self.ended),
            thumbnails=tuple(self.windows.thumbnails.pictures),
        )

    def _probabilities(self, clips: Tensor) -> Tensor:
        return view_probabilities(self._checkpoint, clips, precision=self._precision)

    def _batches(self, known: dict[int, Window], *, max_waiting: int) -> Generator[ClipBatch, None, None]:
        none = torch.full((1,), -1)
        windows = read_ahead(self.windows, max_waiting=max_waiting)
        try:
            with closing(windows):
                for window, clips in windows:
                    known[window.number] = window
                    number = torch.tensor([window.number])
                    yield ClipBatch(clips[None], labels=none, indices=number, places=torch.zeros(1, dtype=torch.int64))
        except VideoError as error:
            self.ended = error
