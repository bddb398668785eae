"""Scores over a long video or a stream: a timeline."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from videomae.core.files import write_bytes, write_text
from videomae.core.row_file import RowFile
from videomae.core.text import readable
from videomae.inference.predict import Prediction, ranked
from videomae.inference.segments import Curve, Segment, SegmentOptions, curve_of, find_segments, smoothed
from videomae.inference.timeline_files import (
    DIGITS,
    PICTURE_SUFFIXES,
    ROW_SUFFIXES,
    check_output,
    row_columns,
    subtitles,
    window_row,
)
from videomae.inference.window_layout import WindowScores


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

    def to_dict(self, *, top_k: int = 5) -> dict[str, Any]:
        """Plain data: the windows with their `top_k` labels, and the segments."""
        windows = [
            {
                "start_seconds": round(float(self.start_seconds[number]), DIGITS),
                "end_seconds": round(float(self.end_seconds[number]), DIGITS),
                "predictions": [vars(prediction) for prediction in self.predictions(number, top_k)],
            }
            for number in range(self.num_windows)
        ]
        return {
            "path": readable(self.path),
            "duration_seconds": round(self.duration_seconds, DIGITS),
            "window_seconds": self.window_seconds,
            "hop_seconds": self.hop_seconds,
            "ended": self.ended,
            "segments": [vars(segment) for segment in self.segments],
            "windows": windows,
        }

    def picture(self, image_format: Literal["png", "svg"] = "png") -> bytes:
        """A chart of it: the bytes of a file."""
        from videomae.report.timeline_chart import Bar, timeline_chart

        return timeline_chart(
            edges=self.curve.edges,
            scores=self.curve.scores,
            labels=self.labels,
            bars=[Bar(part.start_seconds, part.end_seconds, part.index) for part in self.segments],
            threshold=self.options.threshold,
            duration_seconds=self.duration_seconds,
            thumbnails=self.thumbnails,
            title=Path(self.path).name or self.path,
            note=self.ended or "",
            image_format=image_format,
        )

    def save(self, path: str | Path, *, top_k: int = 5) -> Path:
        """Write it, in the form that the ending of `path` names.

        - .json: `to_dict`.
        - .csv, .jsonl: a row for each window, with the scores of all classes, as the model gave them.
        - .srt, .vtt: the segments as subtitles.
        - .png, .svg: a chart.

        Args:
            path: the file; missing folders are made.
            top_k: labels of each window in a .json.

        Raises:
            ConfigError: for another ending.
            InputError: if the place cannot be written.
        """
        check_output(path)
        target, suffix = Path(path), Path(path).suffix.lower()
        if suffix in ROW_SUFFIXES:
            bounds = zip(self.start_seconds.tolist(), self.end_seconds.tolist(), self.window_scores, strict=True)
            with RowFile(target, columns=row_columns(self.labels), settings={}) as file:
                for number, (start, end, scores) in enumerate(bounds):
                    window = WindowScores(number, start, end, scores)
                    file.add(window_row(self.path, self.labels, window, is_csv=suffix == ".csv"))
        elif suffix == ".json":
            write_text(target, json.dumps(self.to_dict(top_k=top_k), indent=1, ensure_ascii=False) + "\n")
        elif suffix in PICTURE_SUFFIXES:
            write_bytes(target, self.picture("png" if suffix == ".png" else "svg"))
        else:
            write_text(target, subtitles(self.segments, form="srt" if suffix == ".srt" else "vtt"))
        return target

    def __repr__(self) -> str:
        early = f", ended early: {self.ended}" if self.ended else ""
        return (
            f"Timeline({self.path!r}, {self.duration_seconds:.1f} s, {self.num_windows} windows, "
            f"{len(self.segments)} segments{early})"
        )

    def _repr_png_(self) -> bytes:
        return self.picture()
