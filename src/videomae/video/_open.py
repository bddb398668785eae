"""Opening a file: what is no readable video is told apart here, in one clear line."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
from av.stream import Disposition

from videomae.core.errors import VideoError

# Demuxers that make pictures out of any text.
_TEXT_FORMATS = frozenset({"tty", "bin", "xbin", "adf", "idf"})


def display_path(path: str | os.PathLike[str]) -> str:
    """Return the path as text that can always be printed, also where the file's name is not UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")


class CutOffError(Exception):
    """The last packet is not whole, which FFmpeg does not notice."""


class OpenVideo:
    """An open container with its video stream and a decoder that has been fed nothing since the last seek.

    Args:
        path: a regular file.
        num_threads: decoder threads, at least 1.

    Raises:
        VideoError: not a file, not readable, or without a video stream that can be decoded.
    """

    container: Any = None
    stream: Any = None

    def __init__(self, path: str | os.PathLike[str], *, num_threads: int = 1) -> None:
        self.path = Path(path)
        self.name = display_path(path)
        self._num_threads = num_threads
        self.is_at_start = False
        self.is_primed = False
        self.can_seek = True
        _check_file(self.path, self.name)
        self.reopen()
        self._is_cut_off = _breaks_off(self.path, self.container.format.name)

    def reopen(self) -> None:
        """Stand at the first packet with a new decoder: the one way of going back that works for every container."""
        self.close()
        try:
            # The prefix keeps names with a colon from being taken for a protocol; metadata is of no interest.
            self.container = av.open(f"file:{os.fspath(self.path)}", metadata_errors="replace")
        except (av.FFmpegError, ValueError, RuntimeError, MemoryError) as error:
            raise VideoError(
                self.name, expected="a video file", hint=f"the file is damaged or no video ({describe(error)})"
            ) from error
        try:
            self.stream = self._choose_stream()
        except VideoError:
            self.close()
            raise
        context = self.stream.codec_context
        # A damaged frame must be an error, not a guess at what it may have shown.
        context.options = {"err_detect": "explode"}
        context.thread_count = self._num_threads
        if self._num_threads > 1:
            context.thread_type = "FRAME"
        self.is_at_start = True
        self.is_primed = False

    def seek(self, timestamp: int) -> None:
        """Go to the last key frame before or at the timestamp (in the stream's time base) and reset the decoder."""
        self.container.seek(timestamp, stream=self.stream, backward=True)
        self.is_at_start = False

    def packets(self) -> Iterator[Any]:
        """Yield the stream's packets that hold data, from where the file stands.

        Raises:
            CutOffError: in place of the last packet, where the file breaks off within it.
        """
        self.is_at_start = False
        previous = None
        try:
            for packet in self.container.demux(self.stream):
                if not packet.size:
                    continue
                if not self._is_cut_off:
                    yield packet
                    continue
                if previous is not None:
                    yield previous
                previous = packet
        except IndexError:
            # PyAV ends in this way where the container announced further streams on the way: all has been read.
            pass
        if self._is_cut_off:
            raise CutOffError("the file breaks off within it")

    def close(self) -> None:
        """Release the file. A second call does nothing."""
        if self.container is not None:
            self.container.close()
        self.container = self.stream = None

    def _choose_stream(self) -> Any:
        streams = [
            stream for stream in self.container.streams.video if not stream.disposition & Disposition.attached_pic
        ]
        if not streams or self.container.format.name in _TEXT_FORMATS:
            kinds = sorted({stream.type for stream in self.container.streams}) or ["nothing"]
            raise VideoError(
                f"{self.name} (holds {', '.join(kinds)})",
                expected="a file with a video stream",
                hint="leave this file out, or give the video itself",
            )
        stream = streams[0]
        if stream.codec_context is None:
            raise VideoError(
                self.name, expected="a codec that FFmpeg decodes", hint="convert the video to H.264 in an MP4 file"
            )
        return stream


def describe(error: BaseException) -> str:
    """Return the reason in FFmpeg's words, on one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())


def _breaks_off(path: Path, format_name: str) -> bool:
    """Whether the file ends in the midst of a unit of its container, for those where FFmpeg passes the rest on."""
    if format_name == "mpegts":
        size = path.stat().st_size
        return all(size % packet_size for packet_size in (188, 192, 204))
    if format_name == "gif":
        with path.open("rb") as file:
            file.seek(-min(path.stat().st_size, 64), os.SEEK_END)
            return not file.read().rstrip(b"\0\r\n ").endswith(b";")
    return False


def _check_file(path: Path, name: str) -> None:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise VideoError(name, expected="an existing video file", hint="check the path") from None
    except (OSError, ValueError) as error:
        raise VideoError(
            name, expected="a readable video file", hint=f"it cannot be opened: {describe(error)}"
        ) from error
    if stat.S_ISDIR(status.st_mode):
        raise VideoError(f"{name} (a directory)", expected="a video file", hint="name a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise VideoError(
            f"{name} (not a regular file)",
            expected="a video file",
            hint="pipes, sockets and devices cannot be read; save the video to a file",
        )
    if status.st_size == 0:
        raise VideoError(f"{name} (empty, 0 bytes)", expected="a video file", hint="copy or download it again")
    if not os.access(path, os.R_OK):
        raise VideoError(f"{name} (no permission to read)", expected="a readable video file", hint="change its mode")
