"""What a scan finds out of one video."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from small_runs import run_python
from video_files import decode_plainly, encode, remux

from videomae.curation.examine import examine_source
from videomae.datasets.catalog import VideoRecord, stamp_of
from videomae.video._index import PacketIndex
from videomae.video.source import FrameFolder, ShardMember


def test_a_sound_video(videos: list[Path]) -> None:
    examined = examine_source(videos[0])
    assert examined.stamp == stamp_of(videos[0])
    assert examined.packet_index is not None
    assert PacketIndex.from_bytes(examined.packet_index).num_frames == 30
    record = examined.record
    assert record.content_hash
    assert replace(record, content_hash=None) == VideoRecord(
        num_frames=30,
        duration_seconds=3.0,
        frames_per_second=10.0,
        width=48,
        height=32,
        codec="h264",
        num_bytes=videos[0].stat().st_size,
    )
    assert examine_source(videos[0], full=True).record == replace(record, is_fully_decoded=True)


def test_rate_and_rotation(tmp_path: Path) -> None:
    record = examine_source(encode(tmp_path / "turned.mp4", "libx264", rotation=(90, False, False))).record
    assert record.rotation_degrees in (90, 270)
    assert (record.width, record.height) == (48, 64)
    assert not record.has_variable_rate
    times = [0, 4, 8, 30, 34, 38]
    uneven = encode(tmp_path / "uneven.mkv", "libx264", num_frames=6, times=times)
    assert examine_source(uneven).record.has_variable_rate
    even = encode(tmp_path / "even.mkv", "libx264", num_frames=30, times=[n * 10 // 3 for n in range(30)])
    assert not examine_source(even).record.has_variable_rate  # rounded, to hundredths even


def test_copies_share_their_content(tmp_path: Path, videos: list[Path]) -> None:
    copy = Path(shutil.copy(videos[0], tmp_path / "copy.mp4"))
    remuxed = remux(videos[0], tmp_path / "remuxed.mkv")
    same, other = (
        {examine_source(path).record.content_hash for path in paths} for paths in ((videos[0], copy, remuxed), videos)
    )
    assert len(same) == 1
    assert len(other) == len(videos)


def _problem(path: Path) -> str:
    examined = examine_source(path)
    assert examined.record.problem is not None
    assert examined.record.num_frames == 0
    assert examined.packet_index is None
    assert "\n" not in examined.record.problem
    assert str(path) not in examined.record.problem
    return examined.record.problem


def test_each_broken_file_has_its_reason(tmp_path: Path, bad_files: dict[str, Path]) -> None:
    assert "empty, 0 bytes" in _problem(bad_files["empty"])
    assert "the file is damaged or no video" in _problem(bad_files["text"])
    assert "holds audio" in _problem(bad_files["audio"])
    assert "check the path" in _problem(bad_files["missing"])
    assert "a directory" in _problem(tmp_path)
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "not a regular file" in _problem(tmp_path / "pipe.mp4")


def test_what_is_wrong_inside_a_file_is_certain(bad_files: dict[str, Path], tmp_path: Path) -> None:
    assert examine_source(bad_files["text"]).record.is_problem_certain
    assert not examine_source(bad_files["text"], limit_seconds=5).record.is_problem_certain
    assert not examine_source(tmp_path / "missing.mp4").record.is_problem_certain
    assert examine_source(tmp_path / "missing.mp4").stamp is None


def test_a_file_that_breaks_off(tmp_path: Path) -> None:
    whole = encode(tmp_path / "whole.mp4", "libx264", container_options={"movflags": "faststart"}, key_distance=5)
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 3 // 4])
    record = examine_source(path).record
    assert record.problem is None
    assert record.damage
    assert 0 < record.num_frames < 40
    assert record.content_hash != examine_source(whole).record.content_hash


def test_damage_in_the_middle_is_found_only_where_it_is_decoded(tmp_path: Path) -> None:
    whole = encode(tmp_path / "whole.mp4", "libx264", num_frames=40, key_distance=5, num_b_frames=0)
    with av.open(str(whole)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        position = packets[12].pos
    data = bytearray(whole.read_bytes())
    data[position + 5 : position + 15] = bytes(10)  # after the length and the type: the head of its slice
    whole.write_bytes(data)
    assert examine_source(whole).record.damage is None
    record = examine_source(whole, full=True).record
    assert record.problem is None
    assert record.damage is not None
    assert record.damage.startswith("packet 12 cannot be decoded")
    assert record.num_frames == len(decode_plainly(whole))


def test_a_size_that_changes_midway(tmp_path: Path) -> None:
    parts = [
        encode(tmp_path / f"{n}.h264", "libx264", num_frames=10, size=size)
        for n, size in enumerate([(64, 48), (32, 32)])
    ]
    path = tmp_path / "both.h264"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert "size changes midway" in _problem(path)


def test_a_folder_of_frames(tmp_path: Path) -> None:
    for number in range(5):
        Image.fromarray(np.full((32, 48, 3), 40 * number, np.uint8)).save(tmp_path / f"{number}.png")
    examined = examine_source(FrameFolder(tmp_path))
    record = examined.record
    assert (record.num_frames, record.width, record.height, record.problem) == (5, 48, 32, None)
    assert record.num_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert examined.packet_index is None
    part = examine_source(FrameFolder(tmp_path, 1, 2)).record
    assert part.num_frames == 2
    assert part.content_hash != record.content_hash


def test_a_member_of_a_shard(tmp_path: Path, videos: list[Path]) -> None:
    with tarfile.open(tmp_path / "shard.tar", "w") as shard:
        for name in ("a", "b"):
            information = tarfile.TarInfo(f"{name}.mp4")
            information.size = videos[0].stat().st_size
            shard.addfile(information, io.BytesIO(videos[0].read_bytes()))
    with tarfile.open(tmp_path / "shard.tar") as shard:
        member = shard.getmember("b.mp4")
    source = ShardMember(str(tmp_path / "shard.tar"), member.offset_data, member.size, member.name)
    examined = examine_source(source)
    assert examined.record == examine_source(videos[0]).record
    assert examined.stamp == stamp_of(tmp_path / "shard.tar")


def test_workers_need_not_load_torch() -> None:
    done = run_python("import sys, videomae.curation.examine; print('torch' in sys.modules, 'av' in sys.modules)")
    assert done.stdout == "False True\n", done.stderr


@pytest.mark.parametrize("source", [FrameFolder(Path("missing")), ShardMember("missing.tar", 0, 10, "a.mp4")])
def test_sources_that_are_missing(source: FrameFolder | ShardMember) -> None:
    examined = examine_source(source)
    assert examined.record.problem
    assert not examined.record.is_problem_certain
