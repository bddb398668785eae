"""The packet index: which packet shows which frame, and where decoding has to start for it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np

from ._bitstream import inspector_for, needs_first_packet
from ._index_bytes import pack_arrays, unpack_arrays
from ._open import CutOffError, OpenVideo
from ._source import describe

_MAX_PACKETS_READ_ON = 16
_PROGRESSIVE = 1  # AV_FIELD_PROGRESSIVE


@dataclass(frozen=True, eq=False)
class PacketIndex:
    """The packets of a video stream in the order of decoding, P of them, showing N frames.

    It holds plain arrays only, so that it can be kept beside a list of files and spare the next reader the demuxing.
    Where packets do not tell which frames there are, it is `is_counted`: decoding everything has told, each "packet" is
    a decoded frame in the order of the decoder's output, and decoding always starts at the first.

    Attributes:
        pts: int64 (P,): when each packet's frame is shown, in units of the stream's time base.
        seek_times: int64 (P,): what to ask the container for in order to land on each packet.
        sizes: int64 (P,): bytes.
        is_droppable: bool (P,): no other frame refers to it.
        entries: int64 (E,): the packets with which decoding may begin, ascending.
        frame_packets: int64 (N,): the packet of each frame, in presentation order.
        packet_frames: int64 (P,): the frame that each packet shows, -1 where it shows none.
        time_base: seconds in a unit of `pts`.
        needs_first_packet: a decoder must have seen the first packet before any other.
        is_counted: see above.
        has_times: the file has time stamps; otherwise `pts` counts frames at the stream's rate.
        damage: where and why the file breaks off, if it does.
        container: FFmpeg's name of the file's format.
        frames_per_second: on average; None where the file does not say.
        duration_seconds: None where the file does not say.
    """

    pts: np.ndarray
    seek_times: np.ndarray
    sizes: np.ndarray
    is_droppable: np.ndarray
    entries: np.ndarray
    frame_packets: np.ndarray
    packet_frames: np.ndarray
    time_base: Fraction
    needs_first_packet: bool = False
    is_counted: bool = False
    has_times: bool = True
    damage: str | None = None
    container: str = ""
    frames_per_second: float | None = None
    duration_seconds: float | None = None

    @property
    def num_frames(self) -> int:
        """How many frames a player shows."""
        return len(self.frame_packets)

    @property
    def frame_times(self) -> np.ndarray:
        """float64 (N,): seconds from the first frame to each."""
        times = self.pts[self.frame_packets]
        return (times - times[:1]) * float(self.time_base)

    def to_bytes(self) -> bytes:
        """Return a compact form for `from_bytes`: a few bytes a packet."""
        return pack_arrays(
            {
                "pts": self.pts,
                "seek_delays": self.pts - self.seek_times,
                "sizes": self.sizes,
                "is_droppable": self.is_droppable,
                "entries": self.entries,
                "frame_packets": self.frame_packets,
            },
            {
                "time_base": [self.time_base.numerator, self.time_base.denominator],
                "needs_first_packet": self.needs_first_packet,
                "is_counted": self.is_counted,
                "has_times": self.has_times,
                "damage": self.damage,
                "container": self.container,
                "frames_per_second": self.frames_per_second,
                "duration_seconds": self.duration_seconds,
            },
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> PacketIndex:
        """Return what `to_bytes` wrote.

        Raises:
            ValueError: another version wrote it, or the data is damaged.
        """
        arrays, facts = unpack_arrays(data)
        try:
            return cls(
                pts=arrays["pts"],
                seek_times=arrays["pts"] - arrays["seek_delays"],
                sizes=arrays["sizes"],
                is_droppable=arrays["is_droppable"].astype(bool),
                entries=arrays["entries"],
                frame_packets=arrays["frame_packets"],
                packet_frames=frames_of_packets(arrays["frame_packets"], len(arrays["pts"])),
                time_base=Fraction(*facts["time_base"]),
                needs_first_packet=facts["needs_first_packet"],
                is_counted=facts["is_counted"],
                has_times=facts["has_times"],
                damage=facts["damage"],
                container=facts["container"],
                frames_per_second=facts["frames_per_second"],
                duration_seconds=facts["duration_seconds"],
            )
        except (KeyError, TypeError, IndexError, ZeroDivisionError) as error:
            raise ValueError(f"a packet index that is damaged: {error!r}") from error

    def entry_for(self, frame: int, *, distrusted: Collection[int] = ()) -> int:
        """Return the nearest packet with which decoding may begin so that `frame` comes out right.

        It comes before the frame in the order of presentation as well as of decoding: a frame that is shown before the
        key frame it follows in the file (an open group of pictures) refers back beyond it.
        """
        position = int(self.frame_packets[frame])
        nearest = bisect_right(self.entries, position) - 1
        for place in range(nearest, -1, -1):
            entry = int(self.entries[place])
            if self.pts[entry] <= self.pts[position] and entry not in distrusted:
                return entry
        return 0

    def plan(self, frames: list[int], *, distrusted: Collection[int] = ()) -> list[tuple[int, list[int]]]:
        """Cut ascending frames into runs (entry, frames), each decoded in one go; between runs, packets are skipped.

        Where frames stand for themselves, reading on past some that are not decoded costs less than a seek.
        """
        gap = _MAX_PACKETS_READ_ON if self.is_droppable.all() else 1
        runs: list[tuple[int, list[int]]] = []
        last_position = -1
        for frame in frames:
            entry = self.entry_for(frame, distrusted=distrusted)
            if runs and entry <= last_position + gap:
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
    temporal_layers: list[int]
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
    layers = np.array(packets.temporal_layers)
    frame_packets = shown[np.argsort(pts[shown])]
    return PacketIndex(
        pts=pts,
        seek_times=np.array(packets.seek_times, dtype=np.int64),
        sizes=np.array(packets.sizes, dtype=np.int64),
        is_droppable=np.array(packets.is_droppable, dtype=bool) & (layers == layers.max()),
        entries=np.flatnonzero(packets.is_entry),
        frame_packets=frame_packets,
        packet_frames=frames_of_packets(frame_packets, len(pts)),
        time_base=video.stream.time_base,
        needs_first_packet=packets.needs_first_packet,
        damage=packets.damage,
        **_facts(video),
    )


def counted_index(times: list[int | None], video: OpenVideo, damage: str | None) -> PacketIndex:
    """Return the index of a video whose frames were counted by decoding it, given their time stamps as they came out.

    Where any is missing, the decoder's order is that of presentation, at the stream's rate.
    """
    known = [time for time in times if time is not None]
    time_base = video.stream.time_base
    has_times = len(known) == len(times) and time_base is not None
    if not has_times:
        rate = video.stream.average_rate or video.stream.guessed_rate or 25
        known, time_base = list(range(len(times))), 1 / Fraction(rate)
    pts = np.array(known, dtype=np.int64)
    frame_packets = np.argsort(pts, kind="stable")
    return PacketIndex(
        pts=pts,
        seek_times=pts,
        sizes=np.zeros(len(pts), dtype=np.int64),
        is_droppable=np.zeros(len(pts), dtype=bool),
        entries=np.zeros(1, dtype=np.int64),
        frame_packets=frame_packets,
        packet_frames=frames_of_packets(frame_packets, len(pts)),
        time_base=time_base,
        is_counted=True,
        has_times=has_times,
        damage=damage,
        **_facts(video),
    )


def _facts(video: OpenVideo) -> dict[str, Any]:
    stream, container = video.stream, video.container
    rate = stream.average_rate or stream.guessed_rate
    duration = container.duration / 1e6 if container.duration else None
    if stream.duration and stream.time_base:
        duration = float(stream.duration * stream.time_base)
    return {
        "container": container.format.name,
        "frames_per_second": float(rate) if rate else None,
        "duration_seconds": duration,
    }


def frames_of_packets(frame_packets: np.ndarray, num_packets: int) -> np.ndarray:
    """Turn the packet of each frame, int64 (N,), into the frame of each packet, int64 (P,), -1 where it has none."""
    packet_frames = np.full(num_packets, -1, dtype=np.int64)
    packet_frames[frame_packets] = np.arange(len(frame_packets))
    return packet_frames


def _may_hold_single_fields(video: OpenVideo) -> bool:
    """Whether two packets may make one frame: interlaced H.264, but in MP4, where a sample is a whole frame."""
    is_progressive = video.stream.codec_context.field_order == _PROGRESSIVE
    return video.stream.codec.canonical_name == "h264" and not is_progressive and not _is_mp4(video)


def _is_mp4(video: OpenVideo) -> bool:
    return "mp4" in video.container.format.name


def _gather(video: OpenVideo, inspect: Any) -> _Packets | None:
    # Matroska looks key frames up by the time at which they are shown, the others by that at which they are decoded.
    seeks_by_pts = "matroska" in video.container.format.name
    packets = _Packets([], [], [], [], [], [], [])
    try:
        for packet in video.packets():
            if packet.is_corrupt:
                packets.damage = f"the data of packet {len(packets.pts)} is incomplete"
                break
            if packet.pts is None or (packets.pts and packet.has_sidedata("new_extradata")):
                return None
            if not packets.pts:
                packets.needs_first_packet = needs_first_packet(video.stream.codec.canonical_name, bytes(packet))
            traits = inspect(packet, packet.is_keyframe)
            packets.pts.append(packet.pts)
            packets.seek_times.append(packet.pts if seeks_by_pts or packet.dts is None else packet.dts)
            packets.sizes.append(packet.size)
            packets.num_shown.append(0 if packet.is_discard and traits.num_shown == 1 else traits.num_shown)
            packets.is_entry.append(traits.is_entry)
            packets.is_droppable.append(traits.is_droppable)
            packets.temporal_layers.append(traits.temporal_layer)
    except (av.FFmpegError, CutOffError) as error:
        packets.damage = f"packet {len(packets.pts)} cannot be read: {describe(error)}"
    packets.damage = packets.damage or _missing_tail(video)
    return packets


def _missing_tail(video: OpenVideo) -> str | None:
    """Where the container lists data beyond the file's end (MP4 and MOV; others end without a word)."""
    if not _is_mp4(video):
        return None
    expected = max((entry.pos + entry.size for entry in video.stream.index_entries), default=0)
    size = video.source.num_bytes
    return f"the file ends at byte {size} of {expected}" if expected > size else None
