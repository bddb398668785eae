"""`videomae evaluate`."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import CLASSES, Commands, write_clip, write_data_set

from videomae.data.clips import Sample, ViewClips
from videomae.training.finetune import FinetuneResult
from videomae.training.pretrain import PretrainResult

FAST = ["--num-workers", "0", "--device", "cpu", "--clips", "1", "--crops", "1"]


@pytest.fixture
def judges(tmp_path: Path) -> Path:
    """2 red and 2 blue clips, and a green one among the reds: 4 of 5 are right, of the classes (1 + 2/3) / 2."""
    data = write_data_set(tmp_path / "judges", per_class=2, classes=("red", "blue"))
    write_clip(data / "red" / "in truth green.mp4", CLASSES["green"])
    return data


def test_json(commands: Commands, finetuned: FinetuneResult, judges: Path) -> None:
    document = commands.json("evaluate", judges, "--model", finetuned.folder, *FAST)
    assert document == {
        "num_videos": 5,
        "num_broken": 0,
        "top1": pytest.approx(4 / 5),
        "top5": 1.0,
        "mean_class_accuracy": pytest.approx((1 + 2 / 3) / 2),
    }


def test_for_people(commands: Commands, finetuned: FinetuneResult, judges: Path) -> None:
    assert commands("evaluate", judges, "--model", finetuned.folder, *FAST) == 0
    lines = [line.split() for line in commands.out.splitlines()]
    assert commands.out.startswith("5 videos × 1 view\n")
    assert ["top-1", "80.0%"] in lines
    assert ["mean", "class", "accuracy", "83.3%"] in lines
    assert not any(line[0] == "top-5" for line in lines)  # always 100 % of three classes
    assert ["red", "66.7%", "2", "of", "3"] in lines
    assert ["blue", "100.0%", "2", "of", "2"] in lines
    assert not any(line[0] == "green" for line in lines)  # no video of it


def test_five_clips_of_three_crops_are_the_default(commands: Commands, finetuned: FinetuneResult, judges: Path) -> None:
    assert commands("evaluate", judges, "--model", finetuned.folder, "--num-workers", "0", "--device", "cpu") == 0
    assert commands.out.startswith("5 videos × 15 views\n")


def test_the_splits(commands: Commands, finetuned: FinetuneResult, colours: Path, tmp_path: Path) -> None:
    """val where there is no test, test where there is one."""
    assert commands.json("evaluate", colours, "--model", finetuned.folder, *FAST)["num_videos"] == 6
    shutil.copytree(colours / "val", tmp_path / "val")
    write_data_set(tmp_path / "test", per_class=1)
    assert commands.json("evaluate", tmp_path, "--model", finetuned.folder, *FAST)["num_videos"] == 3
    shutil.copytree(colours / "val", tmp_path / "only" / "train")
    line = commands.refused("evaluate", tmp_path / "only", "--model", finetuned.folder, *FAST)
    assert "expected a split named test or val" in line


def test_a_broken_video_stops_or_counts_as_wrong(commands: Commands, finetuned: FinetuneResult, judges: Path) -> None:
    (judges / "red" / "broken.mp4").write_text("no video")
    assert "broken.mp4" in commands.refused("evaluate", judges, "--model", finetuned.folder, *FAST)
    words = ["evaluate", judges, "--model", finetuned.folder, *FAST, "--count-broken-as-wrong"]
    document = commands.json(*words)
    assert (document["num_videos"], document["num_broken"]) == (6, 1)
    assert document["top1"] == pytest.approx(4 / 6)
    assert document["mean_class_accuracy"] == pytest.approx((1 + 2 / 4) / 2)
    assert commands.err.count("\n") == 1
    assert "broken.mp4" in commands.err
    assert commands(*words) == 0
    assert commands.out.startswith("6 videos × 1 view, 1 broken\n")


def test_what_cannot_be_judged(
    commands: Commands, finetuned: FinetuneResult, pretrained: PretrainResult, judges: Path, tmp_path: Path
) -> None:
    assert "no classifier yet" in commands.refused("evaluate", judges, "--model", pretrained.folder, *FAST)
    assert "there is no such file" in commands.refused("evaluate", tmp_path / "x", "--model", finetuned.folder, *FAST)
    assert "without a class" in commands.refused("evaluate", judges / "red", "--model", finetuned.folder, *FAST)
    (judges / "red").rename(judges / "crimson")
    line = commands.refused("evaluate", judges, "--model", finetuned.folder, *FAST)
    assert "the class 'crimson': expected the classes blue, green, red" in line


def test_a_rate_in_place_of_a_stride(
    commands: Commands, finetuned: FinetuneResult, judges: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clips have ten frames a second: five a second are every second one."""
    chosen = []
    original = ViewClips.read

    def recorded(dataset: ViewClips, index: int) -> tuple[torch.Tensor, np.ndarray]:
        clips, frames = original(dataset, index)
        chosen.append(frames.tolist())
        return clips, frames

    def item(dataset: ViewClips, index: int) -> Sample:
        return Sample(dataset.read(index)[0], index, -1)

    monkeypatch.setattr(ViewClips, "read", recorded)
    monkeypatch.setattr(ViewClips, "__getitem__", item)
    words = ["evaluate", judges, "--model", finetuned.folder, *FAST]
    assert commands(*words, "--frame-rate", "5") == 0
    assert commands(*words, "--frame-stride", "2") == 0

    assert chosen == [[[0, 2, 4, 6]]] * 10
    assert "expected one of them" in commands.refused(*words, "--frame-rate", "5", "--frame-stride", "2")
    assert "frame_rate=-1.0: expected frames per second" in commands.refused(*words, "--frame-rate", "-1")
    assert "expected more than 0" in commands.refused(*words, "--read-limit-seconds", "0")
