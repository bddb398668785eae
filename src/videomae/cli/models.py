"""Opening a model for a command (heavy imports live here, not with the options)."""

from __future__ import annotations

from dataclasses import replace

import torch

from videomae.cli.arguments import UsageError
from videomae.cli.model_options import ViewRunOptions
from videomae.inference.device import choose_device
from videomae.inference.scores import ViewOptions
from videomae.loading.checkpoint import LoadedCheckpoint, open_checkpoint


def open_for_views(model: str, options: ViewRunOptions) -> tuple[LoadedCheckpoint, ViewOptions, torch.device]:
    """The classifier `model`, how to look at videos, and where."""
    require_at_least_one("--clips", options.clips)
    require_at_least_one("--crops", options.crops)
    device = choose_device(options.device)
    checkpoint = open_checkpoint(model, task="classification")
    if options.frame_stride is not None:
        require_at_least_one("--frame-stride", options.frame_stride)
        checkpoint = replace(checkpoint, sampling=replace(checkpoint.sampling, frame_stride=options.frame_stride))
    views = ViewOptions(options.clips, options.crops, options.precision, options.num_workers)
    return checkpoint, views, device


def require_at_least_one(name: str, value: int) -> None:
    """Raise a UsageError unless `value` is 1 or more."""
    if value < 1:
        raise UsageError(f"{name} {value}", expected="1 or more", hint="give a larger number")
