"""Decoder threads change how fast a clip is read, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from videomae.core.errors import VideoError
from videomae.video import _decoder_session
from videomae.video.reader import VideoReader, read_video
from videomae.video.writer import write_video


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """30 frames that are large enough for threads, on a machine that has several cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(3)), raising=False)
    t, y, x = np.mgrid[0:30, 0:360, 0:640]
    waves = 127 + 100 * np.sin(x / 40 + t / 3) * np.cos(y / 50 - t / 5)
    path = tmp_path / "large.mp4"
    write_video(path, np.stack([waves, waves[:, ::-1], waves], axis=-1).astype(np.uint8), frames_per_second=25)
    return path


def test_as_many_threads_as_suit_the_size(large: Path) -> None:
    assert _decoder_session._threads_for(640 * 360) == 3
    assert _decoder_session._threads_for(480 * 360) == 1
    with VideoReader(large, num_threads=None) as reader:
        assert reader._video.stream.codec_context.thread_count == 3
    with VideoReader(large) as reader:
        assert reader._video.stream.codec_context.thread_count == 1


@pytest.mark.parametrize("indices", [[0, 4, 8, 12], [29], [17, 3, 3, 20], list(range(30))])
def test_frames_are_those_of_a_single_decoder(large: Path, indices: list[int]) -> None:
    assert np.array_equal(read_video(large, indices), read_video(large, indices, num_threads=1))


def test_damage_is_told_as_by_a_single_decoder(large: Path) -> None:
    """Threads notice it some packets later; which frames can be read does not depend on them."""
    data = bytearray(large.read_bytes())
    for place in range(len(data) // 3, len(data) // 3 + 4000, 3):
        data[place] ^= 0xFF
    large.write_bytes(bytes(data))
    outcomes = []
    for num_threads in (1, None):
        with pytest.raises(VideoError) as told:
            read_video(large, list(range(30)), num_threads=num_threads)
        outcomes.append(str(told.value))
    assert outcomes[0] == outcomes[1]
    assert "cannot be decoded" in outcomes[0]
