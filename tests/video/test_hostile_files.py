"""What damaged files may do: be read, or be refused in one line. Never crash, hang, or take all memory."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from hostile_videos import LIMITS
from video_files import encode

from videomae.core.errors import VideoError
from videomae.video.reader import VideoReader

NUM_CASES = 4000
X264 = {"x264-params": "keyint=6:min-keyint=6:scenecut=0:bframes=2"}
B_FRAMES = {"key_distance": 6, "num_b_frames": 2}
SMALL = {
    "h264.mp4": {"codec": "libx264", "options": X264},
    "open.mkv": {"codec": "libx264", "options": {"x264-params": X264["x264-params"] + ":open-gop=1"}},
    "h264.ts": {"codec": "libx264", "options": X264},
    "h264.flv": {"codec": "libx264", "options": X264},
    "h264.h264": {"codec": "libx264", "options": X264},
    "turned.mov": {"codec": "libx264", "options": X264, "rotation": (90, False, False)},
    "ten_bit.mp4": {"codec": "libx264", "options": X264, "pixels": "yuv422p10le"},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "keyint=6:bframes=2:log-level=none"}, "size": (64, 64)},
    "vp8.webm": {"codec": "libvpx", "key_distance": 6},
    "vp9.webm": {"codec": "libvpx-vp9", "key_distance": 6, "options": {"cpu-used": "8"}},
    "mpeg4.avi": {"codec": "mpeg4", **B_FRAMES},
    "mpeg2.mpg": {"codec": "mpeg2video", **B_FRAMES},
    "mpeg2.mkv": {"codec": "mpeg2video", **B_FRAMES},
    "mpeg1.ts": {"codec": "mpeg1video", **B_FRAMES},
    "wmv.wmv": {"codec": "wmv2", "key_distance": 6},
    "mjpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "prores.mov": {"codec": "prores_ks", "pixels": "yuv422p10le", "num_frames": 2},
    "ffv1.mkv": {"codec": "ffv1", "key_distance": 6},
    "picture.gif": {"codec": "gif", "pixels": "rgb8"},
    "picture.apng": {"codec": "apng", "pixels": "rgb24", "num_frames": 4},
    "raw.avi": {"codec": "rawvideo", "pixels": "bgr24", "size": (16, 16)},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    for name, arguments in SMALL.items():
        encode(folder / name, **{"num_frames": 8, "size": (32, 32)} | arguments)
    return folder


def test_thousands_of_damaged_files(folder, record_property):
    """In a process of its own, since a crash is one of the things that may not happen."""
    program = [sys.executable, "-W", "error", "-m", "hostile_videos", str(folder), "0", str(NUM_CASES)]
    result = subprocess.run(program, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=300)
    last_line = result.stdout.strip().rsplit("\n", 1)[-1]
    assert result.returncode == 0, f"case {last_line} ended the process with {result.returncode}: {result.stderr}"
    done, num_read, num_refused = last_line.split()
    assert done == "done"
    assert result.stderr == ""
    assert int(num_read) > NUM_CASES // 10
    assert int(num_refused) > NUM_CASES // 10


@pytest.mark.parametrize("name", ["h264.mp4", "vp8.webm", "picture.gif", "mpeg2.mpg", "mpeg4.avi"])
def test_truncated_anywhere(folder, name):
    data = (folder / name).read_bytes()
    with VideoReader(folder / name) as reader:
        sound = reader.read(range(reader.num_frames))
    numbers, messages = set(), set()
    for size in range(1, len(data), max(1, len(data) // 250)):
        try:
            with VideoReader(io.BytesIO(data[:size]), limits=LIMITS, name=name) as reader:
                frames = reader.read(range(reader.num_frames))
        except VideoError as error:
            messages.add(str(error))
        else:
            assert len(frames) <= len(sound)
            assert frames.shape[1:] == sound.shape[1:]
            numbers.add(len(frames))
    assert numbers
    assert messages
    assert not any("\n" in message for message in messages)
