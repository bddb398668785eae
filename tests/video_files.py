"""Small videos made on the spot, and the plain way of reading them that the reader is held against."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.filter import Graph

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
    container_options: dict[str, str] | None = None,
    times: list[int] | None = None,
    key_distance: int | None = None,
    num_b_frames: int | None = None,
    rotation: tuple[float, bool, bool] | None = None,
) -> Path:
    """Write a video; `size` is (width, height), `times` are in hundredths of a second."""
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height = size
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
        for number, picture in enumerate(moving_texture(num_frames, *size)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = times[number] if times else number
            frame.time_base = Fraction(1, 100) if times else Fraction(1, 25)
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
    """All frames as PyAV's own loop decodes them, in order of presentation and turned as they are shown."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        if all(frame.pts is not None for frame in frames):
            frames.sort(key=lambda frame: frame.pts)
        return np.stack([np.rot90(filter_graph_rgb(frame), frame.rotation // 90) for frame in frames])


def filter_graph_rgb(frame: av.VideoFrame) -> np.ndarray:
    """A frame as FFmpeg's filter graph converts it, with a graph of its own and no say in anything: the reference."""
    graph = Graph()
    source = graph.add(
        "buffer", video_size=f"{frame.width}x{frame.height}", pix_fmt=frame.format.name, time_base="1/25"
    )
    sink = graph.add("buffersink")
    graph.link_nodes(source, graph.add("format", "rgb24"), sink).configure()
    source.push(frame)
    return sink.pull().to_ndarray()
