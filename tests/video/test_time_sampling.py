"""Sampling in time: tables made by hand, and what must hold for all."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from videomae.core.errors import ConfigError, VideoError
from videomae.video.sampling import ClipSampling
from videomae.video.time_sampling import frames_between, last_shown


def _generators(seed):
    return torch.Generator().manual_seed(seed), np.random.default_rng(seed)


AT_10 = np.arange(20) / 10
VARIABLE = np.array([0.0, 0.1, 0.2, 0.5, 0.9, 1.0, 1.1, 2.0])
# 30 frames per second as Matroska keeps them: rounded to milliseconds.
ROUNDED = np.round(np.arange(90) / 30, 3)


@pytest.mark.parametrize(
    ("times", "num_frames", "frame_rate", "expected"),
    [
        (AT_10, 4, 10, [8, 9, 10, 11]),
        (AT_10, 4, 5, [6, 8, 10, 12]),
        (AT_10, 4, 20, [8, 8, 9, 9]),
        (AT_10, 3, 2.5, [5, 9, 13]),
        (AT_10[:3], 4, 5, [0, 2, 2, 2]),
        (AT_10[:1], 3, 5, [0, 0, 0]),
        # The start 0.75 s lies in the frame of 0.5 s; moments 0.5, 0.75, 1.0.
        (VARIABLE, 3, 4, [3, 3, 5]),
        # moments 0, 0.5, 1.0, 1.5, 2.0
        (VARIABLE, 5, 2, [0, 3, 5, 6, 7]),
        (ROUNDED, 5, 30, [42, 43, 44, 45, 46]),
        (ROUNDED, 4, 15, [41, 43, 45, 47]),
    ],
)
def test_in_time_without_a_generator(times, num_frames, frame_rate, expected):
    sampling = ClipSampling("dense", num_frames, frame_rate=frame_rate)

    indices = sampling.training_indices(len(times), frame_times=times)

    assert indices.dtype == np.int64
    assert indices.tolist() == expected
    assert sampling.test_indices(len(times), num_clips=1, frame_times=times).tolist() == [expected]


@pytest.mark.parametrize(
    ("times", "num_clips", "num_frames", "frame_rate", "expected"),
    [
        (AT_10, 2, 3, 5, [[0, 2, 4], [15, 17, 19]]),
        (AT_10, 3, 3, 5, [[0, 2, 4], [7, 9, 11], [15, 17, 19]]),
        (AT_10[:2], 3, 3, 5, [[0, 1, 1]] * 3),
        (VARIABLE, 2, 3, 2, [[0, 3, 5], [5, 6, 7]]),
    ],
)
def test_test_clips_in_time(times, num_clips, num_frames, frame_rate, expected):
    sampling = ClipSampling("dense", num_frames, frame_rate=frame_rate)

    assert sampling.test_indices(len(times), num_clips=num_clips, frame_times=times).tolist() == expected


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("num_video_frames", [1, 5, 30, 31])
def test_at_a_constant_rate_time_is_a_stride(num_video_frames, stride):
    by_rate = ClipSampling("dense", 5, frame_rate=30 / stride)
    times = np.arange(num_video_frames) / 30

    in_time = by_rate.training_indices(num_video_frames, frame_times=times)
    by_stride = ClipSampling("dense", 5, stride).training_indices(num_video_frames)

    assert in_time.tolist() == by_stride.tolist()
    for generator in _generators(num_video_frames):
        drawn = [by_rate.training_indices(num_video_frames, generator, frame_times=times) for _ in range(60)]
        last_start = max(num_video_frames - 1 - 4 * stride, 0)
        assert all(0 <= indices[0] <= last_start for indices in drawn)
        for indices in drawn:
            assert (indices == np.minimum(indices[0] + stride * np.arange(5), num_video_frames - 1)).all()


def test_every_start_is_drawn_equally_often_in_time():
    for generator in _generators(0):
        sampling = ClipSampling("dense", 5, frame_rate=7.5)
        drawn = [int(sampling.training_indices(20, generator, frame_times=np.arange(20) / 30)[0]) for _ in range(2000)]
        counts = np.bincount(drawn)
        assert len(counts) == 4
        assert (abs(counts - 500) < 5 * (2000 * 3 / 16) ** 0.5).all()


def test_clips_of_files_of_mixed_rates_last_equally_long():
    for rate in (12, 24, 25, 29.97, 50, 60):
        times = np.arange(300) / rate
        indices = ClipSampling("dense", 16, frame_rate=6).training_indices(300, frame_times=times)
        assert times[indices[-1]] - times[indices[0]] == pytest.approx(2.5, abs=1.01 / rate)


def test_the_last_frame_shown():
    # From 1 ms before a frame's time stamp on, since containers round them.
    moments = [-1.0, -0.0011, -0.0009, 0.05, 0.0985, 0.0995, 0.1, 0.3, 1.95, 9.0]
    assert last_shown(VARIABLE, moments).tolist() == [-1, -1, 0, 0, 0, 1, 1, 2, 6, 7]
    assert int(last_shown(AT_10[:1], 5.0)) == 0


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, range(20)),
        (0.5, None, range(5, 20)),
        (0.55, None, range(5, 20)),
        (None, 0.5, range(0, 5)),
        (None, 0.51, range(0, 6)),
        (1.0, 1.1, range(10, 11)),
        (1.02, 1.05, range(10, 11)),
        (1.95, 7.0, range(19, 20)),
    ],
)
def test_frames_of_a_part(start, end, expected):
    assert frames_between(AT_10, start_seconds=start, end_seconds=end, name="a.mp4") == expected


def test_a_part_of_a_still_picture_is_the_picture():
    assert frames_between(np.zeros(1), start_seconds=3, end_seconds=4, name="a.png") == range(1)


@pytest.mark.parametrize(("start", "end"), [(2.5, None), (2.5, 3.0), (1.0, 1.0), (1.5, 1.0), (None, 0.0)])
def test_a_part_without_frames_is_refused(start, end):
    with pytest.raises(VideoError, match=r"a\.mp4 from .* s: expected .* from 0\.000 to 2\.000 s; correct start and"):
        frames_between(AT_10, start_seconds=start, end_seconds=end, name="a.mp4")


def test_a_rate_is_saved_where_there_is_one():
    assert ClipSampling("dense", 8, 2).to_dict() == {"method": "dense", "num_frames": 8, "frame_stride": 2}
    by_rate = ClipSampling("dense", 8, frame_rate=7.5)
    assert by_rate.to_dict()["frame_rate"] == 7.5
    assert ClipSampling(**by_rate.to_dict()) == by_rate


@pytest.mark.parametrize("rate", [0, -1.0, float("nan"), float("inf"), "5"])
def test_rates_out_of_range_are_refused(rate):
    with pytest.raises(ConfigError, match=r"frame_rate=.*above 0"):
        ClipSampling(frame_rate=rate)


@pytest.mark.parametrize("method", ["uniform", "linspace"])
def test_a_rate_needs_dense_sampling(method):
    with pytest.raises(ConfigError, match=f"with the sampling {method}: expected dense"):
        ClipSampling(method, frame_rate=5)


@pytest.mark.parametrize("times", [None, np.zeros(3)])
def test_a_rate_needs_the_times_of_all_frames(times):
    with pytest.raises(ConfigError, match="frame_times for all 4 frames"):
        ClipSampling(frame_rate=5).training_indices(4, frame_times=times)
