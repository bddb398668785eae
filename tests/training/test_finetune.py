"""Fine-tuning runs: what they learn, which weights they keep, what they refuse."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import (
    CLASSES,
    Recorder,
    losses,
    read_metrics,
    stop_after,
    tiny_finetune_recipe,
    write_clip,
    write_data_set,
)

import videomae
from videomae.checkpoint import Checkpoint
from videomae.core.errors import CheckpointError, ConfigError, DataError
from videomae.data import workers
from videomae.data.clips import ViewClips
from videomae.datasets.manifest import read_manifest
from videomae.evaluation.metrics import SingleLabelMetrics
from videomae.evaluation.single_label import SingleLabelEvaluation
from videomae.evaluation.validate import evaluate_classifier
from videomae.inference import scores
from videomae.inference.scores import ViewOptions
from videomae.training import validation
from videomae.training.finetune import FinetuneResult, finetune
from videomae.training.pretrain import PretrainResult
from videomae.training.run import prepare
from videomae.training.states import RunStates
from videomae.training.tasks.classification import ClassificationTask
from videomae.training.trainer import TrainingStopped
from videomae.weights.files import read_weights


def _top1(folder: Path, data: Path) -> float:
    """What the folder's weights score, as `videomae evaluate` computes it."""
    evaluation = evaluate_classifier(
        Checkpoint.open(folder, task="classification"),
        read_manifest(data).take_split("val"),
        options=ViewOptions(precision="fp32"),
        device=torch.device("cpu"),
    )
    return float(evaluation.to_dict()["top1"])


def test_the_folder_is_a_checkpoint(finetuned: FinetuneResult) -> None:
    assert finetuned.class_names == ("blue", "green", "red")
    assert (finetuned.num_videos, finetuned.num_broken, finetuned.steps) == (18, 0, 9)
    model, info = videomae.VideoMAEForVideoClassification.from_pretrained(finetuned.folder, output_loading_info=True)
    assert not any(info.values())
    assert model.config.id2label == {0: "blue", 1: "green", 2: "red"}
    assert model.config.use_mean_pooling
    processor = videomae.VideoMAEImageProcessor.from_pretrained(finetuned.folder)
    assert processor.sampling == {"method": "dense", "num_frames": 4, "frame_stride": 1}


def test_the_colors_are_learnt(finetuned: FinetuneResult, colors: Path) -> None:
    assert losses(finetuned.folder)[-1] < 0.5 * losses(finetuned.folder)[0]
    assert finetuned.best_top1 == 1.0
    assert _top1(finetuned.folder, colors) == 1.0


def test_validation_lines_of_the_metrics(finetuned: FinetuneResult) -> None:
    lines = read_metrics(finetuned.folder, "val")
    assert [(line["step"], line["epoch"]) for line in lines] == [(3, 1), (6, 2), (9, 3)]
    for line in lines:
        measured = {"step", "epoch", "split", "loss", "top1", "top5", "mean_class_accuracy"}
        assert {name for name, value in line.items() if value is not None} == measured
        # The contract's keys stand in every line; nothing of these is measured while validating.
        assert set(line) - measured == {"learning_rate", "clips_per_second", "data_wait_share"}
    assert finetuned.best_top1 == max(line["top1"] for line in lines)


def test_new_weights_learn_too(colors: Path, tmp_path: Path) -> None:
    result = finetune(colors, tmp_path, tiny_finetune_recipe(epochs=6, layer_decay=1.0), init="scratch")
    assert result.best_top1 is not None
    assert result.best_top1 >= 5 / 6
    assert _top1(tmp_path, colors) == result.best_top1


def test_a_pretrained_encoder_is_taken_over(pretrained: PretrainResult, colors: Path, tmp_path: Path) -> None:
    task = ClassificationTask(colors, tiny_finetune_recipe(), init=str(pretrained.folder))
    before, after = read_weights(pretrained.folder), prepare(task, tmp_path).model.state_dict()
    encoder = [name for name in after if name.startswith("videomae.")]
    assert all(torch.equal(before[name], after[name]) for name in encoder)
    assert set(after) - set(encoder) == {"fc_norm.weight", "fc_norm.bias", "classifier.weight", "classifier.bias"}
    assert (task.recipe.num_frames, task.recipe.image_size) == (4, 32)


def test_a_stopped_run_goes_on_as_if_nothing_had_been(colors: Path, finetuned: FinetuneResult, tmp_path: Path) -> None:
    init = json.loads((finetuned.folder / "recipe.json").read_text())["init"]
    for step in (2, 6, 8):
        with pytest.raises(TrainingStopped):
            finetune(colors, tmp_path, tiny_finetune_recipe(), init=init, monitor=stop_after(step))
    result = finetune(colors, tmp_path, tiny_finetune_recipe(), init=init)
    assert (result.best_epoch, result.best_top1) == (finetuned.best_epoch, finetuned.best_top1)
    for split in ("train", "val"):
        assert losses(tmp_path, split) == losses(finetuned.folder, split)
    before, after = read_weights(finetuned.folder), read_weights(tmp_path)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_finished_run_repeats_as_a_no_op(colors: Path, finetuned: FinetuneResult) -> None:
    init = json.loads((finetuned.folder / "recipe.json").read_text())["init"]
    monitor = Recorder()
    again = finetune(colors, finetuned.folder, tiny_finetune_recipe(), init=init, monitor=monitor)
    assert again.was_finished
    assert (again.best_epoch, again.best_top1, again.steps) == (finetuned.best_epoch, finetuned.best_top1, 9)
    assert monitor.reports == []


def test_the_best_epoch_is_kept_the_later_of_equals_by_loss(
    colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Epochs score .5, 1, 1 (lower loss), 1 (higher loss), .5: the third is the best."""
    scores = iter([(0.5, 2.0), (1.0, 1.0), (1.0, 0.5), (1.0, 0.7), (0.5, 0.1)])
    kept: list[dict[str, torch.Tensor]] = []
    real = evaluate_classifier

    def judged(checkpoint: Any, *arguments: Any, **options: Any) -> Any:
        evaluation = real(checkpoint, *arguments, **options)
        pair = next(scores, None)
        if pair is None:
            return evaluation
        kept.append({name: tensor.clone() for name, tensor in checkpoint.model.state_dict().items()})
        metrics = SingleLabelMetrics(**{**vars(evaluation.metrics), "top1": pair[0], "loss": pair[1]})
        return SingleLabelEvaluation(metrics, evaluation.class_names, ())

    monkeypatch.setattr(validation, "evaluate_classifier", judged)
    result = finetune(colors, tmp_path, tiny_finetune_recipe(epochs=5), init="scratch")
    assert (result.best_epoch, result.best_top1) == (3, 1.0)
    stored = read_weights(tmp_path)
    assert all(torch.equal(stored[name], kept[2][name]) for name in stored)
    assert not all(torch.equal(stored[name], kept[4][name]) for name in stored)
    assert "the weights of epoch 3, the best on validation" in (tmp_path / "report.html").read_text()


def test_without_validation_the_last_epoch_is_kept(tmp_path: Path) -> None:
    data = write_data_set(tmp_path / "data", per_class=2)
    result = finetune(data, tmp_path / "run", tiny_finetune_recipe(epochs=2), init="scratch")
    assert (result.best_epoch, result.best_top1) == (None, None)
    state = RunStates(tmp_path / "run" / "state").load()
    assert state is not None
    stored = read_weights(tmp_path / "run")
    assert all(torch.equal(stored[name], state["model"][name]) for name in stored)
    assert read_metrics(tmp_path / "run", "val") == []
    assert "the last epoch" in (tmp_path / "run" / "report.html").read_text()


def test_validation_every_second_epoch_and_at_the_end(colors: Path, tmp_path: Path) -> None:
    finetune(colors, tmp_path, tiny_finetune_recipe(epochs=5, val_every=2), init="scratch")
    assert [line["epoch"] for line in read_metrics(tmp_path, "val")] == [2, 4, 5]


def test_validation_from_another_folder(tmp_path: Path) -> None:
    data = write_data_set(tmp_path / "data", per_class=2)
    val = write_data_set(tmp_path / "judges", per_class=1, classes=("red", "blue"))
    recipe = tiny_finetune_recipe(epochs=1)
    result = finetune(data, tmp_path / "run", recipe, init="scratch", val=val)
    assert result.best_epoch == 1
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["val"] == str(val)
    with pytest.raises(ConfigError, match="a run with other validation videos"):
        finetune(data, tmp_path / "run", recipe, init="scratch")


def test_splits_by_a_column_of_a_table(colors: Path, tmp_path: Path) -> None:
    rows = ["path,label,split"]
    for name in CLASSES:
        paths = sorted((colors / "train" / name).iterdir())
        rows += [f"{path},{name},train" for path in paths[:2]] + [f"{paths[2]},{name},val"]
    (tmp_path / "clips.csv").write_text("\n".join(rows) + "\n")
    monitor = Recorder()
    recipe = tiny_finetune_recipe(epochs=1)
    result = finetune(tmp_path / "clips.csv", tmp_path / "run", recipe, init="scratch", monitor=monitor)
    assert result.num_videos == 6
    summary = next(note for note in monitor.notes if "on 3 classes (blue 2, green 2, red 2)" in note)
    assert "6 training videos, 3 validation videos" in summary


@pytest.mark.parametrize("val_every", [1, 2])
def test_a_broken_judge_counts_as_wrong_and_is_named(tmp_path: Path, val_every: int) -> None:
    data = write_data_set(tmp_path / "data" / "train", per_class=2).parent
    write_data_set(data / "val", per_class=1)
    (data / "val" / "red" / "broken.mp4").write_text("no video")
    monitor = Recorder()
    recipe = tiny_finetune_recipe(epochs=2, val_every=val_every)
    result = finetune(data, tmp_path / "run", recipe, init="scratch", monitor=monitor)
    assert result.best_top1 is not None
    assert result.best_top1 <= 3 / 4
    assert result.num_broken_validation == 1
    assert sum("broken.mp4" in note for note in monitor.notes) == 1
    assert "broken.mp4" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize("views", [1, 3])
def test_repeated_augmentation_repeats_the_labels(colors: Path, tmp_path: Path, views: int) -> None:
    result = finetune(colors, tmp_path, tiny_finetune_recipe(epochs=4, views=views), init="scratch")
    assert result.best_top1 is not None
    assert result.best_top1 > 0.5


def test_label_smoothing_raises_the_lowest_loss(colors: Path, tmp_path: Path) -> None:
    finetune(colors, tmp_path, tiny_finetune_recipe(label_smoothing=0.5), init="scratch")
    # With a share ε spread over K = 3 classes no loss is below the entropy of (1 − ε + ε/K, ε/K, ε/K).
    share = torch.tensor([2 / 3, 1 / 6, 1 / 6])
    assert min(losses(tmp_path)) >= float(-(share * share.log()).sum())


def test_one_class_only_is_refused(tmp_path: Path) -> None:
    data = write_data_set(tmp_path / "data", per_class=2, classes=("red",))
    with pytest.raises(DataError, match="the one class 'red'"):
        finetune(data, tmp_path / "run", tiny_finetune_recipe(), init="scratch")
    assert not (tmp_path / "run").exists()


def test_training_videos_of_one_class_only_are_refused(tmp_path: Path) -> None:
    """Two classes in the data set, but only one of them among the videos to learn from."""
    data = write_data_set(tmp_path / "data" / "train", per_class=2, classes=("red",)).parent
    write_data_set(data / "val", per_class=1, classes=("red", "blue"))
    with pytest.raises(DataError, match="the one class 'red'"):
        finetune(data, tmp_path / "run", tiny_finetune_recipe(), init="scratch")
    assert not (tmp_path / "run").exists()


def test_videos_without_a_class_are_refused(tmp_path: Path) -> None:
    write_clip(tmp_path / "data" / "a.mp4", CLASSES["red"])
    with pytest.raises(DataError, match="without a class"):
        finetune(tmp_path / "data", tmp_path / "run", tiny_finetune_recipe(), init="scratch")


def test_judges_of_an_unknown_class_are_refused(tmp_path: Path) -> None:
    data = write_data_set(tmp_path / "data", per_class=1, classes=("red", "blue"))
    val = write_data_set(tmp_path / "val", per_class=1)
    with pytest.raises(DataError, match="the class 'green'"):
        finetune(data, tmp_path / "run", tiny_finetune_recipe(), init="scratch", val=val)


def test_classes_that_only_judges_have_are_named(tmp_path: Path) -> None:
    data = write_data_set(tmp_path / "data", per_class=2, classes=("red", "blue"))
    listed = [(path, path.parent.name, "train") for path in sorted(data.rglob("*.mp4"))]
    listed[0] = (listed[0][0], "green", "val")
    listed[-1] = (listed[-1][0], "red", "val")
    table = tmp_path / "videos.csv"
    table.write_text("path,label,split\n" + "".join(f"{path},{label},{split}\n" for path, label, split in listed))
    recorder = Recorder()
    recipe = tiny_finetune_recipe(epochs=1)
    prepare(ClassificationTask(table, recipe, init="scratch"), tmp_path / "run", monitor=recorder)
    said = [note for note in recorder.notes if "no training" in note]
    assert said == ["no training videos of green; the validation set has 1 of these classes"]


def test_a_checkpoint_without_weights_is_refused(pretrained: PretrainResult, colors: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((pretrained.folder / "config.json").read_text())
    with pytest.raises(CheckpointError, match="without weights"):
        finetune(colors, tmp_path / "run", tiny_finetune_recipe(), init=str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layer_decay": 0.0}, "layer_decay=0.0: expected a share above 0, up to 1"),
        ({"label_smoothing": 1.0}, "label_smoothing=1.0"),
        ({"min_crop_area": 0.0}, "min_crop_area=0.0"),
        ({"val_every": 0}, "val_every=0"),
    ],
)
def test_settings_out_of_range_are_refused(colors: Path, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        finetune(colors, tmp_path / "run", tiny_finetune_recipe(**changes), init="scratch")


@pytest.mark.parametrize("fate", ["dies", "hangs"])
def test_a_judge_that_ends_its_worker_counts_as_wrong_and_is_met_once(
    colors: Path, pretrained: PretrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fate: str
) -> None:
    monkeypatch.setattr(workers, "_POLL_SECONDS", 0.1)
    monkeypatch.setattr(scores, "hard_limit_seconds", lambda seconds: 1.0)
    original, met = ViewClips.__getitem__, tmp_path / "met"

    def lethal(dataset: ViewClips, index: int) -> Any:
        if Path(str(dataset.paths[index])).name == "red_0.mp4":
            with met.open("a") as file:
                file.write("x")
            if fate == "dies":
                os._exit(9)
            time.sleep(1000)
        return original(dataset, index)

    monkeypatch.setattr(ViewClips, "__getitem__", lethal)
    monitor = Recorder()
    recipe = tiny_finetune_recipe(num_workers=1, epochs=2)

    result = finetune(colors, tmp_path / "run", recipe, init=str(pretrained.folder), monitor=monitor)

    assert result.num_broken_validation == 1
    assert list(result.broken_validation) == [str(colors / "val/red/red_0.mp4")]
    assert sum(note.startswith("unreadable validation video counts as wrong: ") for note in monitor.notes) == 1
    assert result.best_top1 is not None
    assert result.best_top1 <= 5 / 6
    times = 2 if fate == "dies" else 1
    assert len(met.read_text()) == 2 * times  # by the first epoch and by the report; not by the second epoch
