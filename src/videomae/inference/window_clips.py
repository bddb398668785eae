"""The clips of all windows of a long video or stream, from one decode: each frame is decoded once.

Memory does not grow with the video: of a file only frames that some clip shows are converted, and kept, cut to the
model's size, until the last window that shows them is complete.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videomae.core.errors import ConfigError, VideoError
from videomae.core.grid import pair
from videomae.data.index_store import IndexStore
from videomae.datasets.entries import VideoEntry
from videomae.datasets.video_parts import frames_of_part
from videomae.inference.window_layout import MAX_THUMBNAILS, Layout, Thumbnails, Window, WindowOptions
from videomae.processing import crop_and_resize, evaluation_crop_boxes
from videomae.video import (
    ClipSampling,
    FrameReader,
    LiveVideo,
    ReadLimits,
    VideoSource,
    clip_offsets,
    clip_seconds,
    fit_channels,
    is_real_time,
    is_stream,
    moments_of,
    open_video,
    window_frames,
    window_starts,
)
from videomae.video.remote import without_password
from videomae.video.time_sampling import TIME_STAMP_TOLERANCE_SECONDS

logger = logging.getLogger("videomae")

# A video, a part of one as its entry says, or a stream: a URL, a device, a pipe.
TimelineSource = VideoEntry | VideoSource | str

_DEFAULT_RATE = 25.0
_POLL_SECONDS = 0.2


class VideoWindows:
    """The windows of one video with their clips, in order. To be gone through once.

    Args:
        source: a video, its entry where only a part of it counts, or a stream (`is_stream`).
        sampling: which frames make a clip.
        image_size: height and width of a clip in pixels, or one number for both.
        num_channels: of a frame.
        options: which windows.
        needs_pictures: keep `thumbnails`.

    Attributes:
        name: the video's path, or the stream's address.
        layout: how the video is cut; None until it is open.
        thumbnails: small pictures of it.
        last_frame_at: of a stream: when the last frame came, by `time.monotonic`.
        num_dropped: of a stream in real time: windows that were passed over because the model was busy.
    """

    def __init__(
        self,
        source: TimelineSource,
        *,
        sampling: ClipSampling,
        image_size: int | tuple[int, int],
        num_channels: int = 3,
        options: WindowOptions,
        needs_pictures: bool = False,
    ) -> None:
        self.is_stream = is_stream(source)
        self.is_real_time = self.is_stream and is_real_time(source)
        self.source = source
        self.name = without_password(str(getattr(source, "path", source)))
        self.options = options
        self.layout: Layout | None = None
        self.thumbnails = Thumbnails()
        self.last_frame_at = time.monotonic()
        self.num_dropped = 0
        self._sampling = sampling
        self._size = pair(image_size)
        self._num_channels = num_channels
        self._needs_pictures = needs_pictures

    def __iter__(self) -> Iterator[tuple[Window, Tensor]]:
        """Yield each window with its clips (V, T, C, H, W) uint8, the crops of a clip next to each other.

        Raises:
            VideoError: it cannot be read, or not further.
        """
        return self._of_stream() if self.is_stream else self._of_file()

    def _lay_out(self, frame_seconds: float, duration: float | None) -> Layout:
        options = self.options
        clip = clip_seconds(self._sampling, frame_seconds)
        length = options.window_seconds or clip
        if length is None:
            raise ConfigError(
                f"no --window with sampling {self._sampling.to_dict()}",
                expected="the length of a window: clips of this model reach over whole videos",
                hint="give --window SECONDS",
            )
        hop = options.hop_seconds or length
        length = length if duration is None else min(length, duration)
        offsets = clip_offsets(
            self._sampling, window_seconds=length, frame_seconds=frame_seconds, num_clips=options.num_clips
        )
        self.layout = Layout(length, hop, frame_seconds, offsets, clip)
        return self.layout

    def _cut(self, frame: np.ndarray, seconds: float) -> Tensor:
        """The crops (V, C, H, W) of a frame."""
        if self._needs_pictures:
            self.thumbnails.offer(seconds, frame)
        frame = fit_channels(frame, self._num_channels, self.name)
        high, wide = self._size
        boxes = evaluation_crop_boxes(frame.shape[0], frame.shape[1], self.options.num_crops, wide / high)
        return torch.cat([crop_and_resize(frame[None], box, self._size) for box in boxes])

    def _of_file(self) -> Iterator[tuple[Window, Tensor]]:
        source = Path(self.source) if isinstance(self.source, str) else self.source
        entry = source if isinstance(source, VideoEntry) else VideoEntry(source)
        limits = ReadLimits(max_seconds=None)  # hours of video take what they take
        store, num_done = IndexStore(), self.options.num_done
        with open_video(
            entry.path, num_threads=None, index=store.find(entry.path), limits=limits, num_channels=self._num_channels
        ) as reader:
            while True:
                before = reader.index
                try:
                    for window, clips in self._read(reader, entry, num_done):
                        yield window, clips
                        num_done = window.number + 1
                    break
                except VideoError:
                    # A reader finds out while it decodes that its index is wrong about the file; it has a new one.
                    if reader.index is before:
                        raise
            if reader.damage is not None:
                logger.warning("damaged video, read as far as possible: %s (%s)", entry.path, reader.damage)

    def _read(self, reader: FrameReader, entry: VideoEntry, num_done: int) -> Iterator[tuple[Window, Tensor]]:
        part = frames_of_part(reader, entry)
        times = reader.frame_times[part.start : part.stop]
        frame_seconds = float(times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0
        frame_seconds = frame_seconds or 1 / (reader.info.frames_per_second or _DEFAULT_RATE)
        if self.options.max_seconds is not None:
            times = times[: max(1, int(np.searchsorted(times, times[0] + self.options.max_seconds)))]
        duration = float(times[-1] - times[0]) + frame_seconds
        layout = self._lay_out(frame_seconds, duration)
        starts = times[0] + window_starts(
            duration, layout.window_seconds, layout.hop_seconds, tolerance=frame_seconds / 2
        )
        layout.num_windows, layout.duration_seconds = len(starts), duration
        layout.size = (reader.info.height, reader.info.width)
        self.thumbnails.distance_seconds = duration / (MAX_THUMBNAILS - 1)
        starts = starts[num_done:]
        if not len(starts):
            return
        frames = window_frames(starts, layout.offsets, times)  # (N, K, T)
        # Frames before these are shown by no window from here on.
        needed_from = np.minimum.accumulate(frames.min(axis=(1, 2))[::-1])[::-1]
        last = frames.max(axis=(1, 2))
        pictures: dict[int, Tensor] = {}
        number = 0
        for place, frame in reader.stream(part.start + np.unique(frames)):
            found = place - part.start
            pictures[found] = self._cut(frame, float(times[found]))
            while number < len(starts) and last[number] <= found and set(frames[number].flat) <= pictures.keys():
                start = float(starts[number])
                window = Window(num_done + number, start, start + layout.window_seconds)
                yield window, _stacked([[pictures[i] for i in clip] for clip in frames[number].tolist()])
                number += 1
                for old in [i for i in pictures if number == len(starts) or i < needed_from[number]]:
                    del pictures[old]

    def _of_stream(self) -> Iterator[tuple[Window, Tensor]]:
        assert isinstance(self.source, str | Path)
        video = LiveVideo(self.source, limits=ReadLimits(max_seconds=self.options.stall_seconds))
        try:
            self.last_frame_at = time.monotonic()
            layout = self._lay_out(video.frame_seconds, None)
            open_windows: deque[_OpenWindow] = deque()
            num_opened = 0
            shown = _Shown(self, video)
            for seconds, frame in video.frames():
                self.last_frame_at = time.monotonic()
                if self.options.max_seconds is not None and seconds >= self.options.max_seconds:
                    break
                # A moment is filled with the frame that is on screen: the last one before the first that is later.
                for window in open_windows:
                    window.fill(shown, before=seconds - TIME_STAMP_TOLERANCE_SECONDS)
                while open_windows and open_windows[0].is_full:
                    yield open_windows.popleft().result
                shown.frame, shown.seconds, shown.picture = frame, seconds, None
                layout.duration_seconds = seconds + video.frame_seconds
                while num_opened * layout.hop_seconds <= seconds + TIME_STAMP_TOLERANCE_SECONDS:
                    if num_opened >= self.options.num_done:
                        open_windows.append(_OpenWindow(num_opened, layout))
                    num_opened += 1
            if shown.frame is None:
                raise VideoError(
                    video.name, expected="a stream with at least one frame", hint="check the address or the camera"
                )
            # At its end a stream holds its last frame; windows that reach far beyond it are left out, but for one.
            tolerance = video.frame_seconds / 2
            for window in open_windows:
                is_whole = window.about.end_seconds <= layout.duration_seconds + tolerance
                if is_whole or window.about.number == 0:
                    window.fill(shown, before=math.inf)
                    about, clips = window.result
                    end = min(about.end_seconds, layout.duration_seconds)
                    yield Window(about.number, about.start_seconds, end), clips
        finally:
            video.close()


class _Shown:
    """The frame that a stream shows now, cut when it is asked for."""

    def __init__(self, windows: VideoWindows, video: LiveVideo) -> None:
        self._windows, self._video = windows, video
        self.frame: Any = None
        self.seconds = 0.0
        self.picture: Tensor | None = None

    def cut(self) -> Tensor:
        if self.picture is None:
            frame = self._video.picture(self.frame)
            assert self._windows.layout is not None
            self._windows.layout.size = (frame.shape[0], frame.shape[1])
            self.picture = self._windows._cut(frame, self.seconds)
        return self.picture


class _OpenWindow:
    """A window of a stream whose frames are still to come."""

    def __init__(self, number: int, layout: Layout) -> None:
        start = number * layout.hop_seconds
        self.about = Window(number, start, start + layout.window_seconds)
        moments = moments_of(start, layout.offsets, first=0.0, last=math.inf)
        order = np.argsort(moments, axis=None, kind="stable")
        self._places = [divmod(int(place), moments.shape[1]) for place in order]
        self._moments = moments.ravel()[order].tolist()
        self._num_filled = 0
        self._clips: list[list[Any]] = [[None] * moments.shape[1] for _ in moments]

    @property
    def is_full(self) -> bool:
        return self._num_filled == len(self._moments)

    def fill(self, shown: _Shown, *, before: float) -> None:
        """Fill the moments before that time with the frame that is shown until then."""
        while not self.is_full and self._moments[self._num_filled] < before:
            clip, place = self._places[self._num_filled]
            self._clips[clip][place] = shown.cut()
            self._num_filled += 1

    @property
    def result(self) -> tuple[Window, Tensor]:
        return self.about, _stacked(self._clips)


def _stacked(clips: list[list[Tensor]]) -> Tensor:
    """Frames (crops, C, H, W) of K clips as (K · crops, T, C, H, W)."""
    return torch.cat([torch.stack(frames, dim=1) for frames in clips])


def read_ahead(windows: VideoWindows, *, max_waiting: int) -> Generator[tuple[Window, Tensor], None, None]:
    """The windows, read by a thread of its own while their consumer computes; closing it ends the thread.

    Of a stream in real time, windows that come while `max_waiting` others wait are dropped: else memory would grow, or
    the answers would fall further and further behind.

    Raises:
        VideoError: as the windows, and where a stream stalls.
    """
    waiting: queue.Queue[tuple[str, Any]] = queue.Queue(max_waiting)
    stopped = threading.Event()

    def put(kind: str, item: Any) -> None:
        while not stopped.is_set():
            with suppress(queue.Full):
                waiting.put((kind, item), timeout=_POLL_SECONDS)
                return

    def work() -> None:
        try:
            for item in windows:
                if windows.is_real_time and waiting.full():
                    windows.num_dropped += 1
                else:
                    put("item", item)
                if stopped.is_set():
                    return
            put("end", None)
        except BaseException as error:  # whatever it is, it is raised where the windows are used
            put("error", error)

    thread = threading.Thread(target=work, name="videomae-windows", daemon=True)
    thread.start()
    try:
        began = time.monotonic()
        while True:
            try:
                kind, item = waiting.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                limit = windows.options.stall_seconds
                if windows.is_stream and time.monotonic() - max(began, windows.last_frame_at) > limit:
                    raise VideoError(
                        f"{windows.name} (no new frame for {limit:g} s)",
                        expected="a stream that goes on",
                        hint="check the network or the camera, or wait longer with --read-limit-seconds",
                    ) from None
                continue
            if kind == "end":
                return
            if kind == "error":
                raise item
            yield item
            began = time.monotonic()
    finally:
        stopped.set()
        if not windows.is_stream:  # which may hang in its system call; the thread dies with the process
            thread.join()
