"""How the files of the matrix come about that no encoder or muxer writes by itself: by editing the bytes of others."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from PIL import Image
from video_files import encode

NUM_FRAMES = 24
ALL = range(NUM_FRAMES)
LEVEL_OF_FIRST, LEVEL_STEP = 12, 10
_THEORA = Path(__file__).parents[1] / "goldens" / "theora.ogv"  # made by `ffmpeg -c:v libtheora`, which PyAV lacks
_TS_PACKET = 188


def numbered(frames: Sequence[int], size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """uint8 (frames, height, width, 3): a texture above that moves, and below it the gray that tells the number."""
    width, height = size
    rows, columns = np.mgrid[0:height, 0:width]
    pictures = []
    for t in frames:
        waves = [127 + 90 * np.sin((columns + 3 * t) / (9 + c)) * np.cos((rows - 2 * t) / (8 + c)) for c in range(3)]
        picture = np.stack(waves, axis=-1)
        picture[height // 2 :] = LEVEL_OF_FIRST + LEVEL_STEP * t
        pictures.append(picture.astype(np.uint8))
    return np.stack(pictures)


def frame_numbers(pictures: Sequence[np.ndarray]) -> list[int]:
    """Which frames of `numbered` these pictures are, by the gray of the lower half."""
    levels = [np.median(picture[picture.shape[0] * 5 // 8 :, 2:-2]) for picture in pictures]
    return [round((level - LEVEL_OF_FIRST) / LEVEL_STEP) for level in levels]


def write(path: Path, codec: str, *, frames: Sequence[int] = ALL, size: tuple[int, int] = (64, 48), **how: Any) -> Path:
    """Encode some of the numbered frames; `how` goes to `encode`."""
    return encode(path, codec, pictures=numbered(frames, size), **how)


def joined(path: Path, *, write: Callable[..., object]) -> None:
    """Two recordings one after the other in one file, as `cat` joins them."""
    data = b""
    for part in (range(NUM_FRAMES // 2), range(NUM_FRAMES // 2, NUM_FRAMES)):
        write(path, frames=part)
        data += path.read_bytes()
    path.write_bytes(data)


def altered(path: Path, *, write: Callable[[Path], object], change: Callable[[bytes], bytes]) -> None:
    write(path)
    path.write_bytes(change(path.read_bytes()))


def cut_off(data: bytes) -> bytes:
    return data[: len(data) * 3 // 4 + 1]


def cut_start(data: bytes) -> bytes:
    return data[len(data) // (5 * _TS_PACKET) * _TS_PACKET :]


def zero_midst(data: bytes) -> bytes:
    start = len(data) * 2 // 5
    return data[:start] + bytes(150) + data[start + 150 :]


def lose_ts_packet(data: bytes, *, kind: str) -> bytes:
    """A transport stream without one of its packets of 188 bytes."""
    packets = [data[start : start + _TS_PACKET] for start in range(0, len(data), _TS_PACKET)]

    def holds_video(packet: bytes) -> bool:
        return (packet[1] & 0x1F) << 8 | packet[2] == 256

    rest_of_frames = [n for n, packet in enumerate(packets) if holds_video(packet) and not packet[1] & 0x40]
    keys = [n for n, packet in enumerate(packets) if holds_video(packet) and packet[3] & 0x20 and packet[5] & 0x40]
    lost = {
        "early": rest_of_frames[len(rest_of_frames) // 8],
        "late": rest_of_frames[len(rest_of_frames) * 2 // 3],
        "key_frame": keys[1] + 1,
        "tables": 1,
    }[kind]
    return b"".join(packets[:lost] + packets[lost + 1 :])


def drop_ts_times(data: bytes, *, keep_every: int) -> bytes:
    """A transport stream in which most frames, or with `keep_every` 0 all, have no time stamp."""
    changed = bytearray(data)
    for count, start in enumerate(match.start() for match in re.finditer(rb"\x00\x00\x01\xe0", data)):
        if keep_every == 0 or count % keep_every:
            changed[start + 7] &= 0x3F  # no times
            size = data[start + 8]
            changed[start + 9 : start + 9 + size] = b"\xff" * size  # stuffing in their place
    return bytes(changed)


def edited(path: Path, *, write: Callable[[Path], object], edits: list[tuple[int | None, int]]) -> None:
    """An MP4 whose edit list shows (first frame, how many) one after the other; None is a pause."""
    write(path)
    data = bytearray(path.read_bytes())
    start = data.index(b"elst") - 4
    (size,) = struct.unpack_from(">I", data, start)
    (origin,) = struct.unpack_from(">i", data, start + 20)  # where the muxer's own list begins
    entries = [(40 * count, -1 if first is None else origin + 512 * first) for first, count in edits]
    box = b"elst" + struct.pack(">II", 0, len(entries))
    box += b"".join(struct.pack(">IiI", duration, begin, 1 << 16) for duration, begin in entries)
    for ancestor in (b"moov", b"trak", b"edts"):
        place = data.rindex(ancestor) - 4
        struct.pack_into(">I", data, place, struct.unpack_from(">I", data, place)[0] + len(box) + 4 - size)
    data[start : start + size] = struct.pack(">I", len(box) + 4) + box
    path.write_bytes(data)


def copied_from_avi(path: Path, *, write: Callable[[Path], object]) -> None:
    """What `ffmpeg -c copy` makes of H.264 with B-frames in AVI: times in the order of decoding."""
    source = path.with_suffix(".tmp.avi")
    write(source)
    with av.open(str(source)) as read, av.open(str(path), "w") as written:
        copy = written.add_stream_from_template(read.streams.video[0])
        for number, packet in enumerate(packet for packet in read.demux(video=0) if packet.size):
            packet.stream, packet.time_base, packet.pts, packet.dts = copy, Fraction(1, 25), number, number
            written.mux(packet)


def drop_reordering_note(data: bytes) -> bytes:
    """H.264 that does not say over how many frames it is reordered, as many cameras write it: without VUI."""
    changed = bytearray(data)
    for match in re.finditer(rb"\x67[\x4d\x64]\x00[\x0a-\x34]", data):
        start = match.start()
        is_length = data[start - 2] == 0 and data[start - 1] > 8  # as in avcC, else a start code
        end = start + data[start - 1] if is_length else re.compile(rb"\x00\x00\x01").search(data, start).start()  # type: ignore[union-attr]
        bits = "".join(f"{byte:08b}" for byte in data[start:end].replace(b"\0\0\3", b"\0\0"))
        place = _vui_flag(bits, is_high=data[start + 1] == 100)
        assert bits[place] == "1"
        short = bits[:place] + "01"  # no VUI, and the bit that ends the unit
        short += "0" * (-len(short) % 8)
        unit = bytes(int(short[i : i + 8], 2) for i in range(0, len(short), 8))
        assert b"\0\0" not in unit
        changed[start:end] = unit.ljust(end - start, b"\0")
    assert changed != data
    return bytes(changed)


def _vui_flag(bits: str, *, is_high: bool) -> int:
    """Where `vui_parameters_present_flag` stands in a sequence parameter set (ITU-T H.264, 7.3.2.1.1)."""
    place = 32

    def number() -> int:
        nonlocal place
        zeros = bits.index("1", place) - place
        place += 2 * zeros + 1
        return int(bits[place - zeros - 1 : place], 2) - 1

    number()  # seq_parameter_set_id
    if is_high:
        assert number() == 1  # 4:2:0
        number(), number()
        assert bits[place : place + 2] == "00"
        place += 2
    number()
    if number() == 0:  # pic_order_cnt_type
        number()
    number()
    place += 1
    number(), number()
    place += 1 if bits[place] == "1" else 2
    place += 1
    assert bits[place] == "0"  # no cropping
    return place + 1


def packed_b_frames(path: Path, *, size: tuple[int, int] = (64, 48)) -> None:
    """MPEG-4 as XviD and DivX 5 pack it: a B-frame in the chunk of the frame after it, an empty one in its own."""
    coded: list[tuple[bytes, bool]] = []

    def keep(stream: Any) -> None:
        stream.bit_rate = 3_000_000

    raw = path.with_suffix(".tmp.m4v")
    write(raw, "mpeg4", size=size, num_b_frames=1, key_distance=8, prepare=keep)
    with av.open(str(raw)) as container:
        coded = [(bytes(packet), packet.is_keyframe) for packet in container.demux(video=0) if packet.size]
    vop = b"\0\0\1\xb6"
    # P, no whole second, marker, time 0 in 5 bits, marker, not coded, stuffing
    empty = vop + bytes([0b01_0_1_0000, 0b0_1_0_01111])
    chunks: list[tuple[bytes, bool]] = []
    for data, is_key in coded:
        if not chunks:
            marks = [data.find(mark) for mark in (b"\0\0\1\xb2", b"\0\0\1\xb3", vop)]  # user data, group, frame
            first = min(place for place in marks[1:] if place >= 0)
            name = marks[0] if marks[0] >= 0 else first  # the encoder's name stands there
            data = data[:name] + b"\0\0\1\xb2DivX503b1393p" + data[first:]
        if data[data.index(vop) + 4] >> 6 == 2:  # B
            before, was_key = chunks.pop()
            chunks += [(before + data, was_key), (empty, False)]
        else:
            chunks.append((data, is_key))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.codec_tag = "XVID"
        for number, (data, is_key) in enumerate(chunks):
            _mux(container, stream, data, number, is_key)


def _mux(container: Any, stream: Any, data: bytes, number: int, is_key: bool = True) -> None:
    packet = av.Packet(data) if data else av.Packet(0)
    packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 25), is_key
    packet.pts = packet.dts = number
    container.mux(packet)


def theora(path: Path) -> None:
    path.write_bytes(_THEORA.read_bytes())


def palette_avi(path: Path, *, is_gray: bool) -> None:
    """An uncompressed AVI of 8 bits a pixel with its palette in the header, rows from bottom to top."""
    width, height = 64, 48
    frames = [picture[::-1, :, 1].tobytes() for picture in numbered(ALL)]
    colors = [(i, i, i) if is_gray else (255 - i, i * 3 % 256, i) for i in range(256)]
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 0, width * height, 0, 0, 256, 256)
    header += b"".join(bytes((*color, 0)) for color in colors)
    stream = b"vidsDIB " + struct.pack(
        "<IHHIIIIIIiI4H", 0, 0, 0, 0, 1, 25, 0, NUM_FRAMES, 0, -1, 0, 0, 0, width, height
    )
    main = struct.pack("<14I", 40_000, 0, 0, 0x10, NUM_FRAMES, 0, 1, 0, width, height, 0, 0, 0, 0)
    streams = _riff(b"LIST", b"strl" + _riff(b"strh", stream) + _riff(b"strf", header))
    movie = b"".join(_riff(b"00db", frame) for frame in frames)
    places = range(4, 4 + len(movie), 8 + width * height)
    index = b"".join(b"00db" + struct.pack("<III", 0x10, place, width * height) for place in places)
    lists = _riff(b"LIST", b"hdrl" + _riff(b"avih", main) + streams) + _riff(b"LIST", b"movi" + movie)
    path.write_bytes(_riff(b"RIFF", b"AVI " + lists + _riff(b"idx1", index)))


def _riff(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _without_tables(jpeg: bytes) -> bytes:
    """The JPEG without its Huffman tables, as many webcams send it: the standard's own are meant."""
    kept, place = jpeg[:2], 2
    while jpeg[place + 1] != 0xDA:
        end = place + 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
        kept += jpeg[place:end] if jpeg[place + 1] != 0xC4 else b""
        place = end
    return kept + jpeg[place:]


MJPEG_FAULTS: dict[str, Callable[[bytes, int], bytes]] = {
    "exif": lambda jpeg, t: jpeg,
    "exif_turned": lambda jpeg, t: jpeg,
    "junk_before_end": lambda jpeg, t: jpeg[:-2] + bytes(8) + jpeg[-2:],
    "no_end": lambda jpeg, t: jpeg[:-2],
    "trailing_zeros": lambda jpeg, t: jpeg + bytes(64),
    "leading_junk": lambda jpeg, t: b"\0\0" + jpeg,
    "no_huffman_tables": lambda jpeg, t: _without_tables(jpeg),
    "one_cut": lambda jpeg, t: jpeg[: len(jpeg) * 2 // 3] if t == 11 else jpeg,
    "one_empty": lambda jpeg, t: b"" if t == 11 else jpeg,
    "one_garbage": lambda jpeg, t: bytes(range(256)) if t == 11 else jpeg,
    "first_cut": lambda jpeg, t: jpeg[: len(jpeg) // 2] if t == 0 else jpeg,
    "first_garbage": lambda jpeg, t: bytes(range(256)) if t == 0 else jpeg,
    "last_bytes_lost": lambda jpeg, t: jpeg[:-40] if t % 5 == 3 else jpeg,
}


def mjpeg_avi(path: Path, *, kind: str) -> None:
    """Motion-JPEG whose single pictures have the faults of webcams and IP cameras."""
    exif = Image.Exif()
    exif[0x10F] = "Camera"
    if kind == "exif_turned":
        exif[0x112] = 6  # orientation: to be turned by 90° clockwise
    more = {"exif": exif} if kind.startswith("exif") else {}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for number, picture in enumerate(numbered(ALL)):
            file = io.BytesIO()
            Image.fromarray(picture).save(file, "JPEG", quality=90, subsampling=2, **more)
            _mux(container, stream, MJPEG_FAULTS[kind](file.getvalue(), number), number)


def two_streams(path: Path, *, kind: str) -> None:
    """A video beside a picture: the picture is stream 0 and not the default, or smaller, or the file's cover."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mjpeg", rate=25)
        picture.width, picture.height, picture.pix_fmt = 32, 32, "yuvj420p"
        video = container.add_stream("libx264", rate=25, options={"preset": "veryfast"})
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        if kind == "cover":
            picture.disposition = Disposition.attached_pic
        elif kind == "default_second":
            picture.disposition, video.disposition = Disposition(0), Disposition.default
        container.mux(picture.encode(av.VideoFrame.from_ndarray(numbered([9], (32, 32))[0], format="rgb24")))
        container.mux(picture.encode(None))
        for shown in numbered(ALL, (96, 64)):
            container.mux(video.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        container.mux(video.encode(None))


def sound_only(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
