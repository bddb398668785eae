"""Shared by all readers: check requested frame numbers, and gather pictures in one array."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from videomae.core.errors import VideoError


def check_indices(indices: Sequence[int] | np.ndarray, *, num_frames: int, name: str, note: str = "") -> np.ndarray:
    """Return frame numbers as int64.

    Args:
        indices: the requested frame numbers.
        num_frames: of the video.
        name: of the video.
        note: a remark to add after its number of frames.

    Raises:
        VideoError: no list of at least one whole number, or a number outside the video.
    """
    numbers = np.asarray(indices)
    if numbers.ndim != 1 or not len(numbers) or not np.issubdtype(numbers.dtype, np.integer):
        raise VideoError(
            f"indices of shape {numbers.shape} and type {numbers.dtype}",
            expected="a list of at least one whole number",
            hint="sample_frame_indices makes such a list",
        )
    outside = numbers[(numbers < 0) | (numbers >= num_frames)]
    if len(outside):
        raise VideoError(
            f"frame {outside[0]} of {name}",
            expected=f"a number from 0 to {num_frames - 1} ({num_frames} frames{note})",
            hint="sample within the video's frames",
        )
    return numbers.astype(np.int64)


def gather(numbers: np.ndarray, pictures: Iterable[tuple[int, np.ndarray]], *, name: str) -> np.ndarray:
    """Gather pictures in the order of the requested numbers.

    Args:
        numbers: (n,) frame numbers, repeats allowed.
        pictures: (frame number, uint8 (height, width, 3)) once for each distinct one of them.
        name: of the video.

    Returns:
        uint8 (n, height, width, 3).

    Raises:
        VideoError: pictures of unequal sizes.
    """
    clip = None
    for number, picture in pictures:
        if clip is None:
            clip = np.empty((len(numbers), *picture.shape), dtype=np.uint8)
        if picture.shape != clip.shape[1:]:
            raise VideoError(
                f"{name}, frame {number} ({size_text(picture.shape)})",
                expected=f"the size of the frames read before, {size_text(clip.shape[1:])}",
                hint="the size changes midway: convert the video to a single one",
            )
        clip[numbers == number] = picture
    assert clip is not None
    return clip


def size_text(shape: tuple[int, ...]) -> str:
    """(height, width, …) as WIDTHxHEIGHT."""
    return f"{shape[1]}x{shape[0]}"
