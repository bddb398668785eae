"""The report of an evaluation, and its parts; the files that `videomae evaluate` writes."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path, PurePath
from urllib.parse import quote

import numpy as np

from videomae.core.environment import command_line, machine_facts
from videomae.core.errors import VideoError
from videomae.core.files import write_text
from videomae.datasets.entries import VideoEntry, readable
from videomae.datasets.video_parts import frames_of_part
from videomae.evaluation.results import Evaluation
from videomae.evaluation.single_label import SingleLabelEvaluation, SingleLabelResult
from videomae.report.html import KeyFigure, Report, VideoRow
from videomae.report.pictures import filmstrip_jpeg
from videomae.report.svg import calibration_chart, matrix_chart, scatter_chart
from videomae.report.text import isolated
from videomae.video.opening import open_video
from videomae.video.reader import ReadLimits

MAX_MISTAKES = 24
# Of more classes than this the worst are shown, and all on demand.
MAX_CLASSES_SHOWN = 40
NUM_WORST_CLASSES = 20
_MAX_CONFUSIONS = 20
_MAX_BROKEN_LISTED = 50
_MAX_MAPPED = 2000
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
    facts = [("command", command_line()), ("date", f"{datetime.now():%Y-%m-%d %H:%M}"), *machine_facts()]
    report = Report("Evaluation", subtitle=f"{model} on {metrics.num_videos} videos of {data}, {views}", facts=facts)
    figures = evaluation.key_figures()
    if metrics.num_broken:
        figures.append(KeyFigure("broken", str(metrics.num_broken), "unreadable videos count as wrong"))
    report.key_figures(figures)
    add_results(report, evaluation, folder=Path(path).parent)
    if evaluation.broken:
        listed = evaluation.broken[:_MAX_BROKEN_LISTED]
        rows = [[str(place), str(error)] for place, error in listed]
        report.section("Unreadable videos")
        report.table(["video", "reason"], rows, caption=f"{len(listed)} of {len(evaluation.broken)}")
    return report.save(path)


def add_results(
    report: Report,
    evaluation: Evaluation,
    *,
    folder: Path,
    embedding: np.ndarray | None = None,
    has_pictures: bool = True,
) -> None:
    """Confusion matrix and frequent mistakes where there are any, classes, calibration, mistakes, all videos.

    Args:
        report: is added to.
        evaluation: what it is about.
        folder: of the page, from which its clips are reached.
        embedding: (videos that could be read, D) features, for a map of them; None for none.
        has_pictures: False leaves out what needs the videos to be opened.
    """
    add_confusion(report, evaluation)
    add_classes(report, evaluation)
    if isinstance(evaluation, SingleLabelEvaluation):
        _add_confidence(report, evaluation, embedding)
    if has_pictures:
        _add_mistakes(report, evaluation)
    _add_videos(report, evaluation, folder)


def add_confusion(report: Report, evaluation: Evaluation) -> None:
    """The confusion matrix, and which classes are confused most often; nothing where there is no such matrix."""
    if evaluation.confusion is None:
        return
    report.section("Confusion matrix")
    report.charts([matrix_chart("", evaluation.confusion, evaluation.class_names)])
    report.text("Rows: the true class. Columns: the predicted class. The shade is the share of the true class.")
    found = evaluation.frequent_mistakes(_MAX_CONFUSIONS)
    if found and len(evaluation.class_names) > 2:  # of two classes the matrix shows it all
        rows = [(isolated(true), isolated(predicted), count, f"{share:.1%}") for true, predicted, count, share in found]
        report.table(["class", "taken for", "videos", "of the class"], rows, caption="The most frequent mistakes")


def add_classes(report: Report, evaluation: Evaluation) -> None:
    """The results of each class; of many classes the worst, and all of them folded."""
    table = evaluation.class_table()
    report.section(table.title)
    cells = [[isolated(cell) if isinstance(cell, str) else cell for cell in row] for row in table.rows]
    if len(cells) <= MAX_CLASSES_SHOWN:
        report.table(table.header, cells)
        return
    worst = table.worst(NUM_WORST_CLASSES)
    report.table(table.header, [cells[index] for index in worst], caption=f"The {len(worst)} worst classes")
    report.table(table.header, cells, folded=f"All {len(cells)} classes")


def _add_confidence(report: Report, evaluation: SingleLabelEvaluation, embedding: np.ndarray | None) -> None:
    """How far confidence can be believed, and the videos as the model sees them."""
    read = [result for result in evaluation.results if result.scores is not None]
    charts = [calibration_chart("Calibration", evaluation.calibration())] if read else []
    names = evaluation.class_names
    if embedding is not None and len(embedding) == len(read) >= 3:
        texts = [f"{_name_of(r.entry)}: {names[r.true]}, predicted {names[r.predicted or 0]}" for r in read]
        title = "Map of the features (first two principal components)"
        # Of very many videos every n-th: they would cover each other.
        shown = range(0, len(read), -(-len(read) // _MAX_MAPPED))
        charts.append(
            scatter_chart(
                title,
                principal_components(embedding)[shown],
                [read[index].true for index in shown],
                names,
                [texts[index] for index in shown],
            )
        )
    if charts:
        report.section("Confidence and features").charts(charts)


def _add_videos(report: Report, evaluation: Evaluation, folder: Path) -> None:
    """A table of all videos, those that deserve a look first."""
    names, rows = evaluation.class_names, []
    is_single = isinstance(evaluation, SingleLabelEvaluation)
    for result in evaluation.results:
        name, path = _name_of(result.entry), readable(str(result.entry.path))
        cells: list[str | float | None]
        if isinstance(result, SingleLabelResult):
            predicted = "" if result.predicted is None else names[result.predicted]
            cells = [name, names[result.true], predicted, result.probability, result.right_probability, result.outcome]
        else:
            cells = [name, *result.cells(names), "" if result.error is None else "unreadable"]
        rows.append(VideoRow(cells, path, _source_of(result.entry, folder)))
    if not rows:
        return
    if is_single:
        header = ["video", "true class", "prediction", "probability", "of the true class", "outcome"]
        filters = {"any outcome": 5, "any true class": 1, "any prediction": 2}
        # The most confident mistakes first.
        rows.sort(key=lambda row: (row.cells[5] == "right", float(row.cells[4] or 0) - float(row.cells[3] or 0)))
    else:
        header, filters = ["video", *evaluation.result_header, "problem"], {}
    report.section("Videos").text("Click a video to play it, if your browser knows its format.")
    report.videos(header, rows, outcome=5 if is_single else len(header) - 1, filters=filters)


def _name_of(entry: VideoEntry) -> str:
    """A video's folder and name, with the part of it that counts."""
    name = readable("/".join(PurePath(str(entry.path)).parts[-2:]))
    part = [f"{value:g}" if isinstance(value, float) else str(value) for value in entry.part if value is not None]
    return f"{name} [{'–'.join(part)}]" if part else name


def _source_of(entry: VideoEntry, folder: Path) -> str | None:
    """Where a page in `folder` finds a video's file; None for what is not one file."""
    if not isinstance(entry.path, Path):
        return None
    try:
        path = os.path.relpath(entry.path.absolute(), folder.absolute())
    except ValueError:  # on another drive
        return entry.path.absolute().as_uri()
    begin, end = entry.start_seconds, entry.end_seconds
    part = "" if begin is None and end is None else f"#t={begin or 0:g}{'' if end is None else f',{end:g}'}"
    return quote(readable(path.replace(os.sep, "/"))) + part


def principal_components(features: np.ndarray) -> np.ndarray:
    """The projection of (videos, D) features on the two directions in which they differ most, (videos, 2)."""
    centered = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    _, directions = np.linalg.eigh(centered.T @ centered)  # by rising variance
    found: np.ndarray = centered @ directions[:, :-3:-1]
    return found if found.shape[1] == 2 else np.pad(found, ((0, 0), (0, 2 - found.shape[1])))


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
