"""Input that no run can be made of: one clear line, and nothing is written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from small_runs import CLIP_WORDS, SPEED_WORDS, Commands, write_data_set

RUN = [*CLIP_WORDS, *SPEED_WORDS, "--epochs", "1", "--batch-size", "6"]


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ("train", "with the splits val: expected a split named train"),
        ("val", "data/val without videos: expected validation videos"),
    ],
)
def test_an_empty_split(commands: Commands, colors: Path, tmp_path: Path, split: str, said: str) -> None:
    data, output = tmp_path / "data", tmp_path / "run"
    shutil.copytree(colors, data)
    shutil.rmtree(data / split)
    (data / split).mkdir()
    line = commands.refused("finetune", data, "--output", output, "--init", "scratch", *RUN)
    assert said in line
    assert not output.exists()


def test_validation_of_classes_that_are_not_learnt(commands: Commands, colors: Path, tmp_path: Path) -> None:
    data = write_data_set(tmp_path / "two", per_class=2, classes=("blue", "red"))
    words = ["finetune", data, "--output", tmp_path / "run", "--init", "scratch", "--val", colors, *RUN]
    line = commands.refused(*words)
    assert "'green'" in line
    assert "the classes blue, red" in line
    assert not (tmp_path / "run").exists()


def test_a_fitted_batch_that_accumulation_does_not_divide(commands: Commands, colors: Path, tmp_path: Path) -> None:
    words = ["pretrain", colors, "--output", tmp_path / "run", *RUN, "--batch-size", "20", "--accumulation", "4"]
    assert commands(*words) == 2
    assert commands.err.splitlines()[-1] == (
        "videomae: accumulation=4: expected a number that divides the batch of 18 clips; change --accumulation"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("device", ["tpu", "cuda:31", "meta"])
def test_a_device_that_is_not_there(commands: Commands, colors: Path, tmp_path: Path, device: str) -> None:
    line = commands.refused("pretrain", colors / "train", "--output", tmp_path / "run", *RUN, "--device", device)
    assert line.startswith(f"videomae: --device {device}, ")
    assert "expected auto or cpu" in line
    assert not (tmp_path / "run").exists()


def test_going_on_with_another_field(commands: Commands, colors: Path, tmp_path: Path) -> None:
    words = ["finetune", colors, "--output", tmp_path, "--init", "scratch", *RUN, "--rand-augment", ""]
    assert commands(*words) == 0, commands.err
    assert "drop_path=0.1, not 0.3" in commands.refused(*words, "--drop-path", "0.3")
    assert "recipe='finetune', not 'v1-finetune'" in commands.refused(*words, "--recipe", "v1-finetune")


def test_a_checkpoint_of_another_size_than_the_recipes(
    commands: Commands, colors: Path, pretrained: object, tmp_path: Path
) -> None:
    init = pretrained.folder  # type: ignore[attr-defined]
    words = ["finetune", colors, "--output", tmp_path / "run", "--init", init, "--recipe", "v1-finetune-ucf101-base"]
    line = commands.refused(*words, *SPEED_WORDS, "--batch-size", "6")
    assert "size 'base' with a checkpoint of hidden_size=128" in line
    assert "take the --recipe of its size" in line
