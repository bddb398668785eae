"""The evaluation of a classifier of several labels per video: average precision of each class, and their mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from videomae.core.errors import VideoError
from videomae.data.clips import multi_hot
from videomae.datasets.entries import LABEL_SEPARATOR, VideoEntry
from videomae.datasets.manifest import Manifest
from videomae.evaluation.results import ClassTable, Mistake, ScoredVideos, broken_as_dicts, html_table
from videomae.report.html import KeyFigure
from videomae.video.source import VideoSource


@dataclass(frozen=True)
class MultiLabelMetrics:
    """How well the scores of each class rank the videos; all shares are fractions of 1.

    Args:
        num_videos: evaluated videos, unreadable ones included where they count as wrong.
        num_broken: videos that could not be read.
        mean_average_precision: mean of `average_precision` over the classes that have videos.
        loss: mean binary cross entropy, over the classes and the videos that could be read.
        average_precision: (classes,) float64; not a number where a class has no videos.
        num_positives: (classes,) videos of each class, unreadable ones included.
    """

    num_videos: int
    num_broken: int
    mean_average_precision: float
    loss: float
    average_precision: np.ndarray
    num_positives: np.ndarray
    # What epochs are compared by, and what people call it.
    main: ClassVar[str] = "mean_average_precision"
    main_title: ClassVar[str] = "mAP"
    lower_is_better: ClassVar[bool] = False

    def main_text(self, value: float) -> str:
        """A share for people."""
        return f"{value:.1%}"

    def logged(self) -> dict[str, float]:
        """The values of a line of metrics.jsonl."""
        return {"loss": self.loss, "mean_average_precision": self.mean_average_precision}


@dataclass(frozen=True)
class MultiLabelResult:
    """What was predicted for one video; a `results.VideoResult`.

    Args:
        entry: the video.
        scores: (classes,) float32, the mean of its views' sigmoid scores; None where it could not be read.
        error: why it could not be read.
    """

    entry: VideoEntry
    scores: np.ndarray | None
    error: VideoError | None = None

    def cells(self, class_names: Sequence[str]) -> list[str]:
        """For a table of predictions: the labels, and the classes with a score of 0.5 or more."""
        predicted = [] if self.scores is None else np.flatnonzero(self.scores >= 0.5).tolist()
        return [self.entry.label_text or "", LABEL_SEPARATOR.join(class_names[index] for index in predicted)]


@dataclass(frozen=True)
class MultiLabelEvaluation:
    """Metrics, and what they were computed from; a `results.Evaluation`.

    Args:
        metrics: the numbers.
        class_names: of the scores.
        broken: (path, reason) of each video that could not be read.
        results: what was predicted for each video, in the order of the data set.
    """

    metrics: MultiLabelMetrics
    class_names: tuple[str, ...]
    broken: tuple[tuple[VideoSource, VideoError], ...]
    results: tuple[MultiLabelResult, ...] = ()
    result_header: ClassVar[tuple[str, ...]] = ("label", "prediction")
    confusion: ClassVar[None] = None

    @property
    def top1(self) -> float:
        """Not a number: a video may have several labels."""
        return float("nan")

    @property
    def mean_average_precision(self) -> float:
        """Mean over the classes of their average precision."""
        return self.metrics.mean_average_precision

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.metrics.num_videos} videos, mAP {self.mean_average_precision:.1%})"

    @property
    def loss(self) -> float:
        """Mean loss of the videos that could be read."""
        return self.metrics.loss

    def frequent_mistakes(self, max_count: int) -> list[tuple[str, str, int, float]]:
        """Empty: no class is predicted in the place of another."""
        return []

    def worst_mistakes(self, max_count: int) -> tuple[int, list[Mistake]]:
        """Empty, as `frequent_mistakes`."""
        return 0, []

    def _repr_html_(self) -> str:
        return html_table(self)

    def key_figures(self) -> list[KeyFigure]:
        """For reports; the main metric first."""
        metrics = self.metrics
        return [
            KeyFigure("mAP", f"{metrics.mean_average_precision:.1%}", "mean of the classes that have videos"),
            KeyFigure("loss", f"{metrics.loss:.3f}", "mean binary cross entropy"),
        ]

    def class_table(self) -> ClassTable:
        """The results of each class."""
        precisions = self.metrics.average_precision
        columns = zip(self.class_names, self.metrics.num_positives.tolist(), precisions.tolist(), strict=True)
        rows: list[tuple[str, int, *tuple[str, ...]]] = [
            (name, number, "–" if np.isnan(precision) else f"{precision:.1%}") for name, number, precision in columns
        ]
        return ClassTable(("class", "videos", "average precision"), rows, precisions)

    def summary_lines(self) -> list[str]:
        """The metrics for a terminal."""
        return [f"mAP   {self.metrics.mean_average_precision:6.1%}", f"loss  {self.metrics.loss:6.3f}"]

    def to_dict(self) -> dict[str, Any]:
        """All as plain data, for JSON."""
        metrics = self.metrics
        columns = zip(self.class_names, metrics.num_positives.tolist(), metrics.average_precision.tolist(), strict=True)
        classes = {
            name: {"num_positives": count, "average_precision": precision if count else None}
            for name, count, precision in columns
        }
        names = ("num_videos", "num_broken", "mean_average_precision", "loss")
        numbers = {name: getattr(metrics, name) for name in names}
        return {**numbers, "classes": classes, "broken": broken_as_dicts(self)}


def evaluate_multi_label(
    scored: ScoredVideos, manifest: Manifest, class_names: tuple[str, ...]
) -> MultiLabelEvaluation:
    """Metrics of scores; a video that cannot be read counts as one that is found for none of its classes.

    Arguments and errors are those of `single_label.evaluate_single_label`; videos have `labels`.
    """
    scored.require_all(manifest)
    targets = multi_hot(manifest.entries, class_names).numpy().astype(bool)
    places = sorted(scored.scores)
    metrics = multi_label_metrics(
        np.stack([scored.scores[place] for place in places]),
        targets[places],
        broken_targets=targets[sorted(scored.broken)],
    )
    results = tuple(
        MultiLabelResult(entry, scored.scores.get(place), scored.broken.get(place))
        for place, entry in enumerate(manifest.entries)
    )
    return MultiLabelEvaluation(metrics, class_names, scored.broken_of(manifest), results)


def multi_label_metrics(scores: np.ndarray, targets: np.ndarray, *, broken_targets: np.ndarray) -> MultiLabelMetrics:
    """Metrics of scores.

    Args:
        scores: (videos, classes) float, 0–1; one video or more.
        targets: (videos, classes) bool: which classes each has; at least one class must have a video, here or among
            the broken.
        broken_targets: (broken, classes) bool: the classes of videos that could not be read.
    """
    missed = broken_targets.sum(axis=0, dtype=np.int64)
    columns = zip(scores.T, targets.T, missed.tolist(), strict=True)
    precisions = np.array([average_precision(column, hits, num_missed=number) for column, hits, number in columns])
    shares = np.where(targets, scores, 1 - scores).astype(np.float64)
    return MultiLabelMetrics(
        num_videos=len(targets) + len(broken_targets),
        num_broken=len(broken_targets),
        mean_average_precision=float(np.nanmean(precisions)),
        loss=float(-np.log(np.maximum(shares, 1e-12)).mean()) + 0.0,  # never −0
        average_precision=precisions,
        num_positives=targets.sum(axis=0, dtype=np.int64) + missed,
    )


def average_precision(scores: np.ndarray, is_positive: np.ndarray, *, num_missed: int = 0) -> float:
    """The precision at each score, weighted by how much recall it adds; without interpolation.

    Videos with equal scores are found together, so that their order does not matter.

    Args:
        scores: (videos,) float; one video or more.
        is_positive: (videos,) bool.
        num_missed: videos of the class that have no score, and are never found.

    Returns:
        0–1; not a number without positives.
    """
    num_positives = int(is_positive.sum()) + num_missed
    if not num_positives:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    last_of_equals = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    found = np.cumsum(is_positive[order])[last_of_equals]
    return float((found / (last_of_equals + 1) * np.diff(found, prepend=0)).sum() / num_positives)
