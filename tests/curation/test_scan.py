"""Scanning: each video once, kept at once, whatever it does to its reader."""

from __future__ import annotations

import shutil
from pathlib import Path

import pool_jobs
import pytest

from videomae.curation.scan import ScanReport, scan_videos
from videomae.datasets.catalog import Catalog, VideoRecord
from videomae.datasets.manifest import Manifest, VideoEntry, read_manifest
from videomae.video.reader import VideoReader
from videomae.video.source import VideoSource


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(tmp_path / "cache" / "catalog.sqlite")


@pytest.fixture
def data(tmp_path: Path, videos: list[Path]) -> Path:
    """train/ and val/ with two classes, six different videos."""
    for number, video in enumerate(videos):
        target = tmp_path / "data" / ("train" if number < 4 else "val") / "xy"[number % 2] / f"{number}.mp4"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(video, target)
    return tmp_path / "data"


def scan(data: Path, catalog: Catalog, **options: object) -> ScanReport:
    settings = {"num_workers": 0, "num_frames": 8, "frame_stride": 2, **options}
    return scan_videos(read_manifest(data), catalog=catalog, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_sound_data_set(data: Path, catalog: Catalog, num_workers: int) -> None:
    report = scan(data, catalog, num_workers=num_workers)
    assert report.findings == ()
    assert report.num_scanned == 6
    assert report.catalog_problem is None
    assert [record.num_frames for record in report.records] == [30] * 6
    for entry, record in report.known:
        assert catalog.find(entry.path) == record
        index = catalog.packet_index(entry.path)
        with VideoReader(entry.path, index=index) as reader:
            assert reader.index is index
            assert reader.read([29]).shape == (1, 32, 48, 3)


def test_what_is_known_is_not_read_again(data: Path, catalog: Catalog) -> None:
    first = scan(data, catalog)
    calls: list[tuple[VideoSource, bool]] = []
    again = scan(data, catalog, on_video=lambda source, record, is_known: calls.append((source, is_known)))
    assert again.num_scanned == 0
    assert again.records == first.records
    assert calls == [(entry.path, True) for entry in again.manifest.entries]


def test_changed_and_new_files_are_read(data: Path, catalog: Catalog, videos: list[Path]) -> None:
    scan(data, catalog)
    changed = data / "train" / "x" / "0.mp4"
    changed.write_bytes(b"overwritten")
    shutil.copy(videos[0], data / "train" / "x" / "new.mp4")
    seen: list[VideoSource] = []
    report = scan(data, catalog, on_video=lambda source, record, is_known: None if is_known else seen.append(source))
    assert seen == [changed, data / "train" / "x" / "new.mp4"]
    assert [finding.entries[0].path for finding in report.broken] == [changed]


def test_full_reads_again_what_was_only_tried(data: Path, catalog: Catalog) -> None:
    assert scan(data, catalog).num_scanned == 6
    report = scan(data, catalog, full=True)
    assert report.num_scanned == 6
    assert all(record.is_fully_decoded for record in report.records)
    assert scan(data, catalog, full=True).num_scanned == 0
    assert scan(data, catalog).num_scanned == 0


def test_broken_short_copied_and_leaking(data: Path, catalog: Catalog, bad_files: dict[str, Path]) -> None:
    for name in ("empty", "text", "audio"):
        shutil.copy(bad_files[name], data / "train" / "x" / f"{name}.mp4")
    shutil.copy(data / "train" / "x" / "0.mp4", data / "train" / "x" / "copy.mp4")
    shutil.copy(data / "train" / "x" / "2.mp4", data / "val" / "x" / "leak.mp4")
    shutil.copy(data / "train" / "y" / "1.mp4", data / "train" / "x" / "conflict.mp4")
    report = scan(data, catalog, num_workers=2, frame_stride=5)
    assert [finding.entries[0].path.name for finding in report.broken] == ["audio.mp4", "empty.mp4", "text.mp4"]
    (copy,), (leak,), (conflict,) = report.duplicates, report.leaks, report.of_kind("conflict")
    assert [entry.path.name for entry in copy.entries] == ["0.mp4", "copy.mp4"]
    assert [entry.path.name for entry in leak.entries] == ["2.mp4", "leak.mp4"]
    assert [entry.path.name for entry in conflict.entries] == ["conflict.mp4", "1.mp4"]
    assert len(report.of_kind("too_short")) == 9


def test_a_video_that_is_listed_twice_is_read_once(data: Path, catalog: Catalog) -> None:
    path = data / "train" / "x" / "0.mp4"
    entries = (VideoEntry(path, "x", "train"), VideoEntry(path, "y", "val"), VideoEntry(path, "x", "train"))
    report = scan_videos(Manifest(data, entries, ("x", "y")), catalog=catalog, num_workers=0, num_frames=8)
    assert report.num_scanned == 1
    assert [finding.kind for finding in report.findings] == ["leak", "conflict", "repeated"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("SIGSEGV", "the process that worked on it was killed by SIGSEGV"),
        ("hang", "took longer than 2 seconds"),
        ("memory", "reading it needs more than 4 GiB of memory"),
        ("raise", "reading it failed with KeyError: 'no such thing'"),
    ],
)
def test_files_that_crash_or_hang_their_reader_are_named(
    data: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    hostile = data / "train" / "x" / f"{name}.mp4"
    hostile.write_bytes(b"hostile")
    with monkeypatch.context() as patched:
        patched.setattr("videomae.curation.scan.examine_source", pool_jobs.examine_badly)
        report = scan(data, catalog, num_workers=2, limit_seconds=2 if name == "hang" else None)
    (finding,) = report.broken
    assert (finding.entries[0].path, finding.reason) == (hostile, reason)
    assert report.num_scanned == 7
    kept = catalog.find(hostile)
    assert kept == VideoRecord(problem=reason, is_problem_certain=False)
    again = scan(data, catalog)
    assert again.num_scanned == 1  # it may have been the machine: tried anew
    assert "no video" in again.broken[0].reason


def test_a_scan_that_is_broken_off_keeps_what_it_had(data: Path, catalog: Catalog) -> None:
    def stop_at_third(source: VideoSource, record: VideoRecord, is_known: bool) -> None:
        seen.append(source)
        if len(seen) == 3:
            raise KeyboardInterrupt

    seen: list[VideoSource] = []
    with pytest.raises(KeyboardInterrupt):
        scan(data, catalog, num_workers=2, on_video=stop_at_third)
    assert [catalog.find(source) is not None for source in seen] == [True] * 3
    assert scan(data, catalog).num_scanned == 3


def test_a_catalog_that_cannot_be_written(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    report = scan(data, Catalog(tmp_path / "file" / "catalog.sqlite"))
    assert "cannot be written" in str(report.catalog_problem)
    assert report.num_scanned == len(report.records) == 6


def test_a_damaged_catalog_is_begun_anew(data: Path, catalog: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    catalog.path.parent.mkdir()
    catalog.path.write_bytes(b"no database" * 1000)
    assert scan(data, catalog).num_scanned == 6
    assert scan(data, catalog).num_scanned == 0
    assert len(caplog.messages) == 1


def test_a_missing_file_is_broken_and_not_kept(data: Path, catalog: Catalog) -> None:
    entry = VideoEntry(data / "missing.mp4")
    report = scan_videos(Manifest(data, (entry,), ()), catalog=catalog, num_workers=0)
    assert report.broken[0].reason == "expected an existing file or folder; check the path"
    assert catalog.find(entry.path) is None
