"""Writing frames to an MP4 file."""

from __future__ import annotations

import os
import uuid
from fractions import Fraction
from pathlib import Path

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
    height, width = frames.shape[1:3]
    frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    path = Path(path)
    partial = path.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        _encode(partial, frames, Fraction(frames_per_second).limit_denominator(1001), crf, preset)
        os.replace(partial, path)
    except (av.FFmpegError, OSError) as error:
        raise VideoError(
            readable(path), expected="a path that can be written", hint=f"writing failed: {error_reason(error)}"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _encode(path: Path, frames: np.ndarray, rate: Fraction, crf: int, preset: str) -> None:
    # The prefix keeps names with a colon from being taken for a protocol.
    with av.open(f"file:{os.fspath(path)}", "w", format="mp4", options={"movflags": "faststart"}) as container:
        options = {"crf": str(crf), "preset": preset, "x264-params": repeatable_params()}
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
