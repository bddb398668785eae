"""Loaders: the same batches whatever worker reads them, and broken videos reported with their batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from video_files import encode

from videomae.core.errors import VideoError
from videomae.data import loader
from videomae.data.clips import Broken, Crop, Sample, TrainingClips, ViewClips
from videomae.data.loader import ClipBatch, automatic_workers, collate, training_loader, view_loader
from videomae.data.order import BatchOrder
from videomae.datasets.manifest import VideoEntry
from videomae.video.sampling import ClipSampling

SAMPLING = ClipSampling("dense", num_frames=2, frame_stride=3)


@pytest.fixture
def paths(videos: list[Path], tmp_path: Path) -> list[Path]:
    """Six videos, of which the third cannot be read."""
    broken = tmp_path / "broken.mp4"
    broken.write_text("no video")
    return [*videos[:2], broken, *videos[2:5]]


def broken(index: int) -> Broken:
    return Broken(index, VideoError(f"{index}.mp4", expected="a video", hint="check it"))


def sample(index: int) -> Sample:
    return Sample(torch.full((1, 2, 3, 4, 4), index, dtype=torch.uint8), index, index * 10)


def test_collating_whole_and_broken() -> None:
    batch = collate([sample(4), broken(7), sample(2)])

    assert batch.clips.shape == (2, 1, 2, 3, 4, 4)
    assert batch.clips[:, 0, 0, 0, 0, 0].tolist() == [4, 2]
    assert batch.indices.tolist() == [4, 2]
    assert batch.labels.tolist() == [40, 20]
    assert batch.labels.dtype == batch.indices.dtype == torch.int64
    assert [entry.index for entry in batch.broken] == [7]


def test_collating_broken_alone() -> None:
    batch = collate([broken(1), broken(0)])

    assert len(batch.clips) == len(batch.indices) == len(batch.labels) == 0
    assert batch.clips.dtype == torch.uint8
    assert [entry.index for entry in batch.broken] == [1, 0]


def training_batches(paths: list[Path], num_workers: int, first_step: int = 0) -> list[ClipBatch]:
    dataset = TrainingClips(
        [VideoEntry(path, "ab"[number % 2]) for number, path in enumerate(paths)],
        ("a", "b"),
        sampling=SAMPLING,
        crop=Crop("multi-scale", flip=True),
        image_size=16,
        seed=5,
    )
    order = BatchOrder(len(dataset), batch_size=4, epochs=2, seed=5, first_step=first_step)
    return list(training_loader(dataset, order, num_workers=num_workers, pin_memory=False))


def assert_same(left: list[ClipBatch], right: list[ClipBatch]) -> None:
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert torch.equal(one.clips, other.clips)
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.indices, other.indices)
        assert [(entry.index, str(entry.error)) for entry in one.broken] == [
            (entry.index, str(entry.error)) for entry in other.broken
        ]


def test_the_same_training_clips_with_any_number_of_workers(paths: list[Path]) -> None:
    alone = training_batches(paths, 0)

    assert [len(batch.indices) + len(batch.broken) for batch in alone] == [4, 2, 4, 2]
    assert sum(len(batch.broken) for batch in alone) == 2
    assert_same(training_batches(paths, 1), alone)
    assert_same(training_batches(paths, 2), alone)
    assert_same(training_batches(paths, 2, first_step=3), alone[3:])


@pytest.mark.parametrize("num_workers", [0, 1])
def test_damaged_videos_are_read_and_reported_once(
    num_workers: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = encode(tmp_path / "cut.ts", "libx264", num_frames=30, key_distance=12)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3 + 1])
    dataset = ViewClips([VideoEntry(path), VideoEntry(path)], sampling=SAMPLING, image_size=16)
    for _ in range(2):
        (batch,) = view_loader(dataset, batch_size=2, num_workers=num_workers, pin_memory=False)
        assert batch.indices.tolist() == [0, 1]
    assert caplog.text.count("damaged video, read as far as possible") == 1
    assert "cut.ts (the file breaks off within its last packet)" in caplog.text


def test_broken_videos_arrive_from_workers_with_their_error(paths: list[Path]) -> None:
    (entry,) = [entry for batch in training_batches(paths, 1)[:2] for entry in batch.broken]

    assert entry.index == 2
    assert isinstance(entry.error, VideoError)
    assert "broken.mp4" in entry.error.value
    assert entry.error.hint


@pytest.mark.parametrize("num_workers", [0, 2])
def test_views_come_once_and_in_order(paths: list[Path], num_workers: int) -> None:
    dataset = ViewClips(paths, [6, 5, 4, 3, 2, 1], sampling=SAMPLING, image_size=16, num_clips=2, num_crops=3)

    batches = list(view_loader(dataset, batch_size=4, num_workers=num_workers, pin_memory=False))

    assert [batch.indices.tolist() for batch in batches] == [[0, 1, 3], [4, 5]]
    assert [batch.labels.tolist() for batch in batches] == [[6, 5, 3], [2, 1]]
    assert [[entry.index for entry in batch.broken] for batch in batches] == [[2], []]
    assert batches[0].clips.shape == (3, 6, 2, 3, 16, 16)
    for batch in batches:
        for row, index in enumerate(batch.indices.tolist()):
            assert torch.equal(batch.clips[row], dataset[index].clips)


HANGING = """
import gc, sys
import av, numpy as np, torch
from videomae.data import loader
from videomae.data.clips import Sample
from videomae.data.loader import training_loader, view_loader

class Clips(torch.utils.data.Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, key):
        gc.collect()
        return Sample(torch.zeros(1, 2, 3, 4, 4, dtype=torch.uint8), 0, 0)

gc.disable()
frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
frame.reformat(format="yuv420p")
garbage = [frame]
garbage.append(garbage)
del frame, garbage
print(len(list({loader})))
"""


@pytest.mark.parametrize(
    "loader",
    [
        "training_loader(Clips(), [[(0, 0), (0, 1)]], num_workers=1, pin_memory=False)",
        "view_loader(Clips(), batch_size=2, num_workers=1, pin_memory=False)",
    ],
)
def test_garbage_of_the_decoder_does_not_hang_a_worker(loader: str) -> None:
    """Freed in a forked worker, a frame's converter waits for threads that are not there."""
    code = HANGING.replace("{loader}", loader)

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)

    assert result.stdout == "1\n", result.stderr


def test_automatic_workers_are_bounded_by_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= automatic_workers() <= 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    assert automatic_workers() == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    assert automatic_workers() == 1


@pytest.mark.parametrize(("num_processes", "expected"), [("1", 8), ("2", 8), ("4", 5), ("40", 1), ("", 8)])
def test_processes_of_one_machine_share_its_cores(
    monkeypatch: pytest.MonkeyPatch, num_processes: str, expected: int
) -> None:
    monkeypatch.setattr("videomae.data.loader.usable_cores", lambda: 20)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", num_processes)
    assert automatic_workers() == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU and TEST_GPU=1")
def test_pinned_batches_keep_their_content() -> None:
    batch = collate([sample(1), broken(0)])

    pinned = batch.pin_memory()

    assert pinned.clips.is_pinned()
    assert torch.equal(pinned.clips, batch.clips)
    assert pinned.broken == batch.broken


def test_few_large_batches_wait(monkeypatch: pytest.MonkeyPatch, videos: list[Path]) -> None:
    options = []

    def recorded(*_: object, **given: dict[str, object]) -> object:
        options.append(given["options"]["prefetch_factor"])
        return iter(())

    monkeypatch.setattr(loader, "watched_batches", recorded)
    sampling = ClipSampling("dense", num_frames=16)
    small = ViewClips(videos, sampling=sampling, image_size=224)
    large = ViewClips(videos * 10, sampling=sampling, image_size=224, num_clips=5, num_crops=3)
    for dataset in (small, large):
        view_loader(dataset, batch_size=60, num_workers=8, pin_memory=False)

    assert options == [2, 1]
