"""What is known of a video file without reading all of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video file.

    Attributes:
        path: the file.
        num_frames: how many frames can be read.
        width: of a frame in pixels, after rotation.
        height: of a frame in pixels, after rotation.
        rotation_degrees: by how much the stored picture is turned clockwise to be shown: 0, 90, 180 or 270.
        frames_per_second: on average; None where the file has no rate.
        duration_seconds: None where the file has none.
        codec: the coding format, by FFmpeg's name.
        damage: where and why data is missing or cannot be decoded, as far as it was met; None for a sound file.
        sample_aspect_ratio: width of a pixel as shown / its height; 1 where the file has none. Frames are read as
            stored, not stretched by it.
        is_interlaced: the first frame holds two fields of different times, woven line by line. They stay so.
        is_hdr: brightness is coded as PQ or HLG. It is not tone-mapped, and looks pale.
    """

    path: str
    num_frames: int
    width: int
    height: int
    rotation_degrees: int
    frames_per_second: float | None
    duration_seconds: float | None
    codec: str
    damage: str | None = None
    sample_aspect_ratio: float = 1.0
    is_interlaced: bool = False
    is_hdr: bool = False
