"""`report.html` of a training run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from videomae.datasets.manifest import Manifest
from videomae.evaluation.report import add_results
from videomae.evaluation.results import Evaluation
from videomae.inference.reconstruct import Reconstruction
from videomae.recipes.pretrain import PretrainRecipe
from videomae.recipes.recipe import TrainingRecipe
from videomae.report.charts import loss_curves, small_curves
from videomae.report.html import KeyFigure, Report
from videomae.report.pictures import contact_sheet, reconstruction_sheet
from videomae.training.metrics_log import speed_of_run
from videomae.training.progress_pictures import read_progress
from videomae.training.run_folder import RunFolder
from videomae.video.source import VideoSource

_MAX_BROKEN_LISTED = 50
# Title, name in metrics.jsonl, factor.
_SPEED_PANELS = (
    ("learning rate", "learning_rate", 1),
    ("clips per second", "clips_per_second", 1),
    ("data wait (% of the time)", "data_wait_share", 100),
    ("peak memory (GiB)", "memory_gib", 1),
    ("steps skipped so far", "skipped_steps", 1),
)


def write_pretrain_report(
    folder: RunFolder,
    recipe: PretrainRecipe,
    manifest: Manifest,
    broken: Mapping[str, str],
    pictures: Sequence[tuple[VideoSource, Reconstruction]],
    *,
    hidden_share: float,
) -> Path:
    """Loss curve, reconstructions and settings of a pre-training run.

    `hidden_share` is the share of the tubelets that its masks hide: of a small grid not quite the recipe's ratio.
    """
    records = folder.read_metrics()
    report = Report("Pre-training", subtitle=f"{len(manifest)} videos of {manifest.source}")
    mask = KeyFigure("mask", f"{recipe.mask} {hidden_share:.0%}", f"hidden; mask_ratio is {recipe.mask_ratio:g}")
    report.key_figures([*_training_figures(records, manifest, broken), mask])
    _add_curves(report, records)
    _add_progress(report, folder.path, pictures)
    report.section("Reconstructions")
    for path, rebuilt in pictures:
        add_reconstruction(report, path, rebuilt)
    _add_speed(report, records)
    _add_settings(report, folder, recipe, broken)
    model = shlex.quote(str(folder.path))
    report.section("What next").commands(
        f"videomae finetune LABELLED --init {model} --output CLASSIFIER\n"
        f"videomae reconstruct VIDEO --model {model} --output picture.png"
    )
    return report.save(folder.report_path)


def write_finetune_report(
    folder: RunFolder,
    recipe: TrainingRecipe,
    manifest: Manifest,
    broken: Mapping[str, str],
    *,
    best_epoch: int | None,
    evaluation: Evaluation | None,
    init: str,
) -> Path:
    """Curves, confusion matrix and settings of a fine-tuning run; `evaluation` is that of the best epoch's weights."""
    records = folder.read_metrics()
    report = Report("Fine-tuning", subtitle=f"from {init}, {len(manifest)} videos of {manifest.source}")
    figures = _training_figures(records, manifest, broken)
    kept = "the last epoch"
    if evaluation is not None and best_epoch is not None:
        figures = [*_validation_figures(evaluation, best_epoch), *figures]
        kept = f"the weights of epoch {best_epoch}, the best on validation"
    report.key_figures(figures)
    report.text(f"The folder holds {kept}.")
    _add_curves(report, records)
    if evaluation is not None:
        _add_accuracy(report, records)
        add_results(report, evaluation)
    _add_speed(report, records)
    _add_settings(report, folder, recipe, broken)
    model = shlex.quote(str(folder.path))
    report.section("What next").commands(
        f"videomae predict VIDEO --model {model}\nvideomae evaluate DATA --model {model}"
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


def training_curve(records: Sequence[Mapping[str, Any]], split: str = "train") -> list[tuple[int, float]]:
    """(step, loss) of one split."""
    return [(r["step"], r["loss"]) for r in records if r["split"] == split and r["loss"] is not None]


def _training_figures(
    records: Sequence[Mapping[str, Any]], manifest: Manifest, broken: Mapping[str, str]
) -> list[KeyFigure]:
    lines = [record for record in records if record["split"] == "train" and record["loss"] is not None]
    if not lines:
        return []
    speed = speed_of_run(records)
    figures = [
        KeyFigure("last training loss", f"{lines[-1]['loss']:.3f}", f"{lines[0]['loss']:.3f} at the start"),
        KeyFigure("steps", f"{lines[-1]['step']}", f"{len(manifest)} videos"),
        KeyFigure("clips per second", f"{speed.clips_per_second:.1f}", f"data wait {speed.data_wait_share:.0%}"),
    ]
    if num_skipped := max(record.get("skipped_steps") or 0 for record in records):
        figures.append(KeyFigure("skipped", str(num_skipped), "steps whose loss or gradient was not finite"))
    if broken:
        figures.append(KeyFigure("cannot be read", str(len(broken)), "videos, named below"))
    return figures


def _validation_figures(evaluation: Evaluation, epoch: int) -> list[KeyFigure]:
    """Of the best epoch, whose weights are kept; the curves show the last one too."""
    main, second = evaluation.key_figures()[:2]
    about = f"epoch {epoch}; {evaluation.metrics.num_videos} videos; {main.note}"
    return [
        KeyFigure(f"best validation {main.label}", main.value, about),
        KeyFigure(second.label, second.value, f"of the same epoch {epoch}"),
    ]


def _add_curves(report: Report, records: Sequence[Mapping[str, Any]]) -> None:
    report.section("Loss")
    series = {name: training_curve(records, split) for name, split in (("training", "train"), ("validation", "val"))}
    chart = loss_curves({name: curve for name, curve in series.items() if curve})
    report.picture(chart, alt="loss over steps")


def _add_accuracy(report: Report, records: Sequence[Mapping[str, Any]]) -> None:
    validations = [record for record in records if record["split"] == "val"]
    names = {"top-1": "top1", "mean class accuracy": "mean_class_accuracy", "mAP": "mean_average_precision"}
    series = {
        title: [(record["step"], 100 * record[name]) for record in validations]
        for title, name in names.items()
        if all(name in record for record in validations)
    }
    main = "mAP" if "mAP" in series else "top-1"  # what chooses the best epoch
    series = {
        f"{title} (best {max(value for _, value in curve):.1f})" if title == main else title: curve
        for title, curve in series.items()
    }
    report.section("Accuracy on validation")
    y_label = "average precision (%)" if main == "mAP" else "right (%)"
    report.picture(loss_curves(series, y_label=y_label), alt="validation accuracy over steps")


def _add_progress(report: Report, folder: Path, pictures: Sequence[tuple[VideoSource, Reconstruction]]) -> None:
    """The same clips under the same masks at several points of the run."""
    progress = read_progress(folder)
    if not progress:
        return
    report.section("The same clips as training went on")
    if pictures:
        report.text(f"The clips and their masks stay the same. Of the last rows: {pictures[0][1].caption}")
    for number, (names, clips) in enumerate(progress):
        caption = pictures[number][0].name if number < len(pictures) else ""
        report.picture(
            contact_sheet(clips, names, max_columns=6),
            alt=f"frames of a clip, original, masked, and rebuilt after {', '.join(names[2:])}",
            caption=caption,
        )


def _add_speed(report: Report, records: Sequence[Mapping[str, Any]]) -> None:
    """Small curves of all that is no result: what was logged of it, in steps that took part."""
    panels = {}
    for title, name, scale in _SPEED_PANELS:
        pairs = [
            (record["step"], scale * record[name])
            for record in records
            if record["split"] == "train" and record.get(name) is not None
        ]
        if pairs and not (name == "skipped_steps" and not any(value for _, value in pairs)):
            panels[title] = pairs
    if panels:
        report.section("Learning rate, speed and memory")
        report.picture(small_curves(panels), alt=f"{', '.join(panels)} over steps")


def _add_settings(report: Report, folder: RunFolder, recipe: TrainingRecipe, broken: Mapping[str, str]) -> None:
    report.section("Settings")
    used = folder.description.get("used", {})  # where it is not what the recipe has
    rows = [
        [name, f"{value} (used: {used[name]:.3g})" if name in used else str(value)]
        for name, value in recipe.to_dict().items()
    ]
    report.table(["setting", "value"], rows)
    if broken:
        report.section("Videos that could not be read")
        listed = list(broken.items())[:_MAX_BROKEN_LISTED]
        report.table(["video", "reason"], listed, caption=f"{len(listed)} of {len(broken)}")
