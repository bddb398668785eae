"""The packet index: which packet shows which frame, and where decoding has to start for it."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import av
import numpy as np

from ._bitstream import inspector_for, needs_first_packet
from ._open import CutOffError, OpenVideo, describe

_PROGRESSIVE = 1  # AV_FIELD_PROGRESSIVE


@dataclass(frozen=True)
class PacketIndex:
    """The packets of a video stream in the order of decoding, P of them, showing N frames.

    It holds plain arrays only, so that it can be kept beside a list of files and spare the next reader the demuxing.

    Attributes:
        pts: int64 (P,): when each packet's frame is shown, in units of the stream's time base.
        seek_times: int64 (P,): what to ask the container for in order to land on each packet.
        sizes: int64 (P,): bytes.
        is_droppable: bool (P,): no other frame refers to it.
        entries: int64 (E,): the packets with which decoding may begin, ascending.
        frame_packets: int64 (N,): the packet of each frame, in presentation order.
        packet_frames: int64 (P,): the frame that each packet shows, -1 where it shows none.
        needs_first_packet: a decoder must have seen the first packet before any other.
        damage: where and why the file breaks off, if it does.
    """

    pts: np.ndarray
    seek_times: np.ndarray
    sizes: np.ndarray
    is_droppable: np.ndarray
    entries: np.ndarray
    frame_packets: np.ndarray
    packet_frames: np.ndarray
    needs_first_packet: bool
    damage: str | None

    @property
    def num_frames(self) -> int:
        """How many frames a player shows."""
        return len(self.frame_packets)

    @cached_property
    def position_by_pts(self) -> dict[int, int]:
        """The packet with each time stamp."""
        return {pts: position for position, pts in enumerate(self.pts.tolist())}

    def entry_for(self, frame: int, *, distrusted: Collection[int] = ()) -> int:
        """Return the nearest packet with which decoding may begin so that `frame` comes out right.

        It comes before the frame in the order of presentation as well as of decoding: a frame that is shown before the
        key frame it follows in the file (an open group of pictures) refers back beyond it.
        """
        position = int(self.frame_packets[frame])
        nearest = bisect_right(self.entries, position) - 1
        for entry in self.entries[nearest::-1].tolist() if nearest >= 0 else ():
            if self.pts[entry] <= self.pts[position] and entry not in distrusted:
                return entry
        return 0

    def plan(self, frames: list[int], *, distrusted: Collection[int] = ()) -> list[tuple[int, list[int]]]:
        """Cut ascending frames into runs (entry, frames), each decoded in one go; between runs, packets are skipped."""
        runs: list[tuple[int, list[int]]] = []
        last_position = -1
        for frame in frames:
            entry = self.entry_for(frame, distrusted=distrusted)
            if runs and entry <= last_position + 1:
                runs[-1][1].append(frame)
            else:
                runs.append((entry, [frame]))
            last_position = max(last_position, int(self.frame_packets[frame]))
        return runs


@dataclass
class _Packets:
    """What is gathered while the packets go by."""

    pts: list[int]
    seek_times: list[int]
    sizes: list[int]
    num_shown: list[int]
    is_entry: list[bool]
    is_droppable: list[bool]
    needs_first_packet: bool = False
    damage: str | None = None


def build_index(video: OpenVideo) -> PacketIndex | None:
    """Read all packets without decoding them.

    Returns:
        None where packets do not tell which frames there will be: time stamps missing or repeated, frames before the
        first key frame, a codec that hides or packs frames, a header that changes midway.
    """
    inspect = inspector_for(video.stream.codec.canonical_name, video.stream.codec_context.extradata)
    if inspect is None or _may_hold_single_fields(video):
        return None
    packets = _gather(video, inspect)
    if packets is None or not packets.pts or not packets.is_entry[0]:
        return None
    pts = np.array(packets.pts, dtype=np.int64)
    num_shown = np.array(packets.num_shown, dtype=np.int64)
    if len(np.unique(pts)) != len(pts) or (pts < pts[0]).any() or not np.isin(num_shown, (0, 1)).all():
        return None
    shown = np.flatnonzero(num_shown)
    frame_packets = shown[np.argsort(pts[shown])]
    packet_frames = np.full(len(pts), -1, dtype=np.int64)
    packet_frames[frame_packets] = np.arange(len(frame_packets))
    return PacketIndex(
        pts=pts,
        seek_times=np.array(packets.seek_times, dtype=np.int64),
        sizes=np.array(packets.sizes, dtype=np.int64),
        is_droppable=np.array(packets.is_droppable, dtype=bool),
        entries=np.flatnonzero(packets.is_entry),
        frame_packets=frame_packets,
        packet_frames=packet_frames,
        needs_first_packet=packets.needs_first_packet,
        damage=packets.damage,
    )


def _may_hold_single_fields(video: OpenVideo) -> bool:
    """Whether two packets may make one frame: interlaced H.264, but in MP4, where a sample is a whole frame."""
    is_progressive = video.stream.codec_context.field_order == _PROGRESSIVE
    return video.stream.codec.canonical_name == "h264" and not is_progressive and not _is_mp4(video)


def _is_mp4(video: OpenVideo) -> bool:
    return "mp4" in video.container.format.name


def _gather(video: OpenVideo, inspect: Any) -> _Packets | None:
    # Matroska looks key frames up by the time at which they are shown, the others by that at which they are decoded.
    seeks_by_pts = "matroska" in video.container.format.name
    packets = _Packets([], [], [], [], [], [])
    try:
        for packet in video.packets():
            if packet.is_corrupt:
                packets.damage = f"the data of packet {len(packets.pts)} is incomplete"
                break
            if packet.pts is None or (packets.pts and packet.has_sidedata("new_extradata")):
                return None
            data = bytes(packet)
            if not packets.pts:
                packets.needs_first_packet = needs_first_packet(video.stream.codec.canonical_name, data)
            traits = inspect(data, packet.is_keyframe)
            packets.pts.append(packet.pts)
            packets.seek_times.append(packet.pts if seeks_by_pts or packet.dts is None else packet.dts)
            packets.sizes.append(packet.size)
            packets.num_shown.append(0 if packet.is_discard and traits.num_shown == 1 else traits.num_shown)
            packets.is_entry.append(traits.is_entry)
            packets.is_droppable.append(traits.is_droppable)
    except (av.FFmpegError, CutOffError) as error:
        packets.damage = f"packet {len(packets.pts)} cannot be read: {describe(error)}"
    packets.damage = packets.damage or _missing_tail(video)
    return packets


def _missing_tail(video: OpenVideo) -> str | None:
    """Where the container lists data beyond the file's end (MP4 and MOV; others end without a word)."""
    if not _is_mp4(video):
        return None
    expected = max((entry.pos + entry.size for entry in video.stream.index_entries), default=0)
    size = os.stat(video.path).st_size
    return f"the file ends at byte {size} of {expected}" if expected > size else None
