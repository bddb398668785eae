"""Parts of videos in frames: exact, from 0, the end not included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from videomae.core.errors import VideoError
from videomae.curation.pack.packer import PackSettings, pack_videos
from videomae.data.clips import ViewClips
from videomae.datasets.catalog import VideoRecord
from videomae.datasets.entries import VideoEntry
from videomae.datasets.findings import find_problems, frames_of
from videomae.datasets.manifest import read_manifest
from videomae.datasets.shards import read_shard_entries
from videomae.datasets.video_parts import frames_of_part
from videomae.video.opening import open_video
from videomae.video.reader import read_video
from videomae.video.sampling import ClipSampling


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(None, None, range(30)), (0, 30, range(30)), (5, 8, range(5, 8)), (None, 2, range(2)), (29, None, range(29, 30))],
)
def test_frames_of_a_part(videos: list[Path], start: int | None, end: int | None, expected: range) -> None:
    with open_video(videos[0]) as reader:
        assert frames_of_part(reader, VideoEntry(videos[0], start_frame=start, end_frame=end)) == expected


def test_frames_and_seconds_agree(videos: list[Path]) -> None:
    with open_video(videos[0]) as reader:  # 10 frames a second
        assert frames_of_part(reader, VideoEntry(videos[0], start_seconds=0.5, end_seconds=1.5)) == range(5, 15)


@pytest.mark.parametrize(("start", "end"), [(30, None), (40, 50), (0, 31)])
def test_a_part_that_the_video_does_not_have(videos: list[Path], start: int, end: int | None) -> None:
    entry = VideoEntry(videos[0], start_frame=start, end_frame=end)

    with open_video(videos[0]) as reader, pytest.raises(VideoError, match="expected a part of its 30 frames, which"):
        frames_of_part(reader, entry)
    (broken,) = find_problems([(entry, VideoRecord(num_frames=30, duration_seconds=3.0))], clip_span=1)
    assert broken.kind == "broken"
    assert "the video has 30" in broken.reason


def test_clips_come_from_the_part(videos: list[Path]) -> None:
    clips = ViewClips(
        [VideoEntry(videos[0], start_frame=11, end_frame=15)],
        sampling=ClipSampling(num_frames=4, frame_stride=1),
        image_size=32,
    )

    pixels, frames = clips.read(0)

    assert frames.tolist() == [[11, 12, 13, 14]]
    expected = read_video(videos[0], [11, 12, 13, 14])[:, :, 8:40]
    assert np.array_equal(pixels[0].permute(0, 2, 3, 1).numpy(), expected)


def test_parts_in_frames_are_packed(videos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(
        f"path,label,start_frame,end_frame\n{videos[0]},run,2,12\n{videos[0]},jump,12,30\n"
    )
    manifest = read_manifest(tmp_path / "list.csv")
    assert [frames_of(entry, VideoRecord(num_frames=30)) for entry in manifest.entries] == [10, 18]

    pack_videos(manifest, tmp_path / "out", settings=PackSettings(), num_workers=0)

    packed = list(read_shard_entries(tmp_path / "out"))
    assert [(Path(str(entry.path)).name, entry.label) for entry in packed] == [
        ("0_2-12f.mp4", "run"),
        ("0_12-30f.mp4", "jump"),
    ]
    source = read_video(videos[0], range(2, 12)).astype(int)
    stored = read_video(packed[0].path, range(10)).astype(int)
    assert np.abs(source - stored).mean() < 3
    with open_video(packed[1].path) as reader:
        assert reader.num_frames == 18
    again = pack_videos(manifest, tmp_path / "out", settings=PackSettings(), num_workers=0)
    assert again.num_packed == 0
