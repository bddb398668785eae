from __future__ import annotations

import pickle
from fractions import Fraction

import numpy as np
import pytest
from video_files import encode

from videomae.video._index import PacketIndex, frames_of_packets
from videomae.video.reader import VideoReader

FIELDS = (
    *("stamps", "seek_times", "sizes", "is_droppable", "entries", "entry_frames"),
    *("frame_packets", "packet_frames", "times", "damaged"),
)
FACTS = (
    *("time_base", "damage", "is_decoded", "is_counted", "has_decoding_stamps", "has_times", "needs_first_packet"),
    *("container", "frames_per_second", "duration_seconds"),
)


def assert_same(one: PacketIndex, other: PacketIndex) -> None:
    for field in FIELDS:
        assert np.array_equal(getattr(one, field), getattr(other, field)), field
        assert getattr(one, field).dtype == getattr(other, field).dtype, field
    for fact in FACTS:
        assert getattr(one, fact) == getattr(other, fact), fact


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [("a.mp4", "libx264", {"num_b_frames": 3, "key_distance": 12}), ("a.mpg", "mpeg2video", {}), ("a.gif", "gif", {})],
)
def test_bytes_and_back(tmp_path, name, codec, options):
    pixels = "rgb8" if codec == "gif" else "yuv420p"
    path = encode(tmp_path / name, codec, pixels=pixels, **options)
    with VideoReader(path) as reader:
        index, expected = reader.index, reader.read(range(reader.num_frames))
    kept = index.to_bytes()
    assert_same(PacketIndex.from_bytes(kept), index)
    assert_same(pickle.loads(pickle.dumps(index)), index)
    assert len(kept) < 600
    with VideoReader(path, index=PacketIndex.from_bytes(kept)) as reader:
        assert np.array_equal(reader.read(range(reader.num_frames)), expected)


def large_index(num_packets: int) -> PacketIndex:
    pick = np.random.default_rng(0)
    order = np.arange(num_packets).reshape(-1, 4)[:, [3, 0, 1, 2]].ravel()
    shown = np.argsort(order)
    return PacketIndex(
        stamps=order * 512 + 1024,
        seek_times=np.arange(num_packets) * 512,
        sizes=pick.integers(100, 200_000, num_packets),
        is_droppable=np.arange(num_packets) % 4 > 1,
        entries=np.arange(0, num_packets, 50),
        entry_frames=order[::50],
        times=np.arange(num_packets) * 512 + 1024,
        damaged=np.array([7, num_packets // 2]),
        frame_packets=shown,
        packet_frames=frames_of_packets(shown, num_packets),
        time_base=Fraction(1, 12800),
        damage="the file ends at byte 5 of 9, söhnlich",
    )


def test_large_indices_stay_small():
    index = large_index(100_000)
    data = index.to_bytes()
    assert len(data) < 600_000
    assert_same(PacketIndex.from_bytes(data), index)


def test_bytes_of_another_kind_are_refused():
    data = large_index(100).to_bytes()
    with pytest.raises(ValueError, match="version 255"):
        PacketIndex.from_bytes(data[:4] + b"\xff" + data[5:])
    for wrong in (b"", b"VM", b"nothing of ours at all", data[:40], data[:-3], data + b"x" * 9):
        with pytest.raises(ValueError, match="packet index"):
            PacketIndex.from_bytes(wrong)
    for place in range(len(data)):
        with pytest.raises(ValueError, match="packet index"):
            PacketIndex.from_bytes(data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :])


def test_frame_times(tmp_path):
    times = [3 * i + i % 3 for i in range(20)]
    with VideoReader(encode(tmp_path / "variable.mkv", "libx264", num_frames=20, times=times)) as reader:
        assert np.allclose(reader.frame_times, np.array(times) / 100)
    with VideoReader(encode(tmp_path / "raw.h264", "libx264", num_frames=20)) as reader:
        assert not reader.index.has_times
        assert np.allclose(reader.frame_times, np.arange(20) / 25)
