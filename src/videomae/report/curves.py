"""A series of values as it is drawn: thin as it is, thick as its running mean, and its text for a legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from videomae.report.text import printable

_MIN_POINTS_TO_SMOOTH = 60


@dataclass(frozen=True)
class Curve:
    """One line of a chart.

    Args:
        steps: (points,) float64.
        values: (points,) float64; what is not finite is a gap.
        smooth: (finite points,) running mean; None for a series that is drawn as it is.
        text: for the legend: name, last value, and what could not be drawn.
    """

    steps: NDArray[np.float64]
    values: NDArray[np.float64]
    smooth: NDArray[np.float64] | None
    text: str

    @property
    def is_finite(self) -> NDArray[np.bool_]:
        """(points,) which points can be drawn."""
        return np.isfinite(self.values) & np.isfinite(self.steps)


def curve_of(
    name: str,
    pairs: Sequence[tuple[float, float]],
    *,
    smoothing_points: int | None = None,
    value_name: str = "last",
) -> Curve:
    """The curve of (step, value) pairs; arguments as for `charts.loss_curves`."""
    steps, values = np.asarray(pairs, dtype=np.float64).reshape(-1, 2).T
    finite = np.isfinite(values) & np.isfinite(steps)
    label, num_finite = shorten(name, 40), int(finite.sum())
    notes = [f"{(~finite).sum()} not finite"] if (~finite).any() else []
    if not num_finite:
        return Curve(steps, values, None, f"{label} ({', '.join(notes) or 'no values'})")
    width = smoothing_points
    if width is None:
        width = num_finite // 40 if num_finite >= _MIN_POINTS_TO_SMOOTH else 1
    if width // 2 == 0:
        last = f"{value_name} {number_text(values[finite][-1])}"
        return Curve(steps, values, None, f"{label}: {', '.join([last, *notes])}")
    window = min(width // 2 * 2 + 1, num_finite)
    last = f"{value_name} {number_text(values[finite][-window:].mean())} (mean of {window})"
    return Curve(steps, values, running_mean(values[finite], width), f"{label}: {', '.join([last, *notes])}")


def curve_pairs(
    records: Sequence[Mapping[str, Any]], split: str, name: str, *, scale: float = 1
) -> list[tuple[float, float]]:
    """(step, value) of one value in the lines of a metrics.jsonl; lines without it are left out.

    Args:
        records: the lines.
        split: "train" or "val".
        name: of the value.
        scale: factor, 100 for percent.
    """
    return [(r["step"], scale * r[name]) for r in records if r.get("split") == split and r.get(name) is not None]


def running_mean(values: ArrayLike, num_points: int) -> NDArray[np.float64]:
    """The centered mean over `num_points` values (the next odd number); near the ends, over those that there are."""
    array = np.asarray(values, dtype=np.float64)
    reach = max(num_points, 1) // 2
    positions = np.arange(len(array))
    starts, ends = np.maximum(positions - reach, 0), np.minimum(positions + reach + 1, len(array))
    sums = np.concatenate([[0.0], np.cumsum(array)])
    return (sums[ends] - sums[starts]) / (ends - starts)


def shorten(text: str, max_chars: int) -> str:
    """The text in one line, with its middle elided where it is too long: class names often differ at the end."""
    line = " ".join(printable(text).split())
    if len(line) <= max_chars:
        return line
    tail = (max_chars - 1) // 2
    return f"{line[: max_chars - 1 - tail]}…{line[-tail:]}"


def number_text(value: float) -> str:
    """A whole number as such, any other with three digits."""
    return f"{int(value)}" if float(value).is_integer() and abs(value) < 1e9 else f"{value:.3g}"
