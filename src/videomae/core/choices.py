"""Types of options; loads nothing, so that recipes and the command line can use it."""

from __future__ import annotations

from typing import Literal

PrecisionName = Literal["auto", "bf16", "fp32", "fp16"]
InferencePrecisionName = Literal["auto", "bf16", "fp32", "fp16", "int8"]
MaskName = Literal["tube", "random"]
ImageSize = int | tuple[int, int]  # a square, or (height, width)
TrackerName = Literal["auto", "tensorboard", "wandb", "trackio", "none"]
