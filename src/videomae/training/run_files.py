"""Files of a run for other programs: `metrics.csv`, and its charts as PNG files."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from videomae.core.files import write_bytes, write_text
from videomae.evaluation.results import Evaluation
from videomae.report.charts import confusion_matrix, loss_curves
from videomae.report.curves import curve_pairs

CSV_NAME = "metrics.csv"
CHARTS = "charts"


def write_metrics_csv(folder: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    """The lines of metrics.jsonl as a table: a column for each name, empty where a line has no value.

    Raises:
        InputError: if it cannot be written.
    """
    names = dict.fromkeys(["split", "step", "epoch", *(name for record in records for name in record)])
    text = io.StringIO()
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return write_text(folder / CSV_NAME, text.getvalue())


def write_chart_files(folder: Path, records: Sequence[Mapping[str, Any]], evaluation: Evaluation | None) -> None:
    """`charts/loss.png`, and of a classifier `charts/accuracy.png` and `charts/confusion_matrix.png`, for slides.

    Raises:
        InputError: if they cannot be written.
    """
    losses = {
        name: curve_pairs(records, split, "loss") for name, split in (("training", "train"), ("validation", "val"))
    }
    charts = {"loss": loss_curves({name: pairs for name, pairs in losses.items() if pairs}, image_format="png")}
    names = {"top-1": "top1", "mean class accuracy": "mean_class_accuracy", "mAP": "mean_average_precision"}
    scores = {title: curve_pairs(records, "val", name, scale=100) for title, name in names.items()}
    scores = {title: pairs for title, pairs in scores.items() if pairs}
    if scores:
        y_label = "on validation (%)"
        charts["accuracy"] = loss_curves(scores, y_label=y_label, y_range=(0, 100), image_format="png")
    if evaluation is not None and evaluation.confusion is not None:
        charts["confusion_matrix"] = confusion_matrix(evaluation.confusion, evaluation.class_names, image_format="png")
    for name, content in charts.items():
        write_bytes(folder / CHARTS / f"{name}.png", content)
