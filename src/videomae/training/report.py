"""`report.html` of a training run, while it runs and when it has ended."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from videomae.core.environment import command_line, machine_facts
from videomae.core.text import duration
from videomae.datasets.manifest import Manifest
from videomae.evaluation.metrics import wilson_interval
from videomae.evaluation.report import add_results
from videomae.evaluation.results import Evaluation
from videomae.evaluation.single_label import SingleLabelEvaluation
from videomae.inference.reconstruct import Reconstruction
from videomae.recipes.pretrain import PretrainRecipe
from videomae.recipes.recipe import TrainingRecipe
from videomae.recipes.registry import base_of, changed_fields
from videomae.report.curves import curve_pairs
from videomae.report.html import KeyFigure, Report
from videomae.report.pictures import Pixels, contact_sheet, encode_webp, reconstruction_sheet
from videomae.report.svg import Chart, line_chart
from videomae.training.metrics_log import speed_of_run
from videomae.training.progress_pictures import read_progress
from videomae.training.run_files import write_chart_files, write_metrics_csv
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
Pictures = Sequence[tuple[VideoSource, Reconstruction]]


@dataclass(frozen=True)
class ReportedRun:
    """What the report of a run is about.

    Args:
        folder: of the run, with its metrics and pictures.
        recipe: fully resolved.
        manifest: training videos.
        broken: path → reason, of the videos that could not be read.
        device: where it computes, such as "cpu".
        num_steps: (done, of the whole run).
        is_running: whether it goes on, or could.
    """

    folder: RunFolder
    recipe: TrainingRecipe
    manifest: Manifest
    broken: Mapping[str, str]
    device: str
    num_steps: tuple[int, int]
    is_running: bool

    def begin(self, title: str, subtitle: str, records: Sequence[Mapping[str, Any]]) -> Report:
        """The report with its head."""
        done, total = self.num_steps
        state = f"step {done} of {total}: running or interrupted" if self.is_running else f"finished after {done} steps"
        videos = self.manifest.used or f"{len(self.manifest)} videos"
        seconds = speed_of_run(records).seconds
        facts = [
            ("command", command_line()),
            (
                "state",
                f"{state}; written {datetime.now():%Y-%m-%d %H:%M}; {duration(round(seconds))} of training steps",
            ),
            ("data", f"{self.manifest.source}: {videos}"),
            *machine_facts(f"{self.device} in {self.recipe.precision}"),
        ]
        return Report(title, subtitle=subtitle, facts=facts)

    def save(self, report: Report, records: Sequence[Mapping[str, Any]], evaluation: Evaluation | None) -> Path:
        """Write the report, and beside it the metrics as a table; of a finished run also its charts as files."""
        write_metrics_csv(self.folder.path, records)
        if not self.is_running:
            write_chart_files(self.folder.path, records, evaluation)
        return report.save(self.folder.report_path)


def write_pretrain_report(run: ReportedRun, pictures: Pictures, *, hidden_share: float) -> Path:
    """Loss curve, reconstructions and settings of a pre-training run.

    Args:
        run: what it is about.
        pictures: clips rebuilt by the weights that the folder holds; none while the run goes on.
        hidden_share: share of the tubelets that its masks hide: of a small grid not quite the recipe's ratio.
    """
    recipe, folder, manifest = run.recipe, run.folder, run.manifest
    assert isinstance(recipe, PretrainRecipe)
    records = folder.read_metrics()
    report = run.begin("Pre-training", f"{len(manifest)} videos of {manifest.source}", records)
    mask = KeyFigure("mask", f"{recipe.mask} {hidden_share:.0%}", f"hidden; mask_ratio is {recipe.mask_ratio:g}")
    report.key_figures([*_training_figures(run, records), mask])
    report.section("Loss").charts([_loss_chart(records)._replace(title="")])
    _add_reconstructions(report, folder.path, pictures)
    _add_speed(report, records)
    _add_settings(report, run)
    model = shlex.quote(str(folder.path))
    report.section("What next").commands(
        f"videomae finetune LABELLED --init {model} --output CLASSIFIER\n"
        f"videomae reconstruct VIDEO --model {model} --output picture.png"
    )
    return run.save(report, records, None)


def write_finetune_report(
    run: ReportedRun,
    *,
    best_epoch: int | None,
    evaluation: Evaluation | None,
    init: str,
    embedding: np.ndarray | None = None,
) -> Path:
    """Curves, confusion matrix, videos and settings of a fine-tuning run.

    Args:
        run: what it is about.
        best_epoch: from 1; None before the first validation, or without any.
        evaluation: of the best epoch's weights; None where there is none, or it is not known any more.
        init: what the run started from, as the user named it.
        embedding: (validation videos that could be read, D) features, for a map of them.
    """
    folder, manifest = run.folder, run.manifest
    records = folder.read_metrics()
    report = run.begin("Fine-tuning", f"from {init}, {len(manifest)} videos of {manifest.source}", records)
    figures = _training_figures(run, records)
    if evaluation is not None and best_epoch is not None:
        figures = [*_validation_figures(evaluation, best_epoch), *figures]
    kept = "the last epoch" if best_epoch is None else f"the weights of epoch {best_epoch}, the best on validation"
    report.key_figures(figures)
    report.text(f"The folder holds {kept}.")
    charts = [_loss_chart(records)]
    if any(record["split"] == "val" for record in records):
        charts.append(_accuracy_chart(records, evaluation))
    report.section("Curves").charts(charts)
    if evaluation is not None:
        add_results(report, evaluation, folder=folder.path, embedding=embedding, has_pictures=not run.is_running)
    _add_speed(report, records)
    _add_settings(report, run)
    model = shlex.quote(str(folder.path))
    report.section("What next").commands(
        f"videomae predict VIDEO --model {model}\nvideomae evaluate DATA --model {model}"
    )
    return run.save(report, records, evaluation)


def add_reconstruction(report: Report, path: VideoSource, rebuilt: Reconstruction) -> None:
    """A sheet of original, masked and rebuilt frames."""
    sheet = reconstruction_sheet(
        rebuilt.original,
        rebuilt.masked,
        rebuilt.rebuilt,
        caption=rebuilt.caption,
        frame_numbers=rebuilt.frame_indices,
    )
    alt = f"original, masked and rebuilt frames. {rebuilt.caption}"
    report.picture(encode_webp(sheet), alt=alt, caption=path.name)


def _training_figures(run: ReportedRun, records: Sequence[Mapping[str, Any]]) -> list[KeyFigure]:
    lines = [record for record in records if record["split"] == "train" and record["loss"] is not None]
    if not lines:
        return []
    speed = speed_of_run(records)
    figures = [
        KeyFigure("last training loss", f"{lines[-1]['loss']:.3f}", f"{lines[0]['loss']:.3f} at the start"),
        KeyFigure("steps", f"{lines[-1]['step']}", f"{len(run.manifest)} videos"),
        KeyFigure("clips per second", f"{speed.clips_per_second:.1f}", f"data wait {speed.data_wait_share:.0%}"),
    ]
    if num_skipped := max(record.get("skipped_steps") or 0 for record in records):
        figures.append(KeyFigure("skipped", str(num_skipped), "steps whose loss or gradient was not finite"))
    if run.broken:
        figures.append(KeyFigure("cannot be read", str(len(run.broken)), "videos, named below"))
    return figures


def _validation_figures(evaluation: Evaluation, epoch: int) -> list[KeyFigure]:
    """Of the best epoch, whose weights are kept; the curves show the last one too."""
    main, *more = evaluation.key_figures()
    about = f"epoch {epoch}; {evaluation.metrics.num_videos} videos; {main.note}"
    figures = [KeyFigure(f"best validation {main.label}", main.value, about)]
    figures += [KeyFigure(figure.label, figure.value, f"of the same epoch {epoch}") for figure in more[:1]]
    if isinstance(evaluation, SingleLabelEvaluation):
        figures.append(KeyFigure("majority class", f"{evaluation.majority_share:.1%}", "top-1 of always predicting it"))
    return figures


def _loss_chart(records: Sequence[Mapping[str, Any]]) -> Chart:
    splits = (("training", "train"), ("validation", "val"))
    series = {name: curve_pairs(records, split, "loss") for name, split in splits}
    return line_chart("Loss", {name: curve for name, curve in series.items() if curve})


def _accuracy_chart(records: Sequence[Mapping[str, Any]], evaluation: Evaluation | None) -> Chart:
    """Accuracy from 0 to 100, with what always predicting one class gets, and how far chance moves the values."""
    validations = [record for record in records if record["split"] == "val"]
    if all("mae" in record for record in validations):
        errors = curve_pairs(records, "val", "mae")
        best = min(value for _, value in errors)
        title = "Mean absolute error on validation"
        return line_chart(title, {f"MAE (best {best:.4g})": errors}, from_zero=True)
    names = {"top-1": "top1", "mean class accuracy": "mean_class_accuracy", "mAP": "mean_average_precision"}
    series = {
        title: curve_pairs(records, "val", name, scale=100)
        for title, name in names.items()
        if all(name in record for record in validations)
    }
    levels, bands = {}, {}
    if isinstance(evaluation, SingleLabelEvaluation):
        levels[f"majority class {evaluation.majority_share:.1%}"] = 100 * evaluation.majority_share
        number = evaluation.metrics.num_videos
        intervals = [(step, wilson_interval(round(value / 100 * number), number)) for step, value in series["top-1"]]
        bands["top-1"] = [(step, 100 * low, 100 * high) for step, (low, high) in intervals]
    main = next((title for title in ("mAP", "top-1") if title in series), "")  # what chooses the best epoch
    if main:
        best = max(value for _, value in series[main])
        series = {f"{title} (best {best:.1f})" if title == main else title: curve for title, curve in series.items()}
        bands = {f"{title} (best {best:.1f})": band for title, band in bands.items()}
    title = "Average precision on validation (%)" if main == "mAP" else "Accuracy on validation (%)"
    chart = line_chart(title, series, y_range=(0, 100), levels=levels, bands=bands)
    note = (
        (None, f"shaded: 95 % interval of top-1 with {evaluation.metrics.num_videos} videos")
        if bands and evaluation
        else None
    )
    return chart if note is None else chart._replace(legend=[*chart.legend, note])


def _add_reconstructions(report: Report, folder: Path, pictures: Pictures) -> None:
    """The same clips under the same masks as training went on; the last row is of the weights that the folder holds."""
    report.section("Reconstructions")
    progress = read_progress(folder)
    if not progress:
        for path, rebuilt in pictures:
            add_reconstruction(report, path, rebuilt)
        if not pictures:
            report.text("none yet")
        return
    report.text("The same clips under the same masks as training went on.")
    if pictures:
        report.text(pictures[0][1].caption)
    for number, (names, clips) in enumerate(progress):
        sheet = encode_webp(contact_sheet(clips, names, max_columns=6))
        alt = f"frames of a clip, original, masked, and rebuilt after {', '.join(names[2:])}"
        report.picture(sheet, alt=alt, caption=pictures[number][0].name if number < len(pictures) else "")


def progress_sheets(folder: Path) -> list[Pixels]:
    """The sheets of `_add_reconstructions` as pictures, uint8 (H, W, 3)."""
    return [contact_sheet(clips, names, max_columns=6) for names, clips in read_progress(folder)]


def _add_speed(report: Report, records: Sequence[Mapping[str, Any]]) -> None:
    """Small curves of all that is no result: what was logged of it, in steps that took part."""
    panels = []
    for title, name, scale in _SPEED_PANELS:
        pairs = curve_pairs(records, "train", name, scale=scale)
        if pairs and not (name == "skipped_steps" and not any(value for _, value in pairs)):
            panels.append(line_chart(title, {title: pairs}, from_zero=True, height=160, has_legend=False))
    if panels:
        report.section("Learning rate, speed and memory").charts(panels)


def _add_settings(report: Report, run: ReportedRun) -> None:
    """What differs from the recipe, then everything, folded."""
    recipe, base = run.recipe, base_of(run.recipe)
    now, before = recipe.to_dict(), base.make().to_dict()
    used = run.folder.description.get("used", {})  # where it is not what the recipe has

    def text(name: str) -> str:
        return f"{now[name]} (used: {used[name]:.3g})" if name in used else str(now[name])

    changed = changed_fields(before, now)
    report.section("Settings")
    if changed:
        rows = [[name, text(name), "–" if before.get(name) is None else str(before[name])] for name in changed]
        report.table(["setting", "value", f"in {base.name}"], rows, caption=f"What differs from the recipe {base.name}")
    else:
        report.text(f"All as in the recipe {base.name}.")
    report.table(["setting", "value"], [[name, text(name)] for name in now], folded=f"All {len(now)} settings")
    if run.broken:
        report.section("Videos that could not be read")
        listed = list(run.broken.items())[:_MAX_BROKEN_LISTED]
        report.table(["video", "reason"], listed, caption=f"{len(listed)} of {len(run.broken)}")
