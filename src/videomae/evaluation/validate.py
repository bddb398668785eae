"""Judge a classifier on a data set: one implementation for training and for the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from videomae.core.errors import ConfigError, DataError, VideoError
from videomae.data.clips import label_indices
from videomae.data.known import known_packets
from videomae.data.manifest import Manifest
from videomae.evaluation.metrics import Metrics, classification_metrics
from videomae.inference.scores import ViewOptions, score_videos
from videomae.loading.checkpoint import LoadedCheckpoint
from videomae.video.source import VideoSource


@dataclass(frozen=True)
class Evaluation:
    """Metrics, and what they were computed from.

    Args:
        metrics: the numbers.
        class_names: names of the confusion matrix' rows and columns.
        broken: (path, reason) of each video that could not be read.
    """

    metrics: Metrics
    class_names: tuple[str, ...]
    broken: tuple[tuple[VideoSource, VideoError], ...]


def evaluate_classifier(
    checkpoint: LoadedCheckpoint,
    manifest: Manifest,
    *,
    options: ViewOptions,
    device: torch.device,
    count_broken_as_wrong: bool = False,
    on_video: Callable[[], None] | None = None,
    excluded: dict[int, VideoError] | None = None,
) -> Evaluation:
    """Judge each video exactly once; classes are matched by name.

    Args:
        checkpoint: a classifier; it is moved to `device`, and put in evaluation mode for the time being.
        manifest: labelled videos; every class must be one of the model's.
        options: views and precision.
        device: where to compute.
        count_broken_as_wrong: count videos that cannot be read as wrong instead of raising.
        on_video: called after each video.
        excluded: index → why, of videos that are not opened but broken; those that end a worker are added, so that
            the next evaluation need not meet them again.

    Raises:
        ConfigError: if the model gives no single class.
        DataError: if a video has no class or the model does not know it.
        VideoError: if a video cannot be read.
    """
    model = checkpoint.model.to(device)
    if model.config.problem_type not in (None, "single_label_classification"):
        raise ConfigError(
            f"a model with problem_type={model.config.problem_type!r}",
            expected="a classifier that gives each video one class",
            hint="its scores are to be had with predict",
        )
    class_names = tuple(model.config.id2label[index] for index in range(model.config.num_labels))
    labels = np.array(label_indices(manifest.require_classes(class_names).entries, class_names))
    paths = [entry.path for entry in manifest.entries]
    was_training = model.training
    model.eval()
    probabilities: dict[int, np.ndarray] = {}
    broken: dict[int, VideoError] = {}
    try:
        scored = score_videos(
            checkpoint,
            manifest.entries,
            options=options,
            device=device,
            catalog=known_packets(manifest),
            excluded=excluded,
        )
        for scores in scored:
            if scores.error is not None:
                if not count_broken_as_wrong:
                    raise scores.error
                broken[scores.index] = scores.error
            elif scores.probabilities is not None:
                probabilities[scores.index] = scores.probabilities.numpy()
            if on_video is not None:
                on_video()
    finally:
        model.train(was_training)
    if not probabilities:
        raise DataError(
            f"{manifest.source} with {len(broken)} videos, none of which can be read",
            expected="videos that can be read",
            hint=f"the first one: {next(iter(broken.values()))}",
        )
    judged = sorted(probabilities)
    metrics = classification_metrics(
        np.stack([probabilities[index] for index in judged]),
        labels[judged],
        broken_labels=labels[sorted(broken)] if broken else np.zeros(0, dtype=np.int64),
    )
    return Evaluation(metrics, class_names, tuple((paths[index], broken[index]) for index in sorted(broken)))
