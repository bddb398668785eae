"""Charts of a run as files in memory: loss curves, confusion matrices, comparisons.

Each function returns the bytes of an SVG or PNG file. None of them uses pyplot or follows a matplotlibrc, so that they
need no screen, leave a person's own plots alone and look the same everywhere.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from videomae.core.errors import ShapeError
from videomae.report.chart_style import COLORS, FAINT_INK, GRID, INK, chart_style, missing_width
from videomae.report.curves import curve_of, number_text, shorten
from videomae.report.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ImageFormat = Literal["svg", "png"]

_LINE_STYLES = ("-", "--", ":", "-.")
_WIDTH_INCHES = 7.2
_PNG_DOTS_PER_INCH = 150
_MAX_VECTOR_POINTS = 2000  # a longer line is drawn as pixels inside the SVG, which would else be megabytes
_MAX_CLASSES_WITH_COUNTS = 30
_MAX_CLASS_TICKS = 40


def loss_curves(
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    title: str = "",
    x_label: str = "step",
    y_label: str = "loss",
    smoothing_points: int | None = None,
    value_name: str = "last",
    y_range: tuple[float, float] | None = None,
    image_format: ImageFormat = "svg",
) -> bytes:
    """Lines of values over steps, one per series, each named in the legend with its last value.

    A long series is drawn thin as it is and thick as its running mean, whose last window the legend gives. Values that
    are not finite leave a gap, and the legend counts them. A series without values is named as such.

    Args:
        series: name → (step, value) pairs in the order of the steps.
        title: above the chart.
        x_label: what a step is.
        y_label: what a value is.
        smoothing_points: width of the centered running mean; 1 turns it off; default a fortieth of the series, and none
            for a series under 60 points.
        value_name: what the legend calls a series' last value.
        y_range: of the axis; by default that of the values.
        image_format: "svg" or "png".

    Returns:
        The bytes of the file.
    """
    with chart_style():
        figure, axes = _new_chart(height_inches=3.6 + 0.24 * len(series), title=title)
        names: list[str] = []
        for index, (name, pairs) in enumerate(series.items()):
            legend_text = _draw_series(
                axes, name, pairs, index=index, smoothing_points=smoothing_points, value_name=value_name
            )
            names.append(legend_text)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        if y_range is not None:
            axes.set_ylim(*y_range)
        axes.grid(color=GRID, linewidth=0.8)
        if not any(np.size(line.get_xdata()) for line in axes.get_lines()):
            _say_empty(axes, "no values yet")
        if names:
            # Below the axes, where it cannot cover a line.
            legend = figure.legend(*_handles(axes), loc="outside lower left", frameon=False)
            for text, name in zip(legend.get_texts(), names, strict=True):
                text.set_text(name)  # matplotlib leaves out a label that begins with an underscore; a text it takes
        return encode_chart(figure, image_format)


def confusion_matrix(
    matrix: ArrayLike, class_names: Sequence[str], *, title: str = "", image_format: ImageFormat = "svg"
) -> bytes:
    """How often each true class (row) was predicted as each class (column).

    The color is the share of the true class; the number is the count, written for up to 30 classes. Of more than 40
    classes, only every n-th is named.

    Args:
        matrix: counts, (C, C), rows true, columns predicted.
        class_names: C names in the matrix's order.
        title: above the chart.
        image_format: "svg" or "png".

    Returns:
        The bytes of the file.

    Raises:
        ShapeError: if the matrix is not (C, C) for C names, or holds a negative or broken number.
    """
    counts = _check_counts(matrix, num_classes=len(class_names))
    num_classes = len(class_names)
    totals = counts.sum(axis=1)
    shares = counts / np.maximum(totals, 1)[:, None]
    with chart_style():
        size = min(max(3.2, 2.0 + 0.36 * num_classes), 12.4)
        figure, axes = _new_chart(height_inches=size, width_inches=size + 1.4, title=title)
        if num_classes == 0:
            _say_empty(axes, "no classes")
            return encode_chart(figure, image_format)
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest", aspect="equal")
        cell_points = 72 * (size - 2.4) / min(num_classes, _MAX_CLASS_TICKS)
        font_size = min(9.5, 0.36 * cell_points)
        _name_classes(axes, class_names, totals, font_size=font_size)
        if num_classes <= _MAX_CLASSES_WITH_COUNTS:
            _write_counts(axes, counts, shares, font_size=font_size)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class (number of videos)")
        bar = figure.colorbar(
            image, ax=axes, shrink=0.8, aspect=25, pad=0.02, ticks=[0, 0.5, 1], label="share of the true class"
        )
        bar.ax.set_yticklabels(["0 %", "50 %", "100 %"])
        bar.outline.set_visible(False)
        return encode_chart(figure, image_format)


def _new_chart(
    *, height_inches: float, title: str, width_inches: float = _WIDTH_INCHES, title_gap_points: int = 10
) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_inches, height_inches), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    if title:
        axes.set_title(printable(title), pad=title_gap_points)
    return figure, axes


def encode_chart(figure: Figure, image_format: ImageFormat) -> bytes:
    """A figure as the bytes of a file."""
    buffer = io.BytesIO()
    is_svg = image_format == "svg"
    figure.savefig(
        buffer,
        format=image_format,
        dpi=_PNG_DOTS_PER_INCH,
        metadata={"Date": None} if is_svg else None,
        bbox_inches="tight",
        pad_inches=0.1 + (missing_width(figure) if is_svg else 0),
    )
    return buffer.getvalue()


def _draw_series(
    axes: Axes,
    name: str,
    pairs: Sequence[tuple[float, float]],
    *,
    index: int,
    smoothing_points: int | None,
    value_name: str = "last",
) -> str:
    """Draw one line and return its text for the legend."""
    color = COLORS[index % len(COLORS)]
    style: Any = _LINE_STYLES[index // len(COLORS) % len(_LINE_STYLES)]
    curve = curve_of(name, pairs, smoothing_points=smoothing_points, value_name=value_name)
    axes.locator_params(axis="x", integer=True)  # there is no step 1.975
    finite = curve.is_finite
    num_finite, many = int(finite.sum()), len(curve.values) > _MAX_VECTOR_POINTS
    if not num_finite:
        axes.plot([], [], color=color, linestyle=style)
        return curve.text
    raw = np.where(finite, curve.values, np.nan)
    if curve.smooth is None:
        marker = "o" if num_finite <= 30 else ""
        look: dict[str, Any] = {"linewidth": 1.8, "marker": marker, "markersize": 4, "rasterized": many}
        axes.plot(curve.steps, raw, color=color, linestyle=style, **look)
        return curve.text
    axes.plot(curve.steps, raw, color=color, linewidth=0.7, alpha=0.35, rasterized=many, gid="raw")
    stride = max(1, num_finite // _MAX_VECTOR_POINTS)
    shown = np.unique(np.append(np.arange(0, num_finite, stride), num_finite - 1))
    axes.plot(curve.steps[finite][shown], curve.smooth[shown], color=color, linestyle=style, linewidth=2)
    return curve.text


def _handles(axes: Axes) -> tuple[list[Any], list[str]]:
    """The lines that stand for a series in the legend, with stand-in names."""
    lines = [line for line in axes.get_lines() if line.get_gid() != "raw"]
    return lines, [str(index) for index in range(len(lines))]


def _name_classes(axes: Axes, class_names: Sequence[str], totals: NDArray[np.float64], *, font_size: float) -> None:
    step = math.ceil(len(class_names) / _MAX_CLASS_TICKS)
    ticks = range(0, len(class_names), step)
    names = [shorten(class_names[index], 28) for index in ticks]
    upright = len(class_names) <= 4 and max(map(len, names)) <= 10
    turn: dict[str, Any] = {} if upright else {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(ticks, names, fontsize=font_size, **turn)
    rows = [f"{name} ({number_text(totals[index])})" for name, index in zip(names, ticks, strict=True)]
    axes.set_yticks(ticks, rows, fontsize=font_size)
    axes.tick_params(length=2)
    axes.spines[:].set_visible(True)


def _write_counts(axes: Axes, counts: NDArray[np.float64], shares: NDArray[np.float64], *, font_size: float) -> None:
    for row, column in np.ndindex(*counts.shape):
        count = float(counts[row, column])
        if count == 0 and len(counts) > 12:
            continue  # hundreds of zeros would hide the few confusions
        color = "white" if shares[row, column] > 0.55 else INK if count else "#9a9aa2"
        axes.text(column, row, number_text(count), ha="center", va="center", color=color, fontsize=font_size)


def _say_empty(axes: Axes, message: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(0.5, 0.5, message, transform=axes.transAxes, ha="center", va="center", color=FAINT_INK, fontsize=13)


def _check_counts(matrix: ArrayLike, *, num_classes: int) -> NDArray[np.float64]:
    counts = np.asarray(matrix, dtype=np.float64)
    if num_classes == 0 and counts.size == 0:
        return np.zeros((0, 0))
    if counts.shape != (num_classes, num_classes):
        raise ShapeError(
            f"a confusion matrix of shape {counts.shape} for {num_classes} class names",
            expected=f"({num_classes}, {num_classes})",
            hint="pass one row, one column and one name per class",
        )
    if not (np.isfinite(counts).all() and (counts >= 0).all()):
        raise ShapeError(
            f"a confusion matrix with values from {counts.min()} to {counts.max()}",
            expected="counts, 0 or above",
            hint="pass how many videos of each true class got each prediction",
        )
    return counts


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
