"""The evaluation of a model that predicts a number for each video."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from videomae.core.errors import VideoError
from videomae.datasets.entries import VideoEntry
from videomae.datasets.manifest import Manifest
from videomae.evaluation.results import ClassTable, Mistake, ScoredVideos, broken_as_dicts, html_table
from videomae.report.html import KeyFigure
from videomae.video.source import VideoSource

# Parts of the range of the true scores whose errors are listed.
_NUM_PARTS = 4
_NUMBERS = ("num_videos", "num_broken", "mae", "rmse", "pearson", "spearman", "loss")


@dataclass(frozen=True)
class RegressionMetrics:
    """How far predictions are from the true scores.

    Args:
        num_videos: evaluated videos, unreadable ones included.
        num_broken: videos that could not be read; they have no prediction, and are in none of the numbers below.
        mae: mean absolute error.
        rmse: root of the mean squared error.
        pearson: linear correlation, −1 to 1; not a number where predictions or true scores are all the same.
        spearman: correlation of the ranks, equal values having the mean of their ranks; as `pearson`.
        loss: mean squared error.
        baseline: mean absolute error of the median of the true scores, the best constant.
    """

    num_videos: int
    num_broken: int
    mae: float
    rmse: float
    pearson: float
    spearman: float
    loss: float
    baseline: float
    main: ClassVar[str] = "mae"
    main_title: ClassVar[str] = "MAE"
    lower_is_better: ClassVar[bool] = True

    def main_text(self, value: float) -> str:
        """A mean absolute error for people."""
        return f"{value:.4g}"

    def logged(self) -> dict[str, float]:
        """The values of a line of metrics.jsonl; correlations where there are any."""
        names = ("loss", "mae", "rmse", "pearson", "spearman")
        return {name: value for name in names if math.isfinite(value := getattr(self, name))}


@dataclass(frozen=True)
class RegressionResult:
    """What was predicted for one video; a `results.VideoResult`.

    Args:
        entry: the video.
        scores: (1,) float32, the mean of its views' predictions; None where it could not be read.
        error: why it could not be read.
    """

    entry: VideoEntry
    scores: np.ndarray | None
    error: VideoError | None = None

    def cells(self, class_names: Sequence[str]) -> list[str]:
        """For a table of predictions: the true score and the predicted one."""
        return [self.entry.label_text or "", "" if self.scores is None else f"{float(self.scores[0]):.6g}"]


@dataclass(frozen=True)
class RegressionEvaluation:
    """Metrics, and what they were computed from; a `results.Evaluation`.

    Args:
        metrics: the numbers.
        class_names: the name of the score.
        broken: (path, reason) of each video that could not be read.
        results: what was predicted for each video, in the order of the data set.
    """

    metrics: RegressionMetrics
    class_names: tuple[str, ...]
    broken: tuple[tuple[VideoSource, VideoError], ...]
    results: tuple[RegressionResult, ...] = ()
    result_header: ClassVar[tuple[str, ...]] = ("score", "prediction")
    confusion: ClassVar[None] = None

    @property
    def top1(self) -> float:
        """Not a number: there are no classes."""
        return float("nan")

    @property
    def mean_average_precision(self) -> float:
        """Not a number: there are no classes."""
        return float("nan")

    @property
    def mae(self) -> float:
        """Mean absolute error."""
        return self.metrics.mae

    @property
    def loss(self) -> float:
        """Mean squared error."""
        return self.metrics.loss

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.metrics.num_videos} videos, MAE {self.mae:.4g})"

    def _repr_html_(self) -> str:
        return html_table(self)

    def frequent_mistakes(self, max_count: int) -> list[tuple[str, str, int, float]]:
        """Empty: there are no classes."""
        return []

    def worst_mistakes(self, max_count: int) -> tuple[int, list[Mistake]]:
        """Empty: an error is more or less, not right or wrong."""
        return 0, []

    def key_figures(self) -> list[KeyFigure]:
        """For reports; the main metric first."""
        metrics = self.metrics
        return [
            KeyFigure("MAE", f"{metrics.mae:.4g}", f"mean absolute error; {metrics.baseline:.4g} of the median"),
            KeyFigure("RMSE", f"{metrics.rmse:.4g}", "root of the mean squared error"),
            KeyFigure("Pearson", _correlation(metrics.pearson), "linear correlation"),
            KeyFigure("Spearman", _correlation(metrics.spearman), "correlation of the ranks"),
        ]

    def class_table(self) -> ClassTable:
        """The errors of the lowest to the highest quarter of the true scores."""
        readable = [result for result in self.results if result.scores is not None]
        true = np.array([result.entry.score for result in readable], dtype=np.float64)
        errors = np.array([float(result.scores[0]) for result in readable if result.scores is not None]) - true
        parts = [part for part in np.array_split(np.argsort(true, kind="stable"), _NUM_PARTS) if len(part)]
        rows: list[tuple[str, int, *tuple[str, ...]]] = [
            (
                " to ".join(dict.fromkeys(f"{true[place]:g}" for place in (part[0], part[-1]))),
                len(part),
                f"{np.abs(errors[part]).mean():.4g}",
                f"{errors[part].mean():+.4g}",
            )
            for part in parts
        ]
        scores = np.array([-np.abs(errors[part]).mean() for part in parts])
        return ClassTable(("true score", "videos", "MAE", "mean error"), rows, scores, title="Errors")

    def summary_lines(self) -> list[str]:
        """The metrics for a terminal."""
        metrics = self.metrics
        return [
            f"MAE       {metrics.mae:.4g}   (of the median, the best constant: {metrics.baseline:.4g})",
            f"RMSE      {metrics.rmse:.4g}",
            f"Pearson   {_correlation(metrics.pearson)}",
            f"Spearman  {_correlation(metrics.spearman)}",
        ]

    def to_dict(self) -> dict[str, Any]:
        """All as plain data, for JSON; correlations that are not defined are None."""
        numbers = {name: getattr(self.metrics, name) for name in (*_NUMBERS, "baseline")}
        numbers = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        return {**numbers, "broken": broken_as_dicts(self)}


def evaluate_regression(scored: ScoredVideos, manifest: Manifest, class_names: tuple[str, ...]) -> RegressionEvaluation:
    """Metrics of predicted numbers; arguments and errors are those of `single_label.evaluate_single_label`."""
    scored.require_all(manifest)
    places = sorted(scored.scores)
    true = np.array([manifest.entries[place].score for place in places], dtype=np.float64)
    predicted = np.array([float(scored.scores[place][0]) for place in places])
    results = tuple(
        RegressionResult(entry, scored.scores.get(place), scored.broken.get(place))
        for place, entry in enumerate(manifest.entries)
    )
    metrics = regression_metrics(predicted, true, num_broken=len(scored.broken))
    return RegressionEvaluation(metrics, class_names, scored.broken_of(manifest), results)


def regression_metrics(predicted: np.ndarray, true: np.ndarray, *, num_broken: int = 0) -> RegressionMetrics:
    """Metrics of predictions.

    Args:
        predicted: (videos,) float64; one video or more.
        true: (videos,) float64.
        num_broken: videos that have no prediction.
    """
    errors = predicted - true
    squared = float((errors**2).mean())
    return RegressionMetrics(
        num_videos=len(true) + num_broken,
        num_broken=num_broken,
        mae=float(np.abs(errors).mean()),
        rmse=math.sqrt(squared),
        pearson=pearson(predicted, true),
        spearman=pearson(mean_ranks(predicted), mean_ranks(true)),
        loss=squared,
        baseline=float(np.abs(true - np.median(true)).mean()),
    )


def pearson(one: np.ndarray, other: np.ndarray) -> float:
    """The linear correlation of two rows of numbers; not a number where one of them is constant."""
    one, other = one - one.mean(), other - other.mean()
    norm = math.sqrt(float((one**2).sum()) * float((other**2).sum()))
    return max(-1.0, min(1.0, float((one * other).sum()) / norm)) if norm else float("nan")


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values have the mean of the ranks that they take together. float64."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: np.ndarray = (last - (counts - 1) / 2)[place]
    return ranks


def _correlation(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "–"
