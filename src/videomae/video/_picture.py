"""From a decoded frame to an RGB picture as it is shown."""

from __future__ import annotations

import math
import re
from typing import Any

import av
import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import SideDataContainer
from av.video.reformatter import ColorPrimaries, ColorTrc, Interpolation, VideoReformatter

from videomae.core.errors import VideoError

# From these, FFmpeg's scaler has tables straight to RGB, for even heights: no filter, no chroma siting has a say.
_TABLE_FORMATS = frozenset({"yuv420p", "yuvj420p"})
# Transfer characteristics of high dynamic range: PQ (SMPTE 2084) and HLG (ARIB STD-B67).
HDR_TRANSFERS = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)


class Converter:
    """Makes RGB of decoded frames, bit for bit as FFmpeg's filter graph `buffer, format=rgb24` does.

    One serves a whole file: it is set up by the first frame, and again where the size, pixel format or colors change.
    PyAV's own conversion differs from the filter graph where chroma has to be interpolated (10 bit, odd heights and so
    on): it filters bilinearly, the graph bicubically, and it goes by the chroma siting that decoders write on frames,
    which the graph does not; and the graph converts the two fields of an interlaced frame each by itself. Where none of
    this has a say, PyAV's is used, because it costs less per frame. One thread at a time; it starts none, so that a
    process may be forked with it.

    Args:
        name: the file, for error messages.
    """

    def __init__(self, name: str = "the video") -> None:
        self._name = name
        self._reformatter = VideoReformatter()
        self._key: tuple[Any, ...] | None = None
        self._graph: Graph | None = None
        self._source: Any = None
        self._sink: Any = None

    def convert(self, frame: Any) -> Any:
        """Return the frame as an av.VideoFrame in rgb24; transparency is dropped.

        Raises:
            VideoError: a color space or range that FFmpeg does not convert.
        """
        pixels = frame.format
        if pixels.is_bayer and min(frame.width, frame.height) < 2:  # libswscale would abort the process
            raise self._not_convertible(frame, "a mosaic needs 2x2 pixels")
        # These two take no part in the conversion, but the scaler refuses values that it does not know.
        frame.color_primaries, frame.color_trc = ColorPrimaries.UNSPECIFIED, ColorTrc.UNSPECIFIED
        try:
            if pixels.name in _TABLE_FORMATS and frame.height % 2 == 0 and not frame.interlaced_frame:
                return self._reformatter.reformat(frame, format="rgb24", interpolation=Interpolation.BICUBIC, threads=1)
            key = (frame.width, frame.height, pixels.name, frame.colorspace, frame.color_range)
            if key != self._key:
                self._configure(key)
            self._source.push(frame)
            return self._sink.pull()
        except (av.FFmpegError, ValueError) as error:
            self._key = None
            raise self._not_convertible(frame, " ".join(str(error).split())) from error

    def _configure(self, key: tuple[Any, ...]) -> None:
        width, height, pixels, colorspace, color_range = key
        self._key, self._graph = None, Graph()
        self._graph.threads = 1
        self._source = self._graph.add(
            "buffer",
            video_size=f"{width}x{height}",
            pix_fmt=pixels,
            time_base="1/1",
            colorspace=str(int(colorspace)),
            range=str(int(color_range)),
        )
        self._sink = self._graph.add("buffersink")
        self._graph.link_nodes(self._source, self._graph.add("format", "rgb24"), self._sink).configure()
        self._key = key

    def _not_convertible(self, frame: Any, reason: str) -> VideoError:
        return VideoError(
            f"{self._name} ({frame.format.name}, {frame.width}x{frame.height}, color space {int(frame.colorspace)}, "
            f"range {int(frame.color_range)})",
            expected=f"colors that FFmpeg converts to RGB ({reason})",
            hint="convert the video to H.264 with BT.709 colors",
        )


def to_rgb(frame: Any, converter: Converter, *, out: np.ndarray | None = None) -> np.ndarray:
    """Return uint8 RGB (height, width, 3), turned and mirrored as the frame's display matrix asks.

    A rotation by anything but a multiple of 90° is ignored: the result would be no rectangle of whole pixels.

    Args:
        frame: a decoded av.VideoFrame.
        converter: the one of the frame's file.
        out: uint8 of `picture_shape(frame)`, into which the picture is written; None for an array of its own.

    Raises:
        VideoError: colors that FFmpeg does not convert.
    """
    plane = converter.convert(frame).planes[0]
    rows = np.frombuffer(plane, dtype=np.uint8).reshape(plane.height, plane.line_size)
    picture = rows[:, : plane.width * 3].reshape(plane.height, plane.width, 3)
    x_by_x, y_by_x, x_by_y, y_by_y = display_axes(frame)
    if not x_by_x:
        picture = picture.transpose(1, 0, 2)
    if min(x_by_x, x_by_y) < 0:
        picture = picture[:, ::-1]
    if min(y_by_x, y_by_y) < 0:
        picture = picture[::-1]
    if out is None:
        out = np.empty(picture.shape, dtype=np.uint8)
    elif out.shape != picture.shape:  # NumPy would broadcast a picture of one row
        raise ValueError(f"out of shape {out.shape} for a picture of shape {picture.shape}")
    if x_by_x or out.strides[2] != 1:
        out[...] = picture
    else:  # Pixels that change places are copied several times faster whole than by their bytes.
        out.view("V3")[...] = picture.view("V3")
    return out


def picture_shape(frame: Any) -> tuple[int, int, int]:
    """(height, width, 3) of what `to_rgb` makes of a frame."""
    is_upright = bool(display_axes(frame)[0])
    return (frame.height, frame.width, 3) if is_upright else (frame.width, frame.height, 3)


def rotation_degrees(frame: Any) -> int:
    """By how much the stored picture is turned clockwise to be shown: 0, 90, 180 or 270."""
    x_by_x, y_by_x, _, _ = display_axes(frame)
    return round(math.degrees(math.atan2(y_by_x, x_by_x))) % 360


def display_axes(frame: Any) -> tuple[int, int, int, int]:
    """Return (a, b, c, d), each -1, 0 or 1: a pixel is shown at x' = a x + c y, y' = b x + d y (y points down)."""
    side_data = _side_data(frame).get("DISPLAYMATRIX")
    if side_data is None:
        return 1, 0, 0, 1
    matrix = np.frombuffer(bytes(side_data), dtype=np.int32)[[0, 1, 3, 4]].astype(np.float64)
    largest = np.abs(matrix).max()
    a, b, c, d = (round(float(entry) / largest) if largest else 0 for entry in matrix)
    is_turn = (abs(a), abs(b), abs(c), abs(d)) in ((1, 0, 0, 1), (0, 1, 1, 0))
    is_exact = largest > 0 and np.abs(matrix / largest - (a, b, c, d)).max() < 0.01
    return (a, b, c, d) if is_turn and is_exact else (1, 0, 0, 1)


def _side_data(frame: Any) -> SideDataContainer:
    """The frame's side data, without kinds that PyAV has no name for (EXIF before PyAV 19): it would raise."""
    while True:
        try:
            # The frame's own `side_data` would tie it into a reference cycle, and its pixels to the garbage collector.
            return SideDataContainer(frame)  # type: ignore[call-arg]
        except ValueError as error:
            kind = re.match(r"(\d+) is not a valid", str(error))
            if kind is None:
                raise
            graph = Graph()
            source = graph.add(
                "buffer", video_size=f"{frame.width}x{frame.height}", pix_fmt=frame.format.name, time_base="1/1"
            )
            sink = graph.add("buffersink")
            graph.link_nodes(source, graph.add("sidedata", f"mode=delete:type={kind[1]}"), sink).configure()
            source.push(frame)
            frame = sink.pull()
