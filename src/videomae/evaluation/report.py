"""The report of an evaluation, and its parts; the files that `videomae evaluate` writes."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from videomae.core.errors import VideoError
from videomae.core.files import write_text
from videomae.datasets.entries import VideoEntry, readable
from videomae.datasets.video_parts import frames_of_part
from videomae.evaluation.results import Evaluation
from videomae.report.charts import confusion_matrix
from videomae.report.html import KeyFigure, Report
from videomae.report.pictures import filmstrip_jpeg
from videomae.report.text import isolated
from videomae.video.opening import open_video
from videomae.video.reader import ReadLimits

MAX_MISTAKES = 24
# Of more classes than this the worst are shown, and all on demand.
MAX_CLASSES_SHOWN = 40
NUM_WORST_CLASSES = 20
_MAX_CONFUSIONS = 20
_MAX_BROKEN_LISTED = 50
# Of a mistake's video: near its beginning, in its middle, near its end, so that motion shows.
_FRAMES_AT = (1 / 6, 1 / 2, 5 / 6)
_THUMBNAIL_LIMITS = ReadLimits(max_seconds=20.0)


def write_evaluation_report(
    path: str | os.PathLike[str],
    evaluation: Evaluation,
    *,
    data: str,
    model: str,
    views: str,
) -> Path:
    """An HTML file that holds everything: figures, classes, and where videos have one label, confusions and mistakes.

    Args:
        path: of the file.
        evaluation: what it is about.
        data: the data set, as the user names it.
        model: the checkpoint, as the user names it.
        views: of each video, for people.

    Raises:
        InputError: if the place cannot be written.
    """
    metrics = evaluation.metrics
    report = Report("Evaluation", subtitle=f"{model} on {metrics.num_videos} videos of {data}, {views}")
    figures = evaluation.key_figures()
    if metrics.num_broken:
        figures.append(KeyFigure("broken", str(metrics.num_broken), "unreadable videos count as wrong"))
    report.key_figures(figures)
    add_results(report, evaluation)
    if evaluation.broken:
        listed = evaluation.broken[:_MAX_BROKEN_LISTED]
        rows = [[str(place), str(error)] for place, error in listed]
        report.section("Unreadable videos")
        report.table(["video", "reason"], rows, caption=f"{len(listed)} of {len(evaluation.broken)}")
    return report.save(path)


def add_results(report: Report, evaluation: Evaluation) -> None:
    """The confusion matrix and frequent mistakes where there are any, the results of each class, the worst mistakes."""
    add_confusion(report, evaluation)
    add_classes(report, evaluation)
    _add_mistakes(report, evaluation)


def add_confusion(report: Report, evaluation: Evaluation) -> None:
    """The confusion matrix, and which classes are confused most often; nothing where there is no such matrix."""
    if evaluation.confusion is None:
        return
    report.section("Which classes are taken for which")
    chart = confusion_matrix(evaluation.confusion, evaluation.class_names)
    report.picture(chart, alt="confusion matrix", caption="Rows: the true class. Columns: the predicted class.")
    found = evaluation.frequent_mistakes(_MAX_CONFUSIONS)
    if found and len(evaluation.class_names) > 2:  # of two classes the matrix shows it all
        rows = [(isolated(true), isolated(predicted), count, f"{share:.1%}") for true, predicted, count, share in found]
        report.table(["class", "taken for", "videos", "of the class"], rows, caption="The most frequent mistakes")


def add_classes(report: Report, evaluation: Evaluation) -> None:
    """The results of each class; of many classes the worst, and all of them folded."""
    table = evaluation.class_table()
    report.section("Classes")
    cells = [[isolated(cell) if isinstance(cell, str) else cell for cell in row] for row in table.rows]
    if len(cells) <= MAX_CLASSES_SHOWN:
        report.table(table.header, cells)
        return
    worst = table.worst(NUM_WORST_CLASSES)
    report.table(table.header, [cells[index] for index in worst], caption=f"The {len(worst)} worst classes")
    report.table(table.header, cells, folded=f"All {len(cells)} classes")


def _add_mistakes(report: Report, evaluation: Evaluation) -> None:
    """The most confident wrong predictions with three frames of each video; nothing where all are right."""
    num_wrong, mistakes = evaluation.worst_mistakes(MAX_MISTAKES)
    if not mistakes:
        return
    report.section("Worst mistakes")
    report.text(
        f"The most confident of the {num_wrong} wrong predictions." if num_wrong > 1 else "The only wrong prediction."
    )
    cards = []
    for mistake in mistakes:
        try:
            picture = filmstrip_jpeg(_frames(mistake.entry))
        except VideoError as error:  # it could be read a moment ago
            report.text(f"{mistake.caption}\nno picture: {error}")
            continue
        cards.append((picture, f"three frames of {readable(mistake.entry.path.name)}", mistake.caption))
    report.gallery(cards)


def write_predictions(path: str | os.PathLike[str], evaluation: Evaluation, *, with_scores: bool = False) -> Path:
    """A CSV file with a row for each video: path, label, prediction, probability, error.

    With several labels, `label` lists all of them, `prediction` those with a score of 0.5 or more; no probability.

    Args:
        path: of the file.
        evaluation: what was predicted.
        with_scores: add a column `score of NAME` for each class.

    Raises:
        InputError: if the place cannot be written.
    """
    names = evaluation.class_names
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    more = [f"score of {name}" for name in names] if with_scores else []
    writer.writerow(["path", *evaluation.result_header, "error", *more])
    for result in evaluation.results:
        scores: Sequence[str] = [""] * len(more)
        if result.scores is not None and with_scores:
            scores = [f"{score:.6g}" for score in result.scores.tolist()]
        error = "" if result.error is None else str(result.error)
        writer.writerow([readable(str(result.entry.path)), *result.cells(names), error, *scores])
    return write_text(path, text.getvalue())


def _frames(entry: VideoEntry) -> np.ndarray:
    """Three frames of the part of a video that counts, uint8 (3, H, W, 3)."""
    with open_video(entry.path, limits=_THUMBNAIL_LIMITS) as reader:
        part = frames_of_part(reader, entry)
        numbers = [round(part.start + at * (len(part) - 1)) for at in _FRAMES_AT]
        return reader.read(numbers)
