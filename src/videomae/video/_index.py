"""The packet index: which packet shows which frame, and where decoding has to start for it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from ._index_bytes import pack_arrays, unpack_arrays

_MAX_PACKETS_READ_ON = 16
# What FFmpeg makes up for damaged data may depend on all that came before it. As far into a file, it is decoded.
_MAX_PACKETS_BEFORE_DAMAGE = 1000
NO_STAMP = -(2**62)  # stands for a time stamp that is missing


@dataclass(frozen=True, eq=False)
class PacketIndex:
    """The packets of a video stream in the order of decoding, P of them, showing N frames.

    It holds plain arrays only, so that it can be kept beside a list of files and spare the next reader the demuxing.
    Where frames cannot be matched with packets, it is `is_counted`: each "packet" is a decoded frame in the decoder's
    order of output, and decoding always starts at the first.

    Attributes:
        stamps: int64 (P,): what each packet is known by: its presentation time, or its decoding time where
            `has_decoding_stamps`, in units of the stream's time base; NO_STAMP where it has none.
        seek_times: int64 (P,): what to ask the container for in order to land on each packet.
        sizes: int64 (P,): bytes.
        is_droppable: bool (P,): no other frame refers to it.
        entries: int64 (E,): the packets with which decoding may begin, ascending; the first is 0.
        entry_frames: int64 (E,): the first frame that comes out right when decoding begins there.
        frame_packets: int64 (N,): the packet of each frame, in presentation order.
        packet_frames: int64 (P,): the frame that each packet shows, -1 where it shows none.
        times: int64 (N,): when each frame is shown, ascending, in units of `time_base`.
        time_base: seconds in a unit of `stamps` and `times`.
        damaged: int64 (D,): packets at which data is missing or cannot be decoded, ascending.
        damage: where and why the file is damaged, if it is.
        is_decoded: the order of frames is from decoding the whole file, not from the packets alone.
        is_counted: see above.
        has_decoding_stamps: see `stamps`.
        has_times: the file has time stamps; otherwise `times` counts frames at the stream's rate.
        needs_first_packet: a decoder must have seen the first packet before any other.
        container: FFmpeg's name of the file's format.
        frames_per_second: on average; None where the file has no rate.
        duration_seconds: None where the file has none.
    """

    stamps: np.ndarray
    seek_times: np.ndarray
    sizes: np.ndarray
    is_droppable: np.ndarray
    entries: np.ndarray
    entry_frames: np.ndarray
    frame_packets: np.ndarray
    packet_frames: np.ndarray
    times: np.ndarray
    time_base: Fraction
    damaged: np.ndarray
    damage: str | None = None
    is_decoded: bool = False
    is_counted: bool = False
    has_decoding_stamps: bool = False
    has_times: bool = True
    needs_first_packet: bool = False
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
        return (self.times - self.times[:1]) * float(self.time_base)

    def to_bytes(self) -> bytes:
        """Return a compact form for `from_bytes`: a few bytes a packet."""
        arrays = {name: getattr(self, name) for name in _KEPT_ARRAYS}
        facts = {name: getattr(self, name) for name in _KEPT_FACTS}
        return pack_arrays(
            arrays | {"seek_delays": self.stamps - self.seek_times},
            facts | {"time_base": [self.time_base.numerator, self.time_base.denominator]},
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> PacketIndex:
        """Return what `to_bytes` wrote.

        Raises:
            ValueError: another version wrote it, or the data is damaged.
        """
        arrays, facts = unpack_arrays(data)
        try:
            known = {name: arrays[name] for name in _KEPT_ARRAYS} | {name: facts[name] for name in _KEPT_FACTS}
            return cls(
                **known | {"is_droppable": arrays["is_droppable"].astype(bool)},
                seek_times=arrays["stamps"] - arrays["seek_delays"],
                packet_frames=frames_of_packets(arrays["frame_packets"], len(arrays["stamps"])),
                time_base=Fraction(*facts["time_base"]),
            )
        except (KeyError, TypeError, IndexError, ZeroDivisionError) as error:
            raise ValueError(f"a packet index that is damaged: {error!r}") from error

    def entry_for(self, frame: int, *, distrusted: Collection[int] = ()) -> int:
        """Return the nearest packet with which decoding may begin so that `frame` comes out right.

        It comes before the frame in the order of presentation as well as of decoding: a frame that is shown before the
        key frame it follows in the file (an open group of pictures) refers back beyond it. Where data is damaged on the
        way, decoding starts at the beginning, or one group earlier where that is far, so that what FFmpeg makes up
        comes out as in decoding the whole file.
        """
        position = int(self.frame_packets[frame])
        nearest = None
        for place in range(bisect_right(self.entries, position) - 1, -1, -1):
            entry = int(self.entries[place])
            if self.entry_frames[place] > frame or entry in distrusted:
                continue
            if nearest is not None or not self.is_damaged(entry, position):
                return entry
            if position < _MAX_PACKETS_BEFORE_DAMAGE:
                return 0
            nearest = entry
        return 0

    def is_damaged(self, first: int, last: int) -> bool:
        """Whether a damaged packet is among those from `first` to `last`."""
        return bool(np.searchsorted(self.damaged, first) < np.searchsorted(self.damaged, last, side="right"))

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
                runs[-1] = (min(entry, runs[-1][0]), runs[-1][1])
            else:
                runs.append((entry, [frame]))
            last_position = max(last_position, int(self.frame_packets[frame]))
        return runs

    def around(self, position: int) -> tuple[int, int]:
        """Return [first, stop): the packets that damage at one packet may spoil, and a group before them."""
        place = bisect_right(self.entries, position)
        first = int(self.entries[max(place - 2, 0)]) if position >= _MAX_PACKETS_BEFORE_DAMAGE else 0
        stop = int(self.entries[place]) if place < len(self.entries) else len(self.stamps)
        return first, stop

    def with_damage(self, position: int, shown: Collection[int], damage: str) -> PacketIndex:
        """Return the index of the same file when it is known what damage at a packet leaves of `around` it.

        Args:
            position: the packet.
            shown: the packets around it that show a frame nevertheless.
            damage: its description.
        """
        first, stop = self.around(position)
        is_shown = np.ones(len(self.stamps), dtype=bool)
        # Those before the first group's key frame in presentation refer to what was not decoded, and prove nothing.
        is_leading = self.packet_frames[first:stop] < self.entry_frames[np.searchsorted(self.entries, first)]
        is_shown[first:stop] = np.isin(np.arange(first, stop), list(shown)) | is_leading
        kept = is_shown[self.frame_packets]
        frame_packets = self.frame_packets[kept]
        is_entry_kept = is_shown[self.entries] | (self.packet_frames[self.entries] < 0) | (self.entries == 0)
        return replace(
            self,
            frame_packets=frame_packets,
            packet_frames=frames_of_packets(frame_packets, len(self.stamps)),
            times=self.times[kept],
            entries=self.entries[is_entry_kept],
            entry_frames=np.concatenate([[0], np.cumsum(kept)])[self.entry_frames[is_entry_kept]],
            damaged=np.union1d(self.damaged, [position]),
            damage=self.damage or damage,
        )


_KEPT_ARRAYS = (
    *("stamps", "sizes", "is_droppable", "entries", "entry_frames"),
    *("frame_packets", "times", "damaged"),
)
_KEPT_FACTS = (
    *("damage", "is_decoded", "is_counted", "has_decoding_stamps", "has_times", "needs_first_packet"),
    *("container", "frames_per_second", "duration_seconds"),
)


def frames_of_packets(frame_packets: np.ndarray, num_packets: int) -> np.ndarray:
    """Turn the packet of each frame, int64 (N,), into the frame of each packet, int64 (P,), -1 where it has none."""
    packet_frames = np.full(num_packets, -1, dtype=np.int64)
    packet_frames[frame_packets] = np.arange(len(frame_packets))
    return packet_frames


def facts_of(video: Any) -> dict[str, Any]:
    """What a packet index keeps of an open file beside its packets."""
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
