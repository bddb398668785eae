"""Which frames of a video make a clip: index arithmetic, no decoding and no torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from videomae.core.errors import ConfigError

from ._sampling_common import check_clip, check_clip_number, draw_integer
from .time_sampling import sample_frames_in_time, test_clips_in_time

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ClipSampling:
    """Which frames make a clip. Saved in `preprocessor_config.json` under `sampling`: a model carries its own.

    Args:
        method: dense, uniform or linspace, see `sample_frame_indices`.
        num_frames: frames in a clip.
        frame_stride: distance between neighbors, in frames.
        frame_rate: frames of the clip per second, so that clips of files of any rate last equally long, see
            `sample_frames_in_time`; `frame_stride` plays no part then. None samples by stride.

    Raises:
        ConfigError: a frame rate that is not above 0, or one with another method than dense.
    """

    method: str = "dense"
    num_frames: int = 16
    frame_stride: int = 4
    frame_rate: float | None = None

    def __post_init__(self) -> None:
        if self.frame_rate is None:
            return
        if not isinstance(self.frame_rate, int | float) or not 0 < self.frame_rate < math.inf:
            raise ConfigError(
                f"frame_rate={self.frame_rate!r}", expected="frames per second, above 0", hint="change --frame-rate"
            )
        if self.method != "dense":
            raise ConfigError(
                f"frame_rate={self.frame_rate} with the sampling {self.method}",
                expected="dense sampling, the one that has a rate",
                hint="give --sampling dense, or leave --frame-rate out",
            )

    def training_indices(
        self,
        num_video_frames: int,
        generator: torch.Generator | np.random.Generator | None = None,
        *,
        frame_times: np.ndarray | None = None,
    ) -> np.ndarray:
        """Frames of one random clip, see `sample_frame_indices`, or by rate `sample_frames_in_time`.

        Args:
            num_video_frames: how many frames the video has.
            generator: the source of randomness; None takes the center.
            frame_times: seconds of each frame; only needed where there is a `frame_rate`.
        """
        if self.frame_rate is None:
            return sample_frame_indices(num_video_frames, **self._by_stride(), generator=generator)
        times = self._require_times(num_video_frames, frame_times)
        return sample_frames_in_time(times, num_frames=self.num_frames, frame_rate=self.frame_rate, generator=generator)

    def test_indices(
        self, num_video_frames: int, *, num_clips: int, frame_times: np.ndarray | None = None
    ) -> np.ndarray:
        """Frames of all test clips, int64 (num_clips, num_frames), see `test_clip_indices` and `test_clips_in_time`."""
        if self.frame_rate is None:
            clips = range(num_clips)
            return np.stack(
                [test_clip_indices(num_video_frames, clip=k, num_clips=num_clips, **self._by_stride()) for k in clips]
            )
        times = self._require_times(num_video_frames, frame_times)
        return test_clips_in_time(times, num_clips=num_clips, num_frames=self.num_frames, frame_rate=self.frame_rate)

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain data; `frame_rate` only where there is one, so that older readers know all keys."""
        values = asdict(self)
        if self.frame_rate is None:
            del values["frame_rate"]
        return values

    def _by_stride(self) -> dict[str, Any]:
        return {"method": self.method, "num_frames": self.num_frames, "frame_stride": self.frame_stride}

    def _require_times(self, num_video_frames: int, frame_times: np.ndarray | None) -> np.ndarray:
        if frame_times is None or len(frame_times) != num_video_frames:
            given = "none" if frame_times is None else f"{len(frame_times)}"
            raise ConfigError(
                f"frame_rate={self.frame_rate} with {given} of the frame times",
                expected=f"frame_times for all {num_video_frames} frames",
                hint="pass the frame_times of the video's reader",
            )
        return frame_times


def sample_frame_indices(
    num_video_frames: int,
    *,
    num_frames: int,
    frame_stride: int = 1,
    method: str = "dense",
    generator: torch.Generator | np.random.Generator | None = None,
    frame_rate: float | None = None,
    video_frame_rate: float | None = None,
) -> np.ndarray:
    """Choose the frames of one training clip.

    The methods:

    - `dense`: every `frame_stride`-th frame from a random start (Kinetics, UCF101, HMDB51 at stride 4).
    - `uniform`: the video is cut into `num_frames` equal segments, one random frame from each (Something-Something V2);
      `frame_stride` plays no part.
    - `linspace`: `num_frames` points spread evenly over a random span of `num_frames * frame_stride` frames, both ends
      included and rounded down, so that the steps come out 4, 4, 4, 5, … at stride 4. This is how the original code
      samples for fine-tuning and validation; it is here to reproduce its numbers.

    A video shorter than the clip gives what it has, then its last frame again and again.

    Args:
        num_video_frames: how many frames the video has, at least 1.
        num_frames: how many to choose, at least 1.
        frame_stride: distance between neighbors, in frames, at least 1.
        method: one of the above.
        generator: the source of randomness. Without one the choice is deterministic: the clip in the video's center,
            the frame in each segment's center.
        frame_rate: frames of the clip per second, in place of a stride; for `dense`, of a video of constant rate (for
            others see `sample_frames_in_time`).
        video_frame_rate: frames of the video per second, `VideoInfo.frames_per_second`; used only with `frame_rate`.

    Returns:
        int64 indices (num_frames,), non-decreasing, each in [0, num_video_frames).

    Raises:
        VideoError: a video without frames.
        ConfigError: an unknown method, a number below 1 or not whole, or a generator of another kind.
    """
    check_clip(num_video_frames, num_frames=num_frames, frame_stride=frame_stride, method=method)
    if frame_rate is not None:
        if not video_frame_rate:
            raise ConfigError(
                f"frame_rate={frame_rate} with video_frame_rate={video_frame_rate}",
                expected="the frames per second of the video",
                hint="pass video_frame_rate=info.frames_per_second",
            )
        by_rate = ClipSampling(method, num_frames, frame_rate=frame_rate)
        return by_rate.training_indices(
            num_video_frames, generator, frame_times=np.arange(num_video_frames) / video_frame_rate
        )
    if method == "uniform":
        return _uniform(num_video_frames, num_frames, generator)
    slack = num_video_frames - _span(num_frames, frame_stride, method)
    if slack <= 0:
        start = 0
    elif generator is None:
        start = slack // 2
    else:
        start = draw_integer(generator, 0, slack + 1)
    return _clip_at(start, num_video_frames, num_frames, frame_stride, method)


def dense_test_starts(num_video_frames: int, *, num_clips: int, num_frames: int, frame_stride: int) -> np.ndarray:
    """First frames of the clips that a video is evaluated on, for dense sampling.

    The video is thinned to every `frame_stride`-th frame, which leaves n of them; clip k of K starts at frame
    int(k · max(n − num_frames, 0) / (K − 1)) of those, so the first clip begins with the video and the last one ends
    with it. A single clip lies in the video's center.

    Returns:
        int64 (num_clips,), in frames of the video.

    Raises:
        VideoError: a video without frames.
        ConfigError: a number below 1.
    """
    check_clip(num_video_frames, num_frames=num_frames, frame_stride=frame_stride, method="dense")
    check_clip_number(0, num_clips)
    if num_clips == 1:
        return np.array([max(num_video_frames - _span(num_frames, frame_stride, "dense"), 0) // 2], dtype=np.int64)
    num_strided = -(-num_video_frames // frame_stride)
    slack = max(num_strided - num_frames, 0)
    return np.arange(num_clips, dtype=np.int64) * slack // (num_clips - 1) * frame_stride


def test_clip_indices(
    num_video_frames: int,
    *,
    clip: int,
    num_clips: int,
    num_frames: int,
    frame_stride: int,
    method: str,
) -> np.ndarray:
    """Choose the frames of one of the `num_clips` clips that a video is evaluated on.

    - `dense`: see `dense_test_starts`.
    - `linspace`: the starts are spread in the same way over those that the span allows.
    - `uniform`: clip k of K takes the frame at k / K of each of the `num_frames` segments: with two clips the segments'
      starts and their centers, as for Something-Something V2. A single clip takes the centers.

    Args:
        num_video_frames: how many frames the video has, at least 1.
        clip: which clip, in [0, num_clips).
        num_clips: how many clips there are, at least 1.
        num_frames: frames in a clip, at least 1.
        frame_stride: distance between neighbors, in frames, at least 1.
        method: as for `sample_frame_indices`.

    Returns:
        int64 indices (num_frames,), non-decreasing, each in [0, num_video_frames).

    Raises:
        VideoError: a video without frames.
        ConfigError: an unknown method, a number below 1, or a clip that does not exist.
    """
    check_clip(num_video_frames, num_frames=num_frames, frame_stride=frame_stride, method=method)
    check_clip_number(clip, num_clips)
    if num_clips == 1:
        return sample_frame_indices(num_video_frames, num_frames=num_frames, frame_stride=frame_stride, method=method)
    if method == "uniform":
        segments = np.arange(num_frames, dtype=np.int64)
        return (segments * num_clips + clip) * num_video_frames // (num_frames * num_clips)
    if method == "dense":
        starts = dense_test_starts(
            num_video_frames, num_clips=num_clips, num_frames=num_frames, frame_stride=frame_stride
        )
        start = int(starts[clip])
    else:
        start = clip * max(num_video_frames - _span(num_frames, frame_stride, method), 0) // (num_clips - 1)
    return _clip_at(start, num_video_frames, num_frames, frame_stride, method)


# pytest would take the name of this function for a test's wherever it is imported.
test_clip_indices.__test__ = False  # type: ignore[attr-defined]


def _span(num_frames: int, frame_stride: int, method: str) -> int:
    """Frames of the video that a clip reaches over, from its first to its last one."""
    return num_frames * frame_stride if method == "linspace" else (num_frames - 1) * frame_stride + 1


def _clip_at(start: int, num_video_frames: int, num_frames: int, frame_stride: int, method: str) -> np.ndarray:
    if method == "linspace":
        offsets = linspace_offsets(num_video_frames, num_frames, frame_stride)
    else:
        offsets = np.arange(num_frames, dtype=np.int64) * frame_stride
    return np.minimum(start + offsets, num_video_frames - 1)


def linspace_offsets(num_video_frames: int, num_frames: int, frame_stride: int) -> np.ndarray:
    """Spread the points over the span, or the fewer that a shorter video has room for over all of it."""
    span = min(num_frames * frame_stride, num_video_frames)
    num_points = num_frames if span == num_frames * frame_stride else span // frame_stride
    offsets = np.full(num_frames, span - 1, dtype=np.int64)
    # Whole numbers throughout: in floats a point that is a whole number may fall just short of it.
    points = np.arange(num_points, dtype=np.int64) * span // max(num_points - 1, 1)
    offsets[:num_points] = np.minimum(points, span - 1)
    return offsets


def _uniform(num_video_frames: int, num_frames: int, generator: Any) -> np.ndarray:
    segments = np.arange(num_frames, dtype=np.int64)
    lows = segments * num_video_frames // num_frames
    if generator is None:
        return (2 * segments + 1) * num_video_frames // (2 * num_frames)
    highs = np.maximum((segments + 1) * num_video_frames // num_frames, lows + 1)
    drawn = [draw_integer(generator, int(low), int(high)) for low, high in zip(lows, highs, strict=True)]
    return np.array(drawn, dtype=np.int64)
