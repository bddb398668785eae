"""From a decoded frame to an RGB picture as it is shown."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from av.video.reformatter import VideoReformatter


def to_rgb(frame: Any, converter: VideoReformatter) -> np.ndarray:
    """Return uint8 RGB (height, width, 3), turned and mirrored as the frame's display matrix asks.

    The converter is set up by its first frame; one for a whole file spares small frames most of their conversion time.
    A turn by anything but a multiple of 90° is left out: it would not give a rectangle of whole pixels.
    """
    picture = converter.reformat(frame, format="rgb24", threads=1).to_ndarray()
    x_by_x, y_by_x, x_by_y, y_by_y = _display_axes(frame)
    if not x_by_x:
        picture = picture.transpose(1, 0, 2)
    if min(x_by_x, x_by_y) < 0:
        picture = picture[:, ::-1]
    if min(y_by_x, y_by_y) < 0:
        picture = picture[::-1]
    return picture


def rotation_degrees(frame: Any) -> int:
    """By how much the stored picture is turned clockwise to be shown: 0, 90, 180 or 270."""
    x_by_x, y_by_x, _, _ = _display_axes(frame)
    return round(math.degrees(math.atan2(y_by_x, x_by_x))) % 360


def _display_axes(frame: Any) -> tuple[int, int, int, int]:
    """Return (a, b, c, d), each -1, 0 or 1: a pixel is shown at x' = a x + c y, y' = b x + d y (y points down)."""
    side_data = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return 1, 0, 0, 1
    matrix = np.frombuffer(bytes(side_data), dtype=np.int32)[[0, 1, 3, 4]].astype(np.float64)
    largest = np.abs(matrix).max()
    a, b, c, d = (round(float(entry) / largest) if largest else 0 for entry in matrix)
    is_turn = (abs(a), abs(b), abs(c), abs(d)) in ((1, 0, 0, 1), (0, 1, 1, 0))
    is_exact = largest > 0 and np.abs(matrix / largest - (a, b, c, d)).max() < 0.01
    return (a, b, c, d) if is_turn and is_exact else (1, 0, 0, 1)
