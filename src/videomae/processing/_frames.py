"""Frames of every kind (PIL, NumPy, torch; one, a clip, a batch) as stacked arrays, without copies where possible."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from PIL import Image

from videomae.core.errors import ShapeError
from videomae.processing._steps import CHANNELS_FIRST, CHANNELS_LAST

# The channel counts by which a layout is recognized.
KNOWN_CHANNELS = (1, 3)
FRAMES_HINT = "give a list of frames, a (T, H, W, C) array, or a list of those"


@dataclass(frozen=True)
class Stack:
    """Frames of one clip that have the same shape and type.

    Attributes:
        positions: their places in the clip.
        frames: (n, H, W, C) or (n, C, H, W), possibly a view of the caller's memory: never written to. Frames that are
            not contiguous in memory stay a list, which is copied chunk by chunk.
        layout: `channels_last` or `channels_first`.
    """

    positions: tuple[int, ...]
    frames: np.ndarray | list[np.ndarray]
    layout: str

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a frame."""
        first, second, third = self.frames[0].shape
        return (first, second, third) if self.layout == CHANNELS_FIRST else (third, first, second)

    @property
    def dtype(self) -> np.dtype:
        """Type of the values."""
        return self.frames[0].dtype

    @cached_property
    def array(self) -> np.ndarray:
        """All frames in one array."""
        return self.frames if isinstance(self.frames, np.ndarray) else np.stack(self.frames)

    def chunks(self, chunk_bytes: int) -> list[slice]:
        """Slices of the stack of at most `chunk_bytes`, but of at least one frame."""
        step = max(1, chunk_bytes // self.frames[0].nbytes)
        return [slice(start, start + step) for start in range(0, len(self.frames), step)]

    def tensor(self, chunk: slice) -> torch.Tensor:
        """Frames as (n, C, H, W); the channels stay innermost in memory if they were."""
        part = self.frames[chunk]
        if not isinstance(part, np.ndarray):
            part = part[0][None] if len(part) == 1 else np.stack(part)
        frames = as_tensor(part)
        return frames if self.layout == CHANNELS_FIRST else frames.permute(0, 3, 1, 2)


def clips_of(videos: Any) -> list[list[np.ndarray] | np.ndarray]:
    """Part the input of a processor into clips.

    Args:
        videos: one frame, one clip (list of frames, 4-D array) or a batch (list of clips, 5-D array). A frame is a PIL
            image of mode RGB or L, or a 3-D array or tensor; values from 0 to 255, or floats from 0 to 1.

    Returns:
        One entry per clip: a 4-D array of its frames, or a list of 3-D arrays.

    Raises:
        ShapeError: anything else.
    """
    if isinstance(videos, list | tuple):
        if not videos:
            raise ShapeError("an empty list", expected="at least one frame", hint=FRAMES_HINT)
        if all(isinstance(video, list | tuple) for video in videos):
            return [_clip(video, name=f"video {index}") for index, video in enumerate(videos)]
        if any(isinstance(video, list | tuple) for video in videos):
            raise ShapeError("a list that mixes frames and lists of frames", expected="one kind", hint=FRAMES_HINT)
        arrays = [_array(video) for video in videos]
        dimensions = sorted({array.ndim for array in arrays})
        if dimensions == [4]:
            return [_checked(array) for array in arrays]
        if dimensions == [3]:
            return [[_checked(array) for array in arrays]]
        raise _wrong_dimensions(f"a list of arrays with {_listed(dimensions)} dimensions")
    array = _array(videos)
    if array.ndim == 5:
        return list(_checked(array))
    if array.ndim == 4:
        return [_checked(array)]
    if array.ndim == 3:
        return [[_checked(array)]]
    raise _wrong_dimensions(f"an array of shape {array.shape}")


def stacks_of(clip: list[np.ndarray] | np.ndarray, *, input_data_format: str | None) -> list[Stack]:
    """Put the frames of a clip that look alike together, so that they are processed at once."""
    if isinstance(clip, np.ndarray):
        return [Stack(tuple(range(len(clip))), clip, input_data_format or _layout(clip.shape[1:]))]
    groups: dict[tuple[tuple[int, ...], np.dtype], list[int]] = {}
    for position, frame in enumerate(clip):
        groups.setdefault((frame.shape, frame.dtype), []).append(position)
    return [
        Stack(tuple(positions), _stacked([clip[i] for i in positions]), input_data_format or _layout(shape))
        for (shape, _), positions in groups.items()
    ]


def _clip(frames: list[Any] | tuple[Any, ...], *, name: str) -> list[np.ndarray]:
    if not frames:
        raise ShapeError(f"{name} without frames", expected="at least one frame in each video", hint=FRAMES_HINT)
    arrays = [_array(frame) for frame in frames]
    dimensions = sorted({array.ndim for array in arrays})
    if dimensions != [3]:
        raise _wrong_dimensions(f"{name} with frames of {_listed(dimensions)} dimensions")
    return [_checked(array) for array in arrays]


def _array(value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    if isinstance(value, Image.Image):
        if value.mode not in ("RGB", "L"):
            raise ShapeError(
                f"a PIL image of mode {value.mode}", expected="mode RGB (or L)", hint='call image.convert("RGB")'
            )
        array = np.asarray(value)
        return array if array.ndim == 3 else array[:, :, None]
    if isinstance(value, str | bytes) or hasattr(value, "__fspath__"):
        raise ShapeError(
            repr(value), expected="decoded frames, not a file's name", hint="read it with read_video first"
        )
    if hasattr(value, "__array__"):
        return np.asarray(value)
    raise ShapeError(
        f"an object of type {type(value).__name__}",
        expected="PIL images, NumPy arrays or torch tensors",
        hint=FRAMES_HINT,
    )


def _checked(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "biuf":
        raise ShapeError(f"frames of type {array.dtype}", expected="real numbers", hint="use uint8 frames")
    if 0 in array.shape:
        raise ShapeError(
            f"frames of shape {array.shape}", expected="at least one frame and one pixel", hint=FRAMES_HINT
        )
    return array


def _wrong_dimensions(found: str) -> ShapeError:
    return ShapeError(
        found,
        expected="frames of 3 dimensions (height, width, channels, or channels first)",
        hint="give gray frames a channel dimension of 1, and keep the channels inside each frame",
    )


def _listed(numbers: list[int]) -> str:
    return " and ".join(map(str, numbers))


def _layout(shape: tuple[int, ...]) -> str:
    if shape[0] in KNOWN_CHANNELS:
        return CHANNELS_FIRST
    if shape[-1] in KNOWN_CHANNELS:
        return CHANNELS_LAST
    raise ShapeError(
        f"frames of shape {tuple(shape)}",
        expected="1 or 3 channels as their first or last dimension",
        hint=f'pass input_data_format="{CHANNELS_FIRST}" or "{CHANNELS_LAST}" for another number of channels',
    )


def _stacked(frames: list[np.ndarray]) -> np.ndarray | list[np.ndarray]:
    """The frames as one array where they are contiguous in memory, as those of `list(clip)` are: 5 to 10 % faster."""
    first = frames[0]
    addresses = [frame.__array_interface__["data"][0] for frame in frames]
    step = addresses[1] - addresses[0] if len(frames) > 1 else first.nbytes
    even = all(after - before == step for before, after in pairwise(addresses))
    if even and step == first.nbytes and all(frame.strides == first.strides for frame in frames):
        shape, strides = (len(frames), *first.shape), (step, *first.strides)
        return np.lib.stride_tricks.as_strided(first, shape=shape, strides=strides, writeable=False)
    return frames


def as_tensor(array: np.ndarray) -> torch.Tensor:
    """A tensor that shares an array's memory, or that of a copy where torch does not support it; never written to."""
    if not array.dtype.isnative or array.dtype.itemsize > 8:
        array = array.astype(np.float64 if array.dtype.kind == "f" else array.dtype.newbyteorder("="))
    if any(stride < 0 or stride % array.dtype.itemsize for stride in array.strides):
        array = np.ascontiguousarray(array)
    return torch.from_numpy(array if array.flags.writeable else array.copy())  # torch warns of read-only arrays
