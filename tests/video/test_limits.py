from __future__ import annotations

import gc
import io
import time

import numpy as np
import pytest
from video_files import decode_plainly, encode

from videomae.core.errors import VideoError
from videomae.video import reader as reader_module
from videomae.video.reader import ReadLimits, VideoReader, read_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return encode(tmp_path_factory.mktemp("clip") / "clip.mp4", "libx264", key_distance=12)


class Unreliable(io.BytesIO):
    """A connection that fails after so many reads."""

    num_reads = 10**9

    def read(self, *arguments):
        self.num_reads -= 1
        if self.num_reads < 0:
            raise RuntimeError("connection\nlost")
        return super().read(*arguments)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts", "clip.avi", "clip.gif", "clip.mpg"])
def test_a_file_object_reads_as_the_file_does(tmp_path, name):
    codec, pixels = {"gif": ("gif", "rgb8"), "mpg": ("mpeg1video", "yuv420p")}.get(name[-3:], ("libx264", "yuv420p"))
    path = encode(tmp_path / name, codec, pixels=pixels, key_distance=12)
    expected = decode_plainly(path)
    file = io.BytesIO(path.read_bytes())
    with VideoReader(file, name="shard.tar::clip") as reader:
        assert reader.info.path == "shard.tar::clip"
        for indices in ([0, 39, 20, 20, 3], range(40)):
            assert np.array_equal(reader.read(indices), expected[indices])
    assert not file.closed
    file.seek(0)
    with VideoReader(file, index=reader.index) as again:
        assert np.array_equal(again.read([30]), expected[[30]])


@pytest.mark.parametrize("num_reads", range(8))
def test_a_file_object_that_fails(tmp_path, capfd, num_reads):
    path = encode(tmp_path / "long.avi", "rawvideo", size=(128, 96), pixels="bgr24")
    file = Unreliable(path.read_bytes())
    with VideoReader(file, name="far away") as reader:
        file.num_reads = num_reads
        with pytest.raises(VideoError, match=r"^far away: expected .*connection lost$"):
            reader.read(range(40))
    file = Unreliable(path.read_bytes())
    file.num_reads = num_reads
    with pytest.raises(VideoError, match=r"^unnamed video: expected .*connection lost$"):
        read_video(file, range(40))
    assert read_video(path, [1]).any()  # no error is left behind for another reader
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("answer", ["text", b"x" * 10**6, None])
def test_a_file_object_that_gives_something_else(clip, answer):
    file = io.BytesIO(clip.read_bytes())
    file.read = lambda size=-1: answer
    with pytest.raises(VideoError, match=r"expected"):
        read_video(file, [0])


def test_neither_a_path_nor_a_file():
    with pytest.raises(VideoError, match="of type int"):
        VideoReader(5)
    with pytest.raises(VideoError, match="0 bytes"):
        VideoReader(io.BytesIO(), name="nothing")


def test_stream_gives_each_frame_once(clip):
    expected = decode_plainly(clip)
    with VideoReader(clip) as reader:
        given = list(reader.stream([39, 5, 5, 20, 0, 39]))
        assert sorted(number for number, _ in given) == [0, 5, 20, 39]
        assert all(np.array_equal(picture, expected[number]) for number, picture in given)
        next(reader.stream([7, 8, 9]))  # left unfinished
        assert np.array_equal(reader.read([9]), expected[[9]])
        with pytest.raises(VideoError, match="frame 40"):
            next(reader.stream([40]))


def test_stream_does_not_go_on_with_the_index_of_another_file(clip, tmp_path):
    other = encode(tmp_path / "other.mp4", "libx264", key_distance=6, size=(80, 64), num_frames=50)
    with VideoReader(clip) as reader:
        index = reader.index
    with VideoReader(other, index=index) as reader:
        assert np.array_equal(reader.read([30, 2]), decode_plainly(other)[[30, 2]])


def test_frames_are_freed_without_the_garbage_collector(tmp_path):
    path = encode(tmp_path / "clip.mp4", "libx264", size=(64, 48))
    gc.collect()
    gc.disable()
    try:
        with VideoReader(path) as reader:
            for _ in reader.stream(range(40)):
                pass
            kept = [thing for thing in gc.get_objects() if type(thing).__name__ in ("VideoFrame", "Packet")]
            assert len(kept) < 4, kept
    finally:
        gc.enable()


def test_frames_that_are_too_large(tmp_path):
    path = encode(tmp_path / "large.mp4", "libx264", size=(640, 480), num_frames=2)
    with VideoReader(path, limits=ReadLimits(max_pixels=640 * 480)) as reader:
        assert reader.read([1]).shape == (1, 480, 640, 3)
    with pytest.raises(VideoError, match=r"claims frames of 640x480.*at most 307199 pixels"):
        VideoReader(path, limits=ReadLimits(max_pixels=640 * 480 - 1))


def test_frames_that_grow_too_large_midway(tmp_path):
    path = tmp_path / "growing.ts"
    small = encode(tmp_path / "small.ts", "libx264", key_distance=12)
    large = encode(tmp_path / "large.ts", "libx264", key_distance=12, size=(640, 480))
    path.write_bytes(small.read_bytes() + large.read_bytes())
    limits = ReadLimits(max_pixels=640 * 480 - 1)
    with VideoReader(path, limits=limits) as reader:
        last = reader.num_frames - 1
        assert reader.read([5]).shape == (1, 48, 64, 3)
        if last >= 40:
            with pytest.raises(VideoError):
                reader.read([last])
        else:
            assert reader.info.damage


def test_a_tiny_file_that_claims_huge_frames(tmp_path):
    path = encode(tmp_path / "claim.avi", "rawvideo", size=(2, 2), num_frames=1, pixels="bgr24")
    data = path.read_bytes()
    header = data.index(b"strf") + 12
    path.write_bytes(data[:header] + (16384).to_bytes(4, "little") * 2 + data[header + 8 :])
    with pytest.raises(VideoError, match=r"frames of more than 67108864 pixels are refused"):
        read_video(path, [0])


def test_the_time_limit(clip, monkeypatch):
    now = time.monotonic()
    clock = {"now": now}
    monkeypatch.setattr("videomae.video._limits.time.monotonic", lambda: clock["now"])
    with VideoReader(clip, limits=ReadLimits(max_seconds=5)) as reader:
        stream = reader.stream(range(40))
        next(stream)
        clock["now"] += 100  # the consumer's time
        next(stream)
        packets = reader._video.container.demux

        def slow(stream):
            for packet in packets(stream):
                clock["now"] += 1
                yield packet

        reader._video.container = _Slow(reader._video.container, slow)
        with pytest.raises(VideoError, match=r"clip.mp4 \(still being read after 5 s\)"):
            reader.read([39, 11])
        with pytest.raises(VideoError, match=r"still being read after 5 s"):
            list(reader.stream([39, 11]))


class _Slow:
    def __init__(self, container, demux):
        self._container, self.demux = container, demux

    def __getattr__(self, name):
        return getattr(self._container, name)


@pytest.mark.parametrize("where", ["decode_run", "to_rgb", "index_from_packets"])
def test_memory_that_runs_out(clip, monkeypatch, where):
    def hungry(*arguments, **options):
        raise MemoryError

    if where == "index_from_packets":
        monkeypatch.setattr(reader_module, where, hungry)
        with pytest.raises(VideoError, match=r"clip.mp4 \(more than the memory there is\)"):
            VideoReader(clip)
        return
    with VideoReader(clip) as reader:
        monkeypatch.setattr(reader_module, where, hungry)
        with pytest.raises(VideoError, match=r"clip.mp4 \(more than the memory there is\)"):
            reader.read([5])
        with pytest.raises(VideoError, match=r"clip.mp4 \(more than the memory there is\)"):
            list(reader.stream([5]))
        monkeypatch.undo()
        assert reader.read([5]).any()


@pytest.mark.parametrize("limits", [{"max_pixels": 0}, {"max_pixels": 2**31}, {"max_seconds": 0}])
def test_limits_that_make_no_sense(limits):
    with pytest.raises(VideoError, match="max_"):
        ReadLimits(**limits)
