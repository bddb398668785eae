"""`videomae evaluate`."""

from __future__ import annotations

import csv
import json
import re
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
    assert 0 < document.pop("loss") < 3
    assert 0 < document.pop("calibration_error") < 1
    assert document == {
        "num_videos": 5,
        "num_broken": 0,
        "top1": pytest.approx(4 / 5),
        "top5": 1.0,
        "mean_class_accuracy": pytest.approx((1 + 2 / 3) / 2),
        "top1_interval": pytest.approx([0.3755, 0.9638], abs=1e-4),
        "classes": {
            "blue": {"num_videos": 2, "num_right": 2, "taken_for": {}},
            "green": {"num_videos": 0, "num_right": 0, "taken_for": {}},
            "red": {"num_videos": 3, "num_right": 2, "taken_for": {"green": 1}},
        },
        "broken": [],
    }


def test_the_training_log_says_what_evaluate_says(commands: Commands, finetuned: FinetuneResult, colors: Path) -> None:
    """The same code on the same views in the run's precision, so the same numbers to the last bit."""
    document = commands.json("evaluate", colors, "--model", finetuned.folder, *FAST, "--precision", "fp32")
    lines = [json.loads(line) for line in (finetuned.folder / "metrics.jsonl").read_text().splitlines()]
    judged = [line for line in lines if line["split"] == "val"]
    names = ("top1", "top5", "mean_class_accuracy", "loss")
    best = max(judged, key=lambda line: (line["top1"], -line["loss"]))
    assert {name: document[name] for name in names} == {name: best[name] for name in names}


def test_for_people(commands: Commands, finetuned: FinetuneResult, judges: Path) -> None:
    assert commands("evaluate", judges, "--model", finetuned.folder, *FAST) == 0
    lines = [line.split() for line in commands.out.splitlines()]
    assert commands.out.startswith("5 videos × 1 view\n")
    assert ["top-1", "80.0%", "(95", "%", "interval", "37.6–96.4%)"] in lines
    assert ["mean", "class", "accuracy", "83.3%"] in lines
    assert "majority class        60.0%   (red)\n" in commands.out
    assert not any(line[:1] == ["top-5"] for line in lines)  # always 100 % of three classes
    assert ["red", "3", "66.7%", "green", "(1)"] in lines
    assert ["blue", "2", "100.0%"] in lines
    assert not any(line[:1] == ["green"] for line in lines)  # no video of it
    assert commands.out.endswith("1 of the model's 3 classes have no videos here\n")


def test_five_clips_of_three_crops_are_the_default(commands: Commands, finetuned: FinetuneResult, judges: Path) -> None:
    assert commands("evaluate", judges, "--model", finetuned.folder, "--num-workers", "0", "--device", "cpu") == 0
    assert commands.out.startswith("5 videos × 15 views\n")


def test_the_splits(commands: Commands, finetuned: FinetuneResult, colors: Path, tmp_path: Path) -> None:
    """val where there is no test, test where there is one."""
    assert commands.json("evaluate", colors, "--model", finetuned.folder, *FAST)["num_videos"] == 6
    shutil.copytree(colors / "val", tmp_path / "val")
    write_data_set(tmp_path / "test", per_class=1)
    assert commands.json("evaluate", tmp_path, "--model", finetuned.folder, *FAST)["num_videos"] == 3
    shutil.copytree(colors / "val", tmp_path / "only" / "train")
    line = commands.refused("evaluate", tmp_path / "only", "--model", finetuned.folder, *FAST)
    assert "expected a split named test or val" in line


def test_a_broken_video_stops_or_counts_as_wrong(commands: Commands, finetuned: FinetuneResult, judges: Path) -> None:
    (judges / "red" / "broken.mp4").write_text("no video")
    assert "broken.mp4" in commands.refused("evaluate", judges, "--model", finetuned.folder, *FAST)
    words = ["evaluate", judges, "--model", finetuned.folder, *FAST, "--count-broken-as-wrong"]
    document = commands.json(*words)
    assert (document["num_videos"], document["num_broken"]) == (6, 1)
    assert [entry["path"] for entry in document["broken"]] == [str(judges / "red" / "broken.mp4")]
    assert document["broken"][0]["reason"] in commands.err
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


def test_predictions_in_a_file(commands: Commands, finetuned: FinetuneResult, judges: Path, tmp_path: Path) -> None:
    (judges / "red" / "broken, too.mp4").write_text("no video")
    file = tmp_path / "new folder" / "said.csv"
    words = ["evaluate", judges, "--model", finetuned.folder, *FAST, "--count-broken-as-wrong", "--predictions", file]
    assert commands(*words) == 0
    with file.open(encoding="utf-8", newline="") as text:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(text)}
    assert len(rows) == 6
    assert set(next(iter(rows.values()))) == {"path", "label", "prediction", "probability", "error"}
    assert (rows["blue_0.mp4"]["label"], rows["blue_0.mp4"]["prediction"]) == ("blue", "blue")
    green = rows["in truth green.mp4"]
    assert (green["label"], green["prediction"], green["error"]) == ("red", "green", "")
    assert 1 / 3 < float(green["probability"]) <= 1
    assert rows["broken, too.mp4"]["prediction"] == rows["broken, too.mp4"]["probability"] == ""
    assert "expected" in rows["broken, too.mp4"]["error"]
    assert commands(*words, "--scores") == 0
    with file.open(encoding="utf-8", newline="") as text:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(text)}
    scores = [float(rows["red_0.mp4"][f"score of {name}"]) for name in ("blue", "green", "red")]
    assert sum(scores) == pytest.approx(1, abs=1e-4)
    assert max(scores) == scores[2] == pytest.approx(float(rows["red_0.mp4"]["probability"]))


def test_a_report(commands: Commands, finetuned: FinetuneResult, judges: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    document = commands.json("evaluate", judges, "--model", finetuned.folder, *FAST, "--report", file)
    assert document["num_videos"] == 5
    assert str(file) in commands.err
    page = file.read_text(encoding="utf-8")
    for part in ("80.0%", "37.6–96.4%", "most often taken for", "The only wrong prediction", "red, taken for green"):
        assert part in page, part
    assert "in truth green.mp4" in page
    assert page.count("data:image/jpeg") == 1
    assert all(source.startswith("data:") for source in re.findall(r'src="([^"]*)', page))


def test_files_that_cannot_be_written_are_told_before_the_work(
    commands: Commands, finetuned: FinetuneResult, judges: Path, tmp_path: Path
) -> None:
    words = ["evaluate", judges, "--model", finetuned.folder, *FAST]
    assert "folder; add a file name" in commands.refused(*words, "--report", tmp_path)
    (tmp_path / "file").touch()
    assert "cannot write" in commands.refused(*words, "--predictions", tmp_path / "file" / "said.csv")
    assert "add --predictions FILE" in commands.refused(*words, "--scores")


def test_all_broken_videos_are_named_at_once(commands: Commands, finetuned: FinetuneResult, judges: Path) -> None:
    (judges / "red" / "broken.mp4").write_text("no video")
    (judges / "blue" / "empty.mp4").touch()
    line = commands.refused("evaluate", judges, "--model", finetuned.folder, *FAST)
    assert "2 of 7 videos: " in line
    assert "broken.mp4" in line
    assert "empty.mp4 (empty, 0 bytes)" in line
    assert "--count-broken-as-wrong" in line


def test_the_split_that_is_evaluated_is_printed(
    commands: Commands, finetuned: FinetuneResult, colors: Path, tmp_path: Path
) -> None:
    shutil.copytree(colors, tmp_path / "data")
    assert commands("evaluate", tmp_path / "data", "--model", finetuned.folder, *FAST) == 0
    assert "val: 6 videos; not used: train 18\n" in commands.err
    shutil.copytree(colors / "val", tmp_path / "data" / "test")
    assert commands("evaluate", tmp_path / "data", "--model", finetuned.folder, *FAST) == 0
    assert "test: 6 videos; not used: train 18, val 6\n" in commands.err
