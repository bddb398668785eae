"""Fine-tuning on videos that may have several classes, and what judges, reports and predicts with the result."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from several_processes import run_in_processes
from small_runs import CLASSES, Commands, Recorder, losses, read_metrics, tiny_finetune_recipe, write_clip
from torch.nn import functional as F

import videomae
from videomae.checkpoint import Checkpoint, new_processor
from videomae.core.distributed import joined_process_group
from videomae.core.errors import ConfigError, DataError
from videomae.data.loader import ClipBatch
from videomae.datasets.manifest import read_manifest
from videomae.evaluation.multi_label import MultiLabelEvaluation
from videomae.evaluation.validate import evaluate_classifier
from videomae.inference.scores import ViewOptions
from videomae.models.config import VideoMAEConfig
from videomae.processing.transforms import CropBox
from videomae.training.classifier_inputs import ClassifierInputs
from videomae.training.finetune import FinetuneResult, finetune
from videomae.training.input_pictures import labelled_clips
from videomae.training.losses import classification_loss
from videomae.training.micro_batch import MicroBatch
from videomae.training.mixing import Mix, soft_targets
from videomae.video.sampling import ClipSampling

SHOWN = {"blue": ("blue",), "red": ("red",), "purple": ("blue", "red"), "gray": ()}
COLORS = {"blue": (30, 30, 220), "red": (220, 30, 30), "purple": (220, 30, 220), "gray": (30, 30, 30)}
RECIPE = tiny_finetune_recipe(epochs=6, batch_size=8)
FAST = ["--num-workers", "0", "--device", "cpu", "--clips", "1", "--crops", "1"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 clips to learn from and 8 that judge: blue, red, both (purple) or none (gray)."""
    folder = tmp_path_factory.mktemp("several")
    rows = ["path,labels,split"]
    for name, shown in SHOWN.items():
        for number in range(6):
            write_clip(folder / f"{name}_{number}.mp4", COLORS[name], phase=1.3 * number)
            rows.append(f"{name}_{number}.mp4,{'|'.join(shown)},{'train' if number < 4 else 'val'}")
    (folder / "clips.csv").write_text("\n".join(rows) + "\n")
    return folder / "clips.csv"


@pytest.fixture(scope="module")
def several(table: Path, tmp_path_factory: pytest.TempPathFactory) -> FinetuneResult:
    return finetune(table, tmp_path_factory.mktemp("runs") / "several", RECIPE, init="scratch")


def test_the_colors_are_learnt(several: FinetuneResult, table: Path) -> None:
    assert several.class_names == ("blue", "red")
    assert several.best_top1 is None
    assert several.best_mean_average_precision is not None
    assert several.best_mean_average_precision > 0.9
    config = videomae.VideoMAEForVideoClassification.from_pretrained(several.folder).config
    assert config.problem_type == "multi_label_classification"
    assert losses(several.folder)[-1] < 0.5 * losses(several.folder)[0]
    lines = read_metrics(several.folder, "val")
    assert several.best_mean_average_precision == max(line["mean_average_precision"] for line in lines)
    measured = {name for name, value in lines[0].items() if value is not None}
    assert measured == {"step", "epoch", "split", "loss", "mean_average_precision"}
    judged = evaluate_classifier(
        Checkpoint.open(several.folder, task="classification"),
        read_manifest(table).take_split("val"),
        options=ViewOptions(precision="fp32"),
        device=torch.device("cpu"),
    )
    assert isinstance(judged, MultiLabelEvaluation)
    assert judged.metrics.mean_average_precision == several.best_mean_average_precision
    page = (several.folder / "report.html").read_text(encoding="utf-8")
    for part in ("validation mAP", "average precision", "blue"):
        assert part in page, part
    assert "confusion" not in page


def test_accumulation_changes_nothing(table: Path, tmp_path: Path) -> None:
    found = []
    for accumulation in (1, 2):
        recipe = tiny_finetune_recipe(epochs=2, batch_size=8, accumulation=accumulation)
        finetune(table, tmp_path / str(accumulation), recipe, init="scratch")
        found.append(losses(tmp_path / str(accumulation)))
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def _finetune_and_judge(table: Path, output: Path, sharding: str) -> MultiLabelEvaluation:
    """Too briefly to tell the videos apart; 16 in batches of 6 leave 4, and 7 are judged: uneven shares."""
    recipe = tiny_finetune_recipe(epochs=1, batch_size=6, learning_rate=3e-3, sharding=sharding)
    finetune(table, output, recipe, init="scratch")
    manifest = read_manifest(table).take_split("val")
    with joined_process_group("cpu") as processes:
        evaluation = evaluate_classifier(
            Checkpoint.open(output, task="classification"),
            replace(manifest, entries=manifest.entries[1:]),
            options=ViewOptions(precision="fp32"),
            device=torch.device("cpu"),
            processes=processes,
        )
    assert isinstance(evaluation, MultiLabelEvaluation)
    return evaluation


@pytest.mark.parametrize("sharding", ["none", "full"])
def test_two_processes_do_what_one_does(table: Path, tmp_path: Path, sharding: str) -> None:
    alone = _finetune_and_judge(table, tmp_path / "one", sharding).metrics
    assert 0 < alone.mean_average_precision < 1
    for judged in run_in_processes(_finetune_and_judge, table, tmp_path / "two", sharding):
        assert (judged.metrics.num_videos, judged.metrics.loss) == (7, pytest.approx(alone.loss, abs=1e-5))
        assert judged.metrics.mean_average_precision == alone.mean_average_precision
    for line, other in zip(read_metrics(tmp_path / "one", None), read_metrics(tmp_path / "two", None), strict=True):
        assert other["loss"] == pytest.approx(line["loss"], abs=1e-5)
        assert other.get("mean_average_precision") == line.get("mean_average_precision")


def test_the_loss_is_the_mean_of_the_binary_ones() -> None:
    labels = torch.tensor([[1.0, 1, 0], [0, 0, 0], [0, 0, 1]])
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    recipe = tiny_finetune_recipe(views=2, label_smoothing=0.3)
    processor = new_processor(VideoMAEConfig(num_frames=4, image_size=32), ClipSampling(num_frames=4))
    inputs = ClassifierInputs(recipe, processor, 3, lambda indices: labels[indices])
    clips, places = torch.zeros(3, 2, 4, 3, 32, 32, dtype=torch.uint8), torch.arange(3)
    batch = ClipBatch(clips, torch.full((3,), -1), torch.tensor([2, 0, 1]), places)
    _, made = inputs(MicroBatch(clips.flatten(0, 1), batch, step=0, rows=torch.arange(6), num_rows=6))
    targets = labels[[2, 2, 0, 0, 1, 1]] * 0.7 + 0.1
    torch.testing.assert_close(made, targets)
    total = classification_loss(logits, made, is_multi_label=True)
    torch.testing.assert_close(total / 6, F.binary_cross_entropy_with_logits(logits, targets))


def test_mixtures_take_their_share_of_all_classes() -> None:
    labels = torch.tensor([[1.0, 1, 0], [0, 1, 1]])
    mixed = soft_targets(labels, 3, mix=Mix(0.75, CropBox(0, 0, 4, 4)))
    torch.testing.assert_close(mixed, torch.tensor([[0.75, 1, 0.25], [0.25, 1, 0.75]]))
    titles = labelled_clips(("a", "b", "c"), np.zeros((2, 1)), torch.stack([mixed[0], torch.zeros(3)]), 0.0)
    assert [title for title, _ in titles] == ["b, a 75%, c 25%", "none of the classes"]


def test_evaluate(commands: Commands, several: FinetuneResult, table: Path, tmp_path: Path) -> None:
    words = ["evaluate", table, "--model", several.folder, *FAST]
    document = commands.json(*words)
    assert set(document) == {"num_videos", "num_broken", "mean_average_precision", "loss", "classes", "broken"}
    assert document["num_videos"] == 8
    assert {name: row["num_positives"] for name, row in document["classes"].items()} == {"blue": 4, "red": 4}
    precisions = [row["average_precision"] for row in document["classes"].values()]
    assert document["mean_average_precision"] == pytest.approx(sum(precisions) / 2)
    said, report = tmp_path / "said.csv", tmp_path / "report.html"
    assert commands(*words, "--predictions", said, "--scores", "--report", report) == 0
    lines = [line.split() for line in commands.out.splitlines()]
    assert ["mAP", f"{document['mean_average_precision']:.1%}"] in lines
    assert ["blue", "4", f"{precisions[0]:.1%}"] in lines
    with said.open(encoding="utf-8", newline="") as text:
        rows = {Path(row["path"]).stem: row for row in csv.DictReader(text)}
    assert set(rows["gray_4"]) == {"path", "label", "prediction", "error", "score of blue", "score of red"}
    assert (rows["purple_4"]["label"], rows["gray_4"]["label"]) == ("blue|red", "")
    for row in rows.values():
        assert row["prediction"] == "|".join(name for name in ("blue", "red") if float(row[f"score of {name}"]) >= 0.5)
    assert "average precision" in report.read_text(encoding="utf-8")


def test_a_broken_video_is_never_found(commands: Commands, several: FinetuneResult, table: Path) -> None:
    broken = table.with_name("broken.csv")
    table.with_name("broken.mp4").write_text("no video")
    broken.write_text("path,labels\nred_0.mp4,red\nbroken.mp4,red\nblue_0.mp4,\n")
    words = ["evaluate", broken, "--model", several.folder, *FAST]
    assert "broken.mp4" in commands.refused(*words)
    document = commands.json(*words, "--count-broken-as-wrong")
    assert (document["num_videos"], document["num_broken"]) == (3, 1)
    assert document["classes"]["red"]["average_precision"] <= 0.5
    assert document["classes"]["blue"] == {"num_positives": 0, "average_precision": None}


def test_predict_gives_each_class_a_share_of_its_own(commands: Commands, several: FinetuneResult, table: Path) -> None:
    document = commands.json("predict", table.with_name("purple_5.mp4"), "--model", several.folder, *FAST)
    scores = {said["label"]: said["probability"] for said in document["videos"][0]["predictions"]}
    assert set(scores) == {"blue", "red"}
    assert sum(scores.values()) > 1.1


def test_the_wrong_kind_is_one_line(
    commands: Commands, several: FinetuneResult, finetuned: FinetuneResult, colors: Path, table: Path
) -> None:
    line = commands.refused("evaluate", colors, "--model", several.folder, *FAST)
    assert "with one class: expected several labels for each video" in line
    line = commands.refused("evaluate", table, "--model", finetuned.folder, *FAST)
    assert "with several labels: expected one class for each video" in line


def test_what_is_refused(table: Path, colors: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"class_balance=0\.5 for videos with several labels"):
        finetune(table, tmp_path / "run", tiny_finetune_recipe(class_balance=0.5), init="scratch")
    rows = [line for line in table.read_text().splitlines() if not line.endswith(",val")]
    train = table.with_name("train.csv")
    train.write_text("\n".join(rows) + "\n")
    with pytest.raises(DataError, match="expected several labels"):
        finetune(train, tmp_path / "run", RECIPE, init="scratch", val=colors)
    assert not (tmp_path / "run").exists()


def test_a_head_of_the_other_kind_is_not_kept(several: FinetuneResult, table: Path, tmp_path: Path) -> None:
    rows = ["path,label", *(f"{table.with_name(f'{name}_0.mp4')},{name}" for name in ("red", "blue"))]
    (tmp_path / "one.csv").write_text("\n".join(rows) + "\n")
    monitor, recipe = Recorder(), tiny_finetune_recipe(epochs=1)
    finetune(tmp_path / "one.csv", tmp_path / "run", recipe, init=str(several.folder), monitor=monitor)
    assert any("predicts several labels per video, the data have one label" in note for note in monitor.notes)
    config = VideoMAEConfig.from_pretrained(tmp_path / "run")
    assert config.problem_type is None
    assert set(CLASSES) > set(config.id2label.values())
