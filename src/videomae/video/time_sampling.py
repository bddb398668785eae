"""Which frames of a video make a clip, by time: arithmetic on the seconds of its frames, no decoding and no torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from videomae.core.errors import VideoError

from ._sampling_common import check_clip, check_clip_number, draw_fraction

if TYPE_CHECKING:
    import torch

# Containers round time stamps (Matroska to milliseconds): a frame is taken to be shown from this much before its own.
TIME_STAMP_TOLERANCE_SECONDS = 1e-3


def sample_frames_in_time(
    frame_times: np.ndarray,
    *,
    num_frames: int,
    frame_rate: float,
    generator: torch.Generator | np.random.Generator | None = None,
) -> np.ndarray:
    """Choose the frames of one training clip that lasts equally long whatever the video's rate, constant or not.

    The clip shows `num_frames` moments 1 / `frame_rate` seconds apart, the first of them the time of a frame; each is
    filled with the frame that is on screen then. At a constant rate r this is dense sampling at the stride
    r / `frame_rate`, where that is a whole number. A video shorter than the clip repeats its last frame.

    Args:
        frame_times: seconds of each frame, non-decreasing, at least one.
        num_frames: how many to choose, at least 1.
        frame_rate: frames of the clip per second.
        generator: the source of randomness. Without one the clip lies in the video's center.

    Returns:
        int64 indices (num_frames,), non-decreasing, each in [0, len(frame_times)).

    Raises:
        VideoError: a video without frames.
        ConfigError: `num_frames` below 1 or not whole, or a generator of another kind.
    """
    check_clip(len(frame_times), num_frames=num_frames)
    slack = _slack_seconds(frame_times, num_frames, frame_rate)
    if generator is None:
        first = int(_on_screen(frame_times, frame_times[0] + max(slack, 0.0) / 2))
    else:
        # The last frame is shown for a while too: so every start is as likely as its frame is long.
        drawn = draw_fraction(generator) * max(slack + _mean_interval(frame_times), 0.0)
        first = int(_on_screen(frame_times, frame_times[0] - TIME_STAMP_TOLERANCE_SECONDS + drawn))
    return _clip_from(frame_times, first, num_frames, frame_rate)


def test_clips_in_time(frame_times: np.ndarray, *, num_clips: int, num_frames: int, frame_rate: float) -> np.ndarray:
    """Choose the frames of the clips that a video is evaluated on, by time.

    The starts are spread evenly: the first clip begins with the video and the last one ends with it. A single clip lies
    in the center. Arguments and errors as for `sample_frames_in_time`; `num_clips` is at least 1.

    Returns:
        int64 indices (num_clips, num_frames).
    """
    check_clip(len(frame_times), num_frames=num_frames)
    check_clip_number(0, num_clips)
    slack = max(_slack_seconds(frame_times, num_frames, frame_rate), 0.0)
    shares = [0.5] if num_clips == 1 else [clip / (num_clips - 1) for clip in range(num_clips)]
    starts = [frame_times[0] + share * slack for share in shares]
    return np.stack(
        [_clip_from(frame_times, _on_screen(frame_times, start), num_frames, frame_rate) for start in starts]
    )


def frames_between(
    frame_times: np.ndarray, *, start_seconds: float | None, end_seconds: float | None, name: object
) -> range:
    """The frames that are on screen in [start_seconds, end_seconds).

    Args:
        frame_times: seconds of each frame, non-decreasing, at least one.
        start_seconds: None for the video's start.
        end_seconds: None for the video's end.
        name: of the video, for the error.

    Raises:
        VideoError: no frame is shown then.
    """
    count = len(frame_times)
    first = 0 if start_seconds is None else int(_on_screen(frame_times, start_seconds))
    # A part ends just before a frame that starts at its end, so that parts that follow one another share none.
    reach = TIME_STAMP_TOLERANCE_SECONDS
    stop = count if end_seconds is None else int(last_shown(frame_times, end_seconds - 2 * reach)) + 1
    video_end = frame_times[-1] + _mean_interval(frame_times) if count > 1 else math.inf
    if first >= stop or (start_seconds is not None and start_seconds >= video_end + reach):
        until = "" if math.isinf(video_end) else f" to {video_end:.3f}"
        raise VideoError(
            f"{name} from {start_seconds or 0:g} to {'its end' if end_seconds is None else f'{end_seconds:g}'} s",
            expected=f"a part in which a frame is shown; the video goes from {frame_times[0]:.3f}{until} s",
            hint="correct start and end of this video",
        )
    return range(first, stop)


# pytest would take the name of this function for a test's wherever it is imported.
test_clips_in_time.__test__ = False  # type: ignore[attr-defined]


def _slack_seconds(frame_times: np.ndarray, num_frames: int, frame_rate: float) -> float:
    """How much later than the first frame a clip may start, so that its last moment is the last frame's; may be < 0."""
    return float(frame_times[-1] - frame_times[0]) - (num_frames - 1) / frame_rate


def _mean_interval(frame_times: np.ndarray) -> float:
    return float(frame_times[-1] - frame_times[0]) / max(len(frame_times) - 1, 1)


def _clip_from(frame_times: np.ndarray, first: int | np.ndarray, num_frames: int, frame_rate: float) -> np.ndarray:
    return _on_screen(frame_times, frame_times[first] + np.arange(num_frames) / frame_rate)


def _on_screen(frame_times: np.ndarray, moments: ArrayLike) -> np.ndarray:
    """The frame on screen at each moment; the last one after the video's end, the first one before its start."""
    return np.maximum(last_shown(frame_times, moments), 0)


def last_shown(frame_times: np.ndarray, moments: ArrayLike) -> np.ndarray:
    """The last frame that has been shown by each moment: the one rule for turning seconds into frames.

    A frame is shown from 1 ms before its time stamp, since containers round time stamps, until the next one is.

    Args:
        frame_times: seconds of each frame, non-decreasing, at least one.
        moments: seconds, of any shape.

    Returns:
        int64 frame numbers in [-1, len(frame_times)) of the same shape; -1 before the first frame.
    """
    return np.searchsorted(frame_times, np.asarray(moments) + TIME_STAMP_TOLERANCE_SECONDS, side="right") - 1
