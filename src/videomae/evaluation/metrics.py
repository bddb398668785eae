"""Accuracy, confusion and calibration of predictions of one class per video."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

# Of the normal distribution, for 95 %.
_Z = 1.959964
_NUM_CALIBRATION_BINS = 15


@dataclass(frozen=True)
class SingleLabelMetrics:
    """How well a classifier predicts; all shares are fractions of 1.

    Args:
        num_videos: evaluated videos, unreadable ones included where they count as wrong.
        num_broken: videos that could not be read.
        top1: share whose most probable class is right.
        top5: share whose right class is among the best five.
        mean_class_accuracy: mean over the classes (that have videos) of the share that is right.
        loss: mean negative log probability of the right class, over the videos that could be read.
        confusion: (classes, classes) counts; rows are true classes, columns predicted ones; no unreadable ones.
        class_totals: (classes,) videos of each class, unreadable ones included.
        calibration_error: expected calibration error (Guo et al. 2017, 15 bins): how far, on average, the probability
            of a prediction is from the share of such predictions that is right; of the videos that could be read.
    """

    num_videos: int
    num_broken: int
    top1: float
    top5: float
    mean_class_accuracy: float
    loss: float
    confusion: np.ndarray
    class_totals: np.ndarray
    calibration_error: float
    # By which epochs are compared, and what people call it.
    main: ClassVar[str] = "top1"
    main_title: ClassVar[str] = "top-1"
    lower_is_better: ClassVar[bool] = False

    def main_text(self, value: float) -> str:
        """A share for people."""
        return f"{value:.1%}"

    def logged(self) -> dict[str, float]:
        """The values of a line of metrics.jsonl."""
        return {name: getattr(self, name) for name in ("loss", "top1", "top5", "mean_class_accuracy")}

    @property
    def top1_interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of `top1`."""
        return wilson_interval(round(self.top1 * self.num_videos), self.num_videos)

    def per_class(self) -> list[ClassResult]:
        """The results of each class, in their order; those without videos too."""
        mistakes = self.confusion.copy()
        np.fill_diagonal(mistakes, 0)
        taken_for = mistakes.argmax(axis=1)
        return [
            ClassResult(
                index=index,
                num_videos=int(self.class_totals[index]),
                num_right=int(self.confusion[index, index]),
                taken_for=int(taken_for[index]) if mistakes[index].any() else None,
                num_taken=int(mistakes[index, taken_for[index]]),
            )
            for index in range(len(self.class_totals))
        ]

    def confusions(self) -> list[tuple[int, int, int]]:
        """(true class, class it was taken for, how often), the most frequent first."""
        mistakes = self.confusion.copy()
        np.fill_diagonal(mistakes, 0)
        rows, columns = np.nonzero(mistakes)
        counts = mistakes[rows, columns]
        order = np.argsort(-counts, kind="stable")
        return [(int(rows[place]), int(columns[place]), int(counts[place])) for place in order]


@dataclass(frozen=True)
class ClassResult:
    """The results of one class.

    Args:
        index: of the class.
        num_videos: of it, unreadable ones included.
        num_right: of these, how many were predicted right.
        taken_for: the wrong class that is predicted most often (of several the first); None where it never is.
        num_taken: how often.
    """

    index: int
    num_videos: int
    num_right: int
    taken_for: int | None
    num_taken: int

    @property
    def accuracy(self) -> float | None:
        """Share that is right; None without videos."""
        return self.num_right / self.num_videos if self.num_videos else None


def wilson_interval(num_right: int, num_videos: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share (Wilson 1927): sound for few videos and for shares near 0 and 1.

    Args:
        num_right: how many are right.
        num_videos: of how many, above 0.
    """
    share, spread = num_right / num_videos, _Z**2 / num_videos
    center = (share + spread / 2) / (1 + spread)
    half = math.sqrt(spread * (share * (1 - share) + spread / 4)) / (1 + spread)
    return max(0.0, center - half), min(1.0, center + half)


def worst_mistakes(probabilities: np.ndarray, labels: np.ndarray, *, max_count: int) -> list[int]:
    """Rows whose prediction is wrong, the most confident first; of equally confident ones the first.

    Args:
        probabilities: (videos, classes) float.
        labels: (videos,) right class of each.
        max_count: the most rows to return.
    """
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    order = np.argsort(-probabilities[wrong, predicted[wrong]], kind="stable")
    return [int(row) for row in wrong[order][:max_count]]


def classification_metrics(
    probabilities: np.ndarray, labels: np.ndarray, *, broken_labels: np.ndarray
) -> SingleLabelMetrics:
    """Metrics of predictions.

    Args:
        probabilities: (videos, classes) float.
        labels: (videos,) right class of each.
        broken_labels: right classes of videos that could not be read; each counts as wrong.
    """
    num_classes = probabilities.shape[1]
    # Stable order: equal scores rank by class, so that a run repeats exactly.
    ranking = np.argsort(-probabilities, axis=1, kind="stable")
    right = ranking[:, :1] == labels[:, None]
    in_top5 = (ranking[:, :5] == labels[:, None]).any(axis=1)
    confusion = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(confusion, (labels, ranking[:, 0]), 1)
    totals = confusion.sum(axis=1) + np.bincount(broken_labels, minlength=num_classes)
    present = totals > 0
    num_videos = len(labels) + len(broken_labels)
    chosen = probabilities[np.arange(len(labels)), labels]
    return SingleLabelMetrics(
        num_videos=num_videos,
        num_broken=len(broken_labels),
        top1=float(right.sum() / num_videos),
        top5=float(in_top5.sum() / num_videos),
        mean_class_accuracy=float((np.diag(confusion)[present] / totals[present]).mean()),
        loss=float(-np.log(np.maximum(chosen, 1e-12)).mean()) + 0.0 if len(labels) else float("nan"),  # never −0
        confusion=confusion,
        class_totals=totals,
        calibration_error=_calibration_error(probabilities.max(axis=1), right[:, 0]) if len(labels) else float("nan"),
    )


def calibration_bins(confidence: np.ndarray, right: np.ndarray) -> list[tuple[float, float, int]]:
    """(mean confidence, share that is right, predictions) of each of 15 equal bins of confidence that has any.

    Args:
        confidence: (videos,) probability of each prediction.
        right: (videos,) bool.
    """
    bins = _bins_of(confidence)
    found = []
    for number in np.unique(bins).tolist():
        of_bin = bins == number
        found.append((float(confidence[of_bin].mean()), float(right[of_bin].mean()), int(of_bin.sum())))
    return found


def _bins_of(confidence: np.ndarray) -> np.ndarray:
    return np.clip(np.ceil(confidence * _NUM_CALIBRATION_BINS).astype(int) - 1, 0, _NUM_CALIBRATION_BINS - 1)


def _calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    bins = _bins_of(confidence)
    # The gap of a bin times its share of the videos is the difference of its sums, divided by all videos.
    gaps = np.bincount(bins, weights=confidence.astype(np.float64) - right, minlength=_NUM_CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(confidence))
