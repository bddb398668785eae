"""Labels and probabilities for videos."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from videomae.checkpoint import Checkpoint
from videomae.core.errors import VideoError
from videomae.datasets.entries import VideoEntry
from videomae.inference.scores import ViewOptions, score_videos
from videomae.video.source import VideoSource


@dataclass(frozen=True)
class Prediction:
    """One class of a prediction.

    Args:
        label: the class.
        index: its number in the model.
        probability: 0–1.
    """

    label: str
    index: int
    probability: float


@dataclass(frozen=True)
class VideoPrediction:
    """The prediction of one video.

    Args:
        path: the video.
        num_views: clips × crops whose probabilities were averaged.
        predictions: the most probable classes, the best first; none where the video could not be read, and of a model
            of scores.
        error: why the video could not be read; None where it could.
        score: the number that a model of scores predicts; None of a classifier.
    """

    path: VideoSource
    num_views: int
    predictions: tuple[Prediction, ...]
    error: VideoError | None = None
    score: float | None = None

    @property
    def label(self) -> str | None:
        """The most probable label; None where the video could not be read."""
        return self.predictions[0].label if self.predictions else None

    @property
    def probability(self) -> float | None:
        """That of `label`, 0–1."""
        return self.predictions[0].probability if self.predictions else None

    def __repr__(self) -> str:
        if self.error is not None:
            return f"VideoPrediction({str(self.path)!r}, unreadable: {self.error})"
        if self.score is not None:
            return f"VideoPrediction({str(self.path)!r}, score {self.score:.4g})"
        labels = ", ".join(f"{prediction.label} {prediction.probability:.1%}" for prediction in self.predictions)
        return f"VideoPrediction({str(self.path)!r}, {labels})"


def predict_videos(
    checkpoint: Checkpoint,
    videos: Sequence[VideoEntry | VideoSource],
    *,
    top_k: int = 5,
    options: ViewOptions,
    device: torch.device,
    on_video: Callable[[VideoPrediction], None] | None = None,
) -> list[VideoPrediction]:
    """Classify videos.

    Args:
        checkpoint: a classifier; it is moved to `device`.
        videos: the videos, or their entries where only a part of a video counts.
        top_k: labels for each video; all where there are fewer.
        options: views and precision.
        device: where to compute.
        on_video: called with each result when it is ready, in whatever order.

    Returns:
        A result for each video, in their order. A video that cannot be read has an `error`.
    """
    checkpoint.model.to(device)
    config = checkpoint.model.config
    id2label = config.id2label
    is_score = config.problem_type == "regression" and config.num_labels == 1
    results: dict[int, VideoPrediction] = {}
    for scores in score_videos(checkpoint, videos, options=options, device=device):
        predictions: tuple[Prediction, ...] = ()
        score = None
        if is_score and scores.probabilities is not None:
            score = float(scores.probabilities[0])
        elif scores.probabilities is not None:
            predictions = ranked(scores.probabilities, id2label, top_k)
        video = videos[scores.index]
        path = video.path if isinstance(video, VideoEntry) else video
        result = VideoPrediction(path, scores.num_views, predictions, scores.error, score)
        results[scores.index] = result
        if on_video is not None:
            on_video(result)
    return [results[index] for index in range(len(videos))]


def ranked(scores: Tensor, labels: Mapping[int, str], top_k: int) -> tuple[Prediction, ...]:
    """The classes with the best scores, the best first; equal scores rank by class, as they do in evaluation.

    Args:
        scores: (classes,).
        labels: of each class.
        top_k: how many; all where there are fewer.
    """
    best = scores.sort(descending=True, stable=True)
    return tuple(
        Prediction(labels[index], index, score)
        for index, score in zip(best.indices[:top_k].tolist(), best.values[:top_k].tolist(), strict=True)
    )
