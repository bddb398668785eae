"""Reading frames of a video file by number, as a player shows them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np

from videomae.core.errors import VideoError

from ._decode import (
    MAX_REFERENCES,
    DamagedPacketError,
    IndexMismatchError,
    WrongOrderError,
    decode_counted,
    decode_run,
    is_sound,
)
from ._decoder_session import DecoderSession
from ._frame_numbers import check_indices, size_text
from ._index import PacketIndex
from ._index_building import index_by_decoding, index_from_packets, repair_index
from ._info import VideoInfo
from ._limits import ReadLimits, faults_of
from ._picture import HDR_TRANSFERS, Converter, picture_shape, rotation_degrees, to_rgb

__all__ = ["PacketIndex", "ReadLimits", "VideoInfo", "VideoReader", "read_video"]


class _IndexProvedWrongError(Exception):
    """Frames that were returned already may not be the requested ones."""


class VideoReader:
    """An open video file whose frames are read by number, in any order, as often as wanted.

    Frame i is the i-th frame that FFmpeg shows: in the decoder's order of output, without what an edit list cuts away,
    rotated as the file asks, and bit for bit what decoding the whole file gives. Decoding starts at the nearest key
    frame from which the wanted one comes out right, skips frames that nothing refers to, and stops after the last
    wanted one. Where packets do not determine the frames and the order they are shown in, opening the file
    decodes it once; a kept `index` spares that. Of a damaged file, all frames are read that FFmpeg shows, as FFmpeg
    makes them up, and `damage` describes what is wrong.

    Use it as a context manager, or call `close`. One thread at a time.

    Args:
        source: a video file, or a binary file object with `read` and `seek`, which stays open after `close`.
        num_threads: decoder threads. Loader workers do better with one each than with several here. None takes one for
            each core, at most 4, where frames are large; such a reader reports damage later than a single thread does.
        index: the `index` of an earlier reader of the same unchanged file; spares going through its packets.
        limits: what the file may cost.
        name: of the video in messages, where the source is a file object.

    Attributes:
        index: which packet shows which frame, to be kept for later readers.

    Raises:
        VideoError: no such file, not a readable video, no frame in it, or beyond the limits.
    """

    index: PacketIndex

    def __init__(
        self,
        source: str | os.PathLike[str] | BinaryIO,
        *,
        num_threads: int | None = 1,
        index: PacketIndex | None = None,
        limits: ReadLimits | None = None,
        name: str | None = None,
    ) -> None:
        if num_threads is not None and num_threads < 1:
            raise VideoError(f"num_threads={num_threads}", expected="at least 1", hint="use 1 in loader workers")
        self._video = DecoderSession(
            source, num_threads=num_threads, limits=limits, name=name, known_format=index.container if index else ""
        )
        self._distrusted: set[int] = set()  # entries from which decoding did not come out right
        self._tolerated: set[int] = set()  # packets whose errors mean nothing
        self._has_replaced_index = False
        self._converter = Converter(self._video.name)
        try:
            with faults_of(self._video.name):
                self.index = index or index_from_packets(self._video)
            self._check_not_empty()
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._video.name!r}, {self.num_frames} frames)"

    def __len__(self) -> int:
        return self.num_frames

    @property
    def num_frames(self) -> int:
        """How many frames can be read."""
        return self.index.num_frames

    @property
    def damage(self) -> str | None:
        """Where and why data is missing or cannot be decoded, as far as it was met; None as long as none was."""
        return self.index.damage

    @property
    def frame_times(self) -> np.ndarray:
        """float64 (num_frames,): seconds from the first frame to each; frame number / rate where the file has none."""
        return self.index.frame_times

    @cached_property
    def info(self) -> VideoInfo:
        """Size, rate and so on; decodes the first frame, without which size and rotation are not certain."""
        self._video.stopwatch.start()
        with faults_of(self._video.name):
            for _, frame in self._decode([0]):
                height, width = picture_shape(frame)[:2]
                rotation = rotation_degrees(frame)
                is_interlaced, is_hdr = frame.interlaced_frame, frame.color_trc in HDR_TRANSFERS
        ratio = self._video.stream.sample_aspect_ratio or self._video.stream.codec_context.sample_aspect_ratio or 1
        return VideoInfo(
            path=self._video.name,
            num_frames=self.num_frames,
            width=width,
            height=height,
            rotation_degrees=rotation,
            frames_per_second=self.index.frames_per_second,
            duration_seconds=self.index.duration_seconds,
            codec=self._video.stream.codec.canonical_name,
            damage=self.index.damage,
            sample_aspect_ratio=float(1 / ratio if rotation in (90, 270) else ratio),
            is_interlaced=is_interlaced,
            is_hdr=is_hdr,
        )

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Read frames.

        Args:
            indices: frame numbers in [0, num_frames), in any order, repeats allowed, at least one.

        Returns:
            uint8 RGB (len(indices), height, width, 3), 0 to 255, in the order of `indices`.

        Raises:
            VideoError: a number outside the video, a damaged file, frames of unequal sizes.
        """
        numbers = self._check_indices(indices)
        with faults_of(self._video.name):
            try:
                return self._read(numbers)
            except _IndexProvedWrongError:
                return self._read(self._check_indices(indices))

    def stream(self, indices: Sequence[int] | np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Give frames out as they are decoded: several clips cost one pass, and the memory of one frame.

        Args:
            indices: as for `read`.

        Yields:
            (frame number, uint8 RGB (height, width, 3)) once for each distinct number, mostly ascending. The next read
            from this reader ends the stream.

        Raises:
            VideoError: a number outside the video, a damaged file, or an index of another file.
        """
        for number, frame in self.stream_decoded(indices):
            with faults_of(self._video.name):
                picture = to_rgb(frame, self._converter)
            yield number, picture

    def stream_decoded(self, indices: Sequence[int] | np.ndarray) -> Iterator[tuple[int, Any]]:
        """As `stream`, but frames as the decoder gives them: PyAV's, in their own pixel format, not turned."""
        frames = np.unique(self._check_indices(indices)).tolist()
        try:
            yield from self._frames(frames)
        except _IndexProvedWrongError as error:
            raise VideoError(
                f"{self._video.name} (does not match its packet index)",
                expected="the file that the index was made of",
                hint="open it without the kept index",
            ) from error

    def close(self) -> None:
        """Release the file."""
        self._video.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, numbers: np.ndarray) -> np.ndarray:
        distinct, first_places = np.unique(numbers, return_index=True)
        place_of = dict(zip(distinct.tolist(), first_places.tolist(), strict=True))
        pictures = None
        for number, frame in self._frames(distinct.tolist()):
            shape = picture_shape(frame)
            if pictures is None:
                pictures = np.empty((len(numbers), *shape), dtype=np.uint8)
            if shape != pictures.shape[1:]:
                raise VideoError(
                    f"{self._video.name}, frame {number} ({size_text(shape)})",
                    expected=f"the size of the frames read before, {size_text(pictures.shape[1:])}",
                    hint="the size changes midway: convert the video to a single one",
                )
            to_rgb(frame, self._converter, out=pictures[place_of[number]])
        assert pictures is not None
        if len(distinct) < len(numbers):
            for place, number in enumerate(numbers.tolist()):
                if place != place_of[number]:
                    pictures[place] = pictures[place_of[number]]
        return pictures

    def _frames(self, frames: list[int]) -> Iterator[tuple[int, Any]]:
        """Yield (number, decoded frame) once for each of the ascending numbers, within the time limit.

        Raises:
            _IndexProvedWrongError: only after a frame was returned; the reader now has the right index.
        """
        stopwatch = self._video.stopwatch
        stopwatch.start()
        given: set[int] = set()
        index = self.index
        decoded = self._decode(frames)
        while True:
            with faults_of(self._video.name):
                number, frame = next(decoded, (-1, None))
            if frame is None:
                return
            if self.index is not index and not _agree(self.index, index, given):
                raise _IndexProvedWrongError
            index = self.index
            if number not in given:
                given.add(number)
                seconds_left = stopwatch.pause()
                yield number, frame
                stopwatch.resume(seconds_left)

    def _check_not_empty(self) -> None:
        if self.num_frames == 0:
            raise VideoError(
                f"{self._video.name} (0 frames{_clause(self.index.damage)}{self._video.size_clause})",
                expected="a video with at least one frame that can be decoded",
                hint="leave this file out, or copy it again",
            )

    def _check_indices(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        return check_indices(
            indices, num_frames=self.num_frames, name=self._video.name, note=_clause(self.index.damage)
        )

    def _decode(self, frames: list[int]) -> Iterator[tuple[int, Any]]:
        """Yield (number, decoded frame) for ascending numbers; all again where the index proves wrong."""
        while True:
            try:
                if self.index.is_counted:
                    yield from decode_counted(self._video, self.index, frames)
                else:
                    for entry, run in self.index.plan(frames, distrusted=self._distrusted):
                        yield from self._decode_run(self.index, entry, run)
                return
            except DamagedPacketError as error:
                self._mend_index(error)
            except IndexMismatchError as error:
                self._replace_index(error)
            self._check_not_empty()
            self._check_indices(frames)

    def _mend_index(self, error: DamagedPacketError) -> None:
        """Find out what FFmpeg shows in spite of a packet that cannot be decoded."""
        if self._video.num_threads != 1:  # a single thread identifies the packet
            self._video.restart(conceals=False, num_threads=1)
        elif error.position in self.index.damaged:
            self._replace_index(error)
        else:
            self.index = repair_index(self._video, self.index, error.position, error.reason)

    def _replace_index(self, error: Exception) -> None:
        """Decode the whole file to find out which frames there are."""
        if self._has_replaced_index:
            raise VideoError(
                f"{self._video.name} (decodes differently every time)",
                expected="undamaged data",
                hint=f"copy or download the file again ({error})",
            ) from error
        self._has_replaced_index = self.index.is_decoded
        self.index = index_by_decoding(self._video, is_counted=self.index.is_decoded)
        self._distrusted.clear()

    def _decode_run(self, index: PacketIndex, entry: int, run: list[int]) -> Iterator[tuple[int, Any]]:
        """Decode from the entry; where that fails, from the one before, and at last from the start with a new decoder.

        Raises:
            IndexMismatchError: the index is wrong about this file.
            DamagedPacketError: a packet cannot be decoded.
        """
        remaining = list(run)
        while True:
            try:
                for number, frame in decode_run(self._video, index, entry, remaining, tolerated=self._tolerated):
                    remaining = [other for other in remaining if other != number]
                    yield number, frame
                return
            except WrongOrderError:
                raise
            except DamagedPacketError as error:
                if entry == 0 and not self._video.can_seek:
                    raise
                if error.position < entry or (entry and not self._is_sound(index, entry, error.position)):
                    raise
                if entry and error.position <= entry + MAX_REFERENCES and error.position not in self._tolerated:
                    self._tolerated.add(error.position)
                    continue
            except IndexMismatchError:
                if entry == 0 and not self._video.can_seek:
                    raise
            if entry == 0:
                self._video.can_seek = False
            else:
                self._distrusted.add(entry)
                entry = index.entry_for(remaining[0], distrusted=self._distrusted)

    def _is_sound(self, index: PacketIndex, entry: int, position: int) -> bool:
        before = index.entries[: np.searchsorted(index.entries, entry)].tolist()
        earlier = next((other for other in reversed(before) if other not in self._distrusted), 0)
        try:
            return is_sound(self._video, index, earlier, position)
        except (IndexMismatchError, DamagedPacketError):
            self._video.can_seek = False
            return is_sound(self._video, index, 0, position)


def read_video(
    source: str | os.PathLike[str] | BinaryIO,
    indices: Sequence[int] | np.ndarray,
    *,
    num_threads: int | None = None,
) -> np.ndarray:
    """Read frames of a video file by number.

    Frame i is the i-th frame that a player shows, bit for bit as decoding the whole file gives it; see `VideoReader`,
    which serves better for several reads of one file.

    Args:
        source: a video file, or a binary file object.
        indices: frame numbers in [0, number of frames), in any order, repeats allowed, at least one.
        num_threads: decoder threads; None takes as many as suit the file.

    Returns:
        uint8 RGB (len(indices), height, width, 3), 0 to 255, in the order of `indices`.

    Raises:
        VideoError: no such file, not a readable video, a number outside it, damaged data.
    """
    with VideoReader(source, num_threads=num_threads) as reader:
        return reader.read(indices)


def _agree(one: PacketIndex, other: PacketIndex, frames: Iterable[int]) -> bool:
    """Whether the frames of these numbers are the same by both indices."""
    numbers = np.fromiter(frames, dtype=np.int64)
    if not len(numbers):
        return True
    if one.is_counted != other.is_counted or numbers.max() >= min(one.num_frames, other.num_frames):
        return False
    return bool((one.frame_packets[numbers] == other.frame_packets[numbers]).all())


def _clause(damage: str | None) -> str:
    return f"; {damage}" if damage else ""
