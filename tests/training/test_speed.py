"""One speed for the terminal, metrics.jsonl and the report, against sums done by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from small_runs import Recorder, read_metrics, stop_after, tiny_pretrain_recipe

from videomae.training.metrics_log import Speed, speed_of_run
from videomae.training.pretrain import PretrainResult, pretrain
from videomae.training.run_folder import RunFolder
from videomae.training.trainer import TrainingStopped

# 60 clips in 2 s and 60 in 10 s: 120 / 12 = 10 a second, where the mean of 30 and 6 is 18; waited 1 + 3 of 12 s.
LINES = [
    {"split": "train", "step": 10, "clips_per_second": 30.0, "data_wait_share": 0.5, "seconds": 2.0},
    {"split": "val", "step": 10, "clips_per_second": None, "data_wait_share": None},
    {"split": "train", "step": 20, "clips_per_second": 6.0, "data_wait_share": 0.3, "seconds": 10.0},
]


def test_a_runs_speed_is_all_clips_over_all_seconds() -> None:
    speed = speed_of_run(LINES)
    assert speed.clips_per_second == pytest.approx(10.0)
    assert speed.data_wait_share == pytest.approx(4 / 12)
    assert Speed(60, 2.0, 1.0) + Speed(60, 10.0, 3.0) == speed


def test_old_lines_without_seconds_count_by_their_steps() -> None:
    old = [{name: value for name, value in line.items() if name != "seconds"} for line in LINES]
    assert speed_of_run(old).clips_per_second == pytest.approx(10.0)
    assert speed_of_run(old).data_wait_share == pytest.approx(4 / 12)


def test_nothing_yet_is_no_division_by_nought() -> None:
    assert (Speed().clips_per_second, Speed().data_wait_share) == (0.0, 0.0)


def test_terminal_lines_and_report_agree_across_a_stop(colors: Path, tmp_path: Path) -> None:
    recipe = tiny_pretrain_recipe(epochs=3, log_every=2)
    with pytest.raises(TrainingStopped):
        pretrain(colors, tmp_path, recipe, monitor=stop_after(5))
    monitor = Recorder()
    pretrain(colors, tmp_path, recipe, monitor=monitor)
    last = monitor.reports[-1]
    lines = read_metrics(tmp_path)
    # By hand: each line's clips are its rate times its seconds.
    seconds = sum(line["seconds"] for line in lines)
    rate = sum(line["clips_per_second"] * line["seconds"] for line in lines) / seconds
    wait = sum(line["data_wait_share"] * line["seconds"] for line in lines) / seconds
    assert last.clips_per_second == pytest.approx(rate, rel=1e-6)
    assert last.data_wait_share == pytest.approx(wait, rel=1e-6)
    page = (tmp_path / "report.html").read_text()
    assert f"{rate:.1f}" in re.sub(r"<[^>]+>", " ", page)
    assert f"data wait {wait:.0%}" in page


def test_epochs_count_from_1_in_old_files_too(tmp_path: Path) -> None:
    """A run that began when epochs counted from 0 goes on with numbers that fit."""
    old = [{"step": step, "epoch": (step - 1) // 2, "split": "train", "loss": 1.0} for step in (1, 2, 3)]
    folder = RunFolder(tmp_path, {"command": "pretrain", "recipe": {}})
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in old))
    for _ in range(2):  # a second time there is nothing to change
        folder.drop_metrics_after(3)
        assert [line["epoch"] for line in read_metrics(tmp_path)] == [1, 1, 2]
    folder.log({"step": 4, "epoch": 2, "split": "train", "loss": 1.0})
    assert [line["epoch"] for line in folder.read_metrics()] == [1, 1, 2, 2]


def test_a_warm_up_that_is_cut_is_reported_everywhere(colors: Path, tmp_path: Path) -> None:
    """Two epochs of three steps: the warm-up takes three steps, one epoch, whatever the recipe asks for."""
    monitor = Recorder()
    recipe = tiny_pretrain_recipe(warmup_epochs=10.0)
    pretrain(colors, tmp_path, recipe, monitor=monitor)
    (line,) = [note for note in monitor.notes if "warm-up" in note]
    assert line.endswith("; warm-up cut from 10 to 1 epochs, half of the run")
    rates = [line["learning_rate"] for line in read_metrics(tmp_path)]
    assert rates.index(max(rates)) == 3
    stored = json.loads((tmp_path / "recipe.json").read_text())
    assert (stored["recipe"]["warmup_epochs"], stored["used"]) == (10.0, {"warmup_epochs": 1.0})
    assert "10.0 (used: 1)" in (tmp_path / "report.html").read_text()
    assert pretrain(colors, tmp_path, recipe).was_finished  # the same run


def test_a_warm_up_that_fits_is_not_mentioned(pretrained: PretrainResult) -> None:
    assert "used" not in json.loads((pretrained.folder / "recipe.json").read_text())
    assert "(used" not in (pretrained.folder / "report.html").read_text()
