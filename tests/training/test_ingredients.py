"""Runs with every ingredient on: they go on bit for bit, and what is saved is what was asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import Recorder, losses, stop_after, tiny_finetune_recipe, tiny_pretrain_recipe, write_data_set

from videomae.checkpoint import Checkpoint
from videomae.core.errors import ConfigError
from videomae.recipes.finetune import FinetuneRecipe
from videomae.training.ema import WeightAverage
from videomae.training.finetune import finetune
from videomae.training.pretrain import PretrainResult, pretrain
from videomae.training.run import prepare
from videomae.training.tasks import classification
from videomae.training.tasks.classification import ClassificationTask
from videomae.training.tasks.pretraining import PretrainingTask
from videomae.training.trainer import TrainingStopped
from videomae.weights.files import read_weights

EVERYTHING: dict[str, Any] = {
    "epochs": 2,
    "views": 2,
    "rand_augment": "rand-m7-n4-mstd0.5-inc1",
    "erasing": 0.5,
    "mixup": 0.8,
    "cutmix": 1.0,
    "label_smoothing": 0.1,
    "drop_path": 0.3,
    "head_dropout": 0.3,
    "init_scale": 0.001,
    "ema_decay": 0.9,
    "class_balance": 1.0,
    "clip_grad": 1.0,
    "min_crop_area": 0.3,
}


def _run(data: Path, output: Path, init: str, monitor: Recorder | None = None, **changes: Any) -> None:
    finetune(data, output, tiny_finetune_recipe(**{**EVERYTHING, **changes}), init=init, monitor=monitor)


def _same_weights(one: Path, two: Path) -> bool:
    before, after = read_weights(one), read_weights(two)
    return all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("before_crop", [False, True])
def test_a_stopped_run_with_everything_goes_on_bit_for_bit(colors: Path, tmp_path: Path, before_crop: bool) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    _run(colors, straight, "scratch", augment_before_crop=before_crop)
    for step in (2, 5):
        with pytest.raises(TrainingStopped):
            _run(colors, broken, "scratch", stop_after(step), augment_before_crop=before_crop)
    _run(colors, broken, "scratch", augment_before_crop=before_crop)
    for split in ("train", "val"):
        assert losses(broken, split) == losses(straight, split)
    assert _same_weights(straight, broken)


def test_augmenting_on_the_device_changes_no_number(colors: Path, tmp_path: Path) -> None:
    """Also where a run is resumed with the other choice."""
    workers, device = tmp_path / "workers", tmp_path / "device"
    _run(colors, workers, "scratch", augment_on="workers")
    with pytest.raises(TrainingStopped):
        _run(colors, device, "scratch", stop_after(3), augment_on="device", num_workers=1)
    _run(colors, device, "scratch", augment_on="workers")
    assert losses(device) == losses(workers)
    assert _same_weights(device, workers)


@pytest.mark.parametrize(
    ("settings", "can", "is_left"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"augment_on": "workers"}, True, False),
        ({"augment_before_crop": True}, True, False),
        ({"rand_augment": ""}, True, None),
    ],
)
def test_where_clips_are_augmented(
    settings: dict[str, Any], can: bool, is_left: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classification, "can_augment_on", lambda device: can)
    recipe, notes = FinetuneRecipe(**settings), Recorder()
    found = classification._augmentation(recipe, torch.device("cuda"), notes.note)
    assert (None if found is None else found.on_device) == is_left
    assert [str(note) for note in notes.notes] == (
        [] if can else ["cuda lacks operations of RandAugment: augmenting in the workers"]
    )
    cpu = classification._augmentation(recipe, torch.device("cpu"), notes.note)
    assert cpu is None or not cpu.on_device


def test_whole_frames_are_not_augmented_on_the_device() -> None:
    with pytest.raises(ConfigError, match=r"augment_on='device'.*auto or workers"):
        FinetuneRecipe(augment_on="device", augment_before_crop=True).validate()


def test_gradient_checkpointing_changes_memory_not_numbers(colors: Path, tmp_path: Path) -> None:
    for name, recompute in (("kept", False), ("again", True)):
        _run(colors, tmp_path / name, "scratch", gradient_checkpointing=recompute, epochs=1)
    assert losses(tmp_path / "again") == pytest.approx(losses(tmp_path / "kept"), rel=1e-6)


def test_what_is_judged_and_saved_is_the_average(colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    averages: list[WeightAverage] = []
    real = WeightAverage.__init__

    def remembered(average: WeightAverage, *arguments: Any, **keywords: Any) -> None:
        real(average, *arguments, **keywords)
        averages.append(average)

    monkeypatch.setattr(WeightAverage, "__init__", remembered)
    recipe = tiny_finetune_recipe(epochs=1, ema_decay=0.5)
    finetune(colors, tmp_path / "classifier", recipe, init="scratch")
    pretrain(colors, tmp_path / "encoder", tiny_pretrain_recipe(epochs=1, ema_decay=0.5))
    for average, folder in zip(averages, ("classifier", "encoder"), strict=True):
        saved = Checkpoint.open(tmp_path / folder).model.state_dict()
        for name, tensor in average.state_dict()["shadow"].items():
            assert torch.equal(tensor, saved[name]), name


def test_settings_reach_model_and_optimizer(colors: Path, tmp_path: Path) -> None:
    recipe = tiny_finetune_recipe(drop_path=0.2, head_dropout=0.4, beta1=0.8, beta2=0.9, start_learning_rate=2e-3)
    trainer = prepare(ClassificationTask(colors, recipe, init="scratch"), tmp_path)
    config: Any = trainer.model.config
    assert (config.drop_path_rate, config.classifier_dropout) == (0.2, 0.4)
    assert trainer.optimizer.defaults["betas"] == (0.8, 0.9)
    assert trainer.schedule.at(0) == pytest.approx(2e-3 * 6 / 256)


def test_depth_and_width_of_a_new_decoder(colors: Path, tmp_path: Path) -> None:
    recipe = tiny_pretrain_recipe(decoder_depth=3, decoder_width=64, beta2=0.9)
    trainer = prepare(PretrainingTask(colors, recipe), tmp_path)
    config: Any = trainer.model.config
    found = (config.decoder_num_hidden_layers, config.decoder_hidden_size, config.decoder_intermediate_size)
    assert found == (3, 64, 256)
    assert trainer.optimizer.defaults["betas"] == (0.9, 0.9)


def test_balance_takes_small_classes_as_often(tmp_path: Path) -> None:
    data = write_data_set(tmp_path / "data", per_class=1, classes=("blue",))
    write_data_set(data, per_class=3, classes=("red",))
    for balance, shares in ((0.0, {0: 1, 1: 3}), (1.0, {0: 2, 1: 2})):
        recipe = tiny_finetune_recipe(class_balance=balance, batch_size=4)
        trainer = prepare(ClassificationTask(data, recipe, init="scratch"), tmp_path / str(balance))
        labels = [trainer.dataset.labels[index] for index in trainer.task.order(0)]
        assert {label: labels.count(label) for label in (0, 1)} == shares


def test_a_new_head_is_small_and_one_of_the_same_classes_is_kept(
    colors: Path, pretrained: PretrainResult, finetuned: Any, tmp_path: Path
) -> None:
    def head(init: object, data: Path, name: str) -> tuple[torch.Tensor, Recorder]:
        monitor = Recorder()
        recipe = tiny_finetune_recipe(init_scale=1e-3)
        trainer = prepare(ClassificationTask(data, recipe, init=str(init)), tmp_path / name, monitor=monitor)
        return trainer.model.classifier.weight.detach(), monitor

    for init in ("scratch", pretrained.folder):
        assert float(head(init, colors, Path(str(init)).name)[0].std()) == pytest.approx(2e-5, rel=0.2)
    kept, monitor = head(finetuned.folder, colors, "kept")
    assert torch.equal(kept, read_weights(finetuned.folder)["classifier.weight"])
    assert monitor.notes == []

    two = write_data_set(tmp_path / "two", per_class=3, classes=("blue", "red"))
    fresh, monitor = head(finetuned.folder, two, "fresh")
    assert fresh.shape[0] == 2
    assert float(fresh.std()) == pytest.approx(2e-5, rel=0.2)
    assert "predicts 3 other classes (blue, green, red …)" in monitor.notes[0]
    assert "a new head for the 2 classes" in monitor.notes[0]


def test_a_batch_larger_than_the_data_is_all_of_it(colors: Path, tmp_path: Path) -> None:
    monitor = Recorder()
    result = pretrain(colors, tmp_path, tiny_pretrain_recipe(batch_size=64, epochs=1), monitor=monitor)
    assert result.steps == 1
    assert monitor.notes[0].startswith("batch size 64 exceeds the 18 clips: using 18")
    assert any("1.5e-03 × 18 / 256" in note or "0.0015 × 18 / 256" in note for note in monitor.notes)
    assert json.loads((tmp_path / "recipe.json").read_text())["recipe"]["batch_size"] == 18
    again = pretrain(colors, tmp_path, tiny_pretrain_recipe(batch_size=64, epochs=1))
    assert again.was_finished


def test_a_spec_that_is_not_understood_is_refused_before_anything_is_written(colors: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="section 'q3' of RandAugment"):
        finetune(colors, tmp_path / "run", FinetuneRecipe(rand_augment="rand-q3"), init="scratch")
    assert not (tmp_path / "run").exists()
