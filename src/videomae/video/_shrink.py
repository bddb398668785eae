"""From a decoded frame to the smaller one that a packed file holds, in the colors that the reader shows."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
from av.filter import Graph
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from ._picture import Converter, display_axes, picture_shape, to_rgb

_PIXELS = "yuv420p"
_SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP
_SCALING_NAMES = "bicubic+accurate_rnd+full_chroma_inp"
_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED, which FFmpeg takes for BT.601
# AVCOL_SPC: BT.709, FCC, BT.470BG and SMPTE 170M (both BT.601), SMPTE 240M, BT.2020.
_MATRICES = frozenset({1, 4, 5, 6, 7, 9})


class Shrinker:
    """Scales the frames of one video, turns them as they are shown, and makes them 8 bit 4:2:0 of limited range.

    Most videos hold that kind of frames; their planes are scaled as they are, and keep their color matrix: a way
    through RGB would blur chroma twice, and FFmpeg's fast conversion to RGB rounds down by a level on average, which
    reading the packed file does once more. Others go through RGB, as the reader shows them, to BT.601.

    Args:
        size: (width, height) of what comes out, even.
        first: the first frame: a decoded one or uint8 RGB (height, width, 3); it decides about the color matrix.
        pixels: FFmpeg's name of the pixel format.
    """

    def __init__(self, size: tuple[int, int], first: Any, *, pixels: str = _PIXELS) -> None:
        self._size = size
        self._pixels = pixels
        self.matrix = int(Colorspace.ITU601)
        self._graph: Graph | None = None
        self._source: Any = None
        self._sink: Any = None
        self._key: tuple[Any, ...] | None = None
        self._to_yuv = VideoReformatter()
        self._to_rgb = Converter()
        if self._can_keep_planes(first):
            self.matrix = int(first.colorspace) if first.colorspace != _UNSPECIFIED else self.matrix
            self._key = _key(first)
            self._graph = self._configure(first)

    def shrink(self, frame: Any) -> Any:
        """Return an av.VideoFrame of the new size; without a time stamp.

        Raises:
            VideoError: colors that FFmpeg does not convert.
        """
        if self._graph is not None and not isinstance(frame, np.ndarray) and _key(frame) == self._key:
            frame.pts = None
            self._source.push(frame)
            return self._sink.pull()
        return self._through_rgb(frame if isinstance(frame, np.ndarray) else to_rgb(frame, self._to_rgb))

    def _can_keep_planes(self, frame: Any) -> bool:
        if isinstance(frame, np.ndarray) or self._pixels != _PIXELS or frame.format.name != _PIXELS:
            return False
        is_known = int(frame.colorspace) in _MATRICES | {_UNSPECIFIED} and frame.color_range != ColorRange.JPEG
        # One that grows by a pixel is no scaling.
        return is_known and not needs_padding(picture_shape(frame), self._size)

    def _configure(self, frame: Any) -> Graph:
        graph = Graph()
        graph.threads = 1
        about = {"video_size": f"{frame.width}x{frame.height}", "pix_fmt": _PIXELS, "time_base": "1/1"}
        self._source = graph.add("buffer", colorspace=str(self.matrix), range="1", **about)
        self._sink = graph.add("buffersink")
        x_by_x, y_by_x, x_by_y, y_by_y = display_axes(frame)
        turns = [
            *([graph.add("transpose", "cclock_flip")] if not x_by_x else []),
            *([graph.add("hflip")] if min(x_by_x, x_by_y) < 0 else []),
            *([graph.add("vflip")] if min(y_by_x, y_by_y) < 0 else []),
        ]
        width, height = self._size
        scale = graph.add("scale", f"{width}:{height}:flags={_SCALING_NAMES}")
        graph.link_nodes(self._source, *turns, scale, graph.add("format", _PIXELS), self._sink).configure()
        return graph

    def _through_rgb(self, picture: np.ndarray) -> Any:
        if needs_padding(picture.shape, self._size):
            picture = pad(picture, self._size)
        return self._to_yuv.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24"),
            width=self._size[0],
            height=self._size[1],
            format=self._pixels,
            interpolation=_SCALING,
            dst_colorspace=Colorspace(self.matrix) if self.matrix in set(Colorspace) else Colorspace.ITU601,
            dst_color_range=ColorRange.MPEG,
            threads=1,
        )


def needs_padding(shape: tuple[int, ...], size: tuple[int, int]) -> bool:
    """Whether (width, height) is (height, width, …) with odd sides made even, and nothing else."""
    return (shape[1], shape[0]) != size and (shape[1] + shape[1] % 2, shape[0] + shape[0] % 2) == size


def pad(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Repeat the last row or column up to (width, height)."""
    return np.pad(picture, ((0, size[1] - picture.shape[0]), (0, size[0] - picture.shape[1]), (0, 0)), mode="edge")


def _key(frame: Any) -> tuple[Any, ...]:
    return (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range, display_axes(frame))
