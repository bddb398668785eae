"""Which frames of a video count."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from videomae.core.errors import VideoError
from videomae.datasets.entries import VideoEntry
from videomae.video import FrameReader, VideoSource, frames_between


def whole_video(entry: VideoEntry) -> VideoEntry:
    """The entry with all of its video."""
    return replace(entry, start_seconds=None, end_seconds=None, start_frame=None, end_frame=None)


def video_part(source: VideoSource, part: tuple[Any, ...]) -> VideoEntry:
    """An entry of a video's part, given as `VideoEntry.part`."""
    start_frame, end_frame = part[2:] or (None, None)
    return VideoEntry(source, start_seconds=part[0], end_seconds=part[1], start_frame=start_frame, end_frame=end_frame)


def frames_of_part(reader: FrameReader, entry: VideoEntry) -> range:
    """The frames of the entry's part of an open video; all of them where it has none.

    Raises:
        VideoError: if the part holds no frame.
    """
    count = reader.num_frames
    if entry.start_frame is not None or entry.end_frame is not None:
        first, stop = entry.start_frame or 0, count if entry.end_frame is None else entry.end_frame
        if first >= count or stop > count:
            raise VideoError(
                f"{entry.path} from frame {first} to {stop}",
                expected=f"a part of its {count} frames, which count from 0",
                hint="correct start_frame and end_frame of this video",
            )
        return range(first, stop)
    if entry.start_seconds is None and entry.end_seconds is None:
        return range(count)
    return frames_between(
        reader.frame_times, start_seconds=entry.start_seconds, end_seconds=entry.end_seconds, name=entry.path
    )
