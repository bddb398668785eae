"""What sampling by stride and sampling in time share: draws and checks."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from videomae.core.errors import ConfigError, VideoError

METHODS = ("dense", "uniform", "linspace")


def draw_integer(generator: Any, low: int, high: int) -> int:
    """Draw an integer in [low, high) from a torch or a NumPy generator."""
    if isinstance(generator, np.random.Generator):
        return int(generator.integers(low, high))
    torch = _torch_for(generator)
    return int(torch.randint(low, high, (1,), generator=generator, device=generator.device))


def draw_fraction(generator: Any) -> float:
    """Draw a number in [0, 1) from a torch or a NumPy generator."""
    if isinstance(generator, np.random.Generator):
        return float(generator.random())
    torch = _torch_for(generator)
    return float(torch.rand((), generator=generator, device=generator.device, dtype=torch.float64))


def _torch_for(generator: Any) -> Any:
    import torch

    if not isinstance(generator, torch.Generator):
        raise ConfigError(
            f"a generator of type {type(generator).__name__}",
            expected="a torch.Generator or a numpy.random.Generator",
            hint="make one with torch.Generator().manual_seed(0), or leave it out for the center",
        )
    return torch


def check_clip(num_video_frames: int, *, num_frames: int, frame_stride: int = 1, method: str = "dense") -> None:
    """Raise the VideoError or ConfigError that `sample_frame_indices` promises."""
    for name, number in (
        ("num_video_frames", num_video_frames),
        ("num_frames", num_frames),
        ("frame_stride", frame_stride),
    ):
        _check_whole(name, number)
    if num_video_frames < 1:
        raise VideoError(
            f"num_video_frames={num_video_frames}",
            expected="a video with at least 1 frame",
            hint="skip this video, or repair it",
        )
    if method not in METHODS:
        raise ConfigError(
            f"method={method!r}", expected=f"one of {', '.join(METHODS)}", hint="choose how frames are to be sampled"
        )
    for name, number in (("num_frames", num_frames), ("frame_stride", frame_stride)):
        if number < 1:
            raise ConfigError(f"{name}={number}", expected="at least 1", hint=f"give a larger {name}")


def _check_whole(name: str, number: Any) -> None:
    try:
        operator.index(number)
    except TypeError as error:
        raise ConfigError(f"{name}={number!r}", expected="a whole number", hint="round it first") from error


def check_clip_number(clip: int, num_clips: int) -> None:
    """Raise a ConfigError unless `clip` is one of `num_clips`."""
    _check_whole("clip", clip)
    _check_whole("num_clips", num_clips)
    if num_clips < 1:
        raise ConfigError(f"num_clips={num_clips}", expected="at least 1", hint="give a larger num_clips")
    if not 0 <= clip < num_clips:
        raise ConfigError(f"clip={clip}", expected=f"a clip from 0 to {num_clips - 1}", hint="pass a larger num_clips")
