"""Opening a model for a command (heavy imports live here, not with the options)."""

from __future__ import annotations

from dataclasses import replace

import torch

from videomae.cli.arguments import require_at_least
from videomae.cli.model_options import ViewRunOptions
from videomae.inference.device import choose_device
from videomae.inference.scores import ViewOptions
from videomae.loading.checkpoint import LoadedCheckpoint, open_checkpoint, stored_task
from videomae.models.config import VideoMAEConfig


def open_for_views(
    model: str, options: ViewRunOptions, *, for_features: bool = False
) -> tuple[LoadedCheckpoint, ViewOptions, torch.device]:
    """The classifier `model`, or for features any checkpoint; how to look at videos, and where."""
    require_at_least(1, "--clips", options.clips)
    require_at_least(1, "--crops", options.crops)
    if options.frame_stride is not None:
        require_at_least(1, "--frame-stride", options.frame_stride)
    device = choose_device(options.device)
    # A classifier's features are what its head reads, so its norm is needed; of others the encoder is enough.
    is_classifier = not for_features or stored_task(VideoMAEConfig.from_pretrained(model)) == "classification"
    checkpoint = open_checkpoint(model, task="classification" if is_classifier else "features")
    if options.frame_stride is not None:
        checkpoint = replace(checkpoint, sampling=replace(checkpoint.sampling, frame_stride=options.frame_stride))
    views = ViewOptions(options.clips, options.crops, options.precision, options.num_workers)
    return checkpoint, views, device
