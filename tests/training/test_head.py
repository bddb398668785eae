"""Classifiers with an attentive head, from training to prediction."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from small_runs import Commands, Recorder, losses, stop_after, tiny_finetune_recipe

import videomae
from videomae.core.errors import CheckpointError
from videomae.training.finetune import FinetuneResult, finetune
from videomae.training.pretrain import PretrainResult
from videomae.training.run import prepare
from videomae.training.tasks.classification import ClassificationTask
from videomae.training.trainer import TrainingStopped
from videomae.weights.files import read_weights


@pytest.fixture(scope="module")
def attentive(colors: Path, pretrained: PretrainResult, tmp_path_factory: pytest.TempPathFactory) -> FinetuneResult:
    """A finished run with an attentive head."""
    recipe = tiny_finetune_recipe(epochs=4, head="attentive", init_scale=0.001)
    return finetune(colors, tmp_path_factory.mktemp("runs") / "attentive", recipe, init=str(pretrained.folder))


def test_it_learns_and_predicts_and_evaluates(attentive: FinetuneResult, colors: Path) -> None:
    assert losses(attentive.folder)[-1] < 0.7 * losses(attentive.folder)[0]
    evaluation = videomae.evaluate(colors, model=attentive.folder, clips=1, crops=1, num_workers=0, progress=False)
    assert evaluation.top1 == attentive.best_top1
    predicted = videomae.predict(colors / "val", model=attentive.folder, num_workers=0, progress=False)
    assert len(predicted) == 6
    features = videomae.embed(colors / "val", model=attentive.folder, num_workers=0, progress=False).features
    assert features.shape == (6, 128)


def test_a_stopped_run_resumes(
    attentive: FinetuneResult, colors: Path, pretrained: PretrainResult, tmp_path: Path
) -> None:
    recipe, init = tiny_finetune_recipe(epochs=4, head="attentive", init_scale=0.001), str(pretrained.folder)
    with pytest.raises(TrainingStopped):
        finetune(colors, tmp_path, recipe, init=init, monitor=stop_after(5))
    finetune(colors, tmp_path, recipe, init=init)
    assert losses(tmp_path) == losses(attentive.folder)


def test_fine_tuning_it_further_keeps_the_head(attentive: FinetuneResult, colors: Path, tmp_path: Path) -> None:
    task = ClassificationTask(colors, tiny_finetune_recipe(), init=str(attentive.folder))
    monitor = Recorder()
    after = prepare(task, tmp_path, monitor=monitor).model.state_dict()
    before = read_weights(attentive.folder)
    assert all(torch.equal(before[name], after[name]) for name in after)
    assert not any("head" in note for note in monitor.notes)


def test_another_kind_of_head_is_new(attentive: FinetuneResult, colors: Path, tmp_path: Path) -> None:
    task = ClassificationTask(colors, tiny_finetune_recipe(head="linear"), init=str(attentive.folder))
    monitor = Recorder()
    model = prepare(task, tmp_path, monitor=monitor).model
    assert model.pooling is None
    assert f"{attentive.folder} has a head of another kind: using its encoder with a new linear head" in monitor.notes


def test_layouts_that_cannot_hold_it(
    attentive: FinetuneResult, tmp_path: Path, commands: Commands, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(CheckpointError, match="with an attentive head: expected a linear head: the original code has"):
        videomae.convert(attentive.folder, tmp_path / "x.pth", layout="original")
    line = commands.refused("convert", attentive.folder, tmp_path / "x.pth", "--layout", "original")
    assert "--layout hf keeps the attentive one" in line
    with caplog.at_level(logging.WARNING):
        videomae.convert(attentive.folder, tmp_path / "copy")
    assert "transformers has no attentive head" in caplog.text
    assert json.loads((tmp_path / "copy" / "config.json").read_text())["classifier_head"] == "attentive"


def test_from_scratch(colors: Path, tmp_path: Path) -> None:
    result = finetune(colors, tmp_path, tiny_finetune_recipe(epochs=1, head="attentive"), init="scratch")
    assert videomae.Checkpoint.open(result.folder).model.pooling is not None
