"""Scores of videos: the mean over their views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from videomae.checkpoint import Checkpoint
from videomae.core.errors import ConfigError, VideoError
from videomae.core.precision import autocast
from videomae.data.clips import ViewClips
from videomae.data.loader import hard_limit_seconds, view_loader
from videomae.datasets.manifest import VideoEntry
from videomae.inference.forwards import run_batches, videos_per_batch, views_per_forward
from videomae.processing.transforms import normalize
from videomae.video.reader import ReadLimits
from videomae.video.source import VideoSource


@dataclass(frozen=True)
class ViewOptions:
    """Which views of a video are scored, and how.

    Args:
        num_clips: views in time.
        num_crops: views in space, along the longer side.
        precision: of the matrix products: "auto", "fp32", "bf16" or "fp16".
        num_workers: processes that decode; -1 chooses, 0 decodes in this one.
        read_limit_seconds: for opening one video and for reading its views; one that takes longer is broken.
        allow_nan: scores may be NaN, as in a validation that must not end the training; else they are an error.

    Raises:
        ConfigError: for a number of views below 1.
    """

    num_clips: int = 1
    num_crops: int = 1
    precision: str = "auto"
    num_workers: int = 0
    read_limit_seconds: float = 60.0
    allow_nan: bool = False

    def __post_init__(self) -> None:
        for name in ("num_clips", "num_crops"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}", expected="at least 1", hint=f"give a larger {name}")


@dataclass(frozen=True)
class VideoScores:
    """The model's scores of one video.

    Args:
        index: place in the list of videos.
        num_views: how many views were averaged.
        probabilities: (classes,) float32 on the CPU; None where the video could not be read.
        error: why it could not be read.
    """

    index: int
    num_views: int
    probabilities: Tensor | None
    error: VideoError | None = None


def score_videos(
    checkpoint: Checkpoint,
    videos: Sequence[VideoEntry | VideoSource],
    *,
    options: ViewOptions,
    device: torch.device,
    excluded: dict[int, VideoError] | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[VideoScores]:
    """Scores of each video in order, each exactly once.

    Args:
        checkpoint: a classifier on `device`.
        videos: the videos, or their entries where only a part of a video counts.
        options: views, precision, workers.
        device: where to compute.
        excluded: index → error of videos known to be broken, which are reported without being opened; videos that end
            a worker are added.
        rank: which of several processes this is; it scores its share of the videos.
        world_size: how many share the videos.
    """
    _, num_channels, height, width = checkpoint.model.config.grid.clip_shape
    views = ViewClips(
        videos,
        sampling=checkpoint.sampling,
        image_size=(height, width),
        num_channels=num_channels,
        num_clips=options.num_clips,
        num_crops=options.num_crops,
        limits=ReadLimits(max_seconds=options.read_limit_seconds),
    )
    num_views = options.num_clips * options.num_crops
    loader = view_loader(
        views,
        batch_size=videos_per_batch(num_views),
        num_workers=0 if len(views) == 1 else options.num_workers,
        pin_memory=device.type == "cuda",
        limit_seconds=hard_limit_seconds(options.read_limit_seconds),
        excluded=excluded,
        rank=rank,
        world_size=world_size,
    )
    with closing(loader):
        scored = run_batches(
            loader,
            lambda clips: view_probabilities(checkpoint, clips, precision=options.precision),
            device=device,
            num_views=views_per_forward(checkpoint.model.config, device),
            finite="" if options.allow_nan else "scores",
        )
        for index, rows in scored:
            if isinstance(rows, VideoError):
                yield VideoScores(index, 0, None, rows)
            else:
                yield VideoScores(index, num_views, rows.mean(dim=0))


def view_probabilities(checkpoint: Checkpoint, clips: Tensor, *, precision: str) -> Tensor:
    """The class probabilities of each view.

    Args:
        checkpoint: a classifier, in evaluation mode on the clips' device.
        clips: (N, T, C, H, W) uint8.
        precision: of the matrix products.

    Returns:
        (N, classes) float32: softmax scores, for several labels sigmoid scores, for regression the values.
    """
    model: Any = checkpoint.model
    pixel_values = normalize(clips, checkpoint.processor.image_mean, checkpoint.processor.image_std)
    with autocast(clips.device, precision):
        logits = model(pixel_values).logits
    return to_probabilities(logits.float(), model.config.problem_type)


def to_probabilities(logits: Tensor, problem_type: str | None) -> Tensor:
    """(…, classes) logits to what the problem type calls a score."""
    if problem_type == "multi_label_classification":
        return logits.sigmoid()
    if problem_type == "regression":
        return logits
    return logits.softmax(dim=-1)
