from __future__ import annotations

import av
import numpy as np
import pytest
from video_files import moving_texture

from videomae.core.errors import ConfigError, ShapeError, VideoError
from videomae.video import probe_video, read_video, writer
from videomae.video.writer import write_video


def test_frames_come_back(tmp_path):
    frames = moving_texture(60, 64, 48)
    write_video(tmp_path / "clip.mp4", frames, frames_per_second=30, crf=10)
    read = read_video(tmp_path / "clip.mp4", range(60))
    assert read.shape == frames.shape
    assert np.abs(read.astype(int) - frames).mean() < 8
    info = probe_video(tmp_path / "clip.mp4")
    assert (info.num_frames, info.frames_per_second, info.duration_seconds, info.codec) == (60, 30.0, 2.0, "h264")


def test_broadcast_rate(tmp_path):
    write_video(tmp_path / "clip.mp4", moving_texture(3, 16, 16), frames_per_second=29.97)
    assert probe_video(tmp_path / "clip.mp4").frames_per_second == pytest.approx(29.97, abs=1e-3)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (5, 3), (16, 7)])
def test_odd_sizes_repeat_the_edge(tmp_path, width, height):
    frames = np.full((2, height, width, 3), 200, dtype=np.uint8)
    write_video(tmp_path / "clip.mp4", frames, frames_per_second=10, crf=0)
    read = read_video(tmp_path / "clip.mp4", [0, 1])
    assert read.shape == (2, height + height % 2, width + width % 2, 3)
    assert np.abs(read.astype(int) - 200).max() <= 3


def test_a_larger_crf_makes_a_smaller_file(tmp_path):
    frames = moving_texture(20, 64, 48)
    for crf in (5, 40):
        write_video(tmp_path / f"{crf}.mp4", frames, frames_per_second=10, crf=crf)
    assert (tmp_path / "40.mp4").stat().st_size < (tmp_path / "5.mp4").stat().st_size


def test_the_picture_is_marked_for_every_player(tmp_path):
    write_video(tmp_path / "clip.mp4", moving_texture(2, 16, 16), frames_per_second=10)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert container.streams.video[0].pix_fmt == "yuv420p"


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"before")

    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(writer.os, "replace", fail)
    with pytest.raises(VideoError, match="disk full"):
        write_video(path, moving_texture(2, 16, 16), frames_per_second=10)
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]
    assert path.read_bytes() == b"before"


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((0, 8, 8, 3), np.uint8),
        np.zeros((2, 0, 8, 3), np.uint8),
        np.zeros((2, 8, 8, 3), np.float32),
        np.zeros((2, 8, 8), np.uint8),
        np.zeros((2, 8, 8, 4), np.uint8),
    ],
)
def test_frames_that_cannot_be_written(tmp_path, frames):
    with pytest.raises(ShapeError, match=r"expected uint8 \(num_frames, height, width, 3\) with at least one frame"):
        write_video(tmp_path / "clip.mp4", frames, frames_per_second=10)
    assert not list(tmp_path.iterdir())


def test_settings_out_of_range(tmp_path):
    frames = moving_texture(2, 16, 16)
    for rate in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="frames_per_second"):
            write_video(tmp_path / "clip.mp4", frames, frames_per_second=rate)
    with pytest.raises(ConfigError, match="crf=60"):
        write_video(tmp_path / "clip.mp4", frames, frames_per_second=10, crf=60)
    with pytest.raises(VideoError, match="a path that can be written"):
        write_video(tmp_path / "missing" / "clip.mp4", frames, frames_per_second=10)


def test_the_same_frames_give_the_same_bytes(tmp_path):
    """Of these clips x264 makes another one in 30 times where it may use AVX-512."""
    t, y, x = np.mgrid[0:20, 0:32, 0:32]
    waves = 127 + 100 * np.sin(x / 5 + t / 3) * np.cos(y / 4 - t / 5)
    frames = np.stack([waves, waves / 2, 0.8 * waves], axis=-1).astype(np.uint8)
    found = set()
    for _ in range(150):
        write_video(tmp_path / "clip.mp4", frames, frames_per_second=10, crf=2)
        found.add((tmp_path / "clip.mp4").read_bytes())
    assert len(found) == 1
