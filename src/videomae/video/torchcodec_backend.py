"""torchcodec as a second decoder behind the same interface, with the same frames."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from videomae.core.errors import VideoError

from ._requests import check_indices, gather
from ._source import describe
from .reader import PacketIndex, VideoInfo, VideoReader

_TIME_TOLERANCE_SECONDS = 1e-6


class TorchcodecReader:
    """An open video whose frames torchcodec decodes, with the interface of `VideoReader`.

    A `VideoReader` stands behind it, and says which stream is meant, which frames there are and from which packets
    decoding may start; torchcodec is told so, and the time stamp of each frame that it gives is checked. Where
    torchcodec cannot give the same frames, the `VideoReader` decodes instead, from then on: files whose packets do not
    tell their frames, damaged ones, MPEG-4 Part 2 (Xvid, DivX), AVI but of key frames alone, mirrored
    pictures, and streams that torchcodec gives up on (some with open groups, MPEG transport and program streams).

    Colours are FFmpeg's own, of the FFmpeg libraries that torchcodec finds: bit for bit the same with every one tried.
    Data damaged within a packet, which `VideoReader` refuses, is noticed only if torchcodec notices it. Of the reader's
    limits, those on opening hold; decoding by torchcodec is bounded by neither.

    Args:
        plain: an open reader of the same video; it is closed with this one.
        source: the video for torchcodec: a path, its bytes, or a file object of its own.
        num_threads: decoder threads.

    Raises:
        VideoError: torchcodec is not installed, or does not find FFmpeg's libraries.
    """

    def __init__(self, plain: VideoReader, source: str | bytes | io.RawIOBase, *, num_threads: int = 1) -> None:
        decoder_class = _load_decoder_class()
        self._plain, self._source = plain, source
        self._decoder: Any = None
        if not _can_be_exact(plain):
            return
        try:
            self._decoder = decoder_class(
                source,
                stream_index=plain._video.stream.index,
                dimension_order="NHWC",
                num_ffmpeg_threads=num_threads,
                custom_frame_mappings=_frame_mappings(plain.index),
            )
            has_display_matrix = self._decoder.metadata.rotation is not None
        except (RuntimeError, ValueError, IndexError, OSError):
            self._decoder = None
            return
        if has_display_matrix:  # torchcodec turns pictures, but does not mirror them
            with_torchcodec = self._decode(np.array([0]))
            if with_torchcodec is not None and not np.array_equal(with_torchcodec, plain.read([0])):
                self._decoder = None

    @property
    def decoded_by(self) -> str:
        """ "torchcodec", or "pyav" where torchcodec cannot give the same frames."""
        return "pyav" if self._decoder is None else "torchcodec"

    @property
    def num_frames(self) -> int:
        """How many frames can be read."""
        return self._plain.num_frames

    @property
    def frame_times(self) -> np.ndarray:
        """float64 (num_frames,): seconds from the first frame to each; frame number / rate where the file has none."""
        return self._plain.frame_times

    @property
    def index(self) -> PacketIndex:
        """Which packet shows which frame, to be kept for later readers."""
        return self._plain.index

    @property
    def info(self) -> VideoInfo:
        """Size, rate and so on."""
        return self._plain.info

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Read frames.

        Args:
            indices: frame numbers in [0, num_frames), in any order, repeats allowed, at least one.

        Returns:
            uint8 RGB (len(indices), height, width, 3), 0 to 255, in the order of `indices`.

        Raises:
            VideoError: a number outside the video, a damaged file, frames of unequal sizes.
        """
        numbers = self._check(indices)
        distinct = np.unique(numbers)
        pictures = self._decode(distinct)
        if pictures is None:
            return self._plain.read(numbers)
        if np.array_equal(distinct, numbers):
            return np.ascontiguousarray(pictures)
        return gather(numbers, zip(distinct.tolist(), pictures, strict=True), name=self._plain._video.name)

    def stream(self, indices: Sequence[int] | np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Give frames out as they are decoded: several clips cost one pass, and the memory of one frame.

        Args:
            indices: as for `read`.

        Yields:
            (frame number, uint8 RGB (height, width, 3)) once for each distinct number. The next read from this reader
            ends the stream.

        Raises:
            VideoError: a number outside the video, or a damaged file.
        """
        distinct = np.unique(self._check(indices))
        for place, number in enumerate(distinct.tolist()):
            picture = self._decode(distinct[place : place + 1])
            if picture is None:
                yield from self._plain.stream(distinct[place:])
                return
            yield number, picture[0]

    def close(self) -> None:
        """Release the file."""
        self._decoder = None
        if isinstance(self._source, io.IOBase):
            self._source.close()
        self._plain.close()

    def __enter__(self) -> TorchcodecReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        damage = self.index.damage
        note = f"; {damage}" if damage else ""
        return check_indices(indices, num_frames=self.num_frames, name=self._plain._video.name, note=note)

    def _decode(self, numbers: np.ndarray) -> np.ndarray | None:
        """Return the frames of ascending numbers, or None where torchcodec cannot, which is then no longer asked."""
        if self._decoder is None:
            return None
        index = self.index
        times = index.times[numbers] * float(index.time_base)
        try:
            batch = self._decoder.get_frames_at(numbers.tolist())
            if np.allclose(batch.pts_seconds.numpy(), times, rtol=1e-9, atol=_TIME_TOLERANCE_SECONDS):
                return batch.data.numpy()
        except (
            RuntimeError,
            ValueError,
            IndexError,
            OSError,
        ):  # the other decoder reads the file, or says what is wrong
            pass
        self._decoder = None
        return None


def _load_decoder_class() -> Any:
    try:
        from torchcodec.decoders import VideoDecoder
    except (ImportError, OSError, RuntimeError) as error:
        reason = describe(error).split(". ")[0][:200]
        raise VideoError(
            f"backend='torchcodec' ({reason})",
            expected="torchcodec to be installed and to find FFmpeg",
            hint="pip install torchcodec; it needs FFmpeg's shared libraries",
        ) from error
    return VideoDecoder


def _can_be_exact(plain: VideoReader) -> bool:
    """Whether torchcodec may be trusted with a file, as far as that can be told without decoding."""
    index, stream = plain.index, plain._video.stream
    context = stream.codec_context
    if index.is_decoded or index.damage or not index.has_times:
        return False
    if index.container == "avi" and len(index.entries) < len(index.stamps):  # no time stamps: each FFmpeg makes its own
        return False
    # It seeks before it has seen the first packet, without which MPEG-4 and old 4:4:4 H.264 decode in another way.
    return not index.needs_first_packet or (stream.codec.canonical_name == "h264" and context.pix_fmt == "yuv420p")


def _frame_mappings(index: PacketIndex) -> str:
    """The index in the form of `ffprobe -show_entries frame=pts,duration,key_frame`."""
    pts = index.times
    durations = np.diff(pts, append=pts[-1] + 1)
    is_entry = np.isin(index.frame_packets, index.entries)
    frames = zip(pts.tolist(), durations.tolist(), is_entry.astype(int).tolist(), strict=True)
    return json.dumps({"frames": [{"pts": p, "duration": d, "key_frame": k} for p, d, k in frames]})
