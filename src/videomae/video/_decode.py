"""Decoding: a run from an entry point by the packet index, or everything from the start.

Packets are numbered in the order in which they lie in the file, and each is given its number as its time stamp before
it is decoded: a frame's time stamp then identifies its packet, whatever the file's own time stamps are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import av
import numpy as np

from videomae.core.text import error_reason

from ._decoder_session import DecoderSession
from ._index import NO_STAMP, PacketIndex

MAX_REFERENCES = 16  # frames that any codec keeps to refer to
# A decoder that could not be opened raises ValueError when it is asked again, with PyAV 19.
_DECODER_ERRORS = (av.FFmpegError, ValueError)


class IndexMismatchError(Exception):
    """The decoder or the container contradicts the packet index."""


class WrongOrderError(IndexMismatchError):
    """Frames came out of the decoder in another order than that of the packet index."""


class DamagedPacketError(Exception):
    """A packet that cannot be decoded."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(position, reason)
        self.position = position
        self.reason = reason


def decode_run(
    video: DecoderSession, index: PacketIndex, entry: int, frames: list[int], *, tolerated: Collection[int] = ()
) -> Iterator[tuple[int, Any]]:
    """Decode some frames from one entry point, feeding no more than they need.

    Where a damaged packet is among them, errors are ignored, and frames are concealed as FFmpeg does.

    Args:
        video: the open file, at any place.
        index: its packets.
        entry: the packet to begin with, as `PacketIndex.plan` gives it.
        frames: the frames wanted, ascending.
        tolerated: packets whose errors mean nothing, by `is_sound`.

    Yields:
        (frame number, decoded frame) for each wanted frame, ascending.

    Raises:
        DamagedPacketError: the decoder refuses a packet.
        WrongOrderError: frames do not come in the order of the index.
        IndexMismatchError: packets or frames are not those of the index.
    """
    positions = index.frame_packets[frames]
    last_position = int(positions.max())
    conceals = index.is_damaged(entry, last_position)
    is_unneeded = index.is_droppable[: last_position + 1] & (not conceals)
    is_unneeded[positions] = False
    fed = (
        (position, packet)
        for position, packet in _packets_from(video, index, entry, last_position, conceals=conceals)
        if not is_unneeded[position]
    )
    remaining = set(frames)
    latest = -1
    for frame in _feed(video, fed, tolerated, conceals=conceals):
        number = int(index.packet_frames[frame.pts]) if frame.pts is not None else -1
        if number < latest and number >= 0:
            raise WrongOrderError(f"frame {number} comes out after frame {latest}")
        latest = max(latest, number)
        if number not in remaining:
            continue
        if frame.is_corrupt and not conceals:
            raise DamagedPacketError(frame.pts, f"packet {frame.pts} is decoded in part")
        remaining.discard(number)
        yield number, frame
        if not remaining:
            return
    raise IndexMismatchError(f"frames {sorted(remaining)} did not come out of the decoder")


def is_sound(video: DecoderSession, index: PacketIndex, entry: int, position: int) -> bool:
    """Whether a packet decodes without error when decoding starts at `entry`, whatever becomes of those before it.

    A packet soon after a key frame in an open group may give orders about frames from before it; FFmpeg then reports
    an error although the frame is right. Decoded from an earlier entry, only real damage remains.

    Raises:
        IndexMismatchError: packets are not those of the index.
    """
    for current, packet in _packets_from(video, index, entry, position, conceals=False):
        try:
            video.stream.codec_context.decode(packet)
        except _DECODER_ERRORS:
            if current == position:
                return False
    return True


def shown_between(video: DecoderSession, index: PacketIndex, first: int, stop: int) -> list[int]:
    """Return which of the packets [first, stop) show a frame, whatever is damaged among them; `first` is an entry.

    Raises:
        IndexMismatchError: packets are not those of the index.
    """
    packets = _packets_from(video, index, first, stop - 1, conceals=True)
    return [frame.pts for frame in _feed(video, packets, (), conceals=True) if frame.pts is not None]


def _feed(
    video: DecoderSession, packets: Iterator[tuple[int, Any]], tolerated: Collection[int], *, conceals: bool
) -> Iterator[Any]:
    position = 0
    for position, packet in packets:
        try:
            frames = _decode_packet(video, packet)
        except _DECODER_ERRORS as error:
            if not conceals and position not in tolerated:
                raise DamagedPacketError(
                    position, f"packet {position} cannot be decoded: {error_reason(error)}"
                ) from error
            continue
        yield from frames
    try:
        yield from video.stream.codec_context.decode(None)
    except _DECODER_ERRORS as error:
        if not conceals:
            raise DamagedPacketError(position, f"packet {position} cannot be decoded: {error_reason(error)}") from error


def _decode_packet(video: DecoderSession, packet: Any) -> list[Any]:
    context = video.stream.codec_context
    try:
        return context.decode(packet)
    except _DECODER_ERRORS:
        # Decoders rarely fail (once in hundreds of times) where a new size begins.
        if video.conceals or not packet.is_keyframe:
            raise
        frames = context.decode(None)
        context.flush_buffers()
        return frames + context.decode(packet)


def _packets_from(
    video: DecoderSession, index: PacketIndex, entry: int, last: int, *, conceals: bool
) -> Iterator[tuple[int, Any]]:
    """Yield (position, packet) from the entry to the last one, each of them checked against the index."""
    _go_to(video, index, entry, conceals=conceals)
    position = None
    expected: list[tuple[int, int]] = []  # (time stamp, size) of the packets still to come, the next one last
    try:
        for packet in video.packets():
            stamp = packet.dts if index.has_decoding_stamps else packet.pts
            stamp = NO_STAMP if stamp is None else stamp
            if position is None:
                position = _position_of(index, stamp, entry)
                if position is None:  # the rest of a packet that the seek cut in two
                    continue
                if position > entry:
                    raise IndexMismatchError(f"the seek for packet {entry} went to packet {position}")
                coming = slice(position, last + 1)
                expected = list(zip(index.stamps[coming].tolist(), index.sizes[coming].tolist(), strict=True))[::-1]
            if (stamp, packet.size) != expected.pop():
                raise IndexMismatchError(f"another packet in the place of packet {position}")
            if position >= entry:
                packet.pts = position
                yield position, packet
            if position == last:
                return
            position += 1
    except av.FFmpegError as error:
        raise IndexMismatchError(f"packet {position or entry} cannot be read: {error_reason(error)}") from error
    raise IndexMismatchError(f"the file ends before packet {last}")


def _position_of(index: PacketIndex, stamp: int, guess: int) -> int | None:
    """Return the packet with that time stamp, if there is one."""
    if index.stamps[guess] == stamp:
        return guess
    places = np.flatnonzero(index.stamps == stamp)
    return int(places[0]) if len(places) and stamp != NO_STAMP else None


def _go_to(video: DecoderSession, index: PacketIndex, entry: int, *, conceals: bool) -> None:
    if conceals or video.conceals:  # what a decoder makes up may depend on frames that a flush leaves in it
        video.restart(conceals=conceals)
    # Where the file's times are of little use, a seek to the first of them is not to be trusted.
    is_only_entry = index.is_decoded and len(index.entries) == 1
    if entry == 0 and (video.is_at_start or not video.can_seek or is_only_entry):
        if not video.is_at_start:
            video.reopen()
        return
    if index.needs_first_packet and not video.is_primed:
        if not video.is_at_start:
            video.reopen()
        try:
            video.stream.codec_context.decode(next(video.packets()))
        except _DECODER_ERRORS as error:
            raise DamagedPacketError(0, f"packet 0 cannot be decoded: {error_reason(error)}") from error
        video.is_primed = True
    try:
        video.seek(int(index.seek_times[entry]))
    except av.FFmpegError as error:
        raise IndexMismatchError(f"no seek to packet {entry}: {error_reason(error)}") from error


def _raise_damaged(position: int, reason: str) -> None:
    raise DamagedPacketError(position, reason)


def decode_all(
    video: DecoderSession,
    *,
    on_packet: Callable[[Any], None] = lambda packet: None,
    on_error: Callable[[int, str], None] = _raise_damaged,
) -> Iterator[Any]:
    """Decode the whole file from its start, in the decoder's order of output.

    Args:
        video: the open file; where it conceals damage, what cannot be decoded is skipped, as FFmpeg does.
        on_packet: called with each packet before it is decoded.
        on_error: called with the packet's number and the reason where one cannot be decoded and damage is not
            concealed; decoding continues when it returns.

    Raises:
        DamagedPacketError: a packet cannot be decoded, damage is not concealed, and there is no other `on_error`.
    """
    on_error = (lambda position, reason: None) if video.conceals else on_error
    if not video.is_at_start:
        video.reopen()
    position = -1
    try:
        for position, packet in enumerate(video.packets()):
            on_packet(packet)
            packet.pts = position
            try:
                yield from _decode_packet(video, packet)
            except _DECODER_ERRORS as error:
                on_error(position, f"packet {position} cannot be decoded: {error_reason(error)}")
    except av.FFmpegError as error:  # the container's: nothing follows
        on_error(position + 1, f"packet {position + 1} cannot be read: {error_reason(error)}")
    try:
        yield from video.stream.codec_context.decode(None)
    except _DECODER_ERRORS as error:
        on_error(max(position, 0), f"packet {position} cannot be decoded: {error_reason(error)}")


def decode_counted(video: DecoderSession, index: PacketIndex, frames: list[int]) -> Iterator[tuple[int, Any]]:
    """Yield (frame number, decoded frame) for each of the frames wanted, in the decoder's order.

    Raises:
        IndexMismatchError: frames are not those of the index.
    """
    remaining = set(frames)
    positions = index.stamps.tolist()
    conceals = len(index.damaged) > 0
    if conceals != video.conceals:
        video.restart(conceals=conceals)
    try:
        for number, frame in enumerate(decode_all(video)):
            if number >= len(positions) or frame.pts not in (positions[number], None):
                raise IndexMismatchError(f"decoded frame {number} is another one")
            if number in remaining:
                remaining.discard(number)
                yield number, frame
                if not remaining:
                    return
    except DamagedPacketError as error:
        raise IndexMismatchError(f"frames {sorted(remaining)} did not come out of the decoder: {error}") from error
    raise IndexMismatchError(f"frames {sorted(remaining)} did not come out of the decoder")
