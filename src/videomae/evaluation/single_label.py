"""The evaluation of a classifier that gives each video one class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from videomae.core.errors import VideoError
from videomae.data.clips import label_indices
from videomae.datasets.manifest import Manifest, VideoEntry
from videomae.evaluation.metrics import (
    SingleLabelMetrics,
    calibration_bins,
    classification_metrics,
    wilson_interval,
    worst_mistakes,
)
from videomae.evaluation.results import ClassTable, Mistake, ScoredVideos, broken_as_dicts, html_table
from videomae.report.html import KeyFigure
from videomae.report.text import isolated
from videomae.video.source import VideoSource

_NUMBERS = ("num_videos", "num_broken", "top1", "top5", "mean_class_accuracy", "top1_interval", "loss")

# By how much the probability of a wrong prediction is above that of the right class.
NEAR_TIE, CONFIDENT = 0.1, 0.5


@dataclass(frozen=True)
class SingleLabelResult:
    """What was predicted for one video; a `results.VideoResult`.

    Args:
        entry: the video.
        true: index of its class.
        scores: (classes,) float32, the mean of its views' probabilities; None where it could not be read.
        error: why it could not be read.
    """

    entry: VideoEntry
    true: int
    scores: np.ndarray | None
    error: VideoError | None = None

    @property
    def predicted(self) -> int | None:
        """Index of the most probable class; None without scores."""
        return None if self.scores is None else int(self.scores.argmax())

    @property
    def probability(self) -> float | None:
        """The probability of that class."""
        return None if self.scores is None else float(self.scores.max())

    @property
    def right_probability(self) -> float | None:
        """The probability of the right class."""
        return None if self.scores is None else float(self.scores[self.true])

    @property
    def outcome(self) -> str:
        """In a word or two: right, wrong, and of wrong ones near ties and confident mistakes; or unreadable."""
        if self.probability is None or self.right_probability is None:
            return "unreadable"
        if self.predicted == self.true:
            return "right"
        lead = self.probability - self.right_probability
        return "near tie" if lead < NEAR_TIE else "confident mistake" if lead >= CONFIDENT else "wrong"

    def cells(self, class_names: Sequence[str]) -> list[str]:
        """For a table of predictions, under `Evaluation.result_header`."""
        if self.predicted is None:
            return [class_names[self.true], "", ""]
        return [class_names[self.true], class_names[self.predicted], f"{self.probability:.6g}"]


@dataclass(frozen=True)
class SingleLabelEvaluation:
    """Metrics, and what they were computed from; a `results.Evaluation`.

    Args:
        metrics: the numbers.
        class_names: names of the confusion matrix' rows and columns.
        broken: (path, reason) of each video that could not be read.
        results: what was predicted for each video, in the order of the data set.
    """

    metrics: SingleLabelMetrics
    class_names: tuple[str, ...]
    broken: tuple[tuple[VideoSource, VideoError], ...]
    results: tuple[SingleLabelResult, ...] = ()
    result_header: ClassVar[tuple[str, ...]] = ("label", "prediction", "probability")

    @property
    def top1(self) -> float:
        """Share of the videos whose most probable class is right."""
        return self.metrics.top1

    @property
    def top5(self) -> float:
        """Share of the videos whose class is among the five most probable."""
        return self.metrics.top5

    @property
    def mean_class_accuracy(self) -> float:
        """Mean over the classes of the share that is right."""
        return self.metrics.mean_class_accuracy

    @property
    def top1_interval(self) -> tuple[float, float]:
        """95 % confidence interval of top-1, see `metrics`."""
        return self.metrics.top1_interval

    @property
    def loss(self) -> float:
        """Mean loss of the videos that could be read."""
        return self.metrics.loss

    @property
    def mean_average_precision(self) -> float:
        """Not a number: each video has one label."""
        return float("nan")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.metrics.num_videos} videos, top-1 {self.top1:.1%})"

    @property
    def confusion(self) -> np.ndarray:
        """(classes, classes) counts; rows are true classes, columns predicted ones. None where there is no such."""
        return self.metrics.confusion

    @property
    def interval_text(self) -> str:
        """The confidence interval of top-1 for people: `73.1–88.0%`."""
        low, high = self.metrics.top1_interval
        return f"{100 * low:.1f}–{high:.1%}"

    def frequent_mistakes(self, max_count: int) -> list[tuple[str, str, int, float]]:
        """(true class, class predicted in its place, videos, their share of the true class), most frequent first."""
        names, totals = self.class_names, self.metrics.class_totals
        found = self.metrics.confusions()[:max_count]
        return [(names[true], names[predicted], count, count / totals[true]) for true, predicted, count in found]

    def worst_results(self, max_count: int) -> list[SingleLabelResult]:
        """The most confident wrong predictions, the worst first."""
        readable = [result for result in self.results if result.scores is not None]
        if not readable:
            return []
        scores = np.stack([result.scores for result in readable if result.scores is not None])
        labels = np.array([result.true for result in readable])
        return [readable[row] for row in worst_mistakes(scores, labels, max_count=max_count)]

    def worst_mistakes(self, max_count: int) -> tuple[int, list[Mistake]]:
        """How many predictions are wrong, and the most confident of them."""
        num_wrong = sum(result.predicted not in (None, result.true) for result in self.results)
        mistakes = []
        for result in self.worst_results(max_count):
            assert result.predicted is not None
            true, predicted = isolated(self.class_names[result.true]), isolated(self.class_names[result.predicted])
            caption = (
                f"{true}, taken for {predicted} ({result.probability:.1%}); "
                f"the right class got {result.right_probability:.1%}: {result.outcome}\n{result.entry.path}"
            )
            mistakes.append(Mistake(result.entry, caption))
        return num_wrong, mistakes

    @property
    def majority_share(self) -> float:
        """Top-1 of predicting the most frequent class each time."""
        return float(self.metrics.class_totals.max() / self.metrics.num_videos)

    def calibration(self) -> list[tuple[float, float, int, tuple[float, float]]]:
        """Bins for `report.svg.calibration_chart`."""
        pairs = [(r.probability, r.predicted == r.true) for r in self.results if r.probability is not None]
        confidence, right = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs], dtype=bool)
        return [
            (mean, share, number, wilson_interval(round(share * number), number))
            for mean, share, number in calibration_bins(confidence, right)
        ]

    def _repr_html_(self) -> str:
        return html_table(self)

    def key_figures(self) -> list[KeyFigure]:
        """For reports; the main metric first."""
        metrics = self.metrics
        return [
            KeyFigure("top-1", f"{metrics.top1:.1%}", f"95 % interval {self.interval_text}"),
            KeyFigure("mean class accuracy", f"{metrics.mean_class_accuracy:.1%}"),
            *([KeyFigure("top-5", f"{metrics.top5:.1%}")] if len(self.class_names) > 5 else []),
            KeyFigure("loss", f"{metrics.loss:.3f}", "mean −log probability of the right class"),
            KeyFigure("calibration error", f"{metrics.calibration_error:.1%}", "how far confidence is from accuracy"),
        ]

    def class_table(self) -> ClassTable:
        """The results of each class."""
        names, classes = self.class_names, self.metrics.per_class()
        rows: list[tuple[str, int, *tuple[str, ...]]] = []
        for result in classes:
            accuracy = "–" if result.accuracy is None else f"{result.accuracy:.1%}"
            taken_for = "" if result.taken_for is None else f"{names[result.taken_for]} ({result.num_taken})"
            rows.append((names[result.index], result.num_videos, accuracy, taken_for))
        scores = [float("nan") if result.accuracy is None else result.accuracy for result in classes]
        return ClassTable(("class", "videos", "right", "most often taken for"), rows, np.array(scores))

    def summary_lines(self) -> list[str]:
        """The metrics for a terminal."""
        metrics = self.metrics
        name = self.class_names[int(metrics.class_totals.argmax())]
        return [
            f"top-1                {metrics.top1:6.1%}   (95 % interval {self.interval_text})",
            # With five classes or fewer every prediction is among the five.
            *([f"top-5                {metrics.top5:6.1%}"] if len(self.class_names) > 5 else []),
            f"mean class accuracy  {metrics.mean_class_accuracy:6.1%}",
            f"majority class       {self.majority_share:6.1%}   ({name})",
        ]

    def to_dict(self) -> dict[str, Any]:
        """All as plain data, for JSON; of each class also the wrong predictions, without zeros."""
        names, metrics = self.class_names, self.metrics
        taken_for: dict[int, dict[str, int]] = {index: {} for index in range(len(names))}
        for true, predicted, count in metrics.confusions():
            taken_for[true][names[predicted]] = count
        classes = {
            names[result.index]: {
                "num_videos": result.num_videos,
                "num_right": result.num_right,
                "taken_for": taken_for[result.index],
            }
            for result in metrics.per_class()
        }
        numbers = {name: getattr(metrics, name) for name in (*_NUMBERS, "calibration_error")}
        return {**numbers, "classes": classes, "broken": broken_as_dicts(self)}


def evaluate_single_label(
    scored: ScoredVideos, manifest: Manifest, class_names: tuple[str, ...]
) -> SingleLabelEvaluation:
    """Metrics of scores.

    Args:
        scored: of every video of the manifest.
        manifest: labeled videos.
        class_names: of the scores.

    Raises:
        DataError, RuntimeError: as `ScoredVideos.require_all`.
    """
    scored.require_all(manifest)
    broken = scored.broken
    labels = np.array(label_indices(manifest.entries, class_names))
    places = sorted(scored.scores)
    metrics = classification_metrics(
        np.stack([scored.scores[place] for place in places]),
        labels[places],
        broken_labels=labels[sorted(broken)] if broken else np.zeros(0, dtype=np.int64),
    )
    results = tuple(
        SingleLabelResult(manifest.entries[place], int(labels[place]), scored.scores.get(place), broken.get(place))
        for place in sorted({*places, *broken})
    )
    return SingleLabelEvaluation(metrics, class_names, scored.broken_of(manifest), results)
