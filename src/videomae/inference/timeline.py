"""Scores over a long video or a stream: a timeline."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videomae.checkpoint import Checkpoint
from videomae.core.errors import VideoError
from videomae.data.loader import ClipBatch
from videomae.inference.forwards import run_batches, views_per_forward
from videomae.inference.predict import Prediction, ranked
from videomae.inference.scores import view_probabilities
from videomae.inference.segments import Curve, Segment, SegmentOptions, curve_of, find_segments, smoothed
from videomae.inference.window_clips import VideoWindows, read_ahead
from videomae.inference.window_layout import Window, WindowOptions

# Windows that wait for the model beside those of the next forward.
_MAX_WAITING = 4


@dataclass(frozen=True)
class WindowScores:
    """The model's scores of one window.

    Args:
        number: of the window, from 0.
        start_seconds: since the video's first frame.
        end_seconds: likewise.
        scores: (classes,) float32 on the CPU.
    """

    number: int
    start_seconds: float
    end_seconds: float
    scores: np.ndarray


@dataclass(frozen=True)
class Timeline:
    """What happens when in a video.

    Args:
        path: the video, or the stream's address.
        labels: the model's classes.
        start_seconds: (N,) of each window, since the video's first frame.
        end_seconds: (N,) likewise.
        window_scores: (N, classes) float32, as the model gave them.
        duration_seconds: of what was looked at.
        window_seconds: length of a window.
        hop_seconds: from one window to the next.
        options: how windows become segments; `timeline.with_options(threshold=…)` changes it.
        ended: why it ended before the video did; None where all of it was looked at.
        thumbnails: (seconds, uint8 (height, width, 3)) small pictures; none where nothing asked for them.
    """

    path: str
    labels: tuple[str, ...]
    start_seconds: np.ndarray
    end_seconds: np.ndarray
    window_scores: np.ndarray
    duration_seconds: float
    window_seconds: float
    hop_seconds: float
    options: SegmentOptions = field(default_factory=SegmentOptions)
    ended: str | None = None
    thumbnails: tuple[tuple[float, np.ndarray], ...] = field(default=(), repr=False)

    @property
    def num_windows(self) -> int:
        """How many windows were scored."""
        return len(self.start_seconds)

    @cached_property
    def scores(self) -> np.ndarray:
        """(N, classes) float32 of each window, smoothed as the options ask."""
        return smoothed((self.start_seconds + self.end_seconds) / 2, self.window_scores, self.options.smooth_seconds)

    @cached_property
    def curve(self) -> Curve:
        """The scores at each moment: where windows overlap, their mean."""
        return curve_of(self.start_seconds, self.end_seconds, self.scores)

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """Parts of the video in which a label's score stays above the threshold, in the order of their starts."""
        return tuple(find_segments(self.curve, self.labels, self.options))

    def at(self, seconds: float, top_k: int = 5) -> tuple[Prediction, ...]:
        """The most probable labels at a moment; none where there is no window."""
        scores = self.curve.at(seconds)
        return () if scores is None else ranked(torch.from_numpy(scores), dict(enumerate(self.labels)), top_k)

    def predictions(self, number: int, top_k: int = 5) -> tuple[Prediction, ...]:
        """The most probable labels of a window."""
        return ranked(torch.from_numpy(self.scores[number]), dict(enumerate(self.labels)), top_k)

    def with_options(self, **changes: Any) -> Timeline:
        """The same scores with other segments: `threshold`, `smooth_seconds`, `min_seconds`, `max_gap_seconds`."""
        return replace(self, options=replace(self.options, **changes))

    def save(self, path: str | Path) -> Path:
        """Write it, in the form that the ending of `path` names: see `videomae.inference.timeline_files`.

        Raises:
            ConfigError: for another ending.
            InputError: if the place cannot be written.
        """
        from videomae.inference.timeline_files import save

        return save(self, Path(path))

    def __repr__(self) -> str:
        early = f", ended early: {self.ended}" if self.ended else ""
        return (
            f"Timeline({self.path!r}, {self.duration_seconds:.1f} s, {self.num_windows} windows, "
            f"{len(self.segments)} segments{early})"
        )

    def _repr_png_(self) -> bytes:
        from videomae.inference.timeline_files import picture

        return picture(self, "png")


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
        source: Any,
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
