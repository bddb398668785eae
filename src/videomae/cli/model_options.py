"""Options that the commands with a finished model share."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from videomae.core.choices import ImageSize, InferencePrecisionName, PrecisionName


@dataclass(frozen=True, kw_only=True)
class UntoldOptions:
    """What a file of weights alone may lack."""

    num_frames: int | None = None
    """Frames in a clip, where a file of weights does not say; the published models have 16."""
    image_size: ImageSize | None = None
    """Pixels, where a file of weights does not say; the published models have 224."""
    num_attention_heads: int | None = None
    """Heads of an encoder of an unusual width."""
    decoder_num_attention_heads: int | None = None
    """Heads of a decoder of an unusual width."""
    base_model: str | None = None
    """Checkpoint that an adapter of PEFT is merged into; by default the one that it names."""
    use_mean_pooling: bool | None = None
    """True or False: whether the classifier that an adapter belongs to reads the mean of the tokens, where its base has
    no classifier."""

    def told(self) -> dict[str, Any]:
        """Those that are given, as keywords of `load_checkpoint`."""
        given = {field.name: getattr(self, field.name) for field in fields(UntoldOptions)}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class PlaceOptions:
    """Where a model runs, and on which clips."""

    device: str = "auto"
    """Where to compute: auto (CUDA, else MPS, else the CPU) or any device of torch, such as cpu, cuda:1 or mps."""
    num_frames: int | None = None
    """Frames in a clip; by default the checkpoint's, which is adapted to others."""
    image_size: ImageSize | None = None
    """Height and width of a clip in pixels, such as 224 or 192x320; by default the checkpoint's, which is adapted."""


@dataclass(frozen=True, kw_only=True)
class RunOptions(PlaceOptions):
    """Where and how a model runs."""

    precision: PrecisionName = "auto"
    """Precision of matrix products; auto is bf16 where the hardware multiplies it, on older GPUs fp16, else fp32."""


@dataclass(frozen=True, kw_only=True)
class ViewRunOptions(PlaceOptions):
    """Also how many views of a video are taken, and what may make the model faster."""

    precision: InferencePrecisionName = "auto"
    """Precision of matrix products; auto is bf16 where the hardware multiplies it, on older GPUs fp16, else fp32.
    int8 (on a CPU): 8-bit integers in the encoder's Linear layers; faster, and nearly the same."""
    merge_tokens: int = 0
    """Similar tokens that each layer merges (ToMe); faster, and nearly the same. Of 1568 tokens, 65 is moderate."""
    clips: int = 1
    """Clips in time, whose results are averaged."""
    crops: int = 1
    """Crops of each clip along the longer side, averaged too."""
    frame_stride: int | None = None
    """Distance between the frames of a clip; by default the checkpoint's."""
    frame_rate: float | None = None
    """Frames of a clip per second, in place of a stride; by default the checkpoint's, or none."""
    read_limit_seconds: float = 60.0
    """Time limit for opening one video and for reading its clips; a video that takes longer is unreadable.
    A stream that has no new frame for so long has ended."""
    num_workers: int = -1
    """Processes that decode; -1 takes one per core, at most 8."""
