"""Annotated videos: the source's frames at the source's times, turned as they are shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from video_files import encode

from videomae.core.errors import ConfigError, VideoError
from videomae.inference.annotate import annotate_video, require_mp4
from videomae.inference.timeline import Timeline
from videomae.video import open_video


def made_timeline(path: Path, duration: float, score: float = 0.9) -> Timeline:
    starts = np.arange(4) * duration / 4
    scores = np.array([[score, 0], [0, score], [0, score], [0.2, 0.1]], dtype=np.float32)
    labels = ("a label that is far too long for a frame as narrow as this one", "b")
    return Timeline(str(path), labels, starts, starts + duration / 4, scores, duration, duration / 4, duration / 4)


def annotated(source: Path, output: Path, timeline: Timeline) -> None:
    done: list[float] = []
    annotate_video(timeline, source, output, on_frame=done.append)
    assert done == sorted(done)
    assert [path.name for path in output.parent.iterdir() if path.name.startswith(".")] == []


def test_a_turned_video_stands_upright(tmp_path: Path) -> None:
    source = encode(tmp_path / "turned.mp4", "libx264", size=(160, 96), rotation=(90, False, False))
    annotated(source, tmp_path / "out.mp4", made_timeline(source, 1.6))
    with open_video(source) as before, open_video(tmp_path / "out.mp4") as after:
        assert (after.info.width, after.info.height) == (96, 160)
        assert after.info.rotation_degrees == 0
        assert after.num_frames == before.num_frames == 40
        old, new = before.read([5, 35]).astype(int), after.read([5, 35]).astype(int)
    assert np.abs(old[:, :100] - new[:, :100]).mean() < 6
    assert np.abs(old[0, 140:] - new[0, 140:]).mean() > 20  # a label
    assert np.abs(old[1, 120:150] - new[1, 120:150]).mean() < 6  # no label in the last quarter


def test_times_of_a_variable_rate_stay(tmp_path: Path) -> None:
    times = [0, 4, 8, 30, 31, 90, 95, 200]  # hundredths
    source = encode(tmp_path / "v.mkv", "libx264", num_frames=8, times=times)
    annotated(source, tmp_path / "out.mp4", made_timeline(source, 2.2))
    with open_video(tmp_path / "out.mp4") as after:
        assert after.frame_times == pytest.approx(np.array(times) / 100, abs=1e-3)


def test_odd_sizes_and_a_single_frame(tmp_path: Path) -> None:
    source = encode(tmp_path / "odd.mkv", "ffv1", size=(33, 21), num_frames=1, pixels="yuv444p")
    annotated(source, tmp_path / "out.mp4", made_timeline(source, 0.04))
    with open_video(tmp_path / "out.mp4") as after:
        assert (after.info.width, after.info.height, after.num_frames) == (34, 22, 1)


def test_no_segments(tmp_path: Path) -> None:
    source = encode(tmp_path / "x.mp4", "libx264", num_frames=10)
    annotated(source, tmp_path / "out.mp4", made_timeline(source, 0.4, score=0.1))
    with open_video(tmp_path / "out.mp4") as after:
        assert after.num_frames == 10


def test_an_unreadable_source_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_text("no video")
    with pytest.raises(VideoError):
        annotate_video(made_timeline(tmp_path / "x.mp4", 1), tmp_path / "x.mp4", tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["x.mp4"]
    with pytest.raises(ConfigError, match=r"--annotate x\.mkv"):
        require_mp4("x.mkv")
