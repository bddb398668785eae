"""Runs that choose their epochs by the time that there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_runs import Recorder, losses, stop_after, tiny_finetune_recipe, tiny_pretrain_recipe

from videomae.core.errors import ConfigError
from videomae.core.text import duration, seconds_of
from videomae.training import run as run_module
from videomae.training.finetune import finetune
from videomae.training.pretrain import pretrain
from videomae.training.run import prepare
from videomae.training.tasks.classification import ClassificationTask
from videomae.training.time_budget import EpochTime, measured_epoch
from videomae.training.trainer import TrainingStopped


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("1.5h", 5400), ("1h30m", 5400), ("2d", 172800), ("1 H", 3600)],
)
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "0m", "m", "1h30", "-3m", "1..5h", "half an hour", "٣m"])
def test_what_is_no_length_of_time(text: str) -> None:
    assert seconds_of(text) is None


def test_lengths_for_people() -> None:
    assert [duration(seconds) for seconds in (0.1234, 90, 300, 9000)] == ["0.123 s", "90 s", "5.0 minutes", "2.5 hours"]


def test_epochs_by_hand() -> None:
    # 95 % of 100 s, less a last validation of 5 s: 90 s, of epochs of 4 · 2 + 5 / 2 s.
    epoch = EpochTime(2.0, 4, validation_seconds=5.0, validations=0.5)
    assert epoch.seconds == 10.5
    assert epoch.epochs_within(100) == 8
    assert epoch.epochs_within(1) == 1


def _timed(monkeypatch: pytest.MonkeyPatch, epoch: EpochTime) -> list[float]:
    """Epochs take this long; the list is given each budget that is asked for."""
    asked: list[float] = []

    def measured(task: Any, recipe: Any, device: Any, world_size: int, budget_seconds: float) -> EpochTime:
        asked.append(budget_seconds)
        return epoch

    monkeypatch.setattr(run_module, "measured_epoch", measured)
    return asked


def test_the_number_of_epochs_follows_the_budget_and_is_kept(
    colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, monitor = _timed(monkeypatch, EpochTime(5.0, 3, 5.0)), Recorder()
    recipe = tiny_finetune_recipe(epochs=50, warmup_epochs=10.0, time_budget="100s")
    with pytest.raises(TrainingStopped):
        finetune(colors, tmp_path / "a", recipe, init="scratch", monitor=stop_after(5))
    stored = json.loads((tmp_path / "a" / "recipe.json").read_text())["recipe"]
    # (95 − 5) / (15 + 5), less what the start took.
    assert (stored["epochs"], stored["warmup_epochs"], stored["time_budget"]) == (4, 0.8, "100s")
    _timed(monkeypatch, EpochTime(50.0, 3))  # the machine is slower now
    result = finetune(colors, tmp_path / "a", recipe, init="scratch", monitor=monitor)
    assert (result.steps, asked) == (12, [100.0])
    assert not any("time budget" in note for note in monitor.notes)
    # The schedule is that of a run of so many epochs.
    finetune(colors, tmp_path / "b", tiny_finetune_recipe(epochs=4, warmup_epochs=0.8), init="scratch")
    assert losses(tmp_path / "a") == losses(tmp_path / "b")


def test_what_is_reported(colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _timed(monkeypatch, EpochTime(50.0, 3, 7.0))
    monitor = Recorder()
    recipe = tiny_finetune_recipe(time_budget="1m")
    task = ClassificationTask(colors, recipe, init="scratch")
    assert prepare(task, tmp_path, monitor=monitor).total_steps == 3
    assert monitor.notes[-2:] == [
        "time budget 1m: timing some steps",
        "time budget 1m: 1 epoch (an epoch of 3 steps takes 2.5 minutes, a validation 7 s, more than there is)",
    ]


def test_steps_and_validations_are_timed(colors: Path) -> None:
    import torch

    task = ClassificationTask(colors, tiny_finetune_recipe(val_every=2, epochs=4), init="scratch")
    task.read_data(Path("nowhere"), print)
    epoch = measured_epoch(task, task.recipe, torch.device("cpu"), 1, 2.0)
    assert (epoch.num_steps, epoch.validations) == (3, 0.5)
    assert 0 < epoch.step_seconds < 5
    assert 0 < epoch.validation_seconds < 30


def test_a_real_budget_and_pretraining(colors: Path, tmp_path: Path) -> None:
    """Timing leaves no trace: the losses are those of a run of as many epochs."""
    recipe = tiny_pretrain_recipe(time_budget="3s")
    pretrain(colors, tmp_path / "a", recipe)
    stored = json.loads((tmp_path / "a" / "recipe.json").read_text())["recipe"]
    assert stored["epochs"] >= 1
    same = tiny_pretrain_recipe(epochs=stored["epochs"], warmup_epochs=stored["warmup_epochs"])
    pretrain(colors, tmp_path / "b", same)
    assert losses(tmp_path / "a") == losses(tmp_path / "b")


def test_another_budget_is_another_run(colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _timed(monkeypatch, EpochTime(5.0, 3))
    finetune(colors, tmp_path, tiny_finetune_recipe(time_budget="40s"), init="scratch")
    with pytest.raises(ConfigError, match="epochs=2, not 12"):
        finetune(colors, tmp_path, tiny_finetune_recipe(time_budget="200s"), init="scratch")


def test_no_length_of_time_is_refused(colors: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="time_budget='30': expected a time such as 90s"):
        finetune(colors, tmp_path, tiny_finetune_recipe(time_budget="30"), init="scratch")
