"""Opening a model for a command (heavy imports live here, not with the options)."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from videomae.checkpoint import LoadedCheckpoint, open_checkpoint, stored_task
from videomae.cli.arguments import UsageError, require_at_least
from videomae.cli.model_options import ViewRunOptions
from videomae.core.device import choose_device
from videomae.inference.scores import ViewOptions
from videomae.models.config import VideoMAEConfig
from videomae.video.sampling import ClipSampling


def open_for_views(
    model: str, options: ViewRunOptions, *, for_features: bool = False
) -> tuple[LoadedCheckpoint, ViewOptions, torch.device]:
    """The classifier `model`, or for features any checkpoint; how to look at videos, and where."""
    require_at_least(1, "--clips", options.clips)
    require_at_least(1, "--crops", options.crops)
    _check_times(options)
    device = choose_device(options.device)
    # A classifier's features are what its head reads, so its norm is needed; of others the encoder is enough.
    is_classifier = not for_features or stored_task(VideoMAEConfig.from_pretrained(model)) == "classification"
    checkpoint = open_checkpoint(model, task="classification" if is_classifier else "features")
    checkpoint = replace(checkpoint, sampling=_asked_for(checkpoint.sampling, options))
    views = ViewOptions(
        options.clips, options.crops, options.precision, options.num_workers, options.read_limit_seconds
    )
    return checkpoint, views, device


def _check_times(options: ViewRunOptions) -> None:
    if options.frame_stride is not None:
        require_at_least(1, "--frame-stride", options.frame_stride)
        if options.frame_rate is not None:
            raise UsageError(
                f"--frame-stride {options.frame_stride} --frame-rate {options.frame_rate}",
                expected="one of them",
                hint="leave one out",
            )
    if not 0 < options.read_limit_seconds < math.inf:
        raise UsageError(
            f"--read-limit-seconds {options.read_limit_seconds}", expected="more than 0", hint="60 is the default"
        )


def _asked_for(sampling: ClipSampling, options: ViewRunOptions) -> ClipSampling:
    """The checkpoint's sampling, unless the user asks for another distance of the frames."""
    if options.frame_stride is not None:
        return replace(sampling, frame_stride=options.frame_stride, frame_rate=None)
    return sampling if options.frame_rate is None else replace(sampling, frame_rate=options.frame_rate)
