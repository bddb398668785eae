"""Packet indices of open files: from the packets where these determine the frames, else by decoding everything."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np

from videomae.core.text import error_reason

from ._bitstream import inspector_for, needs_first_packet
from ._decode import MAX_REFERENCES, IndexMismatchError, decode_all, shown_between
from ._decoder_session import DecoderSession
from ._index import NO_STAMP, PacketIndex, facts_of, frames_of_packets

_PROGRESSIVE = 1  # AV_FIELD_PROGRESSIVE
_NO_FRAME = -1  # decoded frames that the decoder does not assign to a packet


class _Packets:
    """The properties of a file's packets, collected in decoding order."""

    def __init__(self, video: DecoderSession) -> None:
        # Matroska looks key frames up by the time at which they are shown, others by that at which they are decoded.
        self._seeks_by_pts = "matroska" in video.container.format.name
        context = video.stream.codec_context
        self._codec = video.stream.codec.canonical_name
        self._inspect = inspector_for(self._codec, context.extradata)
        self._can_reorder = bool(context.has_b_frames)  # of the container's header, before the decoder is opened
        self.cuts_fields = _may_hold_single_fields(video)
        self.pts: list[int] = []
        self.dts: list[int] = []
        self.sizes: list[int] = []
        self.num_shown: list[int] = []
        self.is_entry: list[bool] = []
        self.is_droppable: list[bool] = []
        self.temporal_layers: list[int] = []
        self.damaged: set[int] = set()
        self.needs_first_packet = False
        self.first_key: int | None = None
        self.is_reordered = False
        self.changes_header = False
        self.damage: str | None = None

    def append(self, packet: Any) -> None:
        """Take note of the next packet."""
        position = len(self.pts)
        if packet.is_corrupt:
            self.add_damage(position, f"data is missing at packet {position}")
        if packet.is_keyframe and self.first_key is None:
            self.first_key = position
        has_palette = packet.has_sidedata("palette")  # of the packets from here on
        if not position:
            self.needs_first_packet = has_palette or needs_first_packet(self._codec, bytes(packet))
        elif has_palette or packet.has_sidedata("new_extradata"):
            self.changes_header = True
        self.pts.append(NO_STAMP if packet.pts is None else packet.pts)
        self.dts.append(NO_STAMP if packet.dts is None else packet.dts)
        self.sizes.append(packet.size)
        if self._inspect is not None:
            traits = self._inspect(packet, packet.is_keyframe)
            self.num_shown.append(0 if packet.is_discard and traits.num_shown == 1 else traits.num_shown)
            self.is_entry.append(traits.is_entry)
            self.is_droppable.append(traits.is_droppable)
            self.temporal_layers.append(traits.temporal_layer)
            self.is_reordered |= traits.is_bidirectional or self._codec == "hevc"

    def add_damage(self, position: int, reason: str) -> None:
        """Take note of a packet that is not whole, or cannot be decoded.

        Frames at the beginning of a file may refer to what was before it, which is no damage to speak of.
        """
        self.damaged.add(position)
        if self.damage is None and not self._may_refer_back(position):
            self.damage = reason

    def _may_refer_back(self, position: int) -> bool:
        key = self.first_key
        if key is None or position < key or position >= len(self.pts):
            return key is None or position < key
        is_leading = NO_STAMP < self.pts[position] < self.pts[key]
        is_open = self._codec in ("h264", "hevc") and not (self.is_entry and self.is_entry[key])
        return is_leading or (is_open and position <= key + MAX_REFERENCES)

    @property
    def has_traits(self) -> bool:
        """Whether packets of this codec and container describe the frames in them."""
        return self._inspect is not None

    @property
    def have_entries(self) -> bool:
        """Whether packets show where decoding may begin."""
        return self.has_traits and not self.changes_header and min(self.num_shown, default=-1) >= 0

    @property
    def determine_frames(self) -> bool:
        """Whether each packet shows one known frame or none, and the first one can be decoded by itself."""
        return self.have_entries and not self.cuts_fields and self.is_entry[0] and max(self.num_shown) <= 1

    @property
    def determine_order(self) -> bool:
        """Whether presentation times are there, and are the order in which the decoder puts frames out.

        Not where time stamps are missing, repeated or begin again (recordings joined by `cat`). And not where frames
        are reordered while their times are not: files without presentation times (AVI, raw streams) have such, made
        from the order of decoding, and so have files that were copied from them without decoding.
        """
        pts, dts = np.array(self.pts), np.array(self.dts)
        known = dts[dts != NO_STAMP]
        if (
            (pts == NO_STAMP).any()
            or len(np.unique(pts)) < len(pts)
            or (np.diff(known) < 0).any()
            or pts.min() < pts[0]
        ):
            return False
        ranks = np.argsort(np.argsort(pts))
        distance = np.abs(ranks - np.arange(len(pts))).max()
        return bool(distance <= MAX_REFERENCES and (distance or not (self.is_reordered and self._can_reorder)))

    def index(self, video: DecoderSession, frame_packets: np.ndarray, times: np.ndarray, **facts: Any) -> PacketIndex:
        """Return the index in which these packets show the frames, given in their order."""
        pts, dts = np.array(self.pts, dtype=np.int64), np.array(self.dts, dtype=np.int64)
        can_know = [(stamps != NO_STAMP).all() and len(np.unique(stamps)) == len(stamps) for stamps in (pts, dts)]
        has_decoding_stamps = bool(can_know[1] and not can_know[0])
        packet_frames = frames_of_packets(frame_packets, len(pts))
        is_droppable, entries = np.zeros(len(pts), dtype=bool), np.zeros(1, dtype=np.int64)
        if self.have_entries and any(can_know) and (np.diff(dts[dts != NO_STAMP]) >= 0).all():
            layers = np.array(self.temporal_layers)
            is_droppable = np.array(self.is_droppable, dtype=bool) & (layers == layers.max())
            entries = np.union1d([0], np.flatnonzero(self.is_entry))
        # One that shows no frame of its own has what comes after its time, where times are the order.
        entry_frames = packet_frames[entries]
        if not facts.get("is_decoded"):
            entry_frames = np.searchsorted(pts[frame_packets], pts[entries])
        is_usable = (entry_frames >= 0) | (entries == 0)
        by_pts = self._seeks_by_pts | (dts == NO_STAMP)
        return PacketIndex(
            stamps=dts if has_decoding_stamps else pts,
            seek_times=np.where(by_pts, pts, dts),
            sizes=np.array(self.sizes, dtype=np.int64),
            is_droppable=is_droppable,
            entries=entries[is_usable],
            entry_frames=np.where(entries == 0, 0, entry_frames)[is_usable],
            frame_packets=frame_packets,
            packet_frames=packet_frames,
            times=times,
            damaged=np.array(sorted(self.damaged), dtype=np.int64),
            damage=self.damage,
            has_decoding_stamps=has_decoding_stamps,
            needs_first_packet=self.needs_first_packet,
            **facts,
            **facts_of(video),
        )


def index_from_packets(video: DecoderSession) -> PacketIndex:
    """Return the index of a file that was just opened: without decoding if its packets determine the frames."""
    packets = _Packets(video)
    if not packets.has_traits or packets.cuts_fields:
        return index_by_decoding(video)
    try:
        for packet in video.packets():
            packets.append(packet)
    except av.FFmpegError as error:
        packets.damage = f"packet {len(packets.pts)} cannot be read: {error_reason(error)}"
    _note_missing_end(video, packets)
    if not packets.determine_frames or not packets.determine_order:
        return index_by_decoding(video)
    pts = np.array(packets.pts, dtype=np.int64)
    shown = np.flatnonzero(packets.num_shown)
    frame_packets = shown[np.argsort(pts[shown])]
    index = packets.index(video, frame_packets, pts[frame_packets], time_base=video.stream.time_base)
    for position in sorted(packets.damaged):
        index = repair_index(video, index, position, str(packets.damage))
    return index


def repair_index(video: DecoderSession, index: PacketIndex, position: int, damage: str) -> PacketIndex:
    """Return the index of a file of which a packet is damaged: what FFmpeg shows of the frames around it is kept."""
    try:
        shown = set(shown_between(video, index, *index.around(position)))
    except IndexMismatchError:
        return index_by_decoding(video)
    return index.with_damage(position, shown, damage)


def index_by_decoding(video: DecoderSession, *, is_counted: bool = False) -> PacketIndex:
    """Decode the whole file, keeping nothing but what packets its frames are from.

    Their order is the decoder's order of output, which is what FFmpeg shows, whatever the time stamps are. A file that
    does not decode without an error is decoded again as FFmpeg does: what cannot be decoded is concealed or skipped.

    Args:
        video: the open file.
        is_counted: do not match frames with packets, but count them, whatever the decoder reports.
    """
    packets = _Packets(video)
    video.restart(conceals=False, num_threads=1)
    shown = []
    for frame in decode_all(video, on_packet=packets.append, on_error=packets.add_damage):
        shown.append(frame.pts)
        if frame.is_corrupt and frame.pts is not None:
            packets.add_damage(frame.pts, f"packet {frame.pts} is decoded in part")
    _note_missing_end(video, packets)
    if packets.damaged:
        video.restart(conceals=True)
        shown = [frame.pts for frame in decode_all(video)]
    if is_counted or not packets.pts or None in shown or len(set(shown)) < len(shown):
        return _counted_index(video, packets, shown)
    frame_packets = np.array(shown, dtype=np.int64)
    times, time_base, has_times = _times(video, packets, frame_packets)
    return packets.index(video, frame_packets, times, time_base=time_base, has_times=has_times, is_decoded=True)


def _counted_index(video: DecoderSession, packets: _Packets, shown: list[int | None]) -> PacketIndex:
    positions = np.array([_NO_FRAME if position is None else position for position in shown], dtype=np.int64)
    times, time_base, has_times = _times(video, packets, positions)
    zeros, numbers = np.zeros(len(shown), dtype=np.int64), np.arange(len(shown))
    return PacketIndex(
        stamps=positions,
        seek_times=positions,
        sizes=zeros,
        is_droppable=zeros.astype(bool),
        entries=zeros[:1],
        entry_frames=zeros[:1],
        frame_packets=numbers,
        packet_frames=numbers,
        times=times,
        time_base=time_base,
        damaged=zeros[: 1 if packets.damaged else 0],
        damage=packets.damage,
        is_decoded=True,
        is_counted=True,
        has_times=has_times,
        **facts_of(video),
    )


def _times(video: DecoderSession, packets: _Packets, positions: np.ndarray) -> tuple[np.ndarray, Fraction, bool]:
    """Return when each frame is shown, ascending, the time base, and whether these are from the file.

    Time stamps made from the order of decoding are right but for their order. Where they begin again, frames after that
    are shown after those before; where any is missing, frames follow each other at the stream's rate.
    """
    stream = video.stream
    rate = stream.average_rate or stream.guessed_rate or 25
    for stamps in (np.array(packets.pts), np.array(packets.dts)):
        if not len(positions) or (positions < 0).any() or stream.time_base is None:
            break
        times = stamps[positions]
        if (times == NO_STAMP).any():
            continue
        distance = np.abs(np.argsort(np.argsort(times, kind="stable")) - np.arange(len(times))).max()
        if distance <= MAX_REFERENCES and len(np.unique(times)) == len(times):
            return np.sort(times), stream.time_base, True
        step = max(round(1 / (rate * stream.time_base)), 1)
        steps = np.diff(times)
        return np.cumsum(np.concatenate([times[:1], np.where(steps > 0, steps, step)])), stream.time_base, True
    return np.arange(len(positions)), 1 / Fraction(rate), False


def _may_hold_single_fields(video: DecoderSession) -> bool:
    """Whether two packets may make one frame: interlaced H.264, but in MP4, where a sample is a whole frame."""
    is_progressive = video.stream.codec_context.field_order == _PROGRESSIVE
    return video.stream.codec.canonical_name == "h264" and not is_progressive and not _is_mp4(video)


def _is_mp4(video: DecoderSession) -> bool:
    return "mp4" in video.container.format.name


def _note_missing_end(video: DecoderSession, packets: _Packets) -> None:
    """Take note where the file breaks off: by its size, or where the container lists data beyond its end (MP4, MOV)."""
    if video.is_cut_off and packets.pts:
        packets.add_damage(len(packets.pts) - 1, "the file breaks off within its last packet")
    if not _is_mp4(video):
        return
    expected = max((entry.pos + entry.size for entry in video.stream.index_entries), default=0)
    size = video.source.num_bytes
    if expected > size:
        packets.damage = f"the file ends at byte {size} of {expected}"
