"""Opening a model for a command (heavy imports live here, not with the options)."""

from __future__ import annotations

from dataclasses import replace

import torch

from videomae.cli.arguments import require_at_least
from videomae.cli.model_options import ViewRunOptions
from videomae.inference.device import choose_device
from videomae.inference.scores import ViewOptions
from videomae.loading.checkpoint import LoadedCheckpoint, open_checkpoint


def open_for_views(model: str, options: ViewRunOptions) -> tuple[LoadedCheckpoint, ViewOptions, torch.device]:
    """The classifier `model`, how to look at videos, and where."""
    require_at_least(1, "--clips", options.clips)
    require_at_least(1, "--crops", options.crops)
    if options.frame_stride is not None:
        require_at_least(1, "--frame-stride", options.frame_stride)
    device = choose_device(options.device)
    checkpoint = open_checkpoint(model, task="classification")
    if options.frame_stride is not None:
        checkpoint = replace(checkpoint, sampling=replace(checkpoint.sampling, frame_stride=options.frame_stride))
    views = ViewOptions(options.clips, options.crops, options.precision, options.num_workers)
    return checkpoint, views, device
