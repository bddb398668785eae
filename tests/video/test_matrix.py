"""Every file that FFmpeg reads is read: the same frames in the same order, from whatever place and in whatever way.

The reference is the decoder's own order of output, as `video_files.plain_pictures` and the `ffmpeg` program give it.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from video.matrix import CASES, REFUSED, Case
from video.matrix_files import frame_numbers
from video_files import plain_pictures

from videomae.core.errors import VideoError
from videomae.video.reader import PacketIndex, VideoReader

# A packet that shows nothing although its container is sound is met only by decoding it: then frames are one fewer.
COUNTED_BY_DECODING = ("mjpeg_one_garbage.avi", "mjpeg_first_cut.avi", "mjpeg_first_garbage.avi")
# A program to compare with, and what programs before FFmpeg 8 do otherwise.
FFMPEG = os.environ.get("VIDEOMAE_FFMPEG", "")
CHANGED_SINCE = ("h265_pyramid.flv", "av1.avif", "cut_off.gif")


class Made:
    """A file of the matrix and what FFmpeg shows of it."""

    def __init__(self, path: Path, case: Case) -> None:
        self.path, self.case = path, case
        case.make(path)
        self.pictures = plain_pictures(path)
        self.is_readable = not case.needs or case.needs in av.formats_available

    def check(self, got: np.ndarray, numbers: list[int]) -> None:
        for picture, number in zip(got, numbers, strict=True):
            expected = self.pictures[number]
            assert picture.shape == expected.shape, number
            if number not in self.case.undefined and not np.array_equal(picture, expected):
                difference = np.abs(picture.astype(int) - expected).mean()
                places = [n for n, other in enumerate(self.pictures) if np.array_equal(picture, other)]
                pytest.fail(f"frame {number} of {len(self.pictures)} is off by {difference:.1f}: it is {places}")


@pytest.fixture(scope="module")
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    path = tmp_path_factory.mktemp("matrix") / request.param
    yield Made(path, CASES[request.param])
    for file in path.parent.iterdir():
        file.unlink()


@pytest.mark.parametrize("made", [name for name, case in CASES.items() if case.shows is not None], indirect=True)
def test_the_reference_shows_what_was_written(made):
    assert made.case.shows is not None
    assert len(made.pictures) == len(made.case.shows) * made.is_readable
    if made.case.tells_numbers and made.is_readable:
        assert frame_numbers(made.pictures) == list(made.case.shows)


@pytest.mark.parametrize("made", CASES, indirect=True)
def test_frames_are_those_of_ffmpeg(made):
    count = len(made.pictures)
    if not count:
        with pytest.raises(VideoError):
            VideoReader(made.path)
        return
    pick = random.Random(0)
    with VideoReader(made.path) as reader:
        if made.path.name in COUNTED_BY_DECODING:
            assert reader.num_frames == count + 1
            with pytest.raises(VideoError, match=f"{count} frames; packet .* cannot be decoded"):
                reader.read(range(reader.num_frames))
        assert reader.num_frames == count
        assert len(reader.frame_times) == count
        made.check(reader.read(range(count)), list(range(count)))
        for number in reversed(range(count)):
            made.check(reader.read([number]), [number])
        for _ in range(4):
            numbers = [pick.randrange(count) for _ in range(5)]
            made.check(reader.read(numbers), numbers)
        start = pick.randrange(count)
        made.check(reader.read(range(start, count, 3)), list(range(start, count, 3)))
        assert (reader.info.height, reader.info.width) == made.pictures[0].shape[:2]
        assert reader.info.num_frames == count
        kept = reader.index.to_bytes()
    with VideoReader(made.path, index=PacketIndex.from_bytes(kept)) as reader:
        assert reader.num_frames == count
        for numbers in ([count - 1], [count // 2, 0], list(range(count))):
            made.check(reader.read(numbers), numbers)
    index = PacketIndex.from_bytes(kept) if made.path.name in COUNTED_BY_DECODING else None
    with VideoReader(made.path, num_threads=1 if made.case.needs_one_thread else 2, index=index) as reader:
        numbers = sorted({count // 3, count * 2 // 3, count - 1})
        made.check(reader.read(numbers), numbers)


@pytest.mark.parametrize("name", REFUSED)
def test_what_ffmpeg_cannot_read_is_refused_in_one_line(tmp_path, name):
    path = tmp_path / name
    REFUSED[name](path)
    with contextlib.suppress(av.FFmpegError):
        assert plain_pictures(path) == []
    with pytest.raises(VideoError) as caught:
        VideoReader(path)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.skipif(not FFMPEG, reason="VIDEOMAE_FFMPEG names no ffmpeg program to compare with")
@pytest.mark.parametrize("made", CASES, indirect=True)
def test_the_ffmpeg_program_writes_what_the_reference_shows(made):
    if not made.pictures:
        pytest.skip("nothing to read")
    command = [FFMPEG, "-v", "quiet", "-nostdin", "-threads", "1", "-i", str(made.path), "-fps_mode", "passthrough"]
    written = subprocess.run([*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], stdout=subprocess.PIPE).stdout
    shape = made.pictures[0].shape
    got = np.frombuffer(written, np.uint8).reshape(-1, *shape)
    version = subprocess.run([FFMPEG, "-version"], stdout=subprocess.PIPE, text=True).stdout
    if made.path.name in CHANGED_SINCE and "libavcodec     6" not in version:
        pytest.skip("an ffmpeg program from before version 8")
    assert len(got) == len(made.pictures)
    if f"libavcodec     {av.library_versions['libavcodec'][0]}." in version:  # the very libraries of this PyAV
        made.check(got, list(range(len(got))))
    elif made.case.tells_numbers and not made.case.undefined:
        assert frame_numbers(got) == frame_numbers(made.pictures)
