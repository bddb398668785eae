"""The catalog: found while the file is unchanged, whatever happens to the file that holds it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from videomae.core.errors import InputError
from videomae.datasets.catalog import Catalog, FileStamp, VideoRecord, default_catalog_path, stamp_of
from videomae.video.reader import VideoReader
from videomae.video.source import FrameFolder, ShardMember

RECORD = VideoRecord(num_frames=30, duration_seconds=3.0, frames_per_second=10.0, width=48, height=32, codec="h264")


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(tmp_path / "cache" / "catalog.sqlite")


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"video")
    return path


def test_what_was_put_is_found(catalog: Catalog, video: Path) -> None:
    assert catalog.find(video) is None
    assert not catalog.path.exists()  # reading makes no file
    catalog.put(video, RECORD)
    assert catalog.find(video) == RECORD
    assert catalog.find(str(video)) == RECORD
    assert Catalog(catalog.path).find(video) == RECORD
    catalog.put(video, VideoRecord(problem="broken"))
    assert catalog.find(video) == VideoRecord(problem="broken")


def test_a_relative_path_is_the_same_video(catalog: Catalog, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog.put(video, RECORD)
    monkeypatch.chdir(video.parent)
    assert catalog.find("a.mp4") == RECORD


def test_a_changed_file_is_not_known(catalog: Catalog, video: Path) -> None:
    catalog.put(video, RECORD)
    os.utime(video, ns=(0, 123456789))
    assert catalog.find(video) is None
    catalog.put(video, RECORD)
    assert catalog.find(video) == RECORD
    video.write_bytes(b"another")
    os.utime(video, ns=(0, 123456789))
    assert catalog.find(video) is None
    video.unlink()
    assert catalog.find(video) is None
    catalog.put(video, RECORD)  # a file that is gone is not kept
    video.write_bytes(b"video")
    assert catalog.find(video) is None


def test_a_file_that_changes_while_it_is_read_is_not_known(catalog: Catalog, video: Path) -> None:
    before = stamp_of(video)
    video.write_bytes(b"longer than before")
    catalog.put(video, RECORD, stamp=before)
    assert catalog.find(video) is None


def test_a_name_that_is_not_utf8(catalog: Catalog, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff\xfe.mp4")
    path.write_bytes(b"video")
    catalog.put(path, RECORD)
    assert catalog.find(path) == RECORD


def test_members_of_a_shard_and_folders_of_frames(catalog: Catalog, video: Path, tmp_path: Path) -> None:
    first, second = (ShardMember(str(video), offset, 100, "x.mp4") for offset in (512, 1024))
    remote = ShardMember("memory://shard.tar", 512, 100, "x.mp4")
    folder, part = FrameFolder(tmp_path), FrameFolder(tmp_path, 10, 20)
    for number, source in enumerate((first, second, remote, folder, part), start=1):
        catalog.put(source, VideoRecord(num_frames=number))
    found = [catalog.find(source) for source in (first, second, remote, folder, part)]
    assert [record.num_frames for record in found if record] == [1, 2, 3, 4, 5]
    video.write_bytes(b"another shard")
    assert catalog.find(first) is None
    assert stamp_of(remote) == FileStamp(100, 0)


def test_the_packet_index_comes_back(catalog: Catalog, videos: list[Path]) -> None:
    with VideoReader(videos[0]) as reader:
        index, frames = reader.index, reader.read([3, 20])
    assert catalog.packet_index(videos[0]) is None
    catalog.put(videos[0], RECORD, packet_index=index)
    found = catalog.packet_index(videos[0])
    assert found is not None
    np.testing.assert_array_equal(found.stamps, index.stamps)
    with VideoReader(videos[0], index=found) as reader:
        np.testing.assert_array_equal(reader.read([3, 20]), frames)
    catalog.put(videos[0], RECORD, packet_index=b"of another version")
    assert catalog.packet_index(videos[0]) is None
    assert catalog.find(videos[0]) == RECORD


def _put_many(catalog: Catalog, paths: list[Path]) -> None:
    for path in paths:
        assert catalog.find(path) in (None, RECORD)
        catalog.put(path, RECORD)


def test_a_pickled_catalog_opens_the_same_file(catalog: Catalog, video: Path) -> None:
    catalog.put(video, RECORD)
    assert pickle.loads(pickle.dumps(catalog)).find(video) == RECORD


def test_several_processes(catalog: Catalog, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.mp4" for number in range(60)]
    for path in paths:
        path.touch()
    catalog.put(paths[0], RECORD)  # a connection is open before the fork
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_put_many, args=(catalog, paths[start::2])) for start in range(2)]
    for process in processes:
        process.start()
    _put_many(catalog, paths[::3])
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert [catalog.find(path) for path in paths] == [RECORD] * 60


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
@pytest.mark.parametrize("reads_first", [True, False])
def test_a_damaged_file_is_set_aside(
    catalog: Catalog, video: Path, content: bytes, reads_first: bool, caplog: pytest.LogCaptureFixture
) -> None:
    catalog.path.parent.mkdir()
    catalog.path.write_bytes(content)
    if reads_first:
        assert catalog.find(video) is None
    else:
        catalog.check_writable()
    catalog.put(video, RECORD)
    assert catalog.find(video) == RECORD
    (aside,) = catalog.path.parent.glob("*.damaged-*")
    assert aside.read_bytes() == content
    (line,) = caplog.messages
    assert str(aside) in line
    assert caplog.records[0].levelno == logging.WARNING


def test_a_file_damaged_in_the_middle_is_set_aside(catalog: Catalog, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.mp4" for number in range(300)]
    for path in paths:
        path.touch()
        catalog.put(path, RECORD, packet_index=b"x" * 500)
    catalog.close()
    size = catalog.path.stat().st_size
    with catalog.path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xee" * (size - 2 * 4096))
    for path in paths:
        assert catalog.find(path) in (None, RECORD)
        catalog.put(path, RECORD)
    assert [catalog.find(path) for path in paths] == [RECORD] * 300


def test_two_processes_do_not_set_aside_each_others_new_file(catalog: Catalog, video: Path) -> None:
    catalog.path.parent.mkdir()
    catalog.path.write_bytes(b"this is no database" * 100)
    other = Catalog(catalog.path)
    with pytest.raises(sqlite3.DatabaseError) as damaged:
        other._connect(for_writing=True)
    catalog.put(video, RECORD)
    assert other._set_aside_if_damaged(damaged.value)
    assert other.find(video) == RECORD


def test_where_nothing_can_be_written_nothing_is_known(tmp_path: Path, video: Path) -> None:
    catalog = Catalog(video / "catalog.sqlite")  # below a file
    assert catalog.find(video) is None
    for attempt in (catalog.check_writable, lambda: catalog.put(video, RECORD)):
        with pytest.raises(InputError, match=r"cannot be written .*VIDEOMAE_CACHE"):
            attempt()


def test_a_catalog_that_cannot_be_written_is_read(
    catalog: Catalog, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.put(video, RECORD)
    catalog.close()
    catalog.check_writable()
    connect = sqlite3.connect

    def connect_to_a_write_protected_file(name: str, **options: object) -> sqlite3.Connection:
        return connect(name.replace("=rwc", "=ro").replace("=rw", "=ro"), **options)  # type: ignore[call-overload]

    # As the system would have it; permissions do not hold where tests run as root.
    monkeypatch.setattr(sqlite3, "connect", connect_to_a_write_protected_file)
    catalog = Catalog(catalog.path)
    assert catalog.find(video) == RECORD
    for attempt in (catalog.check_writable, lambda: catalog.put(video, VideoRecord())):
        with pytest.raises(InputError, match="readonly"):
            attempt()
    assert catalog.find(video) == RECORD


def test_where_the_catalog_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VIDEOMAE_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    assert default_catalog_path().parent == tmp_path / "own"
    assert Catalog().path == default_catalog_path()
    monkeypatch.setenv("VIDEOMAE_CACHE", "")
    assert default_catalog_path().parent == tmp_path / "shared" / "videomae"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_catalog_path().parent == tmp_path / "home" / ".cache" / "videomae"
