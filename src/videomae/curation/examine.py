"""What a scan does with one video, in a worker process: open it, decode some or all of it, and describe it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from videomae.core.errors import VideoError
from videomae.core.text import readable
from videomae.datasets import FileStamp, VideoRecord, stamp_of
from videomae.video import (
    FrameFolder,
    FrameReader,
    ReadLimits,
    ShardMember,
    VideoReader,
    VideoSource,
    hash_packets,
    is_url,
    open_member,
)
from videomae.video.frame_folder import FrameFolderReader


@dataclass(frozen=True)
class Examined:
    """What was found out of a video.

    Args:
        record: what it is, or why it cannot be used.
        stamp: of its file, from before it was read; None where there is no file.
        packet_index: in bytes; None where it could not be read or has none.
    """

    record: VideoRecord
    stamp: FileStamp | None
    packet_index: bytes | None = None


def examine_source(source: VideoSource, *, full: bool = False, limit_seconds: float | None = None) -> Examined:
    """Decode the first, the middle and the last frame of a video, or all, and describe it.

    Args:
        source: the video.
        full: decode every frame.
        limit_seconds: for opening, and for decoding; where it runs out, the problem is not certain.
    """
    stamp = stamp_of(source)
    limits = ReadLimits(max_seconds=limit_seconds)
    try:
        if isinstance(source, FrameFolder):
            with FrameFolderReader(source, limits=limits) as folder:
                record, packet_index = _describe(folder, full=full), None
                record = replace(record, content_hash=_hash_files(folder.images), num_bytes=_total_size(folder.images))
        else:
            with _opened(source, limits) as (file, name):
                with VideoReader(file, limits=limits, name=name) as reader:
                    record, packet_index = _describe(reader, full=full), reader.index.to_bytes()
                record = replace(
                    record, content_hash=hash_packets(file, name=name, limits=limits), num_bytes=_num_bytes(source)
                )
    except VideoError as error:
        problem = reason_of(error, source)
        is_certain = limit_seconds is None and _can_be_read(source)
        return Examined(VideoRecord(problem=problem, is_problem_certain=is_certain), stamp)
    return Examined(record, stamp, packet_index)


def reason_of(error: VideoError, source: VideoSource) -> str:
    """Why a video cannot be read, in one line without its path, which stands beside it."""
    found = error.value.replace(readable(str(source)), "").strip(" ,").removesuffix(" of")
    if found.startswith("(") and found.endswith(")"):
        found = found[1:-1]
    return f"{found}{': ' if found else ''}expected {error.expected}; {error.hint}"


def _describe(reader: FrameReader, *, full: bool) -> VideoRecord:
    info = reader.info
    is_checked = False
    while not is_checked:
        last, index = reader.num_frames - 1, reader.index
        try:
            _check_frames(reader, list(range(last + 1)) if full else sorted({0, last // 2, last}))
            is_checked = True
        except VideoError:
            # Damage that decoding meets may leave fewer frames; the reader knows by then.
            if reader.index is index:
                raise
    return VideoRecord(
        num_frames=reader.num_frames,
        duration_seconds=info.duration_seconds or _duration(reader.frame_times),
        frames_per_second=info.frames_per_second,
        width=info.width,
        height=info.height,
        codec=info.codec,
        rotation_degrees=info.rotation_degrees,
        has_variable_rate=_is_uneven(reader.frame_times),
        sample_aspect_ratio=info.sample_aspect_ratio,
        is_interlaced=info.is_interlaced,
        is_hdr=info.is_hdr,
        is_fully_decoded=full or last < 3,
        damage=getattr(reader, "damage", None),
    )


def _check_frames(reader: FrameReader, numbers: list[int]) -> None:
    info = reader.info
    for number, picture in reader.stream(numbers):
        if picture.shape[:2] != (info.height, info.width):
            raise VideoError(
                f"frame {number} ({picture.shape[1]}x{picture.shape[0]})",
                expected=f"the first frame's size, {info.width}x{info.height}",
                hint="the size changes midway: convert the video to a single one",
            )


@contextmanager
def _opened(source: Path | ShardMember, limits: ReadLimits) -> Iterator[tuple[Path | BinaryIO, str | None]]:
    """What a reader takes as source, and as its name; a member of a shard at a URL is fetched once for all reading."""
    if isinstance(source, Path):
        yield source, None
        return
    with open_member(source, max_seconds=limits.max_seconds) as file:
        yield file, readable(str(source))


def _duration(times: np.ndarray) -> float | None:
    """Until the last frame begins, and as long again as frames usually last; None for a single frame."""
    return float(times[-1] + np.median(np.diff(times))) if len(times) > 1 else None


def _is_uneven(times: np.ndarray) -> bool:
    """Whether no even rate shows each frame within half a frame of its time; rounded time stamps are even."""
    if len(times) < 3 or times[-1] <= 0:
        return False
    numbers = np.arange(len(times))
    return bool(np.abs(times * (numbers[-1] / times[-1]) - numbers).max() > 0.5)


def _hash_files(paths: list[Path]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _total_size(paths: list[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def _num_bytes(source: Path | ShardMember) -> int:
    return source.size if isinstance(source, ShardMember) else os.stat(source).st_size


def _can_be_read(source: VideoSource) -> bool:
    """Whether the system lets us read the file, so that what is wrong is inside it."""
    if isinstance(source, ShardMember):
        return not is_url(source.url) and os.access(source.url, os.R_OK)
    return os.access(source.path if isinstance(source, FrameFolder) else source, os.R_OK)
