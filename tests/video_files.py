"""Small videos made on the spot, and the plain way of reading them that the reader is held against."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.filter import Graph
from av.stream import Disposition

SHARED = Path(__file__).parents[2] / "shared"


def moving_texture(num_frames: int, width: int, height: int) -> np.ndarray:
    """uint8 (num_frames, height, width, 3): a smooth texture that moves, so that every frame differs."""
    rows, columns = np.mgrid[0:height, 0:width]
    frames = [
        np.stack([127 + 120 * np.sin((columns + 3 * t) / (4 + c)) * np.cos((rows - 2 * t) / (5 + c)) for c in range(3)])
        for t in range(num_frames)
    ]
    return np.stack(frames).transpose(0, 2, 3, 1).astype(np.uint8)


def encode(
    path: Path,
    codec: str,
    *,
    num_frames: int = 40,
    size: tuple[int, int] = (64, 48),
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_format: str | None = None,
    container_options: dict[str, str] | None = None,
    times: list[int] | None = None,
    rate: int = 25,
    key_distance: int | None = None,
    num_b_frames: int | None = None,
    rotation: tuple[float, bool, bool] | None = None,
    pictures: np.ndarray | None = None,
    prepare: Callable[[Any], object] | None = None,
) -> Path:
    """Write a video; `size` is (width, height), `times` are in hundredths of a second.

    `pictures` take the place of the texture; `prepare` is called with the stream before the first frame.
    """
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    if pictures is None:
        pictures = moving_texture(num_frames, *size)
    with av.open(str(path), "w", format=container_format, options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = pixels
        context = stream.codec_context
        context.thread_count = 1
        if key_distance:
            context.gop_size = key_distance
        if num_b_frames is not None:
            context.max_b_frames = num_b_frames
        if times:
            context.time_base = Fraction(1, 100)
        if rotation:
            stream.set_display_rotation(*rotation)
        if prepare:
            prepare(stream)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = times[number] if times else number
            frame.time_base = Fraction(1, 100) if times else Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def remux(source: Path, target: Path, *, first_packet: int = 0, delay: int = 0, options: dict[str, str] | None = None):
    """Copy packets, leaving out those before `first_packet`, shown `delay` ticks later."""
    with av.open(str(source)) as read, av.open(str(target), "w", options=options or {}) as written:
        stream = read.streams.video[0]
        copy = written.add_stream_from_template(stream)
        packets = [packet for packet in read.demux(stream) if packet.size]
        for packet in packets[first_packet:]:
            packet.stream = copy
            packet.pts += delay
            packet.dts += delay
            written.mux(packet)
    return target


def key_packets(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(container.streams.video[0]) if packet.size]
    return [number for number, packet in enumerate(packets) if packet.is_keyframe]


def decode_plainly(path: Path) -> np.ndarray:
    """uint8 (frames, height, width, 3): `plain_pictures` of a file whose frames have one size."""
    return np.stack(plain_pictures(path))


def plain_pictures(path: Path) -> list[np.ndarray]:
    """All frames, of any sizes and maybe none, as `ffmpeg -i FILE -fps_mode passthrough` writes them.

    Raises:
        av.FFmpegError: the file cannot be opened.
    """
    with av.open(str(path)) as container:
        stream = picked_stream(container)
        if stream is None or stream.codec_context is None:
            return []
        stream.codec_context.thread_count = 1
        converters: dict[tuple[Any, ...], Graph] = {}
        return [_turned_rgb(frame, converters) for frame in decoded_frames(container, stream)]


def picked_stream(container: Any) -> Any:
    """The video stream that the command line picks: the default one, else the largest, else the first."""
    streams = [stream for stream in container.streams.video if stream.codec_context is not None]

    def score(stream: Any) -> int:
        if stream.disposition & Disposition.attached_pic:
            return 1
        is_default = bool(stream.disposition & Disposition.default)
        return stream.codec_context.width * stream.codec_context.height + 5_000_000 * is_default

    return max(streams, key=score, default=None)


def decoded_frames(container: Any, stream: Any) -> Iterator[Any]:
    """What the decoder gives for all packets, in its order of output: a packet that it refuses is passed over."""
    context = stream.codec_context
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, IndexError):  # the container breaks off
            packet = None
        if packet is None:
            break
        if packet.size:  # empty ones are passed over, too
            try:
                yield from context.decode(packet)
            except av.FFmpegError:
                continue
    for _ in range(100):  # what it still holds back; at last it says that this was all
        try:
            yield from context.decode(None)
        except EOFError:
            return
        except av.FFmpegError:
            continue
        else:
            return


def _turned_rgb(frame: Any, converters: dict[tuple[Any, ...], Graph]) -> np.ndarray:
    key = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range, frame.interlaced_frame)
    key += (frame.rotation,)
    if key not in converters:
        converters[key] = _rgb_graph(frame, _turn_filters(frame))
    converters[key].push(frame)
    return converters[key].pull().to_ndarray()


def _turn_filters(frame: Any) -> str:
    """What the command line's `-autorotate` puts before the output, but for turns that are no right angle."""
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # side data beside it that PyAV cannot name
        data = None
    matrix = np.frombuffer(bytes(data), np.int32) if data is not None else None
    clockwise = -frame.rotation % 360
    if clockwise == 90:
        return "transpose=cclock_flip" if matrix is not None and matrix[3] > 0 else "transpose=clock"
    if clockwise == 270:
        return "transpose=clock_flip" if matrix is not None and matrix[3] < 0 else "transpose=cclock"
    if clockwise == 180:
        flips = {"hflip": matrix is None or matrix[0] < 0, "vflip": matrix is None or matrix[4] < 0}
        return ",".join(name for name, is_there in flips.items() if is_there)
    return "vflip" if matrix is not None and clockwise == 0 and matrix[4] < 0 else ""


def filter_graph_rgb(frame: av.VideoFrame) -> np.ndarray:
    """A frame as FFmpeg's filter graph converts it, with a graph of its own and no say in anything: the reference."""
    graph = _rgb_graph(frame)
    graph.push(frame)
    return graph.pull().to_ndarray()


def _rgb_graph(frame: Any, filters: str = "") -> Graph:
    """A graph that converts frames like this one to rgb24, then applies filters of the form `name=arguments,…`."""
    graph = Graph()
    size, pixels = f"{frame.width}x{frame.height}", frame.format.name
    nodes = [graph.add("buffer", video_size=size, pix_fmt=pixels, time_base="1/25"), graph.add("format", "rgb24")]
    for name, _, arguments in (text.partition("=") for text in filters.split(",") if text):
        nodes.append(graph.add(name, arguments or None))
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    return graph
