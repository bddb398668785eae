"""Charts inside a page: SVG in the page's own colors, made of text alone.

They are drawn in a few milliseconds without matplotlib, so that a report can be written after each epoch. The colors
are variables of `report.css`, which has them for light and dark; a chart is as wide as its place in the page, and its
legend is text of the page, which wraps on a phone.
"""

from __future__ import annotations

import base64
import io
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from videomae.report.curves import Curve, curve_of, number_text, shorten
from videomae.report.text import printable

NUM_COLORS = 7
_WIDTH, _HEIGHT = 420, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 10, 36
# More points than a chart has pixels are drawn as the lowest and the highest of each column.
_MAX_POINTS = 800
_MAX_MARKED = 30
_MAX_CELLS_WITH_COUNTS = 30
_MAX_CELLS = 60  # of more classes the cells are one small picture
_MAX_CLASS_TICKS = 40


class Chart(NamedTuple):
    """A chart as a part of a page.

    Args:
        title: above it.
        svg: the drawing.
        alt: what it shows, for those who cannot see it.
        legend: (number of a color, text) below it; None for text without a color.
        max_width: the widest that it should be, in CSS pixels.
    """

    title: str
    svg: str
    alt: str
    legend: Sequence[tuple[int | None, str]] = ()
    max_width: int = 560


@dataclass(frozen=True)
class _Frame:
    """The axes of a chart: which values its area shows."""

    x_min: float
    x_max: float
    y_min: float
    y_max: float
    height: int = _HEIGHT

    def x(self, value: float) -> float:
        share = (value - self.x_min) / ((self.x_max - self.x_min) or 1)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.y_min) / ((self.y_max - self.y_min) or 1)
        return self.height - _BOTTOM - share * (self.height - _TOP - _BOTTOM)

    def point(self, x: float, y: float) -> str:
        return f"{self.x(x):.1f} {self.y(y):.1f}"


def line_chart(
    title: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x_label: str = "step",
    y_range: tuple[float, float] | None = None,
    from_zero: bool = False,
    levels: Mapping[str, float] | None = None,
    bands: Mapping[str, Sequence[tuple[float, float, float]]] | None = None,
    height: int = _HEIGHT,
    has_legend: bool = True,
    colors: Mapping[str, int] | None = None,
) -> Chart:
    """Lines of values over steps; the legend has each one's last value, and counts what is not finite.

    A long series is drawn thin as it is and thick as its running mean.

    Args:
        title: above the chart: what a value is.
        series: name → (step, value) in the order of the steps.
        x_label: what a step is.
        y_range: of the axis; by default that of the values.
        from_zero: let the axis begin at 0.
        levels: name → value of dashed horizontal lines, such as a baseline.
        bands: name of a series → (step, low, high): a paler area around it.
        height: in the units of a chart 420 wide.
        has_legend: False where the title says it all.
        colors: name of a series → number of its color, where several charts show some of the same; by default in order.
    """
    numbers = {name: number for number, name in enumerate(series)} if colors is None else colors
    curves = [curve_of(name, pairs) for name, pairs in series.items()]
    levels, bands = levels or {}, bands or {}
    shown = [value for curve in curves for value in curve.values[curve.is_finite].tolist()]
    steps = [step for curve in curves for step in curve.steps[curve.is_finite].tolist()]
    extra = [*levels.values(), *(value for band in bands.values() for point in band for value in point[1:])]
    low, high = y_range or _padded([*shown, *extra], from_zero=from_zero)
    frame = _Frame(min(steps, default=0), max(steps, default=1), low, high, height)
    parts = _axes(frame, x_label, are_steps=True)
    for name, curve in zip(series, curves, strict=True):
        parts += _band(frame, bands.get(name, ()), numbers[name] % NUM_COLORS)
        parts += _line(frame, curve, numbers[name])
    for level in levels.values():
        y = frame.y(level)
        parts.append(f'<path class="level" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
    if not steps:
        parts.append(_text(_WIDTH / 2, height / 2, "no values yet", anchor="middle"))
    named = zip(series, curves, strict=True)
    legend: list[tuple[int | None, str]] = [(numbers[name], curve.text) for name, curve in named]
    legend += [(None, f"- - {name}") for name in levels]
    alt = f"{title} over {x_label}s: {'; '.join(curve.text for curve in curves)}"
    return Chart(title, _svg(_WIDTH, height, parts), alt, legend if has_legend else ())


def matrix_chart(title: str, matrix: ArrayLike, class_names: Sequence[str]) -> Chart:
    """How often each true class (row) was predicted as each class (column).

    The shade is the share of the true class; the number is the count, for up to 30 classes.

    Args:
        title: above the chart.
        matrix: counts, (C, C), rows true, columns predicted.
        class_names: C names in the matrix's order.
    """
    counts = np.asarray(matrix, dtype=np.float64)
    number = len(class_names)
    shares = counts / np.maximum(counts.sum(axis=1), 1)[:, None]
    step = math.ceil(number / _MAX_CLASS_TICKS) if number else 1
    names = [shorten(name, 22) for name in class_names]
    longest = max(map(_width_of, names[::step]), default=0)
    cell = min(46.0, max(20.0, 300 / max(number, 1))) if number <= _MAX_CELLS_WITH_COUNTS else 600 / number
    left, top = longest + 10, 8.0
    size = cell * number
    width, height = left + size + max(8.0, 0.4 * longest), top + size + 0.72 * longest + 22
    parts = [f'<rect class="box" x="{left:.1f}" y="{top}" width="{size:.1f}" height="{size:.1f}"/>']
    if number > _MAX_CELLS:
        parts.append(_shade_picture(shares, left, top, size))
    else:
        parts += _cells(counts, shares, class_names, left, top, cell)
    for index in range(0, number, step):
        middle = (index + 0.5) * cell
        parts.append(_text(left - 6, top + middle + 4, names[index], anchor="end"))
        x, y = left + middle, top + size + 12
        turn = f' transform="rotate(-40 {x:.1f} {y:.1f})"'
        parts.append(_text(x, y, names[index], anchor="end", more=turn))
    alt = f"confusion matrix of {number} classes"
    return Chart(title, _svg(width, height, parts), alt, max_width=round(width * 1.25))


def bar_chart(
    title: str,
    names: Sequence[str],
    values: Sequence[float],
    *,
    level: tuple[str, float] | None = None,
    intervals: Sequence[tuple[float, float] | None] = (),
    colors: Sequence[int] | None = None,
) -> Chart:
    """Horizontal bars in percent from 0 to 100, their values written beside them.

    Args:
        title: above the chart.
        names: what is compared, from top to bottom.
        values: fractions of 1; what is not a number is named as such.
        level: (name, fraction) of a dashed line, such as chance.
        intervals: (low, high) as fractions, one for each name; None for one that has none.
        colors: number of each one's color; by default in order.
    """
    numbers = range(len(names)) if colors is None else colors
    row, label_width = 46, 6
    height = row * len(names) + 34
    frame = _Frame(0, 100, 0, 1, height)

    def x(percent: float) -> float:
        return label_width + percent / 100 * (_WIDTH - label_width - 20)

    parts = []
    for tick in range(0, 101, 20):
        parts.append(f'<path class="grid" d="M{x(tick):.1f} 0V{height - 30}"/>')
        parts.append(_text(x(tick), height - 14, str(tick), anchor="middle"))
    for index, (name, value) in enumerate(zip(names, values, strict=True)):
        y = index * row
        is_known = math.isfinite(value)
        said = f"{value:.1%}" if is_known else "no value"
        interval = intervals[index] if index < len(intervals) else None
        if interval is not None:
            said += f" ({100 * interval[0]:.0f}–{100 * interval[1]:.0f})"
        parts.append(_text(x(0), y + 14, f"{shorten(name, 40)}: {said}", css="strong"))
        if is_known:
            color = f'style="fill:var(--c{numbers[index] % NUM_COLORS})"'
            length = max(x(100 * value) - x(0), 0.5)
            parts.append(f'<rect {color} x="{x(0):.1f}" y="{y + 20}" width="{length:.1f}" height="16" rx="2"/>')
        if interval is not None:
            low, high = x(100 * interval[0]), x(100 * interval[1])
            parts.append(
                f'<path class="whisker" d="M{low:.1f} {y + 28}H{high:.1f}M{low:.1f} {y + 24}v8M{high:.1f} {y + 24}v8"/>'
            )
    if level is not None:
        parts.append(f'<path class="level" d="M{x(100 * level[1]):.1f} 0V{frame.height - 30}"/>')
    legend: list[tuple[int | None, str]] = [] if level is None else [(None, f"- - {level[0]} {level[1]:.1%}")]
    alt = f"{title}: {', '.join(f'{name} {value:.1%}' for name, value in zip(names, values, strict=True))}"
    return Chart(title, _svg(_WIDTH, height, parts), alt, legend)


def calibration_chart(title: str, bins: Sequence[tuple[float, float, int, tuple[float, float]]]) -> Chart:
    """How often predictions of a certain confidence are right: on the diagonal, confidence can be believed.

    Args:
        title: above the chart.
        bins: (mean confidence, share that is right, predictions, (low, high) of that share) of each bin that has any.
    """
    frame = _Frame(0, 100, 0, 100)
    parts = _axes(frame, "confidence (%)", are_steps=False)
    parts.append(f'<path class="level" d="M{frame.point(0, 0)}L{frame.point(100, 100)}"/>')
    total = max((number for _, _, number, _ in bins), default=1)
    for confidence, share, number, (low, high) in bins:
        x = frame.x(100 * confidence)
        about = f"{number} predictions, {confidence:.1%} confident, {share:.1%} right"
        radius = 3 + 5 * math.sqrt(number / total)
        place = f'cx="{x:.1f}" cy="{frame.y(100 * share):.1f}" r="{radius:.1f}"'
        parts.append(f'<path class="whisker" d="M{x:.1f} {frame.y(100 * low):.1f}V{frame.y(100 * high):.1f}"/>')
        parts.append(f'<circle class="dot" style="--k:var(--c0)" {place}><title>{about}</title></circle>')
    legend: list[tuple[int | None, str]] = [
        (0, "right (%), with 95 % intervals; a larger dot has more predictions"),
        (None, "- - as confident as right"),
    ]
    return Chart(title, _svg(_WIDTH, _HEIGHT, parts), "share of right predictions over their confidence", legend)


def scatter_chart(
    title: str, points: ArrayLike, groups: Sequence[int], group_names: Sequence[str], texts: Sequence[str]
) -> Chart:
    """Points of several groups in the plane, whose axes have no unit.

    Args:
        title: above the chart.
        points: (points, 2).
        groups: the group of each point.
        group_names: of the groups.
        texts: what a pointer on each point shows.
    """
    places = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    (x_min, x_max), (y_min, y_max) = (_padded(places[:, axis].tolist()) for axis in (0, 1))
    frame = _Frame(x_min, x_max, y_min, y_max, 330)
    height = frame.height
    parts = [f'<rect class="box" x="1" y="1" width="{_WIDTH - 2}" height="{height - 2}"/>']
    for (x, y), group, text in zip(places.tolist(), groups, texts, strict=True):
        across = 8 + (frame.x(x) - _LEFT) / (_WIDTH - _LEFT - _RIGHT) * (_WIDTH - 16)
        down = 8 + (frame.y(y) - _TOP) / (height - _TOP - _BOTTOM) * (height - 16)
        parts.append(_marker(across, down, group, text))
    present = sorted(set(groups))
    legend: list[tuple[int | None, str]] = [
        (group, f"{'■ ' if _is_square(group) else ''}{shorten(group_names[group], 40)}") for group in present[:40]
    ]
    if len(present) > len(legend):
        legend.append((None, f"and {len(present) - len(legend)} more classes"))
    return Chart(title, _svg(_WIDTH, height, parts), f"{len(places)} videos as points, by class", legend)


# --- parts ---------------------------------------------------------------------------------------------------------


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img">{"".join(parts)}</svg>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", css: str = "", more: str = "") -> str:
    mark = f' class="{css}"' if css else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{mark}{more}>{escape(printable(text))}</text>'


def _width_of(text: str) -> float:
    """About the width of a text of a chart; the reader's font is not known."""
    return sum(12.0 if unicodedata.east_asian_width(letter) in "WF" else 6.7 for letter in text)


def _axes(frame: _Frame, x_label: str, *, are_steps: bool) -> list[str]:
    parts = []
    right, bottom = _WIDTH - _RIGHT, frame.height - _BOTTOM
    for tick in ticks(frame.y_min, frame.y_max, 6 if frame.height > 180 else 4):
        y = frame.y(tick)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>')
        parts.append(_text(_LEFT - 6, y + 4, f"{tick:g}", anchor="end"))
    for tick in ticks(frame.x_min, frame.x_max, 5):
        if are_steps and not float(tick).is_integer():  # there is no step 1.5
            continue
        x = frame.x(tick)
        parts.append(f'<path class="grid" d="M{x:.1f} {bottom}v4"/>')
        parts.append(_text(x, bottom + 16, f"{tick:.0f}" if are_steps else f"{tick:g}", anchor="middle"))
    parts.append(f'<path class="axis" d="M{_LEFT} {bottom}H{right}"/>')
    parts.append(_text(right, frame.height - 5, x_label, anchor="end"))
    return parts


def ticks(low: float, high: float, max_count: int) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) from `low` to `high`, about `max_count` at most."""
    if not high > low:
        return [low]
    rough = (high - low) / max_count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _padded(values: Sequence[float], *, from_zero: bool = False) -> tuple[float, float]:
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    if from_zero:
        return min(low, 0.0), high * 1.08 or 1.0
    room = 0.06 * (high - low) or max(abs(high) * 0.05, 1e-6)
    return low - room, high + room


def _line(frame: _Frame, curve: Curve, number: int) -> list[str]:
    color = f'style="--k:var(--c{number % NUM_COLORS})"'
    dash = " dashed" if number // NUM_COLORS % 2 else ""
    finite = curve.is_finite
    if not finite.any():
        return []
    raw = _path(frame, curve.steps, np.where(finite, curve.values, np.nan))
    if curve.smooth is not None:
        smooth = _path(frame, curve.steps[finite], curve.smooth)
        return [f'<path class="raw" {color} d="{raw}"/><path class="line{dash}" {color} d="{smooth}"/>']
    parts = [f'<path class="line{dash}" {color} d="{raw}"/>']
    if finite.sum() <= _MAX_MARKED:
        for step, value in zip(curve.steps[finite].tolist(), curve.values[finite].tolist(), strict=True):
            about = f"{number_text(step)}: {value:.4g}"
            x, y = frame.point(step, value).split()
            parts.append(f'<circle class="dot" {color} cx="{x}" cy="{y}" r="3"><title>{about}</title></circle>')
    return parts


def _path(frame: _Frame, steps: NDArray[np.float64], values: NDArray[np.float64]) -> str:
    """A path through points; what is not a number is a gap."""
    if len(steps) > _MAX_POINTS:
        kept: set[int] = {0, len(steps) - 1}
        for part in np.array_split(np.arange(len(steps)), _MAX_POINTS // 2):
            known = part[np.isfinite(values[part])]
            if len(known):
                kept |= {int(known[values[known].argmin()]), int(known[values[known].argmax()])}
        places = np.array(sorted(kept))
        steps, values = steps[places], values[places]
    words, is_open = [], False
    for step, value in zip(steps.tolist(), values.tolist(), strict=True):
        if math.isfinite(value) and math.isfinite(step):
            words.append(f"{'L' if is_open else 'M'}{frame.point(step, value)}")
            is_open = True
        else:
            is_open = False
    return "".join(words)


def _band(frame: _Frame, points: Sequence[tuple[float, float, float]], number: int) -> list[str]:
    if len(points) < 2:  # an area of no width: one bar
        return [
            f'<path class="band-bar" style="--k:var(--c{number})" d="M{frame.point(x, low)}L{frame.point(x, high)}"/>'
            for x, low, high in points
        ]
    there = "L".join(frame.point(x, high) for x, _, high in points)
    back = "L".join(frame.point(x, low) for x, low, _ in reversed(points))
    return [f'<path class="band" style="--k:var(--c{number})" d="M{there}L{back}Z"/>']


def _cells(
    counts: NDArray[np.float64], shares: NDArray[np.float64], names: Sequence[str], left: float, top: float, cell: float
) -> list[str]:
    parts = []
    writes = len(counts) <= _MAX_CELLS_WITH_COUNTS
    for row, column in np.argwhere(counts > 0).tolist():
        x, y, share, count = (
            left + column * cell,
            top + row * cell,
            shares[row, column],
            number_text(counts[row, column]),
        )
        about = f"{names[row]} predicted as {names[column]}: {count} ({share:.1%} of the class)"
        place = f'x="{x:.1f}" y="{y:.1f}" width="{cell:.1f}" height="{cell:.1f}"'
        parts.append(
            f'<rect class="cell" style="fill-opacity:{max(share, 0.06):.2f}" {place}>'
            f"<title>{escape(printable(about))}</title></rect>"
        )
        if writes:
            css = "on-dark" if share > 0.55 else "strong"
            parts.append(_text(x + cell / 2, y + cell / 2 + 4, count, anchor="middle", css=css))
    return parts


def _shade_picture(shares: NDArray[np.float64], left: float, top: float, size: float) -> str:
    """All cells as one picture of a pixel each: the accent's middle blue, as opaque as the share."""
    pixels = np.zeros((*shares.shape, 4), np.uint8)
    pixels[..., :3] = (40, 130, 200)
    pixels[..., 3] = np.round(255 * np.where(shares > 0, np.maximum(shares, 0.08), 0))
    buffer = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(buffer, format="PNG")
    source = base64.b64encode(buffer.getvalue()).decode()
    place = f'x="{left:.1f}" y="{top:.1f}" width="{size:.1f}" height="{size:.1f}"'
    return f'<image {place} style="image-rendering:pixelated" href="data:image/png;base64,{source}"/>'


def _marker(x: float, y: float, group: int, text: str) -> str:
    """A point whose color and shape are its group's; seven colors, then the same as squares."""
    style = f'class="dot" style="--k:var(--c{group % NUM_COLORS})"'
    about = f"<title>{escape(printable(text))}</title>"
    if _is_square(group):
        return f'<rect {style} x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7">{about}</rect>'
    return f'<circle {style} cx="{x:.1f}" cy="{y:.1f}" r="4">{about}</circle>'


def _is_square(group: int) -> bool:
    return group // NUM_COLORS % 2 == 1
