"""The cost of decoding one random clip of a video, with and without its packet index."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from videomae.core.errors import VideoError
from videomae.curation.examine import reason_of
from videomae.datasets import VideoEntry, frames_of_part
from videomae.video import ClipSampling, PacketIndex, ReadLimits, open_video


@dataclass(frozen=True)
class ClipCost:
    """The cost of one random clip of a video.

    Args:
        seconds: to open the video and to read the clip, without an index from before.
        seconds_with_index: the same with the packet index; None for videos that have none (folders of frames).
        packets_per_frame: packets decoded for each distinct frame; None where there is no index.
        height: of a frame in pixels.
        width: of a frame in pixels.
    """

    seconds: float
    seconds_with_index: float | None
    packets_per_frame: float | None
    height: int
    width: int


def clip_cost(job: tuple[VideoEntry, int], *, sampling: ClipSampling, limits: ReadLimits) -> ClipCost | str:
    """Measure a random clip of a video, after a first read that brings the file into memory.

    Args:
        job: the video and a seed.
        sampling: which frames make a clip.
        limits: the most that one read may take.

    Returns:
        The cost, or the reason why the video cannot be read, in one line without its path.
    """
    entry, seed = job
    try:
        with open_video(entry.path, limits=limits) as reader:
            part = frames_of_part(reader, entry)
            times = reader.frame_times[part.start : part.stop] if sampling.frame_rate is not None else None
            generator = np.random.default_rng(seed)
            frames = part.start + sampling.training_indices(len(part), generator, frame_times=times)
            reader.read(frames)
            index, info = reader.index, reader.info
        plain = _read_seconds(entry, frames, None, limits)
        if index is None:
            return ClipCost(plain, None, None, info.height, info.width)
        indexed = _read_seconds(entry, frames, index, limits)
        return ClipCost(plain, indexed, packets_per_frame(index, frames), info.height, info.width)
    except VideoError as error:
        return reason_of(error, entry.path)


def packets_per_frame(index: PacketIndex, frames: np.ndarray) -> float:
    """Packets that a reader decodes for each distinct frame of a clip.

    Packets that are neither wanted nor a reference of others are skipped, as the reader does. The number is much
    larger than 1 where key frames are rare; `videomae pack` re-encodes with frequent ones.

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


def _read_seconds(entry: VideoEntry, frames: np.ndarray, index: PacketIndex | None, limits: ReadLimits) -> float:
    begin = time.perf_counter()
    with open_video(entry.path, index=index, limits=limits) as reader:
        reader.read(frames)
    return time.perf_counter() - begin
