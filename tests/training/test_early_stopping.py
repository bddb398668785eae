"""Runs that end before their last epoch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_runs import Recorder, losses, read_metrics, stop_after, tiny_finetune_recipe, write_data_set

from videomae.core.errors import ConfigError
from videomae.evaluation.metrics import SingleLabelMetrics
from videomae.evaluation.single_label import SingleLabelEvaluation
from videomae.evaluation.validate import evaluate_classifier
from videomae.training import validation
from videomae.training.finetune import finetune
from videomae.training.trainer import TrainingStopped


def _judge(monkeypatch: pytest.MonkeyPatch, *scores: float) -> Iterator[float]:
    """Validations score this, one after the other, whatever the weights; then what they are worth."""
    left, real = iter(scores), evaluate_classifier

    def judged(checkpoint: Any, *arguments: Any, **options: Any) -> Any:
        evaluation = real(checkpoint, *arguments, **options)
        score = next(left, None)
        if score is None:
            return evaluation
        metrics = SingleLabelMetrics(**{**vars(evaluation.metrics), "top1": score, "loss": 1.0})
        return SingleLabelEvaluation(metrics, evaluation.class_names, ())

    monkeypatch.setattr(validation, "evaluate_classifier", judged)
    return left


def test_a_run_ends_after_epochs_that_were_no_better(
    colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _judge(monkeypatch, 0.2, 0.6, 0.5, 0.6)
    monitor = Recorder()
    recipe = tiny_finetune_recipe(epochs=9, early_stopping=2)
    result = finetune(colors, tmp_path, recipe, init="scratch", monitor=monitor)
    assert (result.best_epoch, result.best_top1, result.steps) == (2, 0.6, 12)
    assert [line["epoch"] for line in read_metrics(tmp_path, "val")] == [1, 2, 3, 4]
    assert "stopping early after epoch 4 of 9: none was better than epoch 2" in monitor.notes
    assert (tmp_path / "report.html").exists()
    again = finetune(colors, tmp_path, recipe, init="scratch")
    assert (again.was_finished, again.steps, again.best_epoch) == (True, 12, 2)


def test_a_better_epoch_starts_the_count_anew(colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = _judge(monkeypatch, 0.2, 0.1, 0.3, 0.2, 0.4, 0.4)
    result = finetune(colors, tmp_path, tiny_finetune_recipe(epochs=6, early_stopping=2), init="scratch")
    assert (result.best_epoch, result.steps) == (5, 18)
    assert next(left, None) is None


def test_a_stopped_run_counts_on(colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _judge(monkeypatch, 0.6, 0.5, 0.4)
    recipe = tiny_finetune_recipe(epochs=9, early_stopping=2)
    with pytest.raises(TrainingStopped):
        finetune(colors, tmp_path, recipe, init="scratch", monitor=stop_after(7))
    result = finetune(colors, tmp_path, recipe, init="scratch")
    assert (result.best_epoch, result.steps) == (1, 9)


def test_the_steps_are_those_of_a_run_that_goes_on(
    colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The schedule stays that of all epochs; a run that stopped early can be taken on."""
    _judge(monkeypatch, 0.6, 0.5)
    short = finetune(colors, tmp_path / "a", tiny_finetune_recipe(epochs=4, early_stopping=1), init="scratch")
    whole = finetune(colors, tmp_path / "b", tiny_finetune_recipe(epochs=4), init="scratch")
    assert (short.steps, whole.steps) == (6, 12)
    assert losses(tmp_path / "a") == losses(tmp_path / "b")[:6]
    recipe = tiny_finetune_recipe(epochs=4)
    with pytest.raises(ConfigError, match="early_stopping=1, not 0"):
        finetune(colors, tmp_path / "a", recipe, init="scratch")
    finetune(colors, tmp_path / "a", recipe, init="scratch", resume_anyway=True)
    assert losses(tmp_path / "a") == losses(tmp_path / "b")


def test_epochs_between_validations_count(colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _judge(monkeypatch, 0.6, 0.5)
    recipe = tiny_finetune_recipe(epochs=9, early_stopping=2, val_every=2)
    assert finetune(colors, tmp_path, recipe, init="scratch").steps == 4 * 3


def test_without_validation_it_is_refused(tmp_path: Path) -> None:
    data = write_data_set(tmp_path / "data", per_class=1)
    said = "early_stopping=2 without validation videos: expected videos that show"
    with pytest.raises(ConfigError, match=re.escape(said)):
        finetune(data, tmp_path / "run", tiny_finetune_recipe(early_stopping=2), init="scratch")
    assert not (tmp_path / "run").exists()
