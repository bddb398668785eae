from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from videomae.core.errors import ConfigError, VideoError
from videomae.video.sampling import dense_test_starts, sample_frame_indices, test_clip_indices


@pytest.mark.parametrize(
    ("num_video_frames", "num_frames", "frame_stride", "method", "expected"),
    [
        (10, 4, 1, "dense", [3, 4, 5, 6]),
        (10, 4, 2, "dense", [1, 3, 5, 7]),
        (11, 4, 2, "dense", [2, 4, 6, 8]),
        (7, 4, 2, "dense", [0, 2, 4, 6]),
        (6, 4, 2, "dense", [0, 2, 4, 5]),
        (3, 4, 2, "dense", [0, 2, 2, 2]),
        (1, 3, 4, "dense", [0, 0, 0]),
        (5, 1, 4, "dense", [2]),
        (8, 4, 1, "uniform", [1, 3, 5, 7]),
        (10, 4, 9, "uniform", [1, 3, 6, 8]),
        (3, 6, 1, "uniform", [0, 0, 1, 1, 2, 2]),
        (1, 3, 1, "uniform", [0, 0, 0]),
        (64, 16, 4, "linspace", [0, 4, 8, 12, 17, 21, 25, 29, 34, 38, 42, 46, 51, 55, 59, 63]),
        (74, 16, 4, "linspace", [5, 9, 13, 17, 22, 26, 30, 34, 39, 43, 47, 51, 56, 60, 64, 68]),
        (20, 8, 4, "linspace", [0, 5, 10, 15, 19, 19, 19, 19]),
        (5, 4, 4, "linspace", [0, 4, 4, 4]),
        (3, 4, 4, "linspace", [2, 2, 2, 2]),
        (9, 1, 4, "linspace", [2]),
    ],
)
def test_without_a_generator(num_video_frames, num_frames, frame_stride, method, expected):
    indices = sample_frame_indices(num_video_frames, num_frames=num_frames, frame_stride=frame_stride, method=method)
    assert indices.dtype == np.int64
    assert indices.tolist() == expected


def _generators(seed):
    return torch.Generator().manual_seed(seed), np.random.default_rng(seed)


def test_dense_draws_every_start_and_keeps_the_stride():
    for generator in _generators(0):
        starts = set()
        for _ in range(200):
            indices = sample_frame_indices(20, num_frames=5, frame_stride=4, generator=generator)
            assert np.diff(indices).tolist() == [4, 4, 4, 4]
            starts.add(int(indices[0]))
        assert starts == {0, 1, 2, 3}


def test_linspace_draws_every_start():
    for generator in _generators(0):
        starts = set()
        for _ in range(200):
            indices = sample_frame_indices(18, num_frames=4, frame_stride=4, method="linspace", generator=generator)
            assert (indices - indices[0]).tolist() == [0, 5, 10, 15]
            starts.add(int(indices[0]))
        assert starts == {0, 1, 2}


def test_uniform_draws_every_frame_of_each_segment():
    for generator in _generators(0):
        drawn = np.stack(
            [sample_frame_indices(10, num_frames=4, method="uniform", generator=generator) for _ in range(200)]
        )
        assert [sorted(set(column)) for column in drawn.T.tolist()] == [[0, 1], [2, 3, 4], [5, 6], [7, 8, 9]]


@pytest.mark.parametrize("method", ["dense", "uniform", "linspace"])
def test_the_generator_decides_alone(method):
    def draw(generator):
        return [
            sample_frame_indices(90, num_frames=8, frame_stride=4, method=method, generator=generator).tolist()
            for _ in range(5)
        ]

    for first, second in zip(_generators(3), _generators(3), strict=True):
        assert draw(first) == draw(second)
    for first, second in zip(_generators(3), _generators(4), strict=True):
        assert draw(first) != draw(second)


@pytest.mark.parametrize(
    ("num_video_frames", "num_clips", "num_frames", "frame_stride", "expected"),
    [
        # 300 frames at stride 4 are 75; 59 of them may start a clip: 0, 14.75, 29.5, 44.25, 59.
        (300, 5, 16, 4, [0, 56, 116, 176, 236]),
        (65, 3, 16, 4, [0, 0, 4]),  # 17 strided frames
        (64, 3, 16, 4, [0, 0, 0]),
        (10, 2, 16, 4, [0, 0]),
        (100, 1, 16, 4, [19]),
        (10, 4, 4, 1, [0, 2, 4, 6]),
    ],
)
def test_dense_test_starts(num_video_frames, num_clips, num_frames, frame_stride, expected):
    starts = dense_test_starts(num_video_frames, num_clips=num_clips, num_frames=num_frames, frame_stride=frame_stride)
    assert starts.tolist() == expected


@pytest.mark.parametrize(
    ("num_video_frames", "clip", "num_clips", "num_frames", "frame_stride", "method", "expected"),
    [
        (10, 0, 4, 4, 1, "dense", [0, 1, 2, 3]),
        (10, 3, 4, 4, 1, "dense", [6, 7, 8, 9]),
        (300, 4, 5, 3, 4, "dense", [288, 292, 296]),
        (5, 1, 2, 4, 2, "dense", [0, 2, 4, 4]),
        (10, 0, 1, 4, 1, "dense", [3, 4, 5, 6]),
        (16, 0, 2, 4, 1, "uniform", [0, 4, 8, 12]),
        (16, 1, 2, 4, 1, "uniform", [2, 6, 10, 14]),
        (16, 0, 1, 4, 1, "uniform", [2, 6, 10, 14]),
        (16, 3, 4, 4, 1, "uniform", [3, 7, 11, 15]),
        (10, 1, 2, 4, 1, "uniform", [1, 3, 6, 8]),
        (20, 0, 3, 4, 4, "linspace", [0, 5, 10, 15]),
        (20, 1, 3, 4, 4, "linspace", [2, 7, 12, 17]),
        (20, 2, 3, 4, 4, "linspace", [4, 9, 14, 19]),
    ],
)
def test_test_clips(num_video_frames, clip, num_clips, num_frames, frame_stride, method, expected):
    indices = test_clip_indices(
        num_video_frames,
        clip=clip,
        num_clips=num_clips,
        num_frames=num_frames,
        frame_stride=frame_stride,
        method=method,
    )
    assert indices.dtype == np.int64
    assert indices.tolist() == expected


@pytest.mark.parametrize("method", ["dense", "uniform", "linspace"])
def test_indices_stay_inside_every_video(method):
    generator = torch.Generator().manual_seed(0)
    for num_video_frames in range(1, 40):
        for num_frames, frame_stride in ((1, 1), (4, 3), (8, 4), (5, 9)):
            chosen = [
                sample_frame_indices(
                    num_video_frames, num_frames=num_frames, frame_stride=frame_stride, method=method, generator=drawn
                )
                for drawn in (None, generator)
            ]
            chosen += [
                test_clip_indices(
                    num_video_frames,
                    clip=clip,
                    num_clips=3,
                    num_frames=num_frames,
                    frame_stride=frame_stride,
                    method=method,
                )
                for clip in range(3)
            ]
            for indices in chosen:
                assert indices.shape == (num_frames,)
                assert indices[0] >= 0
                assert indices[-1] < num_video_frames
                assert (np.diff(indices) >= 0).all()


def test_errors_name_the_value_and_the_choices():
    with pytest.raises(VideoError, match=r"num_video_frames=0: expected a video with at least 1 frame"):
        sample_frame_indices(0, num_frames=4)
    with pytest.raises(ConfigError, match=r"method='random': expected one of dense, uniform, linspace"):
        sample_frame_indices(9, num_frames=4, method="random")
    with pytest.raises(ConfigError, match=r"num_frames=0: expected at least 1"):
        sample_frame_indices(9, num_frames=0)
    with pytest.raises(ConfigError, match=r"frame_stride=0: expected at least 1"):
        sample_frame_indices(9, num_frames=4, frame_stride=0)
    with pytest.raises(ConfigError, match=r"clip=2: expected a clip from 0 to 1"):
        test_clip_indices(9, clip=2, num_clips=2, num_frames=4, frame_stride=1, method="dense")
    with pytest.raises(ConfigError, match=r"num_clips=0: expected at least 1"):
        dense_test_starts(9, num_clips=0, num_frames=4, frame_stride=1)


@pytest.mark.parametrize("name", ["num_video_frames", "num_frames", "frame_stride", "clip", "num_clips"])
@pytest.mark.parametrize("value", [4.0, "4", None])
def test_numbers_must_be_whole(name, value):
    arguments = {"num_video_frames": 40, "num_frames": 4, "frame_stride": 4, "clip": 1, "num_clips": 4}

    with pytest.raises(ConfigError, match=f"{name}={value!r}: expected a whole number"):
        test_clip_indices(**{**arguments, name: value}, method="dense")
    if name not in ("clip", "num_clips"):
        training = {"num_video_frames": 40, "num_frames": 4, "frame_stride": 4, name: value}
        with pytest.raises(ConfigError, match=f"{name}={value!r}: expected a whole number"):
            sample_frame_indices(**training, method="uniform")


def test_numpy_numbers_are_whole():
    assert sample_frame_indices(np.int64(9), num_frames=np.int32(2)).tolist() == [3, 4]


@pytest.mark.parametrize("method", ["dense", "uniform", "linspace"])
@pytest.mark.parametrize("generator", [0, np.random, np.random.RandomState(0)])
def test_generators_of_another_kind(method, generator):
    with pytest.raises(ConfigError, match=r"a generator of type \w+: expected a torch.Generator or a numpy"):
        sample_frame_indices(400, num_frames=4, method=method, generator=generator)


def test_importing_loads_no_torch():
    code = "import sys, videomae.video.sampling; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
