"""What every evaluation of a classifier offers, whether videos have one label or several."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Protocol

import numpy as np

from videomae.core.errors import DataError, VideoError
from videomae.datasets.manifest import Manifest, VideoEntry
from videomae.report.html import KeyFigure
from videomae.video.source import VideoSource


class Metrics(Protocol):
    """The numbers of an evaluation; all shares are fractions of 1."""

    @property
    def num_videos(self) -> int:
        """Evaluated videos, unreadable ones included where they count as wrong."""

    @property
    def num_broken(self) -> int:
        """Videos that could not be read."""

    @property
    def loss(self) -> float:
        """Mean loss of the videos that could be read."""

    @property
    def main(self) -> str:
        """Name of the metric by which epochs are compared, an attribute: "top1", "mean_average_precision" or "mae"."""

    @property
    def main_title(self) -> str:
        """What people call it: "top-1", "mAP" or "MAE"."""

    @property
    def lower_is_better(self) -> bool:
        """Whether the main metric is an error."""

    def main_text(self, value: float) -> str:
        """A value of the main metric for people."""

    def logged(self) -> dict[str, float]:
        """The values of a line of metrics.jsonl."""


class VideoResult(Protocol):
    """What was predicted for one video."""

    @property
    def entry(self) -> VideoEntry:
        """The video."""

    @property
    def scores(self) -> np.ndarray | None:
        """(classes,) float32, the mean of its views' scores; None where it could not be read."""

    @property
    def error(self) -> VideoError | None:
        """Why it could not be read."""

    def cells(self, class_names: Sequence[str]) -> list[str]:
        """For a table of predictions, under `Evaluation.result_header`."""


@dataclass(frozen=True)
class ClassTable:
    """The results of each class.

    Args:
        header: titles of the columns.
        rows: one for each class: its name, its number of videos, and text.
        scores: (classes,) float64, by which the worst classes are chosen; not a number for classes without videos.
        title: of the table.
    """

    header: tuple[str, ...]
    rows: list[tuple[str, int, *tuple[str, ...]]]
    scores: np.ndarray
    title: str = "Classes"

    def worst(self, max_count: int) -> list[int]:
        """Indices of the classes with the lowest scores, the lowest first, of those that have videos."""
        known = [index for index, score in enumerate(self.scores.tolist()) if not np.isnan(score)]
        return sorted(known, key=lambda index: float(self.scores[index]))[:max_count]


@dataclass(frozen=True)
class Mistake:
    """A wrong prediction.

    Args:
        entry: the video.
        caption: true and predicted class with their scores, and the path, for people.
    """

    entry: VideoEntry
    caption: str


class Evaluation(Protocol):
    """Metrics, and what they were computed from."""

    @property
    def metrics(self) -> Metrics:
        """The numbers."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the scores."""

    @property
    def broken(self) -> tuple[tuple[VideoSource, VideoError], ...]:
        """(path, reason) of each video that could not be read."""

    @property
    def top1(self) -> float:
        """Share of the videos whose most probable class is right; not a number where videos may have several labels."""

    @property
    def loss(self) -> float:
        """Mean loss of the videos that could be read."""

    @property
    def mean_average_precision(self) -> float:
        """Mean over the classes of their average precision; not a number where each video has one label."""

    @property
    def results(self) -> Sequence[VideoResult]:
        """What was predicted for each video, in the order of the data set."""

    @property
    def result_header(self) -> tuple[str, ...]:
        """Titles of `VideoResult.cells`."""

    @property
    def confusion(self) -> np.ndarray | None:
        """(classes, classes) counts; rows are true classes, columns predicted ones. None where there is no such."""

    def frequent_mistakes(self, max_count: int) -> list[tuple[str, str, int, float]]:
        """(true class, class predicted in its place, videos, their share of the true class), most frequent first."""

    def worst_mistakes(self, max_count: int) -> tuple[int, list[Mistake]]:
        """How many predictions are wrong, and the most confident of them."""

    def key_figures(self) -> list[KeyFigure]:
        """For reports; the main metric first."""

    def class_table(self) -> ClassTable:
        """The results of each class."""

    def summary_lines(self) -> list[str]:
        """The metrics for a terminal."""

    def to_dict(self) -> dict[str, Any]:
        """All as plain data, for JSON."""


def html_table(evaluation: Evaluation) -> str:
    """The metrics as a table for a notebook."""
    rows = "".join(
        f"<tr><td>{escape(figure.label)}</td><td>{escape(figure.value)}</td><td>{escape(figure.note)}</td></tr>"
        for figure in evaluation.key_figures()
    )
    return f"<table><thead><tr><th colspan=3>{escape(repr(evaluation))}</th></tr></thead>{rows}</table>"


def broken_as_dicts(evaluation: Evaluation) -> list[dict[str, str]]:
    """The videos that could not be read, as plain data."""
    return [{"path": str(path), "reason": str(error)} for path, error in evaluation.broken]


@dataclass(frozen=True)
class ScoredVideos:
    """Scores by a video's place in the data set, so that those of several processes can be merged.

    Args:
        scores: place → (classes,) float32.
        broken: place → why it could not be read.
    """

    scores: dict[int, np.ndarray] = field(default_factory=dict)
    broken: dict[int, VideoError] = field(default_factory=dict)

    def merged(self, others: Iterable[ScoredVideos]) -> ScoredVideos:
        """With the videos of others; one that several processes have scored counts once."""
        scores, broken = dict(self.scores), dict(self.broken)
        for other in others:
            scores |= other.scores
            broken |= other.broken
        return ScoredVideos(scores, {place: error for place, error in broken.items() if place not in scores})

    def broken_of(self, manifest: Manifest) -> tuple[tuple[VideoSource, VideoError], ...]:
        """(path, reason) of each video of the manifest that could not be read."""
        return tuple((manifest.entries[place].path, self.broken[place]) for place in sorted(self.broken))

    def require_all(self, manifest: Manifest) -> None:
        """Make sure that every video of the manifest has scores or an error, and one or more have scores.

        Raises:
            DataError: if no video could be read.
            RuntimeError: if a video has neither: a fault of whoever collected them.
        """
        if not self.scores:
            raise DataError(
                f"{manifest.source} with {len(self.broken)} videos, none of which can be read",
                expected="videos that can be read",
                hint=f"the first one: {next(iter(self.broken.values()))}",
            )
        missing = set(range(len(manifest))) - set(self.scores) - set(self.broken)
        if missing:  # metrics of fewer videos than there are would be better than the model is
            raise RuntimeError(f"{len(missing)} of {len(manifest)} videos have no scores, the first at {min(missing)}")
