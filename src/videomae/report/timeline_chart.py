"""A timeline as a picture: frames of the video, and below them a colored track for each label over a time axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from videomae.core.text import clock
from videomae.report.chart_style import COLORS, FAINT_INK, INK, chart_style
from videomae.report.charts import ImageFormat, encode_chart
from videomae.report.curves import shorten
from videomae.report.pictures import as_rgb
from videomae.report.text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH, _TRACK, _GAP, _THUMBNAIL = 12.0, 0.42, 0.09, 0.95  # inches
_MARGIN, _TITLE, _AXIS = 0.15, 0.42, 0.42
_MAX_TRACKS = 8
_MAX_LABEL = 26
_PALE = "#f1f1f4"
# Places of frames in the strip: wider frames are cut, so that more of them fit.
_MAX_ASPECT = 4 / 3
# One for each track.
_TRACK_COLORS = (*COLORS[:6], "#7A5195", "#6B7280")
# Steps of a time axis that people read at a glance, in seconds.
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)


@dataclass(frozen=True)
class Bar:
    """A segment: where it is, and the number of its label."""

    start_seconds: float
    end_seconds: float
    index: int


def timeline_chart(
    *,
    edges: NDArray[np.float64],
    scores: NDArray[np.float64],
    labels: Sequence[str],
    bars: Sequence[Bar] = (),
    threshold: float | None = None,
    duration_seconds: float,
    thumbnails: Sequence[tuple[float, NDArray[np.uint8]]] = (),
    title: str = "",
    note: str = "",
    image_format: ImageFormat = "png",
) -> bytes:
    """Draw a track for each of at most 8 labels: those of segments, then those with the best scores.

    Args:
        edges: (M + 1,) seconds, between which scores are constant.
        scores: (M, C), 0–1; NaN where nothing is known.
        labels: of the C classes.
        bars: segments, drawn in full color.
        threshold: score above which a segment is, drawn as a fine line; None for none.
        duration_seconds: length of the axis.
        thumbnails: (seconds, uint8 (height, width, channels)) in the order of time.
        title: above all.
        note: below the axis, such as why the video ended early.
        image_format: "png" or "svg".

    Returns:
        The bytes of the file.
    """
    from matplotlib.figure import Figure

    tracks = _tracks(edges, scores, bars, len(labels))
    names = [shorten(labels[index], _MAX_LABEL) for index in tracks]
    left = 0.35 + 0.088 * max([6, *map(len, names)])
    strip = _THUMBNAIL + 2 * _GAP if thumbnails else 0.0
    height = _TITLE + strip + len(tracks) * (_TRACK + _GAP) + _AXIS + (0.28 if note else 0) + 2 * _MARGIN
    duration = max(duration_seconds, float(edges[-1]) if len(edges) else 0.0, 1e-3)
    with chart_style():
        figure = Figure(figsize=(_WIDTH, height), facecolor="white")
        page = _Page(figure, left, height, duration)
        page.text(_MARGIN, _TITLE * 0.62, shorten(printable(title), 90), size=12.5, weight="bold")
        page.text(_WIDTH - _MARGIN, _TITLE * 0.62, clock(duration_seconds), size=10.5, color=FAINT_INK, align="right")
        if thumbnails:
            _draw_thumbnails(page, thumbnails, top=_TITLE + _MARGIN)
        top = _TITLE + _MARGIN + strip
        for row, index in enumerate(tracks):
            color = _TRACK_COLORS[row]
            own = [bar for bar in bars if bar.index == index]
            page.text(left - 0.12, top + _TRACK / 2, names[row], size=10.5, align="right")
            axes = page.axes(top, _TRACK)
            axes.set_ylim(0, 1)
            _draw_track(axes, edges, scores[:, index], own, color=color, threshold=threshold)
            top += _TRACK + _GAP
        _draw_axis(page, top - _GAP)
        if note:
            page.text(left, top + _AXIS + 0.1, shorten(note, 140), size=9, color=COLORS[1])
        return encode_chart(figure, image_format)


@dataclass(frozen=True)
class _Page:
    """A figure whose parts are placed in inches from the top left corner."""

    figure: Figure
    left: float
    height: float
    duration: float

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float,
        color: str = INK,
        align: str = "left",
        weight: str = "normal",
    ) -> None:
        self.figure.text(
            x / _WIDTH, 1 - y / self.height, text, fontsize=size, color=color, ha=align, va="center", weight=weight
        )

    def axes(self, top: float, height: float) -> Any:
        """Bare axes over the whole time, without frame and ticks."""
        width = _WIDTH - self.left - _MARGIN
        place = (self.left / _WIDTH, 1 - (top + height) / self.height, width / _WIDTH, height / self.height)
        axes = self.figure.add_axes(place)
        axes.set_xlim(0, self.duration)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        return axes


def _tracks(edges: NDArray[np.float64], scores: NDArray[np.float64], bars: Sequence[Bar], num_labels: int) -> list[int]:
    """Which labels are drawn, in the order in which they first matter."""
    if not len(scores):
        return []
    covered = np.zeros(num_labels)
    for bar in bars:
        covered[bar.index] += bar.end_seconds - bar.start_seconds
    best = np.nan_to_num(scores, nan=0.0).max(axis=0)
    order = np.lexsort((-best, -covered))
    chosen = [int(index) for index in order[:_MAX_TRACKS] if covered[index] > 0 or best[index] >= 0.2]
    chosen = chosen or [int(index) for index in order[:3]]
    first = {bar.index: bar.start_seconds for bar in reversed(bars)}
    return sorted(chosen, key=lambda index: first.get(index, math.inf))


def _draw_track(
    axes: Any,
    edges: NDArray[np.float64],
    scores: NDArray[np.float64],
    bars: Sequence[Bar],
    *,
    color: str,
    threshold: float | None,
) -> None:
    axes.set_facecolor(_PALE)
    heights = np.nan_to_num(scores, nan=0.0)
    steps: dict[str, Any] = {"step": "post", "linewidth": 0}
    axes.fill_between(edges, np.append(heights, heights[-1:]), color=color, alpha=0.32, **steps)
    middles = (edges[:-1] + edges[1:]) / 2
    for bar in bars:
        inside = np.flatnonzero((middles > bar.start_seconds) & (middles < bar.end_seconds))
        if len(inside):
            part = slice(inside[0], inside[-1] + 1)
            own = heights[part]
            axes.fill_between(edges[inside[0] : inside[-1] + 2], np.append(own, own[-1:]), color=color, **steps)
    if threshold is not None:
        axes.axhline(threshold, color="white", linewidth=0.8, linestyle=(0, (3, 3)), alpha=0.9)


def _draw_thumbnails(page: _Page, thumbnails: Sequence[tuple[float, NDArray[np.uint8]]], *, top: float) -> None:
    """As many frames as fit side by side, each the nearest to the middle of its place."""
    axes = page.axes(top, _THUMBNAIL)
    axes.set_ylim(0, 1)
    width = _WIDTH - page.left - _MARGIN
    picture = thumbnails[0][1]
    number = max(1, round(width / (_THUMBNAIL * min(picture.shape[1] / picture.shape[0], _MAX_ASPECT))))
    number = min(number, len(thumbnails))
    place = page.duration / number
    for column in range(number):
        middle = (column + 0.5) * place
        _, picture = min(thumbnails, key=lambda found: abs(found[0] - middle))
        high, wide = picture.shape[:2]
        # Cut to the shape of its place, so that the strip has no holes and nothing is stretched.
        shape = (width / number) / _THUMBNAIL
        if wide / high > shape:
            spare = round((wide - high * shape) / 2)
            picture = picture[:, spare : wide - spare]
        else:
            spare = round((high - wide / shape) / 2)
            picture = picture[spare : high - spare]
        gap = 0.02 / width * page.duration
        axes.imshow(
            as_rgb(picture),
            extent=(column * place + gap, (column + 1) * place - gap, 0, 1),
            aspect="auto",
            interpolation="antialiased",
        )
    axes.set_xlim(0, page.duration)
    axes.set_ylim(0, 1)


def _draw_axis(page: _Page, top: float) -> None:
    axes = page.axes(top, 0.02)
    axes.spines["bottom"].set_visible(True)
    axes.spines["bottom"].set_color("#c4c4ca")
    step = next((step for step in _STEPS if page.duration / step <= 12), _STEPS[-1])
    ticks = np.arange(0, page.duration + step * 1e-6, step)
    axes.set_xticks(ticks, [clock(tick, tenths=step < 1) for tick in ticks.tolist()])
    axes.tick_params(axis="x", length=3, labelsize=9.5)
