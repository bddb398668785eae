"""What an evaluation looks like: the parts of a report, and the files that `videomae evaluate` writes."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from videomae.core.errors import VideoError
from videomae.core.files import write_text
from videomae.datasets.entries import LABEL_SEPARATOR, VideoEntry, readable
from videomae.datasets.parts import frames_of_part
from videomae.evaluation.multi_label import MultiLabelEvaluation, MultiLabelVerdict
from videomae.evaluation.validate import Evaluation, Verdict
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


def interval_text(evaluation: Evaluation) -> str:
    """The confidence interval of top-1 for people: `73.1–88.0%`."""
    low, high = evaluation.metrics.top1_interval
    return f"{100 * low:.1f}–{high:.1%}"


def class_rows(evaluation: Evaluation) -> list[tuple[str, int, str, str]]:
    """For a table: (class, videos, right, most often taken for) of each class."""
    names = evaluation.class_names
    rows = []
    for result in evaluation.metrics.per_class():
        accuracy = "–" if result.accuracy is None else f"{result.accuracy:.1%}"
        taken_for = "" if result.taken_for is None else f"{names[result.taken_for]} ({result.num_taken})"
        rows.append((names[result.index], result.num_videos, accuracy, taken_for))
    return rows


def precision_rows(evaluation: MultiLabelEvaluation) -> list[tuple[str, int, str]]:
    """For a table: (class, videos, average precision) of each class."""
    metrics = evaluation.metrics
    return [
        (name, int(number), "–" if np.isnan(precision) else f"{precision:.1%}")
        for name, number, precision in zip(
            evaluation.class_names, metrics.num_positives, metrics.average_precision, strict=True
        )
    ]


def worst_classes(evaluation: Evaluation | MultiLabelEvaluation) -> list[int]:
    """Indices of the classes that fared worst, the worst first, of those that have videos."""
    if isinstance(evaluation, MultiLabelEvaluation):
        shares = evaluation.metrics.average_precision.tolist()
    else:
        found = [result.accuracy for result in evaluation.metrics.per_class()]
        shares = [float("nan") if accuracy is None else accuracy for accuracy in found]
    known = [index for index, share in enumerate(shares) if not np.isnan(share)]
    return sorted(known, key=lambda index: shares[index])[:NUM_WORST_CLASSES]


def write_evaluation_report(
    path: str | os.PathLike[str],
    evaluation: Evaluation | MultiLabelEvaluation,
    *,
    data: str,
    model: str,
    views: str,
) -> Path:
    """An HTML file that holds everything: figures, classes, and of one class each confusion matrix and mistakes.

    Args:
        path: of the file.
        evaluation: what it is about.
        data: the data set, as the user names it.
        model: the checkpoint, as the user names it.
        views: how each video was looked at, for people.

    Raises:
        InputError: if the place cannot be written.
    """
    metrics = evaluation.metrics
    report = Report("Evaluation", subtitle=f"{model} on {metrics.num_videos} videos of {data}, {views}")
    figures = _figures(evaluation)
    if metrics.num_broken:
        figures.append(KeyFigure("broken", str(metrics.num_broken), "videos that cannot be read count as wrong"))
    report.key_figures(figures)
    add_results(report, evaluation)
    if evaluation.broken:
        listed = evaluation.broken[:_MAX_BROKEN_LISTED]
        rows = [[str(place), str(error)] for place, error in listed]
        report.section("Videos that could not be read")
        report.table(["video", "reason"], rows, caption=f"{len(listed)} of {len(evaluation.broken)}")
    return report.save(path)


def _figures(evaluation: Evaluation | MultiLabelEvaluation) -> list[KeyFigure]:
    if isinstance(evaluation, MultiLabelEvaluation):
        return [
            KeyFigure(
                "mAP", f"{evaluation.metrics.mean_average_precision:.1%}", "mean of the classes that have videos"
            ),
            KeyFigure("loss", f"{evaluation.metrics.loss:.3f}", "mean binary cross entropy"),
        ]
    metrics = evaluation.metrics
    top1 = KeyFigure("top-1", f"{metrics.top1:.1%}", f"95 % interval {interval_text(evaluation)}")
    return [
        top1,
        *([KeyFigure("top-5", f"{metrics.top5:.1%}")] if len(evaluation.class_names) > 5 else []),
        KeyFigure("mean class accuracy", f"{metrics.mean_class_accuracy:.1%}"),
        KeyFigure("loss", f"{metrics.loss:.3f}", "mean −log probability of the right class"),
        KeyFigure("calibration error", f"{metrics.calibration_error:.1%}", "how far confidence is from accuracy"),
    ]


def add_results(report: Report, evaluation: Evaluation | MultiLabelEvaluation) -> None:
    """How each class fared; of one class for each video also what is taken for what, and the worst mistakes."""
    if isinstance(evaluation, MultiLabelEvaluation):
        _add_classes(report, ["class", "videos", "average precision"], precision_rows(evaluation), evaluation)
        return
    add_confusion(report, evaluation)
    add_mistakes(report, evaluation)


def add_confusion(report: Report, evaluation: Evaluation) -> None:
    """The confusion matrix, and how each class fared."""
    report.section("Which classes are taken for which")
    chart = confusion_matrix(evaluation.metrics.confusion, evaluation.class_names)
    report.picture(chart, alt="confusion matrix", caption="Rows: the true class. Columns: what the model says.")
    names, totals = evaluation.class_names, evaluation.metrics.class_totals
    found = evaluation.metrics.confusions()
    if found and len(names) > 2:  # of two classes the matrix says it all
        rows = [
            (isolated(names[true]), isolated(names[said]), count, f"{count / totals[true]:.1%}")
            for true, said, count in found[:_MAX_CONFUSIONS]
        ]
        report.table(["class", "taken for", "videos", "of the class"], rows, caption="The most frequent mistakes")
    _add_classes(report, ["class", "videos", "right", "most often taken for"], class_rows(evaluation), evaluation)


def _add_classes(
    report: Report,
    header: Sequence[str],
    rows: Sequence[tuple[object, ...]],
    evaluation: Evaluation | MultiLabelEvaluation,
) -> None:
    report.section("Classes")
    cells = [[isolated(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    if len(rows) <= MAX_CLASSES_SHOWN:
        report.table(header, cells)
        return
    worst = worst_classes(evaluation)
    report.table(header, [cells[index] for index in worst], caption=f"The {len(worst)} that fared worst")
    report.table(header, cells, folded=f"All {len(rows)} classes")


def add_mistakes(report: Report, evaluation: Evaluation, *, max_count: int = MAX_MISTAKES) -> None:
    """The most confident wrong answers with three frames of each video; nothing where all answers are right."""
    mistakes = evaluation.worst_mistakes(max_count)
    if not mistakes:
        return
    names = evaluation.class_names
    num_wrong = sum(verdict.said is not None and verdict.said != verdict.true for verdict in evaluation.verdicts)
    report.section("Worst mistakes")
    report.text(f"The most confident of the {num_wrong} wrong answers." if num_wrong > 1 else "The only wrong answer.")
    cards = []
    for verdict in mistakes:
        assert verdict.said is not None
        assert verdict.scores is not None
        caption = (
            f"{isolated(names[verdict.true])}, taken for {isolated(names[verdict.said])} ({verdict.probability:.0%}); "
            f"the right class got {verdict.scores[verdict.true]:.0%}\n{verdict.entry.path}"
        )
        try:
            picture = filmstrip_jpeg(_frames(verdict.entry))
        except VideoError as error:  # it could be read a moment ago
            report.text(f"{caption}\nno picture: {error}")
            continue
        cards.append((picture, f"three frames of {readable(verdict.entry.path.name)}", caption))
    report.gallery(cards)


def write_predictions(
    path: str | os.PathLike[str], evaluation: Evaluation | MultiLabelEvaluation, *, with_scores: bool = False
) -> Path:
    """A CSV file with a row for each video: path, true, said, probability, error.

    Of several labels `true` names all, `said` those with a score of 0.5 or more, and there is no probability.

    Args:
        path: of the file.
        evaluation: what was said.
        with_scores: add a column `score of NAME` for each class.

    Raises:
        InputError: if the place cannot be written.
    """
    names = evaluation.class_names
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    more = [f"score of {name}" for name in names] if with_scores else []
    several = isinstance(evaluation, MultiLabelEvaluation)
    writer.writerow(["path", "true", "said", *([] if several else ["probability"]), "error", *more])
    for verdict in evaluation.verdicts:
        scores: Sequence[str] = [""] * len(more)
        if verdict.scores is not None and with_scores:
            scores = [f"{score:.6g}" for score in verdict.scores.tolist()]
        error = "" if verdict.error is None else str(verdict.error)
        writer.writerow([readable(str(verdict.entry.path)), *_true_and_said(verdict, names), error, *scores])
    return write_text(path, text.getvalue())


def _true_and_said(verdict: Verdict | MultiLabelVerdict, names: Sequence[str]) -> list[str]:
    if isinstance(verdict, MultiLabelVerdict):
        said = (
            [] if verdict.scores is None else [names[index] for index in np.flatnonzero(verdict.scores >= 0.5).tolist()]
        )
        return [verdict.entry.label_text or "", LABEL_SEPARATOR.join(said)]
    if verdict.said is None:
        return [names[verdict.true], "", ""]
    return [names[verdict.true], names[verdict.said], f"{verdict.probability:.6g}"]


def _frames(entry: VideoEntry) -> np.ndarray:
    """Three frames of the part of a video that counts, uint8 (3, H, W, 3)."""
    with open_video(entry.path, limits=_THUMBNAIL_LIMITS) as reader:
        part = frames_of_part(reader, entry)
        numbers = [round(part.start + at * (len(part) - 1)) for at in _FRAMES_AT]
        return reader.read(numbers)
