"""Windows over a whole video: where they begin, and which moments of each its clips show. Arithmetic alone."""

from __future__ import annotations

import numpy as np

from .sampling import ClipSampling, linspace_offsets
from .time_sampling import last_shown


def window_starts(length: float, window: float, hop: float, *, tolerance: float = 0.0) -> np.ndarray:
    """Where the windows over a length begin: one each `hop` from 0 on, and the last one ends with the length.

    Args:
        length: of the video, in frames or in seconds.
        window: length of a window; a video that is no longer than it gets a single window.
        hop: from one window to the next, above 0.
        tolerance: what may remain behind the last window.

    Returns:
        (windows,) ascending, of the type of the arguments: whole numbers stay whole.
    """
    slack = max(length - window, 0)
    starts = np.arange(int((slack + tolerance) // hop) + 1) * hop
    return np.append(starts, slack) if slack - starts[-1] > tolerance else starts


def clip_offsets(
    sampling: ClipSampling, *, window_seconds: float, frame_seconds: float, num_clips: int = 1
) -> np.ndarray:
    """When the frames of a window's clips are shown, from the window's start, as the window alone would be sampled.

    - dense: frames 1 / `frame_rate` apart, or by a stride `frame_stride` frames; a single clip is in the window's
      center, of several the first begins with the window and the last one ends with it. A clip that lasts longer than
      the window reaches beyond it on both sides.
    - linspace: likewise, with its own steps.
    - uniform: the window is cut into `num_frames` equal parts, one frame of each: its center, of several clips the
      k-th of K at k / K of it.

    Args:
        sampling: that of the checkpoint.
        window_seconds: length of a window.
        frame_seconds: for how long the video shows a frame, on average.
        num_clips: clips of a window.

    Returns:
        float64 (num_clips, num_frames) seconds, ascending in each clip.
    """
    order = np.arange(sampling.num_frames)
    shares: np.ndarray = np.array([0.5]) if num_clips == 1 else np.arange(num_clips) / num_clips
    if sampling.method == "uniform":
        return (order + shares[:, None]) * (window_seconds / sampling.num_frames)
    steps: np.ndarray
    if sampling.method == "linspace":
        span = sampling.num_frames * sampling.frame_stride
        steps = linspace_offsets(span, sampling.num_frames, sampling.frame_stride) * frame_seconds
    else:
        steps = order * (
            sampling.frame_stride * frame_seconds if sampling.frame_rate is None else 1 / sampling.frame_rate
        )
    slack = window_seconds - frame_seconds - steps[-1]
    if num_clips > 1 and slack > 0:
        shares = np.arange(num_clips) / (num_clips - 1)
    elif num_clips > 1:
        shares = np.full(num_clips, 0.5)
    return shares[:, None] * slack + steps


def clip_seconds(sampling: ClipSampling, frame_seconds: float) -> float | None:
    """For how long a clip lasts; None for uniform sampling, which has no length of its own."""
    if sampling.method == "uniform":
        return None
    if sampling.frame_rate is not None:
        return sampling.num_frames / sampling.frame_rate
    return sampling.num_frames * sampling.frame_stride * frame_seconds


def moments_of(start: float, offsets: np.ndarray, *, first: float, last: float) -> np.ndarray:
    """The moments of the clips of a window that begins at `start`; clips that reach out of the video are moved into it.

    Args:
        start: seconds.
        offsets: of `clip_offsets`.
        first: when the video's first frame is shown.
        last: when the last one is; infinity where it is not known.
    """
    moments = start + offsets
    begins, span = moments[:, :1], moments[:, -1:] - moments[:, :1]
    return moments + np.clip(begins, first, np.maximum(last - span, first)) - begins


def window_frames(starts: np.ndarray, offsets: np.ndarray, frame_times: np.ndarray) -> np.ndarray:
    """The frames on screen at the moments of each window's clips.

    Args:
        starts: (N,) seconds.
        offsets: (K, T) of `clip_offsets`.
        frame_times: seconds of each frame, non-decreasing, at least one.

    Returns:
        int64 (N, K, T) frame numbers.
    """
    first, last = float(frame_times[0]), float(frame_times[-1])
    moments = np.stack([moments_of(start, offsets, first=first, last=last) for start in starts.tolist()])
    return np.maximum(last_shown(frame_times, moments), 0)
