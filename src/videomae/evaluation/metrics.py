"""Numbers about predictions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Metrics:
    """How well a classifier did; all shares are fractions of 1.

    Args:
        num_videos: videos judged, broken ones included where they count as wrong.
        num_broken: videos that could not be read.
        top1: share whose best class is right.
        top5: share whose right class is among the best five.
        mean_class_accuracy: mean over the classes (that have videos) of the share that is right.
        loss: mean negative log probability of the right class, over the videos that could be read.
        confusion: (classes, classes) counts; rows are true classes, columns predicted ones; no broken ones.
    """

    num_videos: int
    num_broken: int
    top1: float
    top5: float
    mean_class_accuracy: float
    loss: float
    confusion: np.ndarray


def classification_metrics(probabilities: np.ndarray, labels: np.ndarray, *, broken_labels: np.ndarray) -> Metrics:
    """Judge predictions.

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
    return Metrics(
        num_videos=num_videos,
        num_broken=len(broken_labels),
        top1=float(right.sum() / num_videos),
        top5=float(in_top5.sum() / num_videos),
        mean_class_accuracy=float((np.diag(confusion)[present] / totals[present]).mean()),
        loss=float(-np.log(np.maximum(chosen, 1e-12)).mean()) if len(labels) else float("nan"),
        confusion=confusion,
    )
