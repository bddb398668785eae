"""Pictures of the same clips over a pre-training run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import Recorder, read_metrics, tiny_pretrain_recipe

from videomae.checkpoint import Checkpoint
from videomae.datasets.manifest import VideoEntry, read_manifest
from videomae.inference.reconstruct import Reconstruction
from videomae.training import progress_pictures
from videomae.training.metrics_log import peak_memory_gib
from videomae.training.pretrain import PretrainResult, pretrain
from videomae.training.progress_pictures import ProgressPictures, due_epochs, read_progress, reconstruct_first


@pytest.mark.parametrize(
    ("num_epochs", "epochs"),
    [(1, (1,)), (2, (1, 2)), (8, (1, 2, 4, 8)), (100, (1, 3, 12, 25, 50, 100)), (800, (1, 25, 100, 200, 400, 800))],
)
def test_the_first_and_last_epoch_and_some_between(num_epochs: int, epochs: tuple[int, ...]) -> None:
    assert due_epochs(num_epochs) == epochs


@pytest.fixture
def taking(pretrained: PretrainResult, colors: Path, tmp_path: Path) -> ProgressPictures:
    checkpoint = Checkpoint.open(pretrained.folder, task="pretraining")
    entries = read_manifest(colors).take_split("train").entries
    return ProgressPictures(checkpoint, entries, tiny_pretrain_recipe(epochs=8), tmp_path, Recorder().note)


def rebuilt_by(taking: ProgressPictures) -> list[Reconstruction]:
    found = reconstruct_first(taking.checkpoint, taking.entries, taking.recipe, torch.device("cpu"))
    return [rebuilt for _, rebuilt in found]


def test_what_was_kept_is_what_the_network_rebuilt(taking: ProgressPictures, tmp_path: Path) -> None:
    taking.checkpoint.model.train()
    first = rebuilt_by(taking)
    taking.end_epoch(1)
    taking.end_epoch(3)  # not due
    with torch.no_grad():
        taking.checkpoint.model.decoder.head.bias.add_(1.0)
    second = rebuilt_by(taking)
    taking.end_epoch(4)

    assert taking.checkpoint.model.training
    clips = read_progress(tmp_path)
    assert len(clips) == 3
    for (names, frames), before, after in zip(clips, first, second, strict=True):
        assert names == ["original", "masked", "epoch 1", "epoch 4"]
        for kept, made in zip(frames, (before.original, before.masked, before.rebuilt, after.rebuilt), strict=True):
            assert np.array_equal(kept, made)
        assert np.array_equal(before.masked, after.masked)
        assert not np.array_equal(frames[2], frames[3])


def test_large_clips_are_kept_small(taking: ProgressPictures, tmp_path: Path) -> None:
    sizes = []
    for side in (300, 50):
        frames = np.zeros((9, side, side // 2, 3), np.uint8)
        progress_pictures._save(tmp_path / "pictures" / "x.png", [frames, frames])
        sizes.append([clip.shape for clip in progress_pictures._load(tmp_path / "pictures" / "x.png")])
    assert sizes == [[(6, 112, 56, 3)] * 2, [(6, 50, 25, 3)] * 2]


def test_the_same_again_after_an_interruption(taking: ProgressPictures, tmp_path: Path) -> None:
    """The end of an epoch is repeated where it was interrupted; a run begun anew forgets what went further."""
    taking.end_epoch(4)
    files = {path.name: path.read_bytes() for path in (tmp_path / "pictures").iterdir()}
    taking.end_epoch(4)
    assert {path.name: path.read_bytes() for path in (tmp_path / "pictures").iterdir()} == files
    taking.end_epoch(1)
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [
        "epoch_00001.png",
        "masked.png",
        "original.png",
    ]


def test_nothing_to_show_and_no_place_end_no_run(taking: ProgressPictures, tmp_path: Path) -> None:
    assert read_progress(tmp_path) == []
    taking.end_epoch(1, writes=False)
    assert not (tmp_path / "pictures").exists()
    good, notes = taking.entries, list[str]()
    taking.note = notes.append
    taking.entries = [VideoEntry(tmp_path / "gone.mp4")]
    taking.end_epoch(1)
    assert not (tmp_path / "pictures").exists()
    taking.entries = [*taking.entries, *good]
    (tmp_path / "pictures").touch()
    taking.end_epoch(1)
    assert [note.split(":")[0] for note in notes] == ["no pictures of epoch 1"]
    (tmp_path / "pictures").unlink()
    taking.end_epoch(1)
    assert len(read_progress(tmp_path)) == 3
    (tmp_path / "pictures" / "epoch_00001.png").write_bytes(b"cut")
    assert read_progress(tmp_path) == []


def test_a_run_keeps_them(pretrained: PretrainResult) -> None:
    [names, *_] = [names for names, _ in read_progress(pretrained.folder)]
    assert names == ["original", "masked", "epoch 1", "epoch 2"]


def test_an_average_of_the_weights_is_what_rebuilds(colors: Path, tmp_path: Path) -> None:
    """The folder holds the average; the last pictures are those of the folder, not of the weights in training."""
    recipe = tiny_pretrain_recipe(ema_decay=0.9)
    result = pretrain(colors, tmp_path, recipe)
    entries = read_manifest(colors).take_split("train").entries
    saved = Checkpoint.open(result.folder, task="pretraining")
    of_folder = [rebuilt.rebuilt for _, rebuilt in reconstruct_first(saved, entries, recipe, torch.device("cpu"))]
    last = [clips[-1] for _, clips in read_progress(tmp_path)]
    assert len(last) == 3
    assert all(np.array_equal(kept, made) for kept, made in zip(last, of_folder, strict=True))

    raw = torch.load(max((tmp_path / "state").glob("*.pt")), weights_only=True)["model"]
    saved.model.load_state_dict(raw)
    of_weights = [rebuilt.rebuilt for _, rebuilt in reconstruct_first(saved, entries, recipe, torch.device("cpu"))]
    assert not all(np.array_equal(kept, made) for kept, made in zip(last, of_weights, strict=True))


def test_peak_memory(pretrained: PretrainResult) -> None:
    before = peak_memory_gib(torch.device("cpu"))
    assert before is not None
    assert 0.05 < before < 64
    block = np.ones(2**25)  # a quarter of a GiB
    after = peak_memory_gib(torch.device("cpu"))
    assert after is not None
    assert after >= before
    assert block.sum() == 2**25
    assert all(line["memory_gib"] > 0.05 for line in read_metrics(pretrained.folder))
