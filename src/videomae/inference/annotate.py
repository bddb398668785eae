"""A video with its timeline drawn in: at its own speed and size, turned as it is shown."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageDraw

from videomae.core.errors import ConfigError
from videomae.datasets.entries import VideoEntry
from videomae.datasets.video_parts import frames_of_part
from videomae.inference.segments import Segment
from videomae.inference.timeline import Timeline
from videomae.report.chart_style import COLORS
from videomae.report.text import line_height, load_font, printable
from videomae.video import ReadLimits, VideoWriter, fit_channels, open_video

# An MP4 in whose unit all common rates and the milliseconds of other containers are whole numbers.
_TIME_BASE = Fraction(1, 90_000)
_MAX_LABELS = 3
_DIM = 0.45  # what is left of the picture's brightness below the text


def require_mp4(path: str | Path) -> None:
    """Raise a ConfigError for another ending than .mp4."""
    if Path(path).suffix.lower() != ".mp4":
        raise ConfigError(f"--annotate {path}", expected="a file name ending in .mp4", hint="rename it")


def annotate_video(
    timeline: Timeline, source: Any, output: Path, *, on_frame: Callable[[float], object] = lambda seconds: None
) -> None:
    """Write the video with the labels of the moment at the bottom, and below them the segments and where it is.

    Every frame is shown when the source shows it; sound is left out.

    Args:
        timeline: of the video.
        source: the video, or its entry.
        output: an .mp4.
        on_frame: called with the seconds of each frame that was written.

    Raises:
        VideoError: the video cannot be read, or the file not be written.
    """
    entry = source if isinstance(source, VideoEntry) else VideoEntry(source)
    with open_video(entry.path, num_threads=None, limits=ReadLimits(max_seconds=None)) as reader:
        part = frames_of_part(reader, entry)
        times = reader.frame_times[part.start : part.stop]
        times = times[times - times[0] <= timeline.duration_seconds]
        band = _Band(timeline)
        rate = min(reader.info.frames_per_second or 25.0, 240.0)
        with VideoWriter(output, frames_per_second=rate, time_base=_TIME_BASE, crf=20, num_threads=0) as writer:
            last = -1
            for number, frame in reader.stream(np.arange(part.start, part.start + len(times))):
                seconds = float(times[number - part.start])
                last = max(last + 1, round((seconds - times[0]) / _TIME_BASE))
                picture = fit_channels(frame, 3, str(entry.path))
                band.draw(picture, seconds)
                writer.add(picture, time=last)
                on_frame(seconds - float(times[0]))


class _Band:
    """The strip at the bottom of a frame. What it says changes seldom: it is drawn once for each change."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._key: tuple[Any, ...] = ()
        self._overlay = np.zeros((0, 0, 3), dtype=np.uint8)
        self._opacity = np.zeros((0, 0, 1), dtype=np.uint16)
        order = dict.fromkeys(segment.index for segment in timeline.segments)
        self._colors = {index: ImageColor.getrgb(COLORS[n % len(COLORS)]) for n, index in enumerate(order)}

    def draw(self, picture: np.ndarray, seconds: float) -> None:
        """Draw into a frame, uint8 (height, width, 3)."""
        height, width = picture.shape[:2]
        shown = tuple(
            segment for segment in self._timeline.segments if segment.start_seconds <= seconds < segment.end_seconds
        )[:_MAX_LABELS]
        if (height, width, shown) != self._key:
            self._key = (height, width, shown)
            self._render(height, width, shown)
        rows = picture[height - len(self._overlay) :]
        opacity = self._opacity
        rows[...] = ((rows * (256 - opacity) + self._overlay * opacity) >> 8).astype(np.uint8)
        start = float(self._timeline.start_seconds[0])
        share = (seconds - start) / max(self._timeline.duration_seconds, 1e-3)
        wide = max(2, width // 320)
        at = min(max(round(share * width) - wide // 2, 0), max(width - wide, 0))
        picture[height - self._bar :, at : at + wide] = 255

    def _render(self, height: int, width: int, shown: tuple[Segment, ...]) -> None:
        size = max(9, round(min(height, width) / 22))
        font = load_font(size)
        line, pad = line_height(font), size // 2
        self._bar = max(3, height // 60)
        text = len(shown) * (line + pad // 2) + pad if shown else 0
        band = Image.new("RGBA", (width, min(height, self._bar + text)), (0, 0, 0, round(255 * (1 - _DIM))))
        draw = ImageDraw.Draw(band)
        for row, segment in enumerate(shown):
            y = pad + row * (line + pad // 2)
            color = self._colors[segment.index]
            draw.rounded_rectangle((pad, y, pad + size, y + size), radius=size // 4, fill=(*color, 255))
            name = f"{printable(segment.label)}  {segment.probability:.0%}"
            while font.getlength(name) > width - 3 * pad - size and len(name) > 4:
                name = f"{name[:-2]}…"
            draw.text((2 * pad + size, y + size / 2), name, fill=(255, 255, 255, 255), font=font, anchor="lm")
        start, duration = float(self._timeline.start_seconds[0]), max(self._timeline.duration_seconds, 1e-3)
        for segment in self._timeline.segments:
            left, right = ((edge - start) / duration * width for edge in (segment.start_seconds, segment.end_seconds))
            draw.rectangle(
                (left, band.height - self._bar, max(right - 1, left), band.height),
                fill=(*self._colors[segment.index], 255),
            )
        pixels = np.asarray(band)
        self._overlay = pixels[..., :3].astype(np.uint16)
        self._opacity = pixels[..., 3:].astype(np.uint16) * 256 // 255
