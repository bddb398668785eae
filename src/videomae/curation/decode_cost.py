"""What one random clip of a video costs to decode, with and without what can be known of the file before."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from videomae.core.errors import VideoError
from videomae.curation.examine import reason_of
from videomae.datasets.entries import VideoEntry
from videomae.datasets.parts import frames_of_part
from videomae.video.opening import open_video
from videomae.video.reader import ReadLimits
from videomae.video.sampling import ClipSampling


@dataclass(frozen=True)
class Reading:
    """One way to read a clip.

    Args:
        backend: which library decodes, as for `open_video`.
        has_index: the file's packet index is known from before.
    """

    backend: str = "pyav"
    has_index: bool = False


PLAIN, WITH_INDEX = Reading(), Reading(has_index=True)


@dataclass(frozen=True)
class ClipCost:
    """What a random clip of one video costs.

    Args:
        seconds: of each reading, opening included.
        packets_per_frame: packets decoded for each frame wanted; None where there is no index that tells.
        height: of a frame in pixels.
        width: of a frame in pixels.
    """

    seconds: dict[Reading, float]
    packets_per_frame: float | None
    height: int
    width: int


def clip_cost(
    job: tuple[VideoEntry, int], *, sampling: ClipSampling, backends: tuple[str, ...], limits: ReadLimits
) -> ClipCost | str:
    """Read the same random clip of a video in several ways, after a first time that brings the file into memory.

    Args:
        job: the video and a seed.
        sampling: which frames make a clip.
        backends: what to read video files with beside PyAV, as far as they can read the file.
        limits: what one reading may cost.

    Returns:
        The cost, or in a line without its path why the video cannot be read.
    """
    entry, seed = job
    try:
        with open_video(entry.path, limits=limits) as reader:
            frames = _random_clip(reader, entry, sampling, seed)
            reader.read(frames)
            index, info = reader.index, reader.info
        cost = packets_per_frame(index, frames) if index is not None else None
        readings = [PLAIN] if index is None else [PLAIN, WITH_INDEX]
        seconds = {reading: _seconds(entry, frames, reading, index, limits) for reading in readings}
    except VideoError as error:
        return reason_of(error, entry.path)
    for backend in backends if isinstance(entry.path, Path) else ():
        reading = Reading(backend)
        try:
            # The first time loads the library, which takes seconds and is no cost of this video.
            _seconds(entry, frames, reading, None, limits)
            seconds[reading] = _seconds(entry, frames, reading, None, limits)
        except VideoError:
            continue  # PyAV reads what this backend cannot: the others' medians say nothing of this file then
    return ClipCost(seconds, cost, info.height, info.width)


def packets_per_frame(index: Any, frames: np.ndarray) -> float:
    """Packets that a reader decodes for each distinct frame of a clip.

    Those that no other frame refers to and that are not wanted are passed over. Of a video without key frames nearby
    this is much more than 1, and `videomae pack` makes it cheap.

    Args:
        index: the packet index of the video.
        frames: frame numbers, ascending, repeats allowed.
    """
    wanted = np.unique(frames)
    if index.is_counted:  # decoded from its start
        return float(wanted[-1] + 1) / len(wanted)
    num_packets = 0
    for entry, run in index.plan(wanted.tolist()):
        positions = index.frame_packets[run]
        last = int(positions.max())
        is_needed = ~index.is_droppable[entry : last + 1]
        is_needed[positions - entry] = True
        num_packets += int(is_needed.sum())
    return num_packets / len(wanted)


def _random_clip(reader: Any, entry: VideoEntry, sampling: ClipSampling, seed: int) -> np.ndarray:
    part = frames_of_part(reader, entry)
    times = reader.frame_times[part.start : part.stop] if sampling.frame_rate is not None else None
    return part.start + sampling.training_indices(len(part), np.random.default_rng(seed), frame_times=times)


def _seconds(entry: VideoEntry, frames: np.ndarray, reading: Reading, index: Any, limits: ReadLimits) -> float:
    known = index if reading.has_index else None
    begin = time.perf_counter()
    with open_video(entry.path, index=known, backend=reading.backend, limits=limits) as reader:
        reader.read(frames)
    return time.perf_counter() - begin
