"""Sources that are read once, from now on: streams at a URL, cameras, pipes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

import av
import numpy as np

from videomae.core.errors import VideoError
from videomae.core.text import error_reason

from ._byte_source import LiveSource
from ._decoder_session import DecoderSession
from ._limits import ReadLimits, faults_of
from ._picture import Converter, to_rgb
from .remote import is_url, without_password

# A stream's own times may jump (a camera that starts again, files one after the other): more than this is a jump.
_MAX_GAP_SECONDS = 60.0
_DEFAULT_RATE = 25
# FFmpeg's own waiting ends a little after the reader's, so that one of the two reports it.
_EXTRA_SECONDS = 5.0
# Schemes whose frames come when they come, whether anybody is ready for them or not.
_REAL_TIME = ("rtsp", "rtsps", "rtmp", "rtmps", "rtp", "udp", "srt")


def is_stream(source: object) -> TypeGuard[str | Path]:
    """Whether a source can only be read once and in order: a URL, a camera such as /dev/video0, a named pipe."""
    if not isinstance(source, str | os.PathLike):
        return False
    if is_url(str(source)):
        return True
    try:
        mode = os.stat(source).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def is_real_time(source: object) -> bool:
    """Whether a stream does not wait for its reader: a camera, RTSP and the like."""
    text = str(source)
    return text.partition("://")[0] in _REAL_TIME if is_url(text) else text.startswith("/dev/")


class LiveVideo:
    """The frames of a stream in the order in which they come, each with its time.

    What cannot be decoded is passed over, as players do.

    Args:
        source: a URL that FFmpeg opens (http, https, rtsp, rtmp, udp, …), a camera (/dev/video0), a named pipe.
        limits: the most pixels of a frame, and how long to wait for the next one.

    Attributes:
        frame_seconds: for how long a frame is shown, by the stream's own rate.
    """

    def __init__(self, source: str | os.PathLike[str], *, limits: ReadLimits) -> None:
        location = os.fspath(source)
        is_camera = not is_url(location) and stat.S_ISCHR(os.stat(location).st_mode)
        patience = None if limits.max_seconds is None else limits.max_seconds + _EXTRA_SECONDS
        self.name = without_password(location)
        self._converter = Converter(self.name)
        with faults_of(self.name):
            self._session = _LiveSession(
                LiveSource(location, "v4l2" if is_camera else None, name=self.name),
                limits=ReadLimits(limits.max_pixels, patience),
            )
        stream = self._session.stream
        rate = stream.average_rate or stream.guessed_rate
        self.frame_seconds = float(1 / rate) if rate else 1 / _DEFAULT_RATE

    def frames(self) -> Iterator[tuple[float, Any]]:
        """Yield (seconds since the first frame, PyAV's decoded frame); times never go back.

        Raises:
            VideoError: the stream breaks off, or no frame comes in time.
        """
        begin: float | None = None
        now = -self.frame_seconds
        for frame in self._decoded():
            stamp = frame.time
            if begin is None:
                begin = stamp or 0.0
            seconds = now + self.frame_seconds if stamp is None else stamp - begin
            if not now <= seconds <= now + _MAX_GAP_SECONDS:
                begin += seconds - (now + self.frame_seconds)
                seconds = now + self.frame_seconds
            now = seconds
            yield now, frame

    def picture(self, frame: Any) -> np.ndarray:
        """A frame as uint8 RGB (height, width, 3), turned as it is shown."""
        with faults_of(self.name):
            return to_rgb(frame, self._converter)

    def close(self) -> None:
        """Leave the stream."""
        self._session.close()

    def _decoded(self) -> Iterator[Any]:
        context = self._session.stream.codec_context
        packets = self._session.packets()
        while True:
            with faults_of(self.name):
                try:
                    packet = next(packets, None)
                except av.FFmpegError as error:
                    raise VideoError(
                        f"{self.name} ({error_reason(error)})",
                        expected="a stream that goes on",
                        hint="check the network or the camera, and start again",
                    ) from error
                try:
                    found = context.decode(packet)
                except EOFError:
                    found = []
                except av.FFmpegError:  # begins amid a group of frames, or lost a packet
                    continue
            for frame in found:
                self._session.stopwatch.start()
                yield frame
            if packet is None:
                return


class _LiveSession(DecoderSession):
    conceals = True
