"""Opens a file and configures its decoder: threads, error detection, limits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import av
from av.stream import Disposition

from videomae.core.errors import VideoError
from videomae.core.machine import usable_cores
from videomae.core.text import error_reason

from ._byte_source import LiveSource, Source, source_of
from ._limits import ReadLimits, Stopwatch

# Containers whose headers hold all that a decoder needs, so that a file known from before needs no probing.
_TELLING_FORMATS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi"})
# Demuxers that make pictures out of any text.
_TEXT_FORMATS = frozenset({"tty", "bin", "xbin", "adf", "idf"})
# Metadata is of no interest; before PyAV 19, text in it that is not UTF-8 was an error by default.
_METADATA_OPTIONS: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
_MIN_PIXELS_FOR_THREADS = 200_000
_MAX_AUTOMATIC_THREADS = 4


class DecoderSession:
    """An open container with its video stream and a decoder that has been fed nothing since the last seek.

    Args:
        source: a regular file, a binary file object, or what is read once.
        num_threads: decoder threads, at least 1; None takes one for each core, at most 4, where frames are large.
        limits: what the file may cost.
        name: of the video in messages, where the source is a file object.
        known_format: FFmpeg's name of the container, where the stream's rate and duration are known from before.

    Raises:
        VideoError: not a file, not readable, or without a video stream that can be decoded.
    """

    container: Any = None
    stream: Any = None
    conceals = False  # decoding passes over damage, as FFmpeg's programs do, instead of raising an error

    def __init__(
        self,
        source: str | os.PathLike[str] | BinaryIO | LiveSource,
        *,
        num_threads: int | None = 1,
        limits: ReadLimits | None = None,
        name: str | None = None,
        known_format: str = "",
    ) -> None:
        self.source: Source = source_of(source, name)
        self.name = self.source.name
        self.limits = limits or ReadLimits()
        self.stopwatch = Stopwatch(self.name, self.limits.max_seconds)
        self.num_threads = num_threads
        self._skips_probing = known_format in _TELLING_FORMATS
        self.is_at_start = False
        self.is_primed = False
        self.can_seek = True
        self.reopen()
        # The last packet is then not whole, which FFmpeg does not notice.
        self.is_cut_off = _breaks_off(self.source, self.container.format.name)

    def reopen(self) -> None:
        """Reopen the file at its first packet with a new decoder: the only way to rewind every container."""
        self.close()
        max_pixels = {"max_pixels": str(self.limits.max_pixels)}
        # FFmpeg would decode up to 20 frames to find how far they are reordered, which `strict` makes unnecessary.
        # With an empty codec whitelist, probing decodes no frames. The stream's own decoder is not affected.
        probing = {"probesize": "32", "codec_whitelist": "none"} if self._skips_probing else {}
        try:
            self.container = av.open(
                self.source.for_container(self.stopwatch),
                format=getattr(self.source, "format_name", None),
                options=max_pixels | probing,
                timeout=self.limits.max_seconds,
                **_METADATA_OPTIONS,
            )
        except (av.FFmpegError, ValueError, RuntimeError, MemoryError) as error:
            self.source.check()
            self.stopwatch.check()
            raise VideoError(
                self.name, expected="a video file", hint=f"the file is damaged or no video ({error_reason(error)})"
            ) from error
        try:
            self.source.check()
            self.stream = self._choose_stream()
            context = self.stream.codec_context
            self._check_size(context.width, context.height)
            self._has_size = context.width > 0
        except VideoError:
            self.close()
            raise
        if self._skips_probing and not self._has_size:
            self._skips_probing = False
            self.reopen()
            return
        # Damage must be noticed, where it is not known already.
        context.options = max_pixels if self.conceals else {"err_detect": "explode"} | max_pixels
        if context.name == "h264":
            # Frames then wait for the longest reordering that the level allows: none is lost or out of order.
            context.options |= {"strict": "1"}
        # What a decoder makes up for damaged data may depend on its threads.
        context.thread_count = 1 if self.conceals else self.num_threads or _threads_for(context.width * context.height)
        if context.thread_count > 1:
            context.thread_type = "FRAME"
        self.is_at_start = True
        self.is_primed = False

    def restart(self, *, conceals: bool, num_threads: int | None = None) -> None:
        """Stand at the first packet with a decoder that conceals damage, or does not."""
        self.conceals = conceals
        self.num_threads = num_threads or self.num_threads
        self.reopen()

    @property
    def size_clause(self) -> str:
        """What to add to a reason: FFmpeg keeps quiet about a size that it refuses."""
        return "" if self._has_size else f"; frames of more than {self.limits.max_pixels} pixels are refused"

    def seek(self, timestamp: int) -> None:
        """Go to the last key frame before or at the timestamp (in the stream's time base) and reset the decoder."""
        self.is_at_start = False
        self.container.seek(timestamp, stream=self.stream, backward=True)
        self.source.check()

    def packets(self) -> Iterator[Any]:
        """Yield the stream's packets that hold data, from where the file stands.

        Raises:
            av.FFmpegError: the container cannot be read further.
            VideoError: the call has used up its time.
        """
        self.is_at_start = False
        try:
            for packet in self._demux():
                self.stopwatch.check()
                if packet.size:
                    yield packet
        except IndexError:
            # PyAV's table of streams does not grow with those that a container announces on the way. It then skips
            # their packets, and may end in this way, after the last packet.
            pass
        except av.FFmpegError:
            self.source.check()
            self.stopwatch.check()
            raise
        self.source.check()

    def _demux(self) -> Iterator[Any]:
        return self.container.demux(self.stream)

    def close(self) -> None:
        """Release the file. A second call does nothing."""
        if self.container is not None:
            self.container.close()
        self.container = self.stream = None

    def _choose_stream(self) -> Any:
        streams = [
            stream for stream in self.container.streams.video if not stream.disposition & Disposition.attached_pic
        ]
        # As FFmpeg's programs choose: the default one, then the largest, then the first.
        streams.sort(key=lambda stream: (not stream.disposition & Disposition.default, -_num_pixels(stream)))
        if not streams or self.container.format.name in _TEXT_FORMATS:
            kinds = sorted({stream.type for stream in self.container.streams}) or ["nothing"]
            raise VideoError(
                f"{self.name} (holds {', '.join(kinds)})",
                expected="a file with a video stream",
                hint="skip this file, or give the video itself",
            )
        stream = streams[0]
        if stream.codec_context is None:
            raise VideoError(
                self.name, expected="a codec that FFmpeg decodes", hint="convert the video to H.264 in an MP4 file"
            )
        return stream

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self.limits.max_pixels:
            raise VideoError(
                f"{self.name} (claims frames of {width}x{height})",
                expected=f"at most {self.limits.max_pixels} pixels a frame",
                hint="skip this file, or convert it to a smaller size",
            )


def _num_pixels(stream: Any) -> int:
    context = stream.codec_context
    return context.width * context.height if context is not None else 0


def _threads_for(num_pixels: int) -> int:
    """How many decoder threads suit frames of a size.

    Measured on two cores: two threads read clips of large frames up to 1.5 times as fast, those of small ones slower.
    """
    if num_pixels < _MIN_PIXELS_FOR_THREADS:
        return 1
    return min(usable_cores(), _MAX_AUTOMATIC_THREADS)


def _breaks_off(source: Source, format_name: str) -> bool:
    """Whether the file ends in the midst of a unit of its container, for those where FFmpeg passes the rest on."""
    if not source.num_bytes:  # nobody knows yet where it ends
        return False
    if format_name == "mpegts":
        return all(source.num_bytes % packet_size for packet_size in (188, 192, 204))
    return format_name == "gif" and not source.tail(64).rstrip(b"\0\r\n ").endswith(b";")
