"""Writing frames to an MP4 file."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np

from videomae.core.errors import ConfigError, ShapeError, VideoError
from videomae.core.text import error_reason, readable

from ._x264 import repeatable_params


def write_video(
    path: str | os.PathLike[str],
    frames: np.ndarray,
    *,
    frames_per_second: float,
    crf: int = 18,
    preset: str = "veryfast",
) -> None:
    """Write H.264 (yuv420p, which every player shows) in an MP4 file.

    The file appears complete or not at all; the same frames give the same bytes. Odd heights and widths become even by
    repeating the last row or column.

    Args:
        path: the file to write; its folder must exist, a file already there is replaced.
        frames: uint8 RGB (T, H, W, 3), 0 to 255, T, H and W at least 1.
        frames_per_second: above 0.
        crf: x264's constant rate factor, from 0 (largest file, best picture) to 51.
        preset: x264's trade of time against size, from "ultrafast" to "veryslow".

    Raises:
        ShapeError: no frames, or frames of another shape or type.
        ConfigError: a rate or rate factor out of range.
        VideoError: the file cannot be written.
    """
    frames = np.asarray(frames)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ShapeError(
            f"frames of shape {frames.shape} and type {frames.dtype}",
            expected="uint8 (num_frames, height, width, 3) with at least one frame of at least one pixel",
            hint="stack RGB frames of one size",
        )
    if not 0 < frames_per_second <= 10_000:
        raise ConfigError(
            f"frames_per_second={frames_per_second}", expected="a rate above 0 and up to 10000", hint="30 is common"
        )
    if not 0 <= crf <= 51:
        raise ConfigError(f"crf={crf}", expected="0 to 51", hint="18 is visually close to the original")
    with VideoWriter(path, frames_per_second=frames_per_second, crf=crf, preset=preset) as writer:
        for picture in frames:
            writer.add(picture)


class VideoWriter:
    """Writes frames one by one to an MP4 file as `write_video` does, in the memory of a few frames.

    A context manager: the file appears when its block ends without an error, complete.

    Args:
        path: the file to write; its folder must exist, a file already there is replaced.
        frames_per_second: above 0; of frames with times of their own, about how many.
        crf: as for `write_video`.
        preset: as for `write_video`.
        time_base: seconds in a unit of the frames' own times; None where they follow each other at the rate.
        num_threads: of the encoder; the same frames give the same bytes with 1 alone.

    Raises:
        VideoError: the file cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        frames_per_second: float,
        crf: int = 18,
        preset: str = "veryfast",
        time_base: Fraction | None = None,
        num_threads: int = 1,
    ) -> None:
        self._path = Path(path)
        self._partial = self._path.with_name(f".{uuid.uuid4().hex}.partial")
        self._rate = Fraction(frames_per_second).limit_denominator(1001)
        self._time_base = time_base or 1 / self._rate
        self._options = {"crf": str(crf), "preset": preset, "x264-params": repeatable_params()}
        self._num_threads = num_threads
        self._number = 0
        self._container: Any = None
        self._stream: Any = None

    def __enter__(self) -> Self:
        with self._explained():
            # The prefix keeps names with a colon from being taken for a protocol.
            self._container = av.open(
                f"file:{os.fspath(self._partial)}", "w", format="mp4", options={"movflags": "faststart"}
            )
        return self

    def add(self, picture: np.ndarray, *, time: int | None = None) -> None:
        """Append a frame.

        Args:
            picture: uint8 RGB (H, W, 3), all of one size; odd ones become even by repeating the last row or column.
            time: when it is shown, in units of `time_base`, ascending; None for one unit after the frame before.
        """
        height, width = picture.shape[:2]
        if height % 2 or width % 2:
            picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        with self._explained():
            if self._stream is None:
                self._stream = self._container.add_stream("libx264", rate=self._rate, options=self._options)
                self._stream.height, self._stream.width = picture.shape[:2]
                self._stream.pix_fmt = "yuv420p"
                self._stream.codec_context.thread_count = self._num_threads
                self._stream.codec_context.time_base = self._time_base
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = self._number if time is None else time, self._time_base
            self._number += 1
            self._container.mux(self._stream.encode(frame))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._explained():
                if kind is None and self._stream is not None:
                    self._container.mux(self._stream.encode(None))
                self._container.close()
                if kind is None:
                    os.replace(self._partial, self._path)
        finally:
            self._partial.unlink(missing_ok=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            raise VideoError(
                readable(self._path),
                expected="a path that can be written",
                hint=f"writing failed: {error_reason(error)}",
            ) from error
