"""How a long video is cut into windows, and what is kept of it beside their scores."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from videomae.core.errors import ConfigError
from videomae.processing import center_crop_box, crop_and_resize

# Small pictures for a chart: no more than this many are kept, whatever the length of the video.
MAX_THUMBNAILS, _THUMBNAIL_HEIGHT = 32, 144


@dataclass(frozen=True, kw_only=True)
class WindowOptions:
    """Which windows of a video are looked at, and how.

    Args:
        window_seconds: length of a window; None for that of a clip.
        hop_seconds: from one window to the next; None for the window's length: they follow one another.
        max_seconds: of the video; None for all of it.
        num_clips: clips of each window.
        num_crops: crops of each clip, along the longer side.
        stall_seconds: a stream without a new frame for so long has ended.
        num_done: windows at the beginning that are known already.

    Raises:
        ConfigError: for values out of range.
    """

    window_seconds: float | None = None
    hop_seconds: float | None = None
    max_seconds: float | None = None
    num_clips: int = 1
    num_crops: int = 1
    stall_seconds: float = 60.0
    num_done: int = 0

    def __post_init__(self) -> None:
        for name, value in (
            ("--window", self.window_seconds),
            ("--hop", self.hop_seconds),
            ("--max-seconds", self.max_seconds),
        ):
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"{name} {value:g}", expected="seconds, more than 0", hint=f"change {name}")
        if self.window_seconds and self.hop_seconds and self.hop_seconds > self.window_seconds + 1e-9:
            raise ConfigError(
                f"--hop {self.hop_seconds:g} with --window {self.window_seconds:g}",
                expected="a hop that is no longer than a window: parts of the video would not be looked at",
                hint="give a smaller --hop or a larger --window",
            )


@dataclass(frozen=True)
class Window:
    """A window of a video, in seconds since its first frame."""

    number: int
    start_seconds: float
    end_seconds: float


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


@dataclass
class Layout:
    """How a video is cut into windows: known when it is open.

    Args:
        window_seconds: length of a window.
        hop_seconds: from one to the next.
        frame_seconds: for how long a frame is shown, on average.
        offsets: (K, T) seconds of `clip_offsets`.
        clip_seconds: how long a clip is; None where it reaches over the whole window.
        num_windows: None for a stream.
        duration_seconds: of what is looked at; of a stream so far.
        size: (height, width) of the frames, as shown; known with the first one.
    """

    window_seconds: float
    hop_seconds: float
    frame_seconds: float
    offsets: np.ndarray
    clip_seconds: float | None
    num_windows: int | None = None
    duration_seconds: float = 0.0
    size: tuple[int, int] = (0, 0)


@dataclass
class Thumbnails:
    """Pictures of a video at about even distances, few enough for any length."""

    distance_seconds: float = 0.0
    pictures: list[tuple[float, np.ndarray]] = field(default_factory=list)

    def offer(self, seconds: float, frame: np.ndarray) -> None:
        """Keep a picture where one is due; uint8 (height, width, channels)."""
        if self.pictures and seconds < self.pictures[-1][0] + self.distance_seconds:
            return
        height, width = frame.shape[:2]
        box = center_crop_box(height, width, width / height)
        size = (_THUMBNAIL_HEIGHT, max(1, round(_THUMBNAIL_HEIGHT * width / height)))
        small = crop_and_resize(np.ascontiguousarray(frame)[None], box, size)[0]
        self.pictures.append((seconds, small.permute(1, 2, 0).numpy().copy()))
        if len(self.pictures) > MAX_THUMBNAILS:
            self.pictures = self.pictures[::2]
            span = self.pictures[-1][0] - self.pictures[0][0]
            self.distance_seconds = max(2 * self.distance_seconds, span / (len(self.pictures) - 1) * 0.999)


def clip_note(layout: Layout, num_clips: int) -> str:
    """What of a window the model sees, where that is not all of it; "" where it is."""
    if layout.clip_seconds is None or layout.clip_seconds * num_clips > 0.75 * layout.window_seconds:
        return ""
    seen = "1 clip" if num_clips == 1 else f"{num_clips} clips"
    return (
        f"of each window of {layout.window_seconds:g} s the model sees {seen} of {layout.clip_seconds:.2g} s; "
        f"--clips {math.ceil(layout.window_seconds / layout.clip_seconds)} covers it"
    )
