"""Decoding: a run from an entry point by the packet index, or everything from the start."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import av
import numpy as np

from ._bitstream import refers_back
from ._index import PacketIndex
from ._open import CutOffError, OpenVideo, describe

MAX_REFERENCES = 16  # frames that any codec keeps to refer to


class IndexMismatchError(Exception):
    """The decoder or the container did not do what the packet index says."""


class DamagedPacketError(Exception):
    """A packet that cannot be decoded."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(position, reason)
        self.position = position
        self.reason = reason


def decode_run(
    video: OpenVideo, index: PacketIndex, entry: int, frames: list[int], *, tolerated: Collection[int] = ()
) -> Iterator[tuple[int, Any]]:
    """Decode some frames from one entry point, feeding no more than they need.

    Args:
        video: the open file, at any place.
        index: its packets.
        entry: the packet to begin with, as `PacketIndex.plan` gives it.
        frames: the frames wanted, ascending.
        tolerated: packets whose errors mean nothing, by `is_sound`.

    Yields:
        (frame number, decoded frame) for each wanted frame, in the order in which the decoder gives them.

    Raises:
        DamagedPacketError: the decoder refuses a packet.
        IndexMismatchError: packets or frames do not come as the index says.
    """
    remaining, wanted = set(frames), frozenset(frames)
    last_position = int(index.frame_packets[frames].max())
    fed = (
        (position, packet)
        for position, packet in _packets_from(video, index, entry, last_position)
        if not index.is_droppable[position] or int(index.packet_frames[position]) in wanted
    )
    for frame in _feed(video, fed, tolerated):
        position = index.position_by_pts.get(frame.pts, -1)
        number = int(index.packet_frames[position]) if position >= 0 else -1
        if number not in remaining:
            continue
        if frame.is_corrupt:
            raise DamagedPacketError(position, "the decoder marks the frame as damaged")
        remaining.discard(number)
        yield number, frame
        if not remaining:
            return
    if remaining:
        raise IndexMismatchError(f"frames {sorted(remaining)} did not come out of the decoder")


def is_sound(video: OpenVideo, index: PacketIndex, entry: int, position: int) -> bool:
    """Whether a packet decodes without error when decoding starts at `entry`, whatever becomes of those before it.

    A packet soon after a key frame in an open group may give orders about frames from before it; FFmpeg then reports
    an error although the frame is right. Decoded from an earlier entry, only real damage remains.

    Raises:
        IndexMismatchError: packets do not come as the index says.
    """
    for current, packet in _packets_from(video, index, entry, position):
        try:
            video.stream.codec_context.decode(packet)
        except av.FFmpegError:
            if current == position:
                return False
    return True


def _feed(video: OpenVideo, packets: Iterator[tuple[int, Any]], tolerated: Collection[int]) -> Iterator[Any]:
    position = 0
    try:
        for position, packet in packets:
            try:
                frames = video.stream.codec_context.decode(packet)
            except av.FFmpegError:
                if position not in tolerated:
                    raise
                continue
            yield from frames
        yield from video.stream.codec_context.decode(None)
    except av.FFmpegError as error:
        raise DamagedPacketError(position, describe(error)) from error


def _packets_from(video: OpenVideo, index: PacketIndex, entry: int, last: int) -> Iterator[tuple[int, Any]]:
    """Yield (position, packet) from the entry to the last one, each of them checked against the index."""
    _go_to(video, index, entry)
    position = None
    try:
        for packet in video.packets():
            if position is None:
                position = index.position_by_pts.get(packet.pts)
                if position is None:  # the rest of a packet that the seek cut in two
                    continue
                if position > entry:
                    raise IndexMismatchError(f"the seek for packet {entry} went to packet {position}")
            if packet.pts != index.pts[position] or packet.size != index.sizes[position]:
                raise IndexMismatchError(f"another packet in the place of packet {position}")
            if position >= entry:
                yield position, packet
            if position == last:
                return
            position += 1
    except CutOffError as error:
        raise DamagedPacketError(position or entry, describe(error)) from error
    raise IndexMismatchError(f"the file ends before packet {last}")


def _go_to(video: OpenVideo, index: PacketIndex, entry: int) -> None:
    if entry == 0 and (video.is_at_start or not video.can_seek):
        if not video.is_at_start:
            video.reopen()
        return
    if index.needs_first_packet and not video.is_primed:
        if not video.is_at_start:
            video.reopen()
        try:
            video.stream.codec_context.decode(next(video.packets()))
        except av.FFmpegError as error:
            raise DamagedPacketError(0, describe(error)) from error
        video.is_primed = True
    try:
        video.seek(int(index.seek_times[entry]))
    except av.FFmpegError as error:
        raise IndexMismatchError(f"no seek to packet {entry}: {describe(error)}") from error


def decode_all(video: OpenVideo) -> Iterator[Any]:
    """Decode the whole file from its start, in the decoder's order of output.

    Frames at the beginning that refer to what the file does not hold are left out.

    Raises:
        DamagedPacketError: after the last frame before the damage.
    """
    if not video.is_at_start:
        video.reopen()
    context = video.stream.codec_context
    position, packet = -1, None
    first_key: Any = None
    first_position = 0
    drops_orphans = False
    try:
        for position, packet in enumerate(video.packets()):
            if packet.is_corrupt:
                if first_key is None:
                    continue
                raise DamagedPacketError(position, "its data is incomplete")
            if first_key is None and packet.is_keyframe:
                first_key, first_position = packet, position
                drops_orphans = refers_back(video.stream.codec.canonical_name, bytes(packet), context.extradata)
            try:
                frames = context.decode(packet)
            except av.FFmpegError:
                if _is_orphan(packet, first_key) or (drops_orphans and position <= first_position + MAX_REFERENCES):
                    continue
                raise
            yield from (frame for frame in frames if not (drops_orphans and _is_orphan(frame, first_key)))
        yield from context.decode(None)
    except CutOffError as error:
        yield from context.decode(None)
        raise DamagedPacketError(position + 1, describe(error)) from error
    except (av.FFmpegError, DamagedPacketError) as error:
        yield from _frames_before(video, packet)
        if isinstance(error, DamagedPacketError):
            raise
        raise DamagedPacketError(max(position, 0), describe(error)) from error


def _is_orphan(packet: Any, first_key: Any) -> bool:
    """Whether the packet comes before the file's first key frame, in the order of decoding or of presentation."""
    if first_key is None:
        return True
    return first_key.pts is not None and packet.pts is not None and packet.pts < first_key.pts


def _frames_before(video: OpenVideo, damaged: Any) -> Iterator[Any]:
    """Yield what the decoder still holds back from before the damage; without time stamps nothing tells it apart."""
    if damaged is None or damaged.pts is None:
        return
    try:
        held_back = video.stream.codec_context.decode(None)
    except av.FFmpegError:
        return
    for frame in held_back:
        if frame.pts is None or frame.pts >= damaged.pts:
            return
        yield frame


class Timeline:
    """The frames of a video that only decoding can count.

    Args:
        video: the open file; all of it is decoded, nothing is kept but the frames' times.
    """

    def __init__(self, video: OpenVideo) -> None:
        self.damage: str | None = None
        times: list[int | None] = []
        try:
            for frame in decode_all(video):
                times.append(frame.pts)
        except DamagedPacketError as error:
            self.damage = f"packet {error.position} cannot be decoded: {error.reason}"
        known = np.array([time for time in times if time is not None], dtype=np.int64)
        order = np.arange(len(times))
        if len(known) == len(times):
            order = np.argsort(known, kind="stable")
            self.pts: np.ndarray | None = known[order]
        else:
            self.pts = None
        self._rank = np.empty(len(times), dtype=np.int64)
        self._rank[order] = np.arange(len(times))

    @property
    def num_frames(self) -> int:
        """How many frames the decoder gives."""
        return len(self._rank)

    def decode(self, video: OpenVideo, frames: list[int]) -> Iterator[tuple[int, Any]]:
        """Yield (frame number, decoded frame) for each of the frames wanted, in any order."""
        remaining = set(frames)
        for rank, frame in zip(self._rank.tolist(), decode_all(video), strict=False):
            if rank in remaining:
                remaining.discard(rank)
                yield rank, frame
            if not remaining:
                return
        raise IndexMismatchError(f"frames {sorted(remaining)} did not come out of the decoder a second time")
