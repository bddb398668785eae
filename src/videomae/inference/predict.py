"""Names and probabilities for videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from videomae.checkpoint import LoadedCheckpoint
from videomae.core.errors import VideoError
from videomae.inference.scores import ViewOptions, score_videos
from videomae.video.source import VideoSource


@dataclass(frozen=True)
class Prediction:
    """One class and its probability, 0–1."""

    label: str
    index: int
    probability: float


@dataclass(frozen=True)
class VideoPrediction:
    """The most probable classes of one video, the best first; none where the video could not be read."""

    path: VideoSource
    num_views: int
    predictions: tuple[Prediction, ...]
    error: VideoError | None = None


def predict_videos(
    checkpoint: LoadedCheckpoint,
    paths: Sequence[VideoSource],
    *,
    top_k: int = 5,
    options: ViewOptions,
    device: torch.device,
    on_video: Callable[[VideoPrediction], None] | None = None,
) -> list[VideoPrediction]:
    """Classify videos.

    Args:
        checkpoint: a classifier; it is moved to `device`.
        paths: the videos.
        top_k: classes to name; all where there are fewer.
        options: views and precision.
        device: where to compute.
        on_video: called with each result when it is ready, in whatever order.

    Returns:
        A result for each path, in their order. A video that cannot be read has an `error`.
    """
    checkpoint.model.to(device)
    id2label = checkpoint.model.config.id2label
    results: dict[int, VideoPrediction] = {}
    for scores in score_videos(checkpoint, paths, options=options, device=device):
        predictions: tuple[Prediction, ...] = ()
        if scores.probabilities is not None:
            # Equal scores rank by class, as they do in evaluation.
            best = scores.probabilities.sort(descending=True, stable=True)
            predictions = tuple(
                Prediction(id2label[index], index, probability)
                for index, probability in zip(best.indices[:top_k].tolist(), best.values[:top_k].tolist(), strict=True)
            )
        result = VideoPrediction(paths[scores.index], scores.num_views, predictions, scores.error)
        results[scores.index] = result
        if on_video is not None:
            on_video(result)
    return [results[index] for index in range(len(paths))]
