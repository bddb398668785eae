"""`report.html` of a training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from videomae.data.manifest import Manifest
from videomae.evaluation.validate import Evaluation
from videomae.inference.reconstruct import Reconstruction
from videomae.recipes.pretrain import PretrainRecipe
from videomae.recipes.recipe import TrainingRecipe
from videomae.report.charts import confusion_matrix, loss_curves
from videomae.report.html import KeyFigure, Report
from videomae.report.pictures import reconstruction_sheet
from videomae.training.run_folder import RunFolder
from videomae.video.source import VideoSource

_MAX_BROKEN_LISTED = 50


def write_pretrain_report(
    folder: RunFolder,
    recipe: PretrainRecipe,
    manifest: Manifest,
    broken: Mapping[str, str],
    pictures: Sequence[tuple[VideoSource, Reconstruction]],
) -> Path:
    """Loss curve, reconstructions and settings of a pre-training run."""
    records = folder.read_metrics()
    report = Report("Pre-training", subtitle=f"{len(manifest)} videos of {manifest.source}")
    report.key_figures(
        [*_training_figures(records, manifest, broken), KeyFigure("mask", f"{recipe.mask} {recipe.mask_ratio:.0%}")]
    )
    _add_curves(report, records)
    report.section("Reconstructions")
    for path, rebuilt in pictures:
        add_reconstruction(report, path, rebuilt)
    _add_settings(report, folder, recipe, broken)
    report.section("What next").commands(
        f"videomae finetune LABELLED --init {folder.path} --output CLASSIFIER\n"
        f"videomae reconstruct VIDEO --model {folder.path} --output picture.png"
    )
    return report.save(folder.report_path)


def write_finetune_report(
    folder: RunFolder,
    recipe: TrainingRecipe,
    manifest: Manifest,
    broken: Mapping[str, str],
    extra: Mapping[str, Any],
    best: Evaluation | None,
    init: str,
) -> Path:
    """Curves, confusion matrix and settings of a fine-tuning run."""
    records = folder.read_metrics()
    report = Report("Fine-tuning", subtitle=f"from {init}, {len(manifest)} videos of {manifest.source}")
    figures = _training_figures(records, manifest, broken)
    if best is not None:
        metrics = best.metrics
        figures = [
            KeyFigure("validation top-1", f"{metrics.top1:.1%}", f"{metrics.num_videos} videos"),
            KeyFigure("mean class accuracy", f"{metrics.mean_class_accuracy:.1%}"),
            *figures,
        ]
    report.key_figures(figures)
    kept = (
        f"the weights of epoch {extra['best_epoch']}, the best on validation" if best is not None else "the last epoch"
    )
    report.text(f"The folder holds {kept}.")
    _add_curves(report, records)
    if best is not None:
        add_confusion(report, best)
    _add_settings(report, folder, recipe, broken)
    report.section("What next").commands(
        f"videomae predict VIDEO --model {folder.path}\nvideomae evaluate DATA --model {folder.path}"
    )
    return report.save(folder.report_path)


def add_reconstruction(report: Report, path: VideoSource, rebuilt: Reconstruction) -> None:
    """A sheet of original, masked and rebuilt frames."""
    sheet = reconstruction_sheet(
        rebuilt.original,
        rebuilt.masked,
        rebuilt.rebuilt,
        caption=rebuilt.caption,
        frame_numbers=rebuilt.frame_indices,
    )
    report.picture(sheet, alt=f"original, masked and rebuilt frames. {rebuilt.caption}", caption=path.name)


def add_confusion(report: Report, evaluation: Evaluation) -> None:
    """The confusion matrix and each class' accuracy."""
    metrics = evaluation.metrics
    report.section("Which classes are taken for which")
    chart = confusion_matrix(metrics.confusion, evaluation.class_names)
    report.picture(chart, alt="confusion matrix", caption="Rows: the true class. Columns: what the model says.")
    totals = metrics.confusion.sum(axis=1)
    rows = [
        [name, str(total), f"{metrics.confusion[index, index] / total:.1%}" if total else "no videos"]
        for index, (name, total) in enumerate(zip(evaluation.class_names, totals.tolist(), strict=True))
    ]
    report.table(["class", "videos", "right"], rows)


def training_curve(records: Sequence[Mapping[str, Any]], split: str = "train") -> list[tuple[int, float]]:
    """(step, loss) of one split."""
    return [(r["step"], r["loss"]) for r in records if r["split"] == split and r["loss"] is not None]


def _training_figures(
    records: Sequence[Mapping[str, Any]], manifest: Manifest, broken: Mapping[str, str]
) -> list[KeyFigure]:
    lines = [record for record in records if record["split"] == "train" and record["loss"] is not None]
    if not lines:
        return []
    speed = sorted(line["clips_per_second"] for line in lines)[len(lines) // 2]
    waiting = sum(line["data_wait_share"] for line in lines) / len(lines)
    figures = [
        KeyFigure("last training loss", f"{lines[-1]['loss']:.3f}", f"{lines[0]['loss']:.3f} at the start"),
        KeyFigure("steps", f"{lines[-1]['step']}", f"{len(manifest)} videos"),
        KeyFigure("clips per second", f"{speed:.1f}", f"{waiting:.0%} of the time waiting for clips"),
    ]
    if broken:
        figures.append(KeyFigure("left out", str(len(broken)), "videos that cannot be read"))
    return figures


def _add_curves(report: Report, records: Sequence[Mapping[str, Any]]) -> None:
    report.section("Loss")
    series = {name: training_curve(records, split) for name, split in (("training", "train"), ("validation", "val"))}
    chart = loss_curves({name: curve for name, curve in series.items() if curve})
    report.picture(chart, alt="loss over steps")


def _add_settings(report: Report, folder: RunFolder, recipe: TrainingRecipe, broken: Mapping[str, str]) -> None:
    report.section("Settings")
    report.table(["setting", "value"], [[name, str(value)] for name, value in recipe.to_dict().items()])
    if broken:
        report.section("Videos that could not be read")
        listed = list(broken.items())[:_MAX_BROKEN_LISTED]
        report.table(["video", "reason"], listed, caption=f"{len(listed)} of {len(broken)}")
