"""Judge a classifier that may give a video several classes: average precision of each class, and their mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from videomae.checkpoint import LoadedCheckpoint
from videomae.core.errors import ConfigError, VideoError
from videomae.data.clips import multi_hot
from videomae.datasets.entries import VideoEntry
from videomae.datasets.manifest import Manifest
from videomae.evaluation.validate import ScoredVideos, require_all_scored, score_manifest
from videomae.video.source import VideoSource

PROBLEM_TYPE = "multi_label_classification"


@dataclass(frozen=True)
class MultiLabelMetrics:
    """How well the classes' scores rank the videos; all shares are fractions of 1.

    Args:
        num_videos: videos judged, broken ones included where they count as wrong.
        num_broken: videos that could not be read.
        mean_average_precision: mean of `average_precision` over the classes that have videos.
        loss: mean binary cross entropy, over the classes and the videos that could be read.
        average_precision: (classes,) float64; not a number where a class has no videos.
        num_positives: (classes,) videos of each class, broken ones included.
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

    def logged(self) -> dict[str, float]:
        """What a line of metrics.jsonl says of a validation."""
        return {"loss": self.loss, "mean_average_precision": self.mean_average_precision}


@dataclass(frozen=True)
class MultiLabelVerdict:
    """What the model says about one video.

    Args:
        entry: the video.
        scores: (classes,) float32, the mean of its views' sigmoid scores; None where it could not be read.
        error: why it could not be read.
    """

    entry: VideoEntry
    scores: np.ndarray | None
    error: VideoError | None = None


@dataclass(frozen=True)
class MultiLabelEvaluation:
    """Metrics, and what they were computed from.

    Args:
        metrics: the numbers.
        class_names: of the scores.
        broken: (path, reason) of each video that could not be read.
        verdicts: what was said about each video, in the order of the data set.
    """

    metrics: MultiLabelMetrics
    class_names: tuple[str, ...]
    broken: tuple[tuple[VideoSource, VideoError], ...]
    verdicts: tuple[MultiLabelVerdict, ...] = ()


def is_multi_label(checkpoint: LoadedCheckpoint) -> bool:
    """Whether a classifier may give a video several classes."""
    return bool(checkpoint.model.config.problem_type == PROBLEM_TYPE)


def evaluate_multi_label(checkpoint: LoadedCheckpoint, manifest: Manifest, **scoring: Any) -> MultiLabelEvaluation:
    """Judge each video exactly once; classes are matched by name.

    A video that cannot be read counts, where it is no error, as one that none of its classes finds.

    Args:
        checkpoint: a classifier whose `problem_type` is "multi_label_classification".
        manifest: videos with `labels`; every class must be one of the model's.
        **scoring: `options`, `device` and what else `score_manifest` takes.

    Raises:
        ConfigError: if the model gives each video one class.
        DataError: if the videos have one class each, one that the model does not know, or none at all.
        VideoError: if a video cannot be read.
    """
    config = checkpoint.model.config
    if not is_multi_label(checkpoint):
        raise ConfigError(
            f"a model with problem_type={config.problem_type!r}",
            expected=f"{PROBLEM_TYPE!r}",
            hint="evaluate_classifier judges one that gives each video one class",
        )
    class_names = tuple(config.id2label[index] for index in range(config.num_labels))
    manifest = manifest.require_classes(class_names, multi_label=True)
    return judge_multi_label(score_manifest(checkpoint, manifest, **scoring), manifest, class_names)


def judge_multi_label(scored: ScoredVideos, manifest: Manifest, class_names: tuple[str, ...]) -> MultiLabelEvaluation:
    """Metrics of scores; arguments and errors are those of `validate.judge`."""
    require_all_scored(scored, manifest)
    targets = multi_hot(manifest.entries, class_names).numpy().astype(bool)
    places = sorted(scored.scores)
    metrics = multi_label_metrics(
        np.stack([scored.scores[place] for place in places]),
        targets[places],
        broken_targets=targets[sorted(scored.broken)],
    )
    verdicts = tuple(
        MultiLabelVerdict(entry, scored.scores.get(place), scored.broken.get(place))
        for place, entry in enumerate(manifest.entries)
    )
    return MultiLabelEvaluation(metrics, class_names, scored.broken_of(manifest), verdicts)


def multi_label_metrics(scores: np.ndarray, targets: np.ndarray, *, broken_targets: np.ndarray) -> MultiLabelMetrics:
    """Judge scores.

    Args:
        scores: (videos, classes) float, 0–1; one video or more.
        targets: (videos, classes) bool: which classes each has; any class must have a video, here or among the broken.
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
