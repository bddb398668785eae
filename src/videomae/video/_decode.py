"""Decoding: a run from an entry point by the packet index, or everything from the start."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import av
import numpy as np

from ._bitstream import refers_back
from ._index import PacketIndex, counted_index
from ._open import CutOffError, OpenVideo
from ._source import describe

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
    wanted_positions = index.frame_packets[frames]
    remaining = dict(zip(index.pts[wanted_positions].tolist(), frames, strict=True))
    last_position = int(wanted_positions.max())
    is_unneeded = index.is_droppable[: last_position + 1].copy()
    is_unneeded[wanted_positions] = False
    fed = (
        (position, packet)
        for position, packet in _packets_from(video, index, entry, last_position)
        if not is_unneeded[position]
    )
    for frame in _feed(video, fed, tolerated):
        number = remaining.get(frame.pts)
        if number is None:
            continue
        if frame.is_corrupt:
            raise DamagedPacketError(int(index.frame_packets[number]), "the decoder marks the frame as damaged")
        del remaining[frame.pts]
        yield number, frame
        if not remaining:
            return
    if remaining:
        raise IndexMismatchError(f"frames {sorted(remaining.values())} did not come out of the decoder")


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
    expected: list[tuple[int, int]] = []  # (time stamp, size) of the packets still to come, the next one last
    try:
        for packet in video.packets():
            if position is None:
                position = _position_of(index, packet.pts, entry)
                if position is None:  # the rest of a packet that the seek cut in two
                    continue
                if position > entry:
                    raise IndexMismatchError(f"the seek for packet {entry} went to packet {position}")
                coming = slice(position, last + 1)
                expected = list(zip(index.pts[coming].tolist(), index.sizes[coming].tolist(), strict=True))[::-1]
            if (packet.pts, packet.size) != expected.pop():
                raise IndexMismatchError(f"another packet in the place of packet {position}")
            if position >= entry:
                yield position, packet
            if position == last:
                return
            position += 1
    except CutOffError as error:
        raise DamagedPacketError(position or entry, describe(error)) from error
    raise IndexMismatchError(f"the file ends before packet {last}")


def _position_of(index: PacketIndex, pts: int | None, guess: int) -> int | None:
    """Return the packet with that time stamp, if there is one."""
    if index.pts[guess] == pts:
        return guess
    if pts is None:
        return None
    places = np.flatnonzero(index.pts == pts)
    return int(places[0]) if len(places) else None


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
                if position == first_position or not packet.is_keyframe:
                    raise
                frames = _decode_afresh(context, packet)
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


def _decode_afresh(context: Any, packet: Any) -> list[Any]:
    """Return what the decoder still holds back and what a key frame gives that it refused in its present state.

    A decoder has been seen to give up, once in hundreds of times, where a new size begins.
    """
    frames = context.decode(None)
    context.flush_buffers()
    return frames + context.decode(packet)


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


def count_frames(video: OpenVideo) -> PacketIndex:
    """Decode the whole file, keeping nothing but the frames' times."""
    damage = None
    times: list[int | None] = []
    try:
        for frame in decode_all(video):
            times.append(frame.pts)
    except DamagedPacketError as error:
        damage = f"packet {error.position} cannot be decoded: {error.reason}"
    return counted_index(times, video, damage)


def decode_counted(video: OpenVideo, index: PacketIndex, frames: list[int]) -> Iterator[tuple[int, Any]]:
    """Yield (frame number, decoded frame) for each of the frames wanted, in the decoder's order.

    Raises:
        IndexMismatchError: frames do not come as the index says.
    """
    remaining = set(frames)
    numbers, times = index.packet_frames.tolist(), index.pts.tolist()
    try:
        for place, frame in enumerate(decode_all(video)):
            if place >= len(numbers) or (frame.pts is not None and index.has_times and frame.pts != times[place]):
                raise IndexMismatchError(f"decoded frame {place} is another one")
            if numbers[place] in remaining:
                remaining.discard(numbers[place])
                yield numbers[place], frame
                if not remaining:
                    return
    except DamagedPacketError as error:
        raise IndexMismatchError(f"frames {sorted(remaining)} did not come out of the decoder: {error}") from error
    raise IndexMismatchError(f"frames {sorted(remaining)} did not come out of the decoder")
