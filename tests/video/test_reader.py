from __future__ import annotations

import os
import pickle
import random
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from video_files import SHARED, decode_plainly, encode, filter_graph_rgb, key_packets, moving_texture, remux

from videomae.core.errors import VideoError
from videomae.video import (
    PacketIndex,
    VideoReader,
    _decoder_session as open_module,
    probe_video,
    read_video,
    reader as reader_module,
)

SHARED_VIDEOS = sorted(path for path in (SHARED / "videos").glob("*") if path.stat().st_size)
X264 = "keyint=12:min-keyint=12:scenecut=0:"
X265 = "keyint=12:min-keyint=12:bframes=3:log-level=none:"
OPEN_GROUPS = {"codec": "libx264", "options": {"x264-params": X264 + "bframes=3:open-gop=1"}}
ALT_REF = {"auto-alt-ref": "1", "lag-in-frames": "12"}

# name: (arguments of `encode`, whether the packets alone tell the frames)
GENERATED = {
    "b_frames.mp4": ({"codec": "libx264", "options": {"x264-params": X264 + "bframes=3:b-pyramid=2"}}, True),
    "open_groups.mp4": (OPEN_GROUPS, True),
    "open_groups.mkv": (OPEN_GROUPS, True),
    "open_groups.ts": (OPEN_GROUPS, True),
    "no_key_frames.mp4": ({"codec": "libx264", "options": {"x264-params": X264 + "intra-refresh=1:bframes=0"}}, True),
    "all_key_frames.mp4": ({"codec": "libx264", "options": {"x264-params": "keyint=1"}}, True),
    "slices.ts": ({"codec": "libx264", "options": {"x264-params": X264 + "slices=3"}}, True),
    "interlaced.mp4": ({"codec": "libx264", "options": {"x264-params": X264 + "interlaced=1:tff=1"}}, True),
    "interlaced.mkv": ({"codec": "libx264", "options": {"x264-params": X264 + "interlaced=1:tff=1"}}, False),
    "h264.avi": ({"codec": "libx264", "options": {"x264-params": X264}}, False),
    "h264.mov": ({"codec": "libx264", "options": {"x264-params": X264}}, True),
    "h264.h264": ({"codec": "libx264", "options": {"x264-params": X264}}, False),
    "fragments.mp4": (
        {
            "codec": "libx264",
            "options": {"x264-params": X264},
            "container_options": {"movflags": "frag_keyframe+empty_moov"},
        },
        True,
    ),
    "10_bit.mp4": ({"codec": "libx264", "pixels": "yuv420p10le", "options": {"x264-params": X264}}, True),
    "odd_size.mp4": ({"codec": "libx264", "pixels": "yuv444p", "size": (33, 17)}, True),
    "tiny.mp4": ({"codec": "libx264", "size": (2, 2)}, True),
    "one_frame.mp4": ({"codec": "libx264", "num_frames": 1}, True),
    "variable_rate.mp4": ({"codec": "libx264", "times": [3 * i + i % 3 for i in range(40)]}, True),
    "variable_rate.mkv": ({"codec": "libx264", "times": [i * i for i in range(40)]}, True),
    "rotated.mp4": ({"codec": "libx264", "rotation": (90, False, False)}, True),
    "upside_down.mov": ({"codec": "libx264", "rotation": (180, False, False)}, True),
    "hevc_open.mp4": ({"codec": "libx265", "size": (64, 64), "options": {"x265-params": X265 + "open-gop=1"}}, True),
    "hevc_10_bit.ts": (
        {
            "codec": "libx265",
            "size": (64, 64),
            "pixels": "yuv420p10le",
            "options": {"x265-params": X265 + "open-gop=1"},
        },
        True,
    ),
    "hevc_layers.mp4": (
        {
            "codec": "libx265",
            "size": (64, 64),
            "options": {"x265-params": "keyint=24:bframes=7:b-pyramid=1:temporal-layers=1:log-level=none"},
        },
        True,
    ),
    "hevc_4_4_4.mkv": (
        {"codec": "libx265", "size": (64, 64), "pixels": "yuv444p12le", "options": {"x265-params": X265}},
        True,
    ),
    "h264.flv": ({"codec": "libx264", "options": {"x264-params": X264}}, True),
    "sorenson.flv": ({"codec": "flv", "key_distance": 12}, False),
    "full_range.mkv": ({"codec": "libx264", "pixels": "yuvj422p", "options": {"x264-params": X264}}, True),
    "av1.mp4": ({"codec": "libsvtav1", "key_distance": 12, "num_frames": 20, "options": {"preset": "10"}}, True),
    "vp9_4_4_4.webm": (
        {"codec": "libvpx-vp9", "pixels": "yuv444p", "key_distance": 12, "options": ALT_REF | {"cpu-used": "8"}},
        True,
    ),
    "alpha.webm": ({"codec": "libvpx-vp9", "pixels": "yuva420p", "num_frames": 12, "options": {"cpu-used": "8"}}, True),
    "ffv1_10_bit.mkv": ({"codec": "ffv1", "pixels": "yuv422p10le", "key_distance": 12}, True),
    "png.mov": ({"codec": "png", "pixels": "rgb24"}, True),
    "alpha.mov": ({"codec": "png", "pixels": "rgba", "num_frames": 5}, True),
    "huffyuv.avi": ({"codec": "huffyuv", "pixels": "rgb24"}, True),
    "picture.apng": ({"codec": "apng", "pixels": "rgb24", "num_frames": 10}, False),
    "vp8.webm": ({"codec": "libvpx", "key_distance": 12, "options": ALT_REF}, True),
    "vp9.webm": ({"codec": "libvpx-vp9", "key_distance": 12, "options": ALT_REF | {"cpu-used": "5"}}, True),
    "mpeg4.avi": ({"codec": "mpeg4", "key_distance": 12}, True),
    "mpeg4_b.avi": ({"codec": "mpeg4", "key_distance": 12, "num_b_frames": 2}, True),
    "mpeg4_b.mp4": ({"codec": "mpeg4", "key_distance": 12, "num_b_frames": 2}, True),
    "mpeg2.ts": ({"codec": "mpeg2video", "key_distance": 12, "num_b_frames": 2}, True),
    "mpeg2.mpg": ({"codec": "mpeg2video", "key_distance": 12, "num_b_frames": 2}, False),
    "mpeg1.mpg": ({"codec": "mpeg1video", "key_distance": 12, "num_b_frames": 2}, True),
    "mpeg2.mkv": ({"codec": "mpeg2video", "key_distance": 12, "num_b_frames": 2}, True),
    "mpeg2.mp4": ({"codec": "mpeg2video", "key_distance": 12, "num_b_frames": 2}, True),
    "wmv2.wmv": ({"codec": "wmv2", "key_distance": 12}, False),
    "mjpeg.avi": ({"codec": "mjpeg", "pixels": "yuvj420p"}, True),
    "prores.mov": ({"codec": "prores_ks", "pixels": "yuv422p10le", "num_frames": 5}, True),
    "ffv1.mkv": ({"codec": "ffv1", "key_distance": 12}, True),
    "picture.gif": ({"codec": "gif", "pixels": "rgb8"}, False),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("videos")


def make(folder: Path, name: str) -> Path:
    path = folder / name
    return path if path.exists() else encode(path, **GENERATED[name][0])


def index_lists(num_frames: int, seed: int = 0) -> list[list[int]]:
    """Everything, strides, backwards, repeats, ends, and random picks."""
    pick = random.Random(seed)
    lists = [list(range(num_frames)), list(range(0, num_frames, 4)), list(range(num_frames - 1, -1, -7))]
    lists += [[num_frames - 1], [0], [num_frames // 2] * 3]
    return lists + [[pick.randrange(num_frames) for _ in range(5)] for _ in range(5)]


def check_against_plain_decoding(path: Path, reader: VideoReader) -> None:
    expected = decode_plainly(path)
    assert reader.num_frames == len(expected)
    for indices in index_lists(len(expected)):
        assert np.array_equal(reader.read(indices), expected[indices]), indices


@pytest.mark.parametrize("name", GENERATED)
def test_any_frames_of_any_format_equal_a_full_decode(folder, name):
    path = make(folder, name)
    with VideoReader(path) as reader:
        assert (not reader.index.is_decoded) == GENERATED[name][1]
        check_against_plain_decoding(path, reader)
        assert (not reader.index.is_decoded) == GENERATED[name][1]  # the index proved right
        height, width = reader.read([0]).shape[1:3]
        assert (reader.info.width, reader.info.height) == (width, height)
        info, kept = reader.info, PacketIndex.from_bytes(reader.index.to_bytes())
    with VideoReader(path, index=kept) as reader:  # opened without probing
        expected = decode_plainly(path)
        for indices in index_lists(len(expected), seed=1)[3:]:
            assert np.array_equal(reader.read(indices), expected[indices]), indices
        assert reader.info == info
        assert reader.index is kept


@pytest.mark.skipif(not SHARED_VIDEOS, reason="no ../shared/videos beside the repository")
@pytest.mark.parametrize("path", SHARED_VIDEOS, ids=lambda path: path.name)
def test_shared_videos_equal_a_full_decode(path):
    with av.open(str(path)) as container:
        is_large = container.streams.video[0].width * container.streams.video[0].height > 640 * 480
        frames = []
        # Large files are held against the plain way frame by frame, to spare memory and time.
        if is_large:
            with VideoReader(path) as reader:
                chosen = sorted({number for indices in index_lists(reader.num_frames)[3:] for number in indices})
                for number, frame in enumerate(container.decode(video=0)):
                    if number in chosen:
                        frames.append(np.rot90(filter_graph_rgb(frame), frame.rotation // 90))
                assert number + 1 == reader.num_frames
                assert np.array_equal(reader.read(chosen[::-1])[::-1], np.stack(frames))
                for where in (0, len(chosen) // 2):
                    assert np.array_equal(reader.read([chosen[where]])[0], frames[where])
            return
    with VideoReader(path) as reader:
        check_against_plain_decoding(path, reader)


@pytest.mark.skipif(not SHARED_VIDEOS, reason="no ../shared/videos beside the repository")
def test_the_spec_reader_gives_the_same_frames():
    path = SHARED / "videos" / "eating_spaghetti.mp4"
    indices = list(range(137, 137 + 64, 4))
    with av.open(str(path)) as container:
        container.seek(0)
        plain = [
            frame.to_ndarray(format="rgb24")
            for number, frame in enumerate(container.decode(video=0))
            if number in indices
        ]
    assert np.array_equal(read_video(path, indices), np.stack(plain))


def test_a_second_video_stream_is_left_alone(folder, tmp_path):
    sources = [make(folder, "b_frames.mp4"), make(folder, "mpeg4.avi")]
    for name in ("two.mkv", "two.mp4"):
        with av.open(str(tmp_path / name), "w") as written:
            opened = [av.open(str(source)) for source in sources]
            streams = [written.add_stream_from_template(source.streams.video[0]) for source in opened]
            packets = [[packet for packet in source.demux(source.streams.video[0]) if packet.size] for source in opened]
            for pair in zip(*packets, strict=True):
                for packet, stream in zip(pair, streams, strict=True):
                    packet.stream = stream
                    written.mux(packet)
            for source in opened:
                source.close()
        with VideoReader(tmp_path / name) as reader:
            assert reader.info.codec == "h264"
            assert np.array_equal(reader.read([39, 7, 20]), decode_plainly(sources[0])[[39, 7, 20]])


def test_decoding_starts_at_the_nearest_key_frame_and_skips_what_nothing_refers_to(folder, monkeypatch):
    with VideoReader(make(folder, "b_frames.mp4")) as reader:
        fed = []
        packets_from = reader_module.decode_run.__globals__["_packets_from"]

        def spy(*arguments, **options):
            for position, packet in packets_from(*arguments, **options):
                fed.append(position)
                yield position, packet

        monkeypatch.setitem(reader_module.decode_run.__globals__, "_packets_from", spy)
        reader.read([25])
        assert reader.index.entries.tolist() == [0, 12, 24, 36]
        assert fed[0] == 24
        assert fed[-1] == reader.index.frame_packets[25]
        assert reader.index.is_droppable.sum() > 8
        fed.clear()
        reader.read([3, 38])
        assert not set(fed) & set(range(12, 36))  # the middle is jumped over
        assert {0, 36} <= set(fed)


def test_leading_frames_of_an_open_group_start_from_the_key_frame_before(folder):
    with VideoReader(make(folder, "open_groups.mp4")) as reader:
        index = reader.index
        second = int(index.entries[1])
        leading = [
            int(index.packet_frames[packet])
            for packet in range(second + 1, len(index.stamps))
            if index.stamps[packet] < index.stamps[second]
        ]
        assert leading
        assert {index.entry_for(frame) for frame in leading} == {0}
        assert np.array_equal(reader.read(leading), decode_plainly(make(folder, "open_groups.mp4"))[leading])


def test_what_an_edit_list_cuts_away_does_not_count(folder, tmp_path):
    source = make(folder, "open_groups.mp4")
    path = remux(
        source, tmp_path / "edit.mp4", delay=-7 * 512, options={"use_editlist": "1", "avoid_negative_ts": "disabled"}
    )
    with VideoReader(path) as reader:
        assert reader.num_frames == 33
        assert not reader.index.is_counted
        check_against_plain_decoding(path, reader)
        assert np.array_equal(reader.read(range(33)), decode_plainly(source)[7:])


@pytest.mark.parametrize("name", ["open_groups.ts", "open_groups.mkv", "mpeg2.ts", "hevc_open.mp4"])
def test_a_file_cut_out_of_another_starts_with_its_first_whole_frame(folder, tmp_path, name):
    source = make(folder, name)
    path = remux(source, tmp_path / name, first_packet=key_packets(source)[1])
    expected = decode_plainly(path)
    whole = decode_plainly(source)
    assert np.array_equal(expected, whole[-len(expected) :])
    with VideoReader(path) as reader:
        assert np.array_equal(reader.read(range(reader.num_frames)), expected)


def test_a_file_without_its_first_key_frame(folder, tmp_path):
    source = make(folder, "b_frames.mp4")
    path = remux(source, tmp_path / "late.mp4", first_packet=3)
    with VideoReader(path) as reader:
        assert np.array_equal(reader.read(range(reader.num_frames)), decode_plainly(source)[12:])


def test_a_mirrored_picture_is_shown_mirrored(tmp_path):
    plain = decode_plainly(encode(tmp_path / "plain.mp4", "libx264", num_frames=2))
    for turn, expected in ((0, plain[:, :, ::-1]), (180, plain[:, ::-1])):
        path = encode(tmp_path / f"{turn}.mp4", "libx264", num_frames=2, rotation=(turn, True, False))
        assert np.array_equal(read_video(path, [0, 1]), expected)


def test_rotation_is_that_of_a_player(tmp_path):
    plain = decode_plainly(encode(tmp_path / "plain.mp4", "libx264", num_frames=1))[0]
    # The matrix's angle counts against the clock: 90 lays the top of the stored picture to the left.
    path = encode(tmp_path / "turned.mp4", "libx264", num_frames=1, rotation=(90, False, False))
    assert np.array_equal(read_video(path, [0])[0], np.rot90(plain, 1))
    info = probe_video(path)
    assert (info.width, info.height, info.rotation_degrees) == (48, 64, 270)


def test_a_seek_that_goes_wrong_costs_time_but_no_frame(folder, monkeypatch):
    path = make(folder, "b_frames.mp4")
    expected = decode_plainly(path)
    with VideoReader(path) as reader:
        real_seek = reader._video.seek
        monkeypatch.setattr(reader._video, "seek", lambda timestamp: real_seek(10**9))
        for indices in index_lists(40):
            assert np.array_equal(reader.read(indices), expected[indices])
        assert not reader.index.is_counted


def test_a_wrong_index_gives_way_to_decoding(folder):
    path, other = make(folder, "b_frames.mp4"), make(folder, "open_groups.mp4")
    with VideoReader(other) as reader:
        wrong = reader.index
    with VideoReader(path, index=wrong) as reader:
        assert np.array_equal(reader.read([30, 2]), decode_plainly(path)[[30, 2]])
        assert reader.index.is_decoded
        assert reader.damage is None


def test_an_index_can_be_kept(folder, monkeypatch):
    path = make(folder, "b_frames.mp4")
    with VideoReader(path) as reader:
        kept = pickle.loads(pickle.dumps(reader.index))
    monkeypatch.setattr(reader_module, "index_from_packets", None)  # would fail if called
    with VideoReader(path, index=kept) as reader:
        check_against_plain_decoding(path, reader)


def test_threads_change_nothing(folder):
    for name in ("open_groups.mp4", "vp9.webm", "hevc_open.mp4"):
        path = make(folder, name)
        with VideoReader(path, num_threads=2) as reader:
            check_against_plain_decoding(path, reader)


def test_probe(folder):
    info = probe_video(make(folder, "b_frames.mp4"))
    assert info == reader_module.VideoInfo(
        path=str(folder / "b_frames.mp4"),
        num_frames=40,
        width=64,
        height=48,
        rotation_degrees=0,
        frames_per_second=25.0,
        duration_seconds=1.6,
        codec="h264",
    )


def test_names_that_are_no_plain_text(folder, tmp_path):
    data = make(folder, "b_frames.mp4").read_bytes()
    for name in (b"caf\xe9.mp4", b"a:b.mp4", b"%03d.mp4", "ü ?#.mp4".encode()):
        path = tmp_path / os.fsdecode(name)
        path.write_bytes(data)
        assert read_video(path, [1]).shape == (1, 48, 64, 3)
    with pytest.raises(VideoError) as caught:
        read_video(os.fsdecode(b"caf\xe9-missing.mp4"), [0])
    str(caught.value).encode()


@pytest.mark.parametrize("indices", [[], [0.5], [[0]], [True]])
def test_indices_must_be_a_list_of_numbers(folder, indices):
    with pytest.raises(VideoError, match="at least one whole number"):
        read_video(make(folder, "b_frames.mp4"), indices)


@pytest.mark.parametrize("index", [-1, 40])
def test_frames_outside_the_video(folder, index):
    with pytest.raises(VideoError, match=rf"^frame {index} of .*b_frames.mp4: expected a number from 0 to 39"):
        read_video(make(folder, "b_frames.mp4"), [0, index])


def test_files_that_are_no_video(folder, tmp_path, monkeypatch):
    def check(path, match):
        with pytest.raises(VideoError, match=match) as caught:
            read_video(path, [0])
        assert "\n" not in str(caught.value)
        assert path.name in str(caught.value)

    check(tmp_path / "missing.mp4", "expected an existing file or folder")
    (tmp_path / "folder.mp4").mkdir()
    check(tmp_path / "folder.mp4", "a directory")
    (tmp_path / "empty.mp4").touch()
    check(tmp_path / "empty.mp4", "0 bytes")
    for name in ("text.mp4", "text.txt"):
        (tmp_path / name).write_text("This is not a video.\n" * 50)
        check(tmp_path / name, "expected a (video file|file with a video stream)")
    os.mkfifo(tmp_path / "pipe.mp4")
    check(tmp_path / "pipe.mp4", "not a regular file")
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    check(tmp_path / "loop.mp4", "cannot be opened")
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    check(tmp_path / "sound.mp4", r"holds audio.*expected a file with a video stream")
    whole = make(folder, "b_frames.mp4")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    check(whole, "no permission")


def test_no_decodable_frame(folder, tmp_path):
    data = bytearray(make(folder, "one_frame.mp4").read_bytes())
    start = data.index(b"mdat") + 4
    data[start:] = data[start:].replace(data[start + 8 : start + 900], bytes(892))
    path = tmp_path / "zeros.mp4"
    path.write_bytes(data)
    with pytest.raises(VideoError):
        read_video(path, [0])


def test_damage_in_the_middle(folder, tmp_path):
    path = tmp_path / "damaged.mp4"
    encode(path, "libx264", options={"x264-params": "keyint=60:bframes=0:ref=1"})
    whole = decode_plainly(path)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(container.streams.video[0]) if packet.size]
        position, size = packets[20].pos, packets[20].size
    data = bytearray(path.read_bytes())
    data[position + 8 : position + size] = bytes(size - 8)
    path.write_bytes(data)
    shown = decode_plainly(path)
    assert 38 <= len(shown) <= 40
    for indices in ([20], [30, 5], [37], range(38)):
        with VideoReader(path) as reader:
            assert np.array_equal(reader.read(range(20)), whole[:20])
            assert reader.damage is None
            assert np.array_equal(reader.read(indices), shown[indices])
            assert reader.damage.startswith("packet 20 cannot be decoded")
            assert np.array_equal(reader.read([19, 0]), whole[[19, 0]])
            kept = PacketIndex.from_bytes(reader.index.to_bytes())
        with VideoReader(path, index=kept) as reader:
            assert np.array_equal(reader.read(indices), shown[indices])


@pytest.mark.parametrize("name", ["mpeg2.ts", "picture.gif", "open_groups.ts", "fast_start.mp4", "vp9.webm"])
def test_truncated_files_give_what_they_hold(folder, tmp_path, name):
    source = folder / name
    if name == "fast_start.mp4":
        encode(
            source,
            "libx264",
            options={"x264-params": "keyint=12:bframes=0"},
            container_options={"movflags": "faststart"},
        )
    else:
        make(folder, name)
    whole = decode_plainly(source)
    data = source.read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: len(data) * 2 // 3 + 1])
    expected = decode_plainly(path)
    with VideoReader(path) as reader:
        assert 5 < reader.num_frames < 40
        check_against_plain_decoding(path, reader)
        assert np.array_equal(expected[:5], whole[:5])
        if name != "vp9.webm":  # Matroska may end anywhere
            assert reader.info.damage
            with pytest.raises(VideoError, match=r"breaks off|ends at byte|missing|cannot be"):
                reader.read([reader.num_frames])


def test_damage_in_the_first_packet_of_a_stream_that_later_ones_depend_on(folder, tmp_path):
    source = make(folder, "mpeg4_b.mp4")
    with av.open(str(source)) as container:
        first = next(container.demux(container.streams.video[0]))
        position, size = first.pos, first.size
    data = bytearray(source.read_bytes())
    data[position + 8 : position + size] = bytes(size - 8)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    shown = decode_plainly(path)
    for frame in (30, 0):
        with VideoReader(path) as reader:
            assert np.array_equal(reader.read([frame])[0], shown[frame])
            assert reader.num_frames == len(shown)
            assert reader.damage.startswith("packet 0 cannot be decoded")


def test_damage_where_an_open_group_starts(folder, tmp_path):
    source = make(folder, "open_groups.mp4")
    with VideoReader(source) as reader, av.open(str(source)) as container:
        entry = int(reader.index.entries[1])
        packets = [packet for packet in container.demux(container.streams.video[0]) if packet.size]
    for broken in range(entry, entry + 4):
        data = bytearray(source.read_bytes())
        start, size = packets[broken].pos, packets[broken].size
        data[start + 6 : start + size] = bytes(size - 6)
        path = tmp_path / f"{broken}.mp4"
        path.write_bytes(data)
        shown = decode_plainly(path)
        with VideoReader(path) as reader:
            for frame in range(39, -1, -1):
                if frame < reader.num_frames:
                    reader.read([frame])
            assert reader.damage
            assert reader.num_frames == len(shown)
            for frame in range(len(shown)):
                assert np.array_equal(reader.read([frame])[0], shown[frame]), (broken, frame)


class StubbornDecoder:
    """A decoder that refuses the packet where a new size begins its first time, as seen once."""

    def __init__(self, context):
        self._context, self.num_refused = context, 0

    def __getattr__(self, name):
        return getattr(self._context, name)

    def decode(self, packet):
        if packet is not None and packet.pts == 40 and not self.num_refused:
            self.num_refused += 1
            raise av.InvalidDataError(1, "refused")
        return self._context.decode(packet)


@pytest.mark.parametrize("refuses", [False, True])
def test_a_size_that_changes_midway(folder, tmp_path, monkeypatch, refuses):
    path = tmp_path / "two_sizes.ts"
    other = encode(tmp_path / "other.ts", "libx264", size=(80, 32))
    path.write_bytes(make(folder, "open_groups.ts").read_bytes() + other.read_bytes())
    decoders = []
    if refuses:
        real = open_module.DecoderSession.reopen

        def reopen(video):
            real(video)
            decoders.append(StubbornDecoder(video.stream.codec_context))
            video.stream = SimpleNamespace(
                codec_context=decoders[-1],
                codec=video.stream.codec,
                average_rate=video.stream.average_rate,
                guessed_rate=video.stream.guessed_rate,
                time_base=video.stream.time_base,
                sample_aspect_ratio=video.stream.sample_aspect_ratio,
                duration=video.stream.duration,
            )

        monkeypatch.setattr(open_module.DecoderSession, "reopen", reopen)
        monkeypatch.setattr(
            open_module.DecoderSession, "_demux", lambda video: video.container.demux(video.container.streams.video[0])
        )
    with VideoReader(path) as reader:
        assert reader.num_frames == 80
        assert reader.info.damage is None
        sizes = [reader.read([number]).shape[1:3] for number in (0, 78, 41, 79)]
        assert set(sizes) == {(48, 64), (32, 80)}
        with pytest.raises(VideoError, match=r"expected the size of the frames read before"):
            reader.read([0, 79, 39, 41])
    assert all(decoder.num_refused == 1 for decoder in decoders[-1:])


@pytest.mark.parametrize(
    "name", ["b_frames.mp4", "open_groups.ts", "mpeg4_b.avi", "vp9.webm", "picture.gif", "mpeg2.mpg"]
)
def test_damaged_files_never_crash(folder, tmp_path, name):
    data = make(folder, name).read_bytes()
    path = tmp_path / name
    messages = []
    for seed in range(40):
        pick = random.Random(seed)
        damaged = bytearray(data[: pick.randrange(len(data))] if seed % 2 else data)
        for _ in range(0 if seed % 2 else pick.choice([1, 4, 16])):
            damaged[pick.randrange(len(damaged))] ^= 1 << pick.randrange(8)
        path.write_bytes(damaged)
        try:
            with VideoReader(path) as reader:
                wanted = [*range(0, reader.num_frames, 5), reader.num_frames - 1]
                frames = reader.read(wanted)
                assert frames.dtype == np.uint8
                assert len(frames) == len(wanted)
        except VideoError as error:
            messages.append(str(error))
    assert not any("\n" in message for message in messages)


def test_nothing_is_printed(folder, tmp_path, capfd):
    path = tmp_path / "half.ts"
    data = make(folder, "open_groups.ts").read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with VideoReader(path) as reader:
        reader.read([0])
    assert capfd.readouterr() == ("", "")


def test_many_readers_leave_no_file_open(folder):
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("counts open files in /proc")
    path = make(folder, "b_frames.mp4")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        read_video(path, [5])
        with pytest.raises(VideoError):
            read_video(path, [99])
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_texture_of_these_tests_tells_frames_apart():
    frames = moving_texture(40, 64, 48)
    assert all(np.abs(frames[i].astype(int) - frames[j]).max() > 20 for i in range(40) for j in range(i))
