"""What `bench-data` measures, and what it makes of it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from videomae.cli.main import main
from videomae.curation.bench import BenchReport, LoaderSpeed, bench_data, recommend
from videomae.curation.decode_cost import ClipCost, clip_cost, packets_per_frame
from videomae.datasets.entries import VideoEntry
from videomae.datasets.manifest import read_manifest
from videomae.video.reader import ReadLimits, VideoReader
from videomae.video.sampling import ClipSampling
from videomae.video.writer import write_video

SAMPLING = ClipSampling(num_frames=4, frame_stride=2)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    random = np.random.default_rng(0)
    for number in range(3):
        frames = random.integers(0, 256, (40, 48, 64, 3), dtype=np.uint8)
        write_video(folder / f"{number}.mp4", frames, frames_per_second=25)
    (folder / "broken.mp4").write_bytes(b"not a video")
    return folder


def _entries(folder: Path) -> list[VideoEntry]:
    return [VideoEntry(path) for path in sorted(folder.glob("*.mp4"))]


def _cost(folder: Path, name: str) -> ClipCost | str:
    job = (VideoEntry(folder / name), 0)
    return clip_cost(job, sampling=SAMPLING, limits=ReadLimits())


class TestClipCost:
    def test_both_readings_are_timed(self, videos: Path) -> None:
        cost = _cost(videos, "0.mp4")
        assert isinstance(cost, ClipCost)
        assert cost.seconds > 0
        assert cost.seconds_with_index is not None
        assert cost.seconds_with_index > 0
        assert cost.packets_per_frame is not None
        assert cost.packets_per_frame >= 1
        assert (cost.height, cost.width) == (48, 64)

    def test_the_reason_of_a_broken_video(self, videos: Path) -> None:
        reason = _cost(videos, "broken.mp4")
        assert isinstance(reason, str)
        assert "expected a video file" in reason
        assert "broken.mp4" not in reason  # it stands beside the reason

    def test_packets_of_a_file_with_one_key_frame(self, videos: Path) -> None:
        with VideoReader(videos / "0.mp4") as reader:
            index = reader.index
        late = np.array([30, 30, 32, 34])
        # From the key frame at the start up to the last wanted one, without what nothing refers to.
        last = int(index.frame_packets[late].max())
        unwanted = set(range(last + 1)) - set(index.frame_packets[late].tolist())
        skipped = sum(bool(index.is_droppable[position]) for position in unwanted)
        assert packets_per_frame(index, late) == (last + 1 - skipped) / 3
        assert packets_per_frame(index, np.array([0])) == 1


def test_measures_everything_once(videos: Path, tmp_path: Path) -> None:
    calls: list[tuple[str, float]] = []
    report = bench_data(
        _entries(videos),
        sampling=SAMPLING,
        image_size=16,
        seconds=0.2,
        advance=lambda title, share: calls.append((title, share)),
    )
    assert report.num_videos == 4
    assert 1 <= len(report.costs) <= 3
    workers = [speed.num_workers for speed in report.speeds if speed.num_views == 1]
    assert workers[:2] == [0, 1]
    assert workers == sorted(set(workers))
    assert workers[-1] == report.num_cores
    assert report.many_views is not None
    assert report.many_views.num_workers == report.best.num_workers  # type: ignore[union-attr]
    assert all(speed.num_clips > 0 and speed.clips_per_second > 0 for speed in report.speeds)
    assert [video.entry.path.name for video in report.broken] == ["broken.mp4"]
    assert all(0 <= share <= 1 for _, share in calls)
    assert calls[0][0] == "single videos"
    assert calls[-1][0].endswith("4 views")


def test_nothing_readable(videos: Path) -> None:
    entries = [VideoEntry(videos / "broken.mp4")]
    report = bench_data(entries, sampling=SAMPLING, image_size=16, seconds=0.1)
    assert report.speeds == ()
    assert [video.entry for video in report.broken] == entries
    assert recommend(report) == ["no readable video: `videomae scan DATA` lists the reasons"]


class TestRecommend:
    cheap = ClipCost(0.012, 0.011, packets_per_frame=1.5, height=256, width=340)
    report = BenchReport(
        num_videos=100,
        num_cores=4,
        num_indexed=0,
        num_packed=0,
        costs=(cheap,),
        speeds=(
            LoaderSpeed(0, 1, 100, 10.0),
            LoaderSpeed(1, 1, 120, 10.0),
            LoaderSpeed(2, 1, 240, 10.0),
            LoaderSpeed(4, 1, 250, 10.0),
            LoaderSpeed(2, 4, 260, 10.0),
        ),
        broken=(),
    )

    def test_fewest_workers_that_are_nearly_as_fast(self) -> None:
        assert recommend(self.report) == ["--num-workers 2: 24.0 clips/s"]

    def test_views_where_they_help(self) -> None:
        speeds = (*self.report.speeds[:-1], LoaderSpeed(2, 4, 600, 10.0))
        lines = recommend(replace(self.report, speeds=speeds))
        assert lines == ["--num-workers 2: 24.0 clips/s; with --views 4, 60.0 clips/s (2.5 times as many)"]

    def test_pack_where_key_frames_are_far(self) -> None:
        lines = recommend(replace(self.report, costs=(replace(self.cheap, packets_per_frame=9.25),)))
        assert lines[1:] == [
            "videomae pack DATA OUT, then train on OUT: 9.2 frames are decoded for each frame of a clip"
        ]

    def test_pack_where_frames_are_large(self) -> None:
        lines = recommend(replace(self.report, costs=(replace(self.cheap, height=1080, width=1920),)))
        assert lines[1].startswith("videomae pack DATA OUT, then train on OUT: large frames")

    def test_scan_where_known_indices_help(self) -> None:
        costs = (replace(self.cheap, seconds=0.018, seconds_with_index=0.012), ClipCost(0.1, None, None, 256, 340))
        lines = recommend(replace(self.report, costs=costs))
        assert lines[1:] == ["videomae scan DATA, once: clips are read 1.5 times as fast with known packet indices"]
        assert len(recommend(replace(self.report, costs=costs, num_indexed=2))) == 1

    def test_packed_videos_are_not_packed_again(self) -> None:
        large = replace(self.cheap, height=1080, width=1920)
        report = replace(self.report, costs=(large, large))
        assert [replace(report, num_packed=count).should_pack for count in range(3)] == [True, True, False]


@pytest.mark.parametrize("as_shards", [False, True])
def test_a_packed_folder_is_neither_packed_nor_scanned_again(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_shards: bool
) -> None:
    monkeypatch.setenv("VIDEOMAE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "videos").mkdir()
    shutil.copy(videos / "0.mp4", tmp_path / "videos")
    words = ["pack", str(tmp_path / "videos"), str(tmp_path / "packed"), "--short-side", "48"]
    assert main([*words, "--shards"] if as_shards else words) == 0
    entries = read_manifest(str(tmp_path / "packed")).entries
    report = bench_data(entries, sampling=SAMPLING, image_size=16, seconds=0.1)
    assert (report.num_packed, report.num_indexed, len(report.costs)) == (1, 1, 1)
    assert report.scan_gain == 1
    assert not report.should_pack
