"""`--dry-run`: what is told, what is drawn, and that nothing else is left behind."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import (
    CLIP_WORDS,
    SPEED_WORDS,
    Commands,
    command_environment,
    tiny_finetune_recipe,
    tiny_pretrain_recipe,
)

from videomae.api.progress import LogMonitor
from videomae.cli.dry_run import lines_of
from videomae.core.grid import TubeletGrid
from videomae.data.loader import ClipBatch
from videomae.training import step_cost
from videomae.training.dry_run import NUM_STAGES, DryRun, dry_run
from videomae.training.input_pictures import as_pixels, labelled_clips, masked_clips
from videomae.training.tasks.classification import ClassificationTask
from videomae.training.tasks.pretraining import PretrainingTask

RUN = [*CLIP_WORDS, *SPEED_WORDS, "--epochs", "2", "--batch-size", "6"]


def test_pretraining(commands: Commands, colors: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    assert commands("pretrain", colors, "--output", output, *RUN, "--dry-run") == 0, commands.err
    told = {line.split("  ")[0]: line.split("  ", 1)[1].strip() for line in commands.err.splitlines() if "  " in line}
    assert told["clips"] == "18 for training, 0 for validation"
    assert told["steps"] == "6 = 2 epochs × 3, of 6 clips"
    assert told["learning rate"] == "0.0015 × 6 / 256 = 3.52e-05"
    assert "measured in steps of up to 6 clips" in told["time"]
    assert "in the training process (measured in steps of 6 clips; weights 4.2 MiB" in told["memory"]
    assert [path.name for path in output.iterdir()] == ["inputs.png"]
    assert np.asarray(Image.open(output / "inputs.png")).std() > 10


@pytest.mark.parametrize(
    ("device", "hours", "classes", "said"),
    [
        ("cpu", 7, {}, "--recipe pretrain-hundreds-cpu, fewer --epochs"),
        ("cpu", 7, {"a": 9, "b": 9}, "--recipe finetune-hundreds-cpu, fewer --epochs"),
        ("cpu", 1, {}, None),
        ("cuda", 70, {}, None),
    ],
)
def test_a_long_run_without_a_gpu_is_told_what_would_be_quicker(
    device: str, hours: float, classes: dict[str, int], said: str | None
) -> None:
    counts = dict.fromkeys((field.name for field in dataclasses.fields(DryRun)), 1)
    run = DryRun(**{**counts, "class_counts": classes, "device": device, "total_seconds": 3600.0 * hours})  # type: ignore[arg-type]
    told = dict(lines_of(run, tiny_pretrain_recipe()))
    assert told.get("to be quicker", "").startswith(said or "")
    assert ("to be quicker" in told) is (said is not None)


def test_finetuning_as_json(commands: Commands, colors: Path, tmp_path: Path) -> None:
    words = ["finetune", colors, "--output", tmp_path, "--init", "scratch", *RUN, "--mixup", "0.8", "--dry-run"]
    document = commands.json(*words)
    assert document["class_counts"] == {"blue": 6, "green": 6, "red": 6}
    expected = {"num_videos": 18, "num_validation": 6, "total_steps": 6, "steps_per_epoch": 3, "batch_size": 6}
    assert {name: document[name] for name in expected} == expected
    assert document["learning_rate"] == pytest.approx(5e-3 * 6 / 256)
    # AdamW keeps two numbers for each weight, and a count for each tensor.
    assert 2 * document["weight_bytes"] < document["optimizer_bytes"] < 2.01 * document["weight_bytes"]
    assert document["gradient_bytes"] == document["weight_bytes"]
    assert document["picture"] == str(tmp_path / "inputs.png")
    assert document["total_seconds"] > 0
    # The run itself begins in the same folder as in a new one.
    assert commands(*words[:-1]) == 0, commands.err


def test_nothing_is_left_in_the_data(
    commands: Commands, colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    shutil.copytree(colors / "train", data)
    before = sorted(data.rglob("*"))
    monkeypatch.chdir(data)
    for words in (["pretrain", "."], ["finetune", data, "--init", "scratch"]):
        message = commands.refused(*words, "--output", "run", *RUN)
        assert f"--output run and DATA {words[1]}: expected two folders" in message
        assert "--output run and DATA" in commands.refused(*words, "--output", "run", *RUN, "--dry-run")
    document = commands.json("pretrain", ".", *RUN, "--dry-run")
    picture = Path(document["picture"])
    assert picture.is_file()
    assert not picture.is_relative_to(data)
    shutil.rmtree(picture.parent)
    assert sorted(data.rglob("*")) == before


def test_without_an_output_the_picture_is_drawn_here(
    commands: Commands, colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert commands("pretrain", colors, *RUN, "--dry-run") == 0, commands.err
    assert (tmp_path / "inputs.png").exists()
    assert "pretrain without --output" in commands.refused("pretrain", colors, *RUN)


def test_it_refuses_what_the_run_would_refuse(commands: Commands, colors: Path, tmp_path: Path) -> None:
    words = ["pretrain", colors, "--output", tmp_path / "run", *RUN, "--dry-run"]
    assert commands(*words, "--mask-ratio", "0.01") == 2
    assert commands.err.splitlines()[-1].startswith(
        "videomae: mask_ratio=0.01 of 32 tubelets"
    )  # after the split's line
    assert not (tmp_path / "run").exists()


def test_activations_grow_with_the_clips_and_shrink_with_accumulation(colors: Path, tmp_path: Path) -> None:
    def activations(**changes: int) -> int:
        recipe = tiny_pretrain_recipe(**changes)
        return dry_run(PretrainingTask(colors, recipe), tmp_path).activation_bytes

    one = activations(batch_size=6)
    assert activations(batch_size=12) == pytest.approx(2 * one, rel=0.1)
    assert activations(batch_size=12, accumulation=2) == one


def _measured(commands: list[str]) -> tuple[dict[str, Any], float]:
    """The document that a command prints, and the peak memory of its process in bytes."""
    code = (
        "import resource, sys; from videomae.cli.main import main; assert main(sys.argv[1:]) == 0; "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, file=sys.stderr)"
    )
    words = [sys.executable, "-c", code, *commands, "--json"]
    done = subprocess.run(words, env=command_environment(), capture_output=True, text=True, check=True)
    return json.loads(done.stdout), float(done.stderr.splitlines()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux alone")
def test_the_estimate_is_what_the_run_needs(colors: Path, tmp_path: Path) -> None:
    """A real run in a process of its own: its peak is the reference."""
    words = ["pretrain", str(colors), "--output", str(tmp_path / "run"), *RUN, "--ema-decay", "0.9"]
    estimate, _ = _measured([*words, "--dry-run"])
    _, peak = _measured(words)
    assert estimate["total_bytes"] == estimate["process_bytes"] == pytest.approx(peak, rel=0.2)


def test_workers_are_named_separately(colors: Path, tmp_path: Path) -> None:
    recipe = tiny_pretrain_recipe(num_workers=2)
    found = dry_run(PretrainingTask(colors, recipe), tmp_path)
    assert found.num_workers == 2
    assert found.worker_bytes is not None
    assert found.process_bytes is not None
    assert 2**20 < found.worker_bytes < found.process_bytes
    assert found.total_bytes == found.process_bytes + 2 * found.worker_bytes
    assert "2 decode workers of " in dict(lines_of(found, recipe))["memory"]


def test_what_takes_too_long_is_estimated(colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_cost, "_MAX_STEP_SECONDS", 0.0)
    recipe = tiny_pretrain_recipe(batch_size=12)
    shown: list[str] = []
    found = dry_run(PretrainingTask(colors, recipe), tmp_path, monitor=LogMonitor(shown.append))
    assert (found.num_measured, found.micro_batch_size) == (4, 12)
    assert "measured in steps of 4 clips, estimated for 12" in dict(lines_of(found, recipe))["memory"]
    assert shown[:3] == ["reading the list of videos", "building the model", "reading the first clips"]
    assert shown[-1] == "a step of 4 clips"
    assert len(shown) <= NUM_STAGES


def test_clips_are_repeated_for_a_whole_micro_batch() -> None:
    clips = torch.arange(3).view(3, 1, 1, 1, 1, 1).to(torch.uint8)
    operations = tuple(([("Rotate", degrees)],) for degrees in (1.0, 2.0, 3.0))
    numbers = torch.arange(3)
    batch = ClipBatch(clips, numbers + 5, numbers + 1, numbers, operations=operations)
    five = step_cost.repeated(batch, 5)
    assert five.clips.flatten().tolist() == [0, 1, 2, 0, 1]
    assert (five.labels.tolist(), five.places.tolist()) == ([5, 6, 7, 5, 6], [0, 1, 2, 3, 4])
    assert five.operations == (*operations, *operations[:2])


def test_clips_augmented_on_the_device_are_shown_augmented(colors: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"rand_augment": "rand-m9-n4-p1", "batch_size": 6, "views": 2}
    pictures = {}
    for name, changes in {"workers": {}, "device": {"augment_on": "device"}, "none": {"rand_augment": ""}}.items():
        recipe = tiny_finetune_recipe(**{**settings, **changes})
        pictures[name] = dry_run(ClassificationTask(colors, recipe, init="scratch"), tmp_path / name).picture
    assert pictures["device"].read_bytes() == pictures["workers"].read_bytes() != pictures["none"].read_bytes()


def test_one_clip_is_enough(colors: Path, tmp_path: Path) -> None:
    recipe = tiny_finetune_recipe(batch_size=1, ema_decay=0.9)
    found = dry_run(ClassificationTask(colors, recipe, init="scratch"), tmp_path)
    assert (found.num_measured, found.micro_batch_size) == (1, 1)
    assert 3 * found.weight_bytes < found.optimizer_bytes < 3.01 * found.weight_bytes


def test_pixels_are_those_before_normalization() -> None:
    clips = torch.randint(0, 256, (2, 4, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.1]
    values = (clips / 255 - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)
    assert np.array_equal(as_pixels(values, mean, std), clips.permute(0, 1, 3, 4, 2).numpy())


def test_hidden_tubelets_are_gray() -> None:
    grid = TubeletGrid.of(num_frames=2, image_size=8, patch_size=4, tubelet_size=2, num_channels=3)
    pixels = np.full((1, 2, 8, 8, 3), 7, dtype=np.uint8)
    hidden = torch.tensor([[True, False, True, False]])
    kept_out = torch.tensor([[False, False, True, True]])
    whole, seen, rebuilt = masked_clips(["clip"], pixels, hidden, kept_out, grid)
    assert (whole[0], seen[0], rebuilt[0]) == ("clip", "what the encoder sees, 50%", "what is rebuilt, 25%")
    assert np.array_equal(whole[1], pixels[0])
    # Tokens go row by row: 0 and 2 are the left column.
    assert (seen[1][:, :, :4] == 128).all()
    assert (seen[1][:, :, 4:] == 7).all()
    assert (rebuilt[1][:, :4, :4] == 7).all()
    assert (rebuilt[1][:, 4:] == 128).all()


def test_titles_tell_the_mixture() -> None:
    pixels = np.zeros((2, 1, 4, 4, 3), dtype=np.uint8)
    smoothed = torch.tensor([[0.7, 0.3], [1.0, 0.0]]) * 0.9 + 0.05
    assert [title for title, _ in labelled_clips(["a", "b"], pixels, smoothed, 0.1)] == ["a 70%, b 30%", "a"]
