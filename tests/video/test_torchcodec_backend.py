from __future__ import annotations

import sys
import tarfile

import numpy as np
import pytest
from video_files import SHARED, decode_plainly, encode

from videomae.core.errors import VideoError
from videomae.video import torchcodec_backend
from videomae.video.opening import open_video
from videomae.video.reader import VideoReader
from videomae.video.source import ShardMember


def why_not() -> str:
    try:
        from torchcodec.decoders import VideoDecoder  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        return f"torchcodec cannot be used here: {type(error).__name__}"
    return ""


needs_torchcodec = pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can be used")

SHARED_VIDEOS = sorted(path for path in (SHARED / "videos").glob("*") if path.stat().st_size)
X264 = "keyint=12:min-keyint=12:scenecut=0:"


def h264(parameters: str, **more) -> dict:
    return {"codec": "libx264", "options": {"x264-params": X264 + parameters}} | more


# name: (arguments of `encode`, whether torchcodec itself can give these frames)
GENERATED = {
    "b_frames.mp4": (h264("bframes=3:b-pyramid=2"), True),
    "open_groups.mp4": (h264("bframes=3:open-gop=1"), None),
    "open_groups.ts": (h264("bframes=3:open-gop=1"), None),
    "no_key_frames.mp4": (h264("intra-refresh=1:bframes=0"), True),
    "interlaced.mp4": (h264("interlaced=1:tff=1"), True),
    "h264.avi": (h264("bframes=3"), False),
    "mjpeg.avi": ({"codec": "mjpeg", "pixels": "yuvj420p"}, True),
    "h264.h264": (h264(""), False),
    "10_bit.mp4": (h264("", pixels="yuv420p10le"), True),
    "12_bit.mkv": (
        {"codec": "libx265", "pixels": "yuv420p12le", "options": {"x265-params": "log-level=none"}, "size": (64, 64)},
        True,
    ),
    "odd.mkv": ({"codec": "ffv1", "size": (63, 47), "pixels": "yuv420p10le"}, True),
    "alpha.mov": ({"codec": "png", "pixels": "rgba"}, True),
    "variable_rate.mkv": (h264("", times=[i * i for i in range(40)]), None),
    "variable_rate.mp4": (h264("", times=[3 * i + i % 3 for i in range(40)]), True),
    "rotated.mp4": (h264("", rotation=(90, False, False)), True),
    "mirrored.mp4": (h264("", rotation=(0, True, False)), False),
    "upside_down.mp4": (h264("", rotation=(0, False, True)), False),
    "one_frame.mp4": (h264("", num_frames=1), True),
    "vp9.webm": ({"codec": "libvpx-vp9", "key_distance": 12, "options": {"cpu-used": "5"}}, True),
    "mpeg4_b.avi": ({"codec": "mpeg4", "key_distance": 12, "num_b_frames": 2}, False),
    "mpeg4.mp4": ({"codec": "mpeg4", "key_distance": 12}, False),
    "mpeg2.mpg": ({"codec": "mpeg2video", "key_distance": 12, "num_b_frames": 2}, None),
    "picture.gif": ({"codec": "gif", "pixels": "rgb8"}, False),
}


def check_same(reader, plain) -> None:
    """The readers give the same frames, whatever the order of the calls."""
    count = plain.num_frames
    assert reader.num_frames == count
    assert reader.info == plain.info
    assert np.array_equal(reader.frame_times, plain.frame_times)
    lists = [[count // 2], [count - 1, 0, 0], list(range(0, count, 4)), [min(13, count - 1)]]
    for indices in lists:
        assert np.array_equal(reader.read(indices), plain.read(indices)), indices
    streamed = dict(reader.stream([count - 1, 0, count // 3]))
    assert sorted(streamed) == sorted({0, count // 3, count - 1})
    for number, picture in streamed.items():
        assert np.array_equal(picture, plain.read([number])[0]), number


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("videos")


def make(folder, name):
    path = folder / name
    return path if path.exists() else encode(path, **GENERATED[name][0])


@needs_torchcodec
@pytest.mark.parametrize("name", GENERATED)
def test_both_backends_give_the_same_frames(folder, name):
    path = make(folder, name)
    with open_video(path, backend="torchcodec") as reader, VideoReader(path) as plain:
        check_same(reader, plain)
        itself = GENERATED[name][1]
        if itself is not None:  # else it depends on the version of torchcodec's FFmpeg
            assert reader.decoded_by == ("torchcodec" if itself else "pyav")
    with open_video(path, backend="torchcodec", index=plain.index, num_threads=2) as reader, VideoReader(path) as plain:
        check_same(reader, plain)


@needs_torchcodec
@pytest.mark.skipif(not SHARED_VIDEOS, reason="no ../shared/videos beside the repository")
@pytest.mark.parametrize("path", SHARED_VIDEOS, ids=lambda path: path.name)
def test_both_backends_give_the_same_frames_of_shared_videos(path):
    with open_video(path, backend="torchcodec") as reader, VideoReader(path) as plain:
        assert reader.num_frames == plain.num_frames
        assert reader.info == plain.info
        indices = sorted({0, plain.num_frames // 2, plain.num_frames - 1})
        assert np.array_equal(reader.read(indices), plain.read(indices))
        assert reader.decoded_by == ("pyav" if plain.index.is_decoded else "torchcodec")


@needs_torchcodec
def test_frames_that_are_not_those_asked_for_are_not_given_out(folder, monkeypatch):
    path = make(folder, "b_frames.mp4")
    shifted = torchcodec_backend._frame_mappings

    def wrong(index):
        return shifted(index).replace('"pts": ', '"pts": 1')

    monkeypatch.setattr(torchcodec_backend, "_frame_mappings", wrong)
    with open_video(path, backend="torchcodec") as reader:
        assert np.array_equal(reader.read([7, 3]), decode_plainly(path)[[7, 3]])
        assert reader.decoded_by == "pyav"


@needs_torchcodec
def test_a_member_of_a_shard(folder):
    path = make(folder, "b_frames.mp4")
    shard = folder / "shard.tar"
    with tarfile.open(shard, "w") as tar:
        tar.add(path, "video.mp4")
        member = tar.getmember("video.mp4")
    content = shard.read_bytes()
    offset = content.index(path.read_bytes())
    member = ShardMember(str(shard), offset, member.size, "video.mp4")
    with open_video(member, backend="torchcodec") as reader, VideoReader(path) as plain:
        assert reader.decoded_by == "torchcodec"
        assert np.array_equal(reader.read([7, 3]), plain.read([7, 3]))
    assert reader._source.closed
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
    fsspec.filesystem("memory").pipe("/torchcodec.tar", content)
    member = ShardMember("memory://torchcodec.tar", offset, member.size, "video.mp4")
    with open_video(member, backend="torchcodec") as reader:
        assert reader.decoded_by == "torchcodec"
        assert np.array_equal(reader.read([7, 3]), decode_plainly(path)[[7, 3]])


@needs_torchcodec
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_file_reads_or_fails_as_with_the_first_backend(folder, tmp_path, share):
    content = make(folder, "b_frames.mp4").read_bytes()
    for name in ("cut.mp4", "cut.ts"):
        source = content if name == "cut.mp4" else make(folder, "open_groups.ts").read_bytes()
        path = tmp_path / name
        path.write_bytes(source[: int(len(source) * share)])
        outcomes = []
        for backend in ("pyav", "torchcodec"):
            try:
                with open_video(path, backend=backend) as reader:
                    outcomes.append(reader.read(range(reader.num_frames)))
            except VideoError as error:
                outcomes.append(str(error))
        if isinstance(outcomes[0], str):
            assert outcomes[0] == outcomes[1]
        else:
            assert np.array_equal(*outcomes)


@needs_torchcodec
def test_numbers_outside_the_video_and_files_that_are_none(folder, tmp_path):
    with open_video(make(folder, "b_frames.mp4"), backend="torchcodec") as reader:
        for indices in ([], [40], [-1], [0.5]):
            with pytest.raises(VideoError):
                reader.read(indices)
            with pytest.raises(VideoError):
                list(reader.stream(indices))
    (tmp_path / "text.mp4").write_text("no video")
    for path in (tmp_path / "none.mp4", tmp_path / "text.mp4", tmp_path):
        with pytest.raises(VideoError):
            open_video(path, backend="torchcodec")


def test_without_torchcodec_one_line_says_so(folder, monkeypatch):
    path = make(folder, "one_frame.mp4")
    closed = []
    real_close = VideoReader.close
    monkeypatch.setattr(VideoReader, "close", lambda reader: (closed.append(reader), real_close(reader))[1])
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    with pytest.raises(VideoError, match="pip install torchcodec; it needs FFmpeg's shared libraries") as caught:
        open_video(path, backend="torchcodec")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert closed
