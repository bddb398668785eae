"""Properties of a compressed packet that are known before it is decoded.

Only the few header bits are read that decide how many frames a packet shows, whether decoding may begin with it, and
whether other frames refer to it. Sources: ITU-T H.264 clauses 7.3.1, 7.4.1, D.2.8; ITU-T H.265 table 7-1; RFC 6386
section 9.1 (VP8); the VP9 bitstream specification, section 6.2 and annex B; ISO/IEC 14496-2 section 6.2.5 (MPEG-4);
ISO/IEC 13818-2 sections 6.2.3 and 6.3.10 (MPEG-2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple


class PacketTraits(NamedTuple):
    """Facts about one packet.

    Attributes:
        num_shown: frames that a player shows for it; anything but 0 and 1 means that packets cannot be counted.
        is_entry: a decoder that starts with this packet gives the very frames that follow it in presentation order.
        is_droppable: no other frame of the same temporal layer refers to it.
        temporal_layer: frames of higher layers may refer to it, those of lower ones do not.
        is_bidirectional: it may be shown before frames that precede it in the file.
    """

    num_shown: int
    is_entry: bool
    is_droppable: bool
    temporal_layer: int = 0
    is_bidirectional: bool = False


Inspector = Callable[[Any, bool], PacketTraits]

# Every packet is one frame, and every key frame stands for itself.
_PLAIN_CODECS = frozenset({"av1", "ffv1"})
# Every packet is one frame and stands for itself.
_INTRA_CODECS = frozenset({"mjpeg", "png", "prores", "dnxhd", "huffyuv", "ffvhuff", "utvideo", "rawvideo", "jpeg2000"})


def inspector_for(codec: str, extradata: bytes | None) -> Inspector | None:
    """Return the function that reads a packet's traits from (the packet, the container's key-frame flag).

    Args:
        codec: FFmpeg's name of the coding format.
        extradata: the codec's header as the container has it.

    Returns:
        None for a codec whose packets do not show how many frames they hold.
    """
    if codec in _PLAIN_CODECS:
        return lambda packet, is_key: PacketTraits(1, is_key, False)
    if codec in _INTRA_CODECS:
        return lambda packet, is_key: PacketTraits(1, is_key, is_key)
    if codec == "mpeg4" and _is_interlaced_mpeg4(extradata or b""):
        return None
    if codec in ("h264", "hevc"):
        inspect, offset = (_inspect_h264, 4) if codec == "h264" else (_inspect_hevc, 21)
        length_size = _length_size(extradata, offset)
        # Where units are prefixed with their lengths, a few bytes of each are read, without a copy of the packet.
        view = memoryview if length_size else bytes
        return lambda packet, is_key: inspect(view(packet), is_key, length_size)
    others = {
        "vp8": _inspect_vp8,
        "vp9": _inspect_vp9,
        "mpeg4": _inspect_mpeg4,
        "mpeg1video": _inspect_mpeg2,
        "mpeg2video": _inspect_mpeg2,
    }
    if codec not in others:
        return None
    inspect_bytes = others[codec]
    return lambda packet, is_key: inspect_bytes(bytes(packet), is_key)


def needs_first_packet(codec: str, data: bytes) -> bool:
    """Whether the stream's first packet names an encoder whose quirks a decoder imitates in all later ones.

    The note of x264 stands in its first packet only; FFmpeg decodes 4:4:4 of builds before 151 in another way. MPEG-4
    encoders sign their streams likewise, and FFmpeg chooses the inverse transform by it.
    """
    if codec == "mpeg4":
        return True
    marker = b"x264 - core "
    start = data.find(marker) if codec == "h264" else -1
    if start < 0:
        return False
    digits = data[start + len(marker) : start + len(marker) + 4].split()
    return not digits or not digits[0].isdigit() or int(digits[0]) < 151


def _length_size(extradata: bytes | None, offset: int) -> int:
    """Bytes before each NAL unit that hold its length, as the MP4 header has it; 0 for start codes."""
    if not extradata or len(extradata) <= offset or extradata[0] != 1:
        return 0
    return (extradata[offset] & 3) + 1


def _nal_units(data: bytes | memoryview, length_size: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each NAL unit: length-prefixed as in MP4, or between start codes (length_size = 0)."""
    position, size = 0, len(data)
    if length_size:
        while position + length_size < size:
            start = position + length_size
            position = start + int.from_bytes(data[position:start], "big")
            yield start, min(position, size)
        return
    data = bytes(data)
    start = data.find(b"\x00\x00\x01")
    while 0 <= start < size - 3:
        following = data.find(b"\x00\x00\x01", start + 3)
        yield start + 3, following if following >= 0 else size
        start = following


def _inspect_h264(data: bytes | memoryview, is_key: bool, length_size: int) -> PacketTraits:
    num_slices, has_reference, is_entry, is_bidirectional = 0, False, False, False
    for start, end in _nal_units(data, length_size):
        if start >= end:
            continue
        header = data[start]
        unit_type = header & 31
        if 1 <= unit_type <= 5:
            num_slices += 1
            has_reference |= bool(header & 0x60)
            is_bidirectional |= _h264_slice_type(data[start + 1 : min(start + 12, end)]) % 5 == 1
            is_entry |= unit_type == 5
        elif unit_type == 6 and is_key:
            is_entry |= _has_exact_recovery_point(bytes(data[start + 1 : end]))
    # Without a slice of its own it may be half a picture: then packets cannot be counted.
    is_droppable = bool(num_slices) and not has_reference
    return PacketTraits(1 if num_slices else -1, is_key and is_entry, is_droppable, is_bidirectional=is_bidirectional)


def _h264_slice_type(header: bytes | memoryview) -> int:
    """slice_type, 0 to 9, the second Exp-Golomb number of a slice header (clause 7.3.3); 0 where it breaks off."""
    bits = int.from_bytes(header, "big")
    left = 8 * len(header)
    for is_last in (False, True):
        num_zeros = left - bits.bit_length()  # of the bits left, those before the first 1
        left -= 2 * num_zeros + 1
        if left < 0:
            return 0
        number = (bits >> left) - 1
        bits &= (1 << left) - 1
        if is_last:
            return number
    return 0


def _has_exact_recovery_point(message: bytes) -> bool:
    """Whether a supplemental message promises that all frames from here on in output order come out exactly."""
    message = message.replace(b"\x00\x00\x03", b"\x00\x00")
    position = 0
    while position + 2 <= len(message) and message[position] != 0x80:
        numbers = []
        for _ in ("type", "size"):
            number = 0
            while position < len(message) and message[position] == 0xFF:
                number += 255
                position += 1
            if position >= len(message):
                return False
            numbers.append(number + message[position])
            position += 1
        payload_type, payload_size = numbers
        if payload_type == 6 and position < len(message):
            # recovery_frame_cnt = 0 is the single bit 1; exact_match_flag is the next one.
            return message[position] & 0xC0 == 0xC0
        position += payload_size
    return False


def _inspect_hevc(data: bytes | memoryview, is_key: bool, length_size: int) -> PacketTraits:
    has_slice, is_entry, is_droppable, layer = False, False, True, 0
    for start, end in _nal_units(data, length_size):
        if start + 1 >= end:
            continue
        unit_type = (data[start] >> 1) & 63
        if unit_type < 32:
            has_slice = True
            is_entry |= 16 <= unit_type <= 21
            # Even types up to 14: no picture of the same temporal layer refers to it; one of a higher layer may.
            is_droppable &= unit_type < 16 and not unit_type & 1
            layer = max(layer, (data[start + 1] & 7) - 1)
    return PacketTraits(1 if has_slice else -1, is_key and is_entry, has_slice and is_droppable, layer)


def _inspect_vp8(data: bytes, is_key: bool) -> PacketTraits:
    return PacketTraits((data[0] >> 4) & 1, is_key and not data[0] & 1, False)


def _inspect_vp9(data: bytes, is_key: bool) -> PacketTraits:
    headers = [_vp9_header(data[start]) for start in _vp9_frame_starts(data)]
    return PacketTraits(sum(shown for shown, _ in headers), is_key and headers[0][1], False)


def _vp9_frame_starts(data: bytes) -> list[int]:
    """Byte offsets of the frames in a packet; several where it is a superframe with an index at its end."""
    marker = data[-1]
    if marker & 0xE0 != 0xC0:
        return [0]
    num_frames, size_bytes = (marker & 7) + 1, ((marker >> 3) & 3) + 1
    index_size = 2 + num_frames * size_bytes
    if len(data) < index_size or data[-index_size] != marker:
        return [0]
    starts, position = [], 0
    for frame in range(num_frames):
        offset = len(data) - index_size + 1 + frame * size_bytes
        size = int.from_bytes(data[offset : offset + size_bytes], "little")
        if size and position < len(data) - index_size:
            starts.append(position)
        position += size
    return starts or [0]


def _vp9_header(first: int) -> tuple[bool, bool]:
    """Return (shown, key frame) of a frame whose first byte is given."""
    profile = ((first >> 5) & 1) | ((first >> 4) & 1) << 1
    shift = 2 if profile == 3 else 3
    if (first >> shift) & 1:  # shows a frame decoded before
        return True, False
    return bool((first >> (shift - 2)) & 1), not (first >> (shift - 1)) & 1


def _inspect_mpeg4(data: bytes, is_key: bool) -> PacketTraits:
    # A second picture in the packet, or one of a few bytes that stands for none: B-frames packed into AVI.
    start = data.find(b"\x00\x00\x01\xb6")
    num_pictures = data.count(b"\x00\x00\x01\xb6")
    is_picture = num_pictures == 1 and len(data) > max(7, start + 4) and not _is_interlaced_mpeg4(data)
    is_bidirectional = is_picture and data[start + 4] >> 6 == 2
    return PacketTraits(1 if is_picture else -1, is_key, is_bidirectional, is_bidirectional=is_bidirectional)


def _is_interlaced_mpeg4(data: bytes) -> bool:
    """Whether a video object layer in the data is interlaced (section 6.2.3).

    FFmpeg then decodes B-frames by the distance of the first B-frame that it met, so that decoding has to begin at the
    start of the file, without gaps.
    """
    start = data.find(b"\x00\x00\x01\x20")
    if start < 0:
        return False
    header = data[start + 4 : start + 36]
    bits = int.from_bytes(header, "big")
    left = 8 * len(header)

    def read(num_bits: int) -> int:
        nonlocal left
        left -= num_bits
        return (bits >> left) & ((1 << num_bits) - 1) if left >= 0 else 0

    read(9)
    if read(1):  # is_object_layer_identifier
        read(7)
    if read(4) == 15:  # extended aspect ratio
        read(16)
    if read(1):  # vol_control_parameters
        read(3)
        if read(1):
            read(79)
    is_rectangular = read(2) == 0
    read(1)
    ticks_per_second = read(16)
    read(1)
    if read(1):  # fixed_vop_rate
        read(max((ticks_per_second - 1).bit_length(), 1))
    if is_rectangular:
        read(29)
    return bool(read(1))


def _inspect_mpeg2(data: bytes, is_key: bool) -> PacketTraits:
    # One picture, or two fields of one frame; a field on its own is half of a frame whose rest is in another packet.
    start = data.find(b"\x00\x00\x01\x00")
    num_pictures = data.count(b"\x00\x00\x01\x00")
    if start < 0 or start + 5 >= len(data) or num_pictures != 1 + _is_field(data, start):
        return PacketTraits(-1, False, False)
    is_bidirectional = (data[start + 5] >> 3) & 7 == 3
    # A decoder needs the sequence header, which most encoders repeat before every key frame.
    is_entry = is_key and 0 <= data.find(b"\x00\x00\x01\xb3") < start
    return PacketTraits(1, is_entry, is_bidirectional, is_bidirectional=is_bidirectional)


def _is_field(data: bytes, start: int) -> bool:
    """Whether the picture that starts there is a field, by its coding extension (MPEG-2 only)."""
    extension = data.find(b"\x00\x00\x01\xb5", start)
    if extension < 0 or extension + 6 >= len(data) or data[extension + 4] >> 4 != 8:
        return False
    return data[extension + 6] & 3 != 3
