"""Frames with any number of channels: NumPy and TIFF files, and what becomes of their values."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from videomae.core.errors import VideoError

ARRAY_SUFFIX = ".npy"
TIFF_SUFFIXES = frozenset({".tif", ".tiff"})

# ITU-R 601, as Pillow computes it: (shares · 65536, half) of red, green and blue.
_LUMA = np.array([19595, 38470, 7471], dtype=np.uint32)


def read_array(path: Path, *, max_pixels: int, num_channels: int | None) -> np.ndarray:
    """One `.npy` or TIFF file as a frame.

    Args:
        path: the file. TIFF needs tifffile.
        max_pixels: the most that it may have.
        num_channels: as for `to_frame`.

    Returns:
        uint8 (height, width, channels).

    Raises:
        ValueError: for anything but a frame; in words for the user.
        ImportError: without tifffile.
    """
    if path.suffix.lower() == ARRAY_SUFFIX:
        array = np.load(path, mmap_mode="r", allow_pickle=False)  # its header gives its size before it is read
    else:
        from tifffile import TiffFile

        with TiffFile(path) as file:
            page = file.pages[0]
            _check_size(page.shape, max_pixels, num_channels)
            array = page.asarray()
    _check_size(array.shape, max_pixels, num_channels)
    return to_frame(np.asarray(array), num_channels=num_channels)


def to_frame(array: np.ndarray, *, num_channels: int | None) -> np.ndarray:
    """An array of pixels as uint8 (height, width, channels), in memory of its own.

    Args:
        array: (height, width), (height, width, channels) or (channels, height, width) of uint8, of uint16, whose upper
            8 bits are taken, or of floats from 0 to 1.
        num_channels: which shows where the channels are; None: they are the fewer of first and last dimension.

    Raises:
        ValueError: for other shapes, types or values.
    """
    axis = _channel_axis(array.shape, num_channels)
    frame = array[:, :, None] if axis is None else np.moveaxis(array, axis, -1)
    if (frame.dtype.kind, frame.dtype.itemsize) == ("u", 2):
        frame = frame >> 8
    elif frame.dtype.kind == "f":
        if not (np.isfinite(frame).all() and frame.min() >= 0 and frame.max() <= 1):
            raise ValueError(f"floats from {frame.min():g} to {frame.max():g}, where 0 to 1 is expected")
        frame = np.rint(frame * 255)
    elif frame.dtype != np.uint8:
        raise ValueError(f"values of type {frame.dtype}, where uint8, uint16 or floats from 0 to 1 are expected")
    return np.ascontiguousarray(frame.astype(np.uint8))


def fit_channels(frame: np.ndarray, num_channels: int, name: str) -> np.ndarray:
    """A frame (height, width, channels) with another number of channels: RGB to gray, or gray to RGB.

    Args:
        frame: uint8.
        num_channels: that are wanted.
        name: of the video.

    Raises:
        VideoError: for all else: which channel would be which is not known.
    """
    found = frame.shape[-1]
    if found == num_channels:
        return frame
    if (found, num_channels) == (3, 1):
        return ((frame.astype(np.uint32) @ _LUMA + 0x8000) >> 16).astype(np.uint8)[..., None]
    if (found, num_channels) == (1, 3):
        return np.repeat(frame, 3, axis=-1)
    raise VideoError(
        f"{name} ({found} channels)",
        expected=f"{num_channels}, as the model reads",
        hint="give folders of .npy or TIFF frames, or train with another --num-channels"
        if found == 3
        else f"train a model for these with --num-channels {found}",
    )


def _channel_axis(shape: tuple[int, ...], num_channels: int | None) -> int | None:
    if len(shape) == 2:
        return None
    if len(shape) != 3:
        raise ValueError(f"an array of shape {shape}, where (height, width, channels) is expected")
    if num_channels is not None and num_channels in (shape[-1], shape[0]):
        return -1 if shape[-1] == num_channels else 0
    return -1 if shape[-1] <= shape[0] else 0


def _check_size(shape: tuple[int, ...], max_pixels: int, num_channels: int | None) -> None:
    axis = _channel_axis(shape, num_channels)
    high, wide = shape if axis is None else (shape[:2] if axis else shape[1:])
    if not high or not wide or 0 in shape:
        raise ValueError(f"an array of shape {shape}, without a pixel")
    if high * wide > max_pixels:
        raise ValueError(f"its {wide}x{high} pixels are more than the {max_pixels} allowed")
