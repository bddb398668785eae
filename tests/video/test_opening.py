from __future__ import annotations

import os
import tarfile

import numpy as np
import pytest
from PIL import Image
from range_server import serve
from video_files import decode_plainly, encode, moving_texture

from videomae.core.errors import VideoError
from videomae.video import remote
from videomae.video._limits import ReadLimits
from videomae.video.opening import open_video
from videomae.video.source import FrameFolder, ShardMember


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    options = {"x264-params": "keyint=12:min-keyint=12:scenecut=0:bframes=3"}
    return encode(tmp_path_factory.mktemp("videos") / "clip.mp4", "libx264", options=options)


@pytest.fixture(scope="module")
def shard(video, tmp_path_factory):
    """A tar file of a text, the video, and another text."""
    path = tmp_path_factory.mktemp("shards") / "shard-000000.tar"
    note = path.with_name("note.txt")
    note.write_text("note " * 500)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(note, "a.txt")
        tar.add(video, "b.mp4")
        tar.add(note, "c.txt")
    return path


def member_of(shard, url=None) -> ShardMember:
    with tarfile.open(shard) as tar:
        info = tar.getmember("b.mp4")
    return ShardMember(url or str(shard), info.offset_data, info.size, "b.mp4")


def check(reader, expected) -> None:
    assert reader.num_frames == len(reader.frame_times) == len(expected)
    assert (reader.info.height, reader.info.width) == expected.shape[1:3]
    for indices in ([0], [30, 2, 2], list(range(0, 40, 3))):
        assert np.array_equal(reader.read(indices), expected[indices])
    streamed = list(reader.stream([5, 2, 5]))
    assert sorted(number for number, _ in streamed) == [2, 5]
    assert all(np.array_equal(picture, expected[number]) for number, picture in streamed)


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_a_file(video, kind):
    with open_video(kind(video)) as reader:
        check(reader, decode_plainly(video))
        index = reader.index
    with open_video(kind(video), index=index, num_threads=2) as reader:
        assert reader.index is index
        check(reader, decode_plainly(video))


def test_a_folder_of_frames(tmp_path):
    frames = moving_texture(40, 20, 16)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    with open_video(FrameFolder(tmp_path)) as reader:
        assert reader.index is None
        check(reader, frames)


def test_a_member_of_a_local_shard(shard, video):
    with open_video(member_of(shard)) as reader:
        check(reader, decode_plainly(video))
        assert reader.info.path == f"{shard}::b.mp4"
        index = reader.index
        file = reader.file
    assert file.closed
    with open_video(member_of(shard), index=index) as reader:
        check(reader, decode_plainly(video))
    with open_video(video, index=index) as reader:  # it is the same video
        check(reader, decode_plainly(video))


def test_a_window_reads_its_bytes_only(shard, video):
    with open_video(member_of(shard)) as reader:
        window = reader.file
        content = video.read_bytes()
        window.seek(0)
        assert window.read() == content
        assert window.read(10) == b""
        assert window.seek(-4, os.SEEK_END) == len(content) - 4
        assert window.read(100) == content[-4:]
        window.seek(10)
        assert window.seek(2, os.SEEK_CUR) == window.tell() == 12
        assert window.read(3) == content[12:15]
        window.seek(len(content) + 5)
        assert window.read(1) == b""
        with pytest.raises(ValueError, match="seek to -1"):
            window.seek(-1)


def test_shards_that_cannot_be_read(shard, tmp_path):
    member = member_of(shard)
    cut = tmp_path / "cut.tar"
    cut.write_bytes(shard.read_bytes()[: member.offset + member.size - 1])
    fifo = tmp_path / "fifo.tar"
    os.mkfifo(fifo)
    for path, message in {
        cut: "cut off",
        tmp_path / "none.tar": "cannot be opened",
        tmp_path: "not a regular file",
        fifo: "not a regular file",
    }.items():
        with pytest.raises(VideoError, match=message) as caught:
            open_video(member_of(shard, str(path)))
        assert "\n" not in str(caught.value)
    with pytest.raises(VideoError, match="at least one byte"):
        open_video(ShardMember(str(shard), 0, 0, "b.mp4"))


def test_what_is_no_video_in_a_shard_is_an_error_and_closes_it(shard, monkeypatch):
    with tarfile.open(shard) as tar:
        info = tar.getmember("a.txt")
    opened = []
    real = open_video.__globals__["open_member"]

    def spy(*arguments, **options):
        opened.append(real(*arguments, **options))
        return opened[-1]

    monkeypatch.setitem(open_video.__globals__, "open_member", spy)
    with pytest.raises(VideoError, match=r"shard-000000\.tar::a\.txt"):
        open_video(ShardMember(str(shard), info.offset_data, info.size, "a.txt"))
    assert opened[0].closed


def test_a_member_of_a_shard_in_memory(shard, video):
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
    fsspec.filesystem("memory").pipe("/shards/one.tar", shard.read_bytes())
    with open_video(member_of(shard, "memory://shards/one.tar")) as reader:
        check(reader, decode_plainly(video))
    with pytest.raises(VideoError, match=r"memory://none\.tar"):
        open_video(member_of(shard, "memory://none.tar"))
    fsspec.filesystem("memory").pipe("/shards/cut.tar", shard.read_bytes()[:5000])
    with pytest.raises(VideoError, match="broke off"):
        open_video(member_of(shard, "memory://shards/cut.tar"))


def test_protocols_that_nothing_reads(shard, monkeypatch):
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    with pytest.raises(VideoError, match=r"nonsense://x\.tar.*Protocol not known"):
        open_video(member_of(shard, "nonsense://x.tar"))
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(VideoError, match="pip install fsspec"):
        open_video(member_of(shard, "memory://x.tar"))


@pytest.fixture
def no_pauses(monkeypatch):
    monkeypatch.setattr(remote, "_FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setenv("no_proxy", "*")


@pytest.mark.usefixtures("no_pauses")
def test_a_member_of_a_shard_behind_http(shard, video):
    with serve(shard.read_bytes()) as server:
        member = member_of(shard, server.url + "/shard.tar")
        with open_video(member) as reader:
            check(reader, decode_plainly(video))
        assert server.ranges == [(member.offset, member.offset + member.size - 1)]  # one request, of its bytes only


@pytest.mark.usefixtures("no_pauses")
def test_a_server_that_fails_at_first_is_asked_again(shard, video):
    for failure in ("dies", "busy"):
        with serve(shard.read_bytes(), failures=[failure] * 2) as server:
            with open_video(member_of(shard, server.url)) as reader:
                check(reader, decode_plainly(video))
            assert len(server.ranges) == 3


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize(
    ("failure", "message", "num_requests"),
    [
        ("dies", "broke off after|reset", 3),
        ("busy", "503", 3),
        ("missing", "404", 1),
        ("whole", r"range requests\); serve the folder with one that does", 1),
        ("garbage", "fetched", 3),
    ],
)
def test_a_server_that_goes_on_failing(shard, failure, message, num_requests):
    with serve(shard.read_bytes(), failures=[failure] * 5) as server:
        with pytest.raises(VideoError, match=message) as caught:
            open_video(member_of(shard, server.url))
        assert len(server.ranges) == num_requests
    assert server.url in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(VideoError, match="efused"):  # and now there is none
        open_video(member_of(shard, server.url))


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("failure", ["hangs", "crawls"])
def test_a_server_without_end(shard, failure):
    with serve(shard.read_bytes(), failures=[failure] * 5) as server, pytest.raises(VideoError, match="time"):
        open_video(member_of(shard, server.url), limits=ReadLimits(max_seconds=0.3))


@pytest.mark.usefixtures("no_pauses")
def test_a_whole_url():
    content = bytes(range(256)) * 1000
    with serve(content, failures=["whole"]) as server:
        assert remote.read_url(server.url) == content
    with serve(content) as server:
        assert remote.read_url(server.url, offset=255_000) == content[255_000:]


def test_urls_are_told_from_paths():
    assert all(map(remote.is_url, ("http://a/b", "s3://a/b", "memory://a", "gs+x://a")))
    assert not any(map(remote.is_url, ("/a/b", "a:b", "C:\\a", "a/b://c", "://a")))
