"""Videos with numbers in place of classes: training, evaluation, prediction; and numbers as ordered classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import Commands, Recorder, losses, read_metrics, stop_after, tiny_finetune_recipe, write_clip

import videomae
from videomae.core.errors import ConfigError, DataError
from videomae.datasets.manifest import read_manifest
from videomae.models.modeling import VideoMAEForVideoClassification
from videomae.training.finetune import FinetuneResult, finetune
from videomae.training.score_scale import ScoreScale, ordinal_targets
from videomae.training.trainer import TrainingStopped
from videomae.weights.files import read_weights


@pytest.fixture(scope="module")
def shades(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of 24 clips whose score is their brightness, from 1000 to 1200; every fourth is for validation."""
    folder = tmp_path_factory.mktemp("shades")
    rows = ["path,score,split"]
    for number in range(24):
        level = 40 + 8 * number
        write_clip(folder / f"{number}.mp4", (level, level, level), phase=0.7 * number)
        rows.append(f"{number}.mp4,{1000 + 200 * number / 23:.2f},{'val' if number % 4 == 2 else 'train'}")
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    return folder / "list.csv"


def _recipe(**changes: Any) -> Any:
    return tiny_finetune_recipe(**{"epochs": 12, "layer_decay": 1.0, "learning_rate": 3e-2, **changes})


@pytest.fixture(scope="module")
def regressor(shades: Path, tmp_path_factory: pytest.TempPathFactory) -> FinetuneResult:
    """A finished run on scores."""
    return finetune(shades, tmp_path_factory.mktemp("runs") / "regressor", _recipe(label_smoothing=0.1), init="scratch")


def test_the_scores_are_learned_in_their_own_unit(regressor: FinetuneResult, shades: Path) -> None:
    assert regressor.best_mae is not None
    assert regressor.best_mae < 25  # the best constant: 50
    assert (regressor.best_top1, regressor.best_mean_average_precision) == (None, None)
    lines = read_metrics(regressor.folder, "val")
    assert regressor.best_mae == min(line["mae"] for line in lines)
    assert {"loss", "mae", "rmse", "pearson", "spearman"} <= set(lines[-1])
    evaluation = videomae.evaluate(shades.parent / "list.csv", model=regressor.folder, clips=1, crops=1, num_workers=0)
    assert evaluation.mae == pytest.approx(regressor.best_mae, rel=1e-5)  # type: ignore[attr-defined]
    assert evaluation.metrics.pearson > 0.8  # type: ignore[attr-defined]


def test_the_folder_is_an_ordinary_regression_checkpoint(regressor: FinetuneResult) -> None:
    model, info = VideoMAEForVideoClassification.from_pretrained(regressor.folder, output_loading_info=True)
    assert not any(info.values())
    assert (model.config.problem_type, model.config.id2label) == ("regression", {0: "score"})
    with torch.no_grad():
        logits = model(torch.zeros(1, 4, 3, 32, 32)).logits
    assert 900 < float(logits) < 1300


def test_predictions_are_numbers(regressor: FinetuneResult, shades: Path, commands: Commands) -> None:
    predicted = videomae.predict(shades, model=regressor.folder, num_workers=0, progress=False)
    dark, bright = predicted[0].score, predicted[23].score
    assert dark is not None
    assert bright is not None
    assert 950 < dark < bright < 1250
    assert predicted[0].predictions == ()
    path = shades.parent / "23.mp4"
    found = commands.json("predict", path, "--model", regressor.folder, "--num-workers", 0)
    assert found["videos"][0]["score"] == pytest.approx(bright, rel=1e-4)
    assert found["videos"][0]["predictions"] == []
    assert commands("predict", path, "--model", regressor.folder) == 0
    assert f"{bright:.4g}" in commands.out
    assert "%" not in commands.out
    assert commands("predict", shades, "--model", regressor.folder) == 0
    assert f"{bright:.4g}" in commands.out


def test_evaluation_on_the_command_line(
    regressor: FinetuneResult, shades: Path, commands: Commands, tmp_path: Path
) -> None:
    words = ["evaluate", shades, "--model", regressor.folder, "--clips", 1, "--crops", 1, "--num-workers", 0]
    found = commands.json(*words)
    assert set(found) == {
        *("num_videos", "num_broken", "mae", "rmse", "pearson", "spearman", "loss", "baseline", "broken")
    }
    report, predictions = tmp_path / "report.html", tmp_path / "predictions.csv"
    assert commands(*words, "--report", report, "--predictions", predictions) == 0
    assert "MAE" in commands.out
    assert "Spearman" in commands.out
    assert "classes" not in commands.out
    assert "MAE" in report.read_text()
    lines = predictions.read_text().splitlines()
    assert lines[0] == "path,score,prediction,error"
    assert len(lines) == 7


def test_report_and_card_speak_of_numbers(regressor: FinetuneResult) -> None:
    card = (regressor.folder / "README.md").read_text()
    assert "It predicts a number, the score of a video." in card
    assert "| MAE |" in card
    assert "classes" not in card.partition("## Training data")[2].partition("## Limits")[0]
    assert "It gives a number for any video" in card
    report = (regressor.folder / "report.html").read_text()
    assert "MAE" in report
    assert "Which classes" not in report


def test_a_stopped_run_resumes(shades: Path, tmp_path: Path) -> None:
    recipe = _recipe(epochs=2, mixup=0.8, ema_decay=0.5)
    finetune(shades, tmp_path / "whole", recipe, init="scratch")
    with pytest.raises(TrainingStopped):
        finetune(shades, tmp_path / "parts", recipe, init="scratch", monitor=stop_after(4))
    finetune(shades, tmp_path / "parts", recipe, init="scratch")
    for split in ("train", "val"):
        assert losses(tmp_path / "whole", split) == losses(tmp_path / "parts", split)


def test_fine_tuning_further_starts_where_it_was(regressor: FinetuneResult, shades: Path, tmp_path: Path) -> None:
    recipe = _recipe(epochs=1, learning_rate=0.0, min_learning_rate=0.0, start_learning_rate=0.0)
    again = finetune(shades, tmp_path, recipe, init=str(regressor.folder))
    assert again.best_mae == pytest.approx(regressor.best_mae, rel=1e-4)
    before, after = read_weights(regressor.folder), read_weights(tmp_path)
    assert torch.allclose(before["classifier.weight"], after["classifier.weight"], rtol=1e-5)


def test_a_classifier_makes_room_for_scores_and_back(
    regressor: FinetuneResult, finetuned: FinetuneResult, colors: Path, shades: Path, tmp_path: Path
) -> None:
    monitor = Recorder()
    finetune(shades, tmp_path / "a", _recipe(epochs=1), init=str(finetuned.folder), monitor=monitor)
    assert any("predicts one label per video, the data have a score" in note for note in monitor.notes)
    assert any("scores from 1000 to 1200 (mean" in note for note in monitor.notes)
    result = finetune(colors, tmp_path / "b", tiny_finetune_recipe(epochs=1), init=str(regressor.folder))
    model = videomae.Checkpoint.open(result.folder).model
    assert (model.config.problem_type, model.config.num_labels) == (None, 3)


def test_huber_heeds_outliers_less(shades: Path, tmp_path: Path) -> None:
    for kind in ("mse", "huber"):
        finetune(shades, tmp_path / kind, _recipe(epochs=1, score_loss=kind), init="scratch")
    assert losses(tmp_path / "huber")[0] < losses(tmp_path / "mse")[0]


def test_the_scale_is_in_the_head() -> None:
    entries = [videomae.datasets.entries.VideoEntry(Path("x"), score=value) for value in (1.0, 3.0, 8.0)]
    manifest = videomae.datasets.manifest.Manifest(Path("list"), tuple(entries), ())
    scale = ScoreScale(manifest)
    assert (scale.mean, scale.deviation) == (4.0, pytest.approx((26 / 3) ** 0.5))
    assert scale.targets(torch.tensor([2, 0]))[:, 0].tolist() == pytest.approx(
        [4 / scale.deviation, -3 / scale.deviation]
    )
    head = torch.nn.Linear(4, 1)
    model = torch.nn.Module()
    model.classifier = head
    x, own = torch.randn(3, 4), head(torch.zeros(1, 4)).detach()
    expected = head(x) * scale.deviation + scale.mean
    with scale.applied(model):
        assert torch.allclose(head(x), expected, atol=1e-5)
    assert torch.equal(head(torch.zeros(1, 4)), own)
    weights = scale.in_units({"classifier.weight": head.weight, "classifier.bias": head.bias})
    assert torch.allclose(torch.nn.functional.linear(x, *weights.values()), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"class_balance": 1.0}, "class_balance=1.0 for videos with scores"),
        ({"class_weights": "balanced"}, "class_weights=.* for videos with scores"),
        ({"teacher": "x"}, "teacher='x' for videos with scores"),
    ],
)
def test_what_needs_classes_is_refused(shades: Path, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        finetune(shades, tmp_path, _recipe(**changes), init="scratch")


def _listed(folder: Path, *lines: str) -> Path:
    for name in ("a", "b", "c"):
        if not (folder / f"{name}.mp4").exists():
            write_clip(folder / f"{name}.mp4", (90, 90, 90))
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    return folder / "list.csv"


def test_scores_that_are_none(tmp_path: Path) -> None:
    for cell in ("good", "inf", "1,5"):
        with pytest.raises(DataError, match=r"list.csv, line 3: "):
            read_manifest(_listed(tmp_path, "path;score".replace(";", ","), "a.mp4,1", f"b.mp4,{cell}"))
    missing = _listed(tmp_path, "path,score", "a.mp4,1", "b.mp4,nan", "c.mp4,3")
    with pytest.raises(DataError, match=r"b.mp4 without a score: expected a number for every video"):
        finetune(missing, tmp_path / "run", _recipe(), init="scratch")
    same = _listed(tmp_path, "path,score", "a.mp4,2", "b.mp4,2")
    with pytest.raises(DataError, match="with the score 2 for all its videos"):
        finetune(same, tmp_path / "run", _recipe(), init="scratch")
    twice = _listed(tmp_path, "path,score", "a.mp4,1", "a.mp4,2", "b.mp4,2")
    with pytest.raises(DataError, match="with the score '2': expected '1'"):
        read_manifest(twice)
    assert not (tmp_path / "run").exists()


def test_a_score_beside_labels_is_not_read(tmp_path: Path) -> None:
    manifest = read_manifest(_listed(tmp_path, "path,label,score", "a.mp4,x,1.5", "b.mp4,y,2.5"))
    assert [entry.score for entry in manifest.entries] == [None, None]
    assert any("the column score is not used" in notice for notice in manifest.notices)


def test_labels_that_are_numbers_are_pointed_out(tmp_path: Path) -> None:
    manifest = read_manifest(_listed(tmp_path, "path,label", "a.mp4,1.00", "b.mp4,1.37", "c.mp4,2"))
    assert [notice for notice in manifest.notices if "call the column score" in notice] == [
        f"{tmp_path / 'list.csv'}: numbers such as 1.37 are treated as names of 3 classes; to predict the number, "
        "call the column score, not label"
    ]
    whole = read_manifest(_listed(tmp_path, "path,label", "a.mp4,1.0", "b.mp4,2"))
    assert not any("call the column score" in notice for notice in whole.notices)


def test_evaluating_a_regressor_on_classes_is_refused(regressor: FinetuneResult, colors: Path) -> None:
    with pytest.raises(DataError, match="without a score"):
        videomae.evaluate(colors, model=regressor.folder, num_workers=0)


def test_packing_keeps_scores(shades: Path, tmp_path: Path) -> None:
    videomae.pack(shades, tmp_path / "files", num_workers=1, progress=False)
    videomae.pack(shades, tmp_path / "tars", shards=True, num_workers=1, progress=False)
    expected = sorted(entry.score or 0 for entry in read_manifest(shades).entries)
    for kind in ("files", "tars"):
        assert sorted(entry.score or 0 for entry in read_manifest(tmp_path / kind).entries) == expected


# --- ordered classes -------------------------------------------------------------------------------------------------


def test_ordinal_targets_by_hand() -> None:
    targets = ordinal_targets(["1", "2", "3"])
    weights = np.exp([-1.0, 0.0, -1.0])
    assert targets[1].tolist() == pytest.approx((weights / weights.sum()).tolist())
    weights = np.exp([0.0, -1.0, -4.0])
    assert targets[0].tolist() == pytest.approx((weights / weights.sum()).tolist())
    assert torch.allclose(ordinal_targets(["10", "20", "30"]), targets)


def test_scores_as_ordered_classes(shades: Path, tmp_path: Path) -> None:
    lines = shades.read_text().splitlines()
    rows = [lines[0]]
    for line in lines[1:]:
        path, score, split = line.split(",")
        rows.append(f"{shades.parent / path},{round((float(score) - 1000) / 20)},{split}")
    (tmp_path / "steps.csv").write_text("\n".join(rows) + "\n")
    result = finetune(tmp_path / "steps.csv", tmp_path / "run", _recipe(epochs=2, ordinal=True), init="scratch")
    assert result.class_names == tuple(str(number) for number in range(11))
    assert result.best_top1 is not None
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["id2label"]["10"] == "10"
    assert losses(tmp_path / "run")[-1] < losses(tmp_path / "run")[0]


def test_names_are_not_ordered(colors: Path, shades: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="with the class 'blue', for --ordinal: expected one number for each video"):
        finetune(colors, tmp_path, _recipe(ordinal=True), init="scratch")
