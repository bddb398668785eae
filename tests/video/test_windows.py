"""Where windows begin, and which frames of them a clip shows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from videomae.video.sampling import ClipSampling
from videomae.video.windows import clip_offsets, clip_seconds, moments_of, window_frames, window_starts


@pytest.mark.parametrize(
    ("length", "window", "hop", "starts"),
    [
        (100, 40, 20, [0, 20, 40, 60]),
        (105, 40, 20, [0, 20, 40, 60, 65]),
        (40, 40, 7, [0]),
        (10, 40, 20, [0]),
        (41, 40, 20, [0, 1]),
        (12.0, 4.0, 2.0, [0, 2, 4, 6, 8]),
        (12.5, 4.0, 2.0, [0, 2, 4, 6, 8, 8.5]),
    ],
)
def test_windows_cover_a_video_and_the_last_one_ends_with_it(
    length: float, window: float, hop: float, starts: list[float]
) -> None:
    found = window_starts(length, window, hop)
    assert found.tolist() == starts
    assert found.dtype.kind == ("i" if isinstance(length, int) else "f")


def test_a_rest_of_half_a_frame_is_no_window() -> None:
    assert window_starts(12.01, 4.0, 2.0, tolerance=0.02).tolist() == [0, 2, 4, 6, 8]
    assert window_starts(11.99, 4.0, 2.0, tolerance=0.02).tolist() == [0, 2, 4, 6, 8]


SAMPLINGS = [
    ClipSampling("dense", 16, 4),
    ClipSampling("dense", 8, 2),
    ClipSampling("dense", 16, frame_rate=7.5),
    ClipSampling("uniform", 16),
    ClipSampling("linspace", 16, 4),
]


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("rate", [25, 30, 60, 24000 / 1001])
@pytest.mark.parametrize("num_window_frames", [91, 120, 200])
def test_frames_of_a_window_are_those_of_the_window_alone(
    sampling: ClipSampling, rate: float, num_window_frames: int
) -> None:
    """What `predict` takes of a video that is the window, counted from the window's first frame."""
    times = np.arange(1000) / rate
    first = np.array([0, 30, 277, 1000 - num_window_frames])
    offsets = clip_offsets(sampling, window_seconds=num_window_frames / rate, frame_seconds=1 / rate)
    alone = sampling.test_indices(num_window_frames, num_clips=1, frame_times=times[:num_window_frames])
    found = window_frames(first / rate, offsets, times)
    assert found.shape == (4, 1, sampling.num_frames)
    if (clip_seconds(sampling, 1 / rate) or 0) > num_window_frames / rate:
        pytest.skip("such a clip reaches beyond its window")
    # By a stride they are the same. In time, what is shown less than a millisecond later counts, and by a rate
    # `predict` counts from the clip's first frame.
    is_by_stride = sampling.frame_rate is None and sampling.method != "uniform"
    assert np.abs(found - first[:, None, None] - alone).max() <= (0 if is_by_stride else 1)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_several_clips_reach_from_end_to_end(sampling: ClipSampling) -> None:
    offsets = clip_offsets(sampling, window_seconds=10, frame_seconds=0.04, num_clips=3)
    assert offsets.shape == (3, sampling.num_frames)
    assert (np.diff(offsets) >= 0).all()
    assert offsets.min() == pytest.approx(0, abs=1e-9)
    assert offsets.max() < 10
    if sampling.method != "uniform":
        assert offsets[-1, -1] == pytest.approx(10 - 0.04)
        assert offsets[1].mean() == pytest.approx(offsets.mean())


def test_a_clip_that_is_longer_than_a_window_reaches_beyond_it_but_not_out_of_the_video() -> None:
    sampling = ClipSampling("dense", 5, 10)  # four steps of 10 frames
    times = np.arange(100) / 10
    offsets = clip_offsets(sampling, window_seconds=2, frame_seconds=0.1)
    frames = window_frames(np.array([0.0, 4.0, 8.0]), offsets, times)[:, 0]
    assert frames.tolist() == [[0, 10, 20, 30, 40], [29, 39, 49, 59, 69], [59, 69, 79, 89, 99]]


def test_of_a_variable_rate_time_counts() -> None:
    """10 frames a second, then 50: steps in seconds stay what they are."""
    times = np.concatenate([np.arange(100) / 10, 10 + np.arange(500) / 50])
    offsets = clip_offsets(ClipSampling("dense", 4, frame_rate=2), window_seconds=2, frame_seconds=1 / 30)
    slow, fast = window_frames(np.array([4.0, 14.0]), offsets, times)[:, 0]
    assert np.diff(times[slow]) == pytest.approx(np.full(3, 0.5), abs=0.11)
    assert np.diff(times[fast]) == pytest.approx(np.full(3, 0.5), abs=0.021)
    assert np.diff(slow).tolist() == [5, 5, 5]
    assert np.diff(fast).tolist() == [25, 25, 25]


def test_moments_of_a_stream_have_no_known_end() -> None:
    offsets = np.array([[-1.0, 0.0, 1.0]])
    assert moments_of(0.0, offsets, first=0.0, last=math.inf).tolist() == [[0, 1, 2]]
    assert moments_of(50.0, offsets, first=0.0, last=math.inf).tolist() == [[49, 50, 51]]
    assert moments_of(50.0, offsets, first=0.0, last=50.5).tolist() == [[48.5, 49.5, 50.5]]
    assert moments_of(0.0, offsets, first=0.0, last=0.5).tolist() == [[0, 1, 2]]  # a clip longer than the video


def test_how_long_a_clip_is() -> None:
    assert clip_seconds(ClipSampling("dense", 16, 4), 1 / 32) == 2
    assert clip_seconds(ClipSampling("dense", 16, frame_rate=8), 1 / 32) == 2
    assert clip_seconds(ClipSampling("uniform", 16), 1 / 32) is None
