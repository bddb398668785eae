"""Charts of the page: well-formed, in the page's colors, with what they are about."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from videomae.report.svg import (
    Chart,
    bar_chart,
    calibration_chart,
    line_chart,
    matrix_chart,
    scatter_chart,
    ticks,
)

EVIL = "<script>alert('x')</script> & \x07"


def parsed(chart: Chart) -> ElementTree.Element:
    root = ElementTree.fromstring(chart.svg)
    assert root.tag == "svg"
    assert not re.findall(r"#[0-9a-f]{3,6}\b|(?:fill|stroke)=", chart.svg)  # the page has the colors, light and dark
    return root


def texts_of(chart: Chart) -> list[str]:
    return [element.text or "" for element in parsed(chart).iter("text")]


def paths_of(chart: Chart, css: str) -> list[list[tuple[float, float]]]:
    found = [e.attrib["d"] for e in parsed(chart).iter("path") if css in e.attrib.get("class", "").split()]
    return [[(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.-]+) ([\d.-]+)", path)] for path in found]


@pytest.mark.parametrize(
    ("low", "high", "count", "expected"),
    [
        (0, 100, 6, [0, 20, 40, 60, 80, 100]),
        (0.12, 0.58, 5, [0.2, 0.3, 0.4, 0.5]),
        (1, 3, 5, [1, 1.5, 2, 2.5, 3]),
        (5, 5, 5, [5]),
        (0, 1e-5, 4, [0, 5e-6, 1e-5]),
    ],
)
def test_ticks(low: float, high: float, count: int, expected: list[float]) -> None:
    assert ticks(low, high, count) == pytest.approx(expected)


def test_a_line_is_where_its_values_are() -> None:
    chart = line_chart("Accuracy (%)", {"top-1": [(0, 0.0), (10, 50.0), (20, 100.0)]}, y_range=(0, 100))

    [line] = paths_of(chart, "line")
    assert [x for x, _ in line] == pytest.approx([44, 226, 408])  # left and right edge of the area
    assert [y for _, y in line] == pytest.approx([214, 112, 10])
    assert chart.legend == [(0, "top-1: last 100")]
    assert {"0", "20", "100"} <= set(texts_of(chart))


def test_levels_and_bands() -> None:
    chart = line_chart(
        "t",
        {"top-1": [(1, 50.0), (2, 60.0)]},
        y_range=(0, 100),
        levels={"majority class 50.0%": 50.0},
        bands={"top-1": [(1, 25.0, 75.0), (2, 40.0, 80.0)]},
    )
    assert (None, "- - majority class 50.0%") in chart.legend
    [band] = paths_of(chart, "band")
    assert [y for _, y in band] == pytest.approx([61, 50.8, 132.4, 163])
    single = line_chart("t", {"a": [(1, 5.0)]}, bands={"a": [(1, 2.0, 8.0)]})
    assert len(paths_of(single, "band-bar")) == 1


def test_gaps_and_nothing() -> None:
    chart = line_chart("Loss", {"a": [(0, 1.0), (1, float("nan")), (2, 0.5)], "b": []})
    [line] = [e.attrib["d"] for e in parsed(chart).iter("path") if e.attrib["class"] == "line"]
    assert line.count("M") == 2  # two points, nothing between them
    assert [text for _, text in chart.legend] == ["a: last 0.5, 1 not finite", "b (no values)"]
    assert "no values yet" in texts_of(line_chart("Loss", {"a": [(1, float("inf"))]}))
    assert "no values yet" in texts_of(line_chart("Loss", {}))


def test_very_long_series_keep_their_extremes_in_few_points() -> None:
    values = np.random.default_rng(0).normal(0.6, 0.05, 100_000)
    values[54_321] = 9.0
    chart = line_chart("Loss", {"a": list(enumerate(values.tolist()))})
    [raw] = paths_of(chart, "raw")
    assert len(raw) <= 802
    assert min(y for _, y in raw) == pytest.approx(10 + 204 * 0.06 / 1.12, abs=0.2)
    assert len(chart.svg) < 40_000


def test_many_series_differ() -> None:
    chart = line_chart("Loss", {f"run {number}": [(1, 1.0), (2, number)] for number in range(10)})
    looks = re.findall(r'class="(line[^"]*)" style="([^"]*)"', chart.svg)
    assert len(set(looks)) == 10


def test_the_matrix() -> None:
    chart = matrix_chart("", [[13, 27], [0, 58]], ["moving left", "growing"])
    texts = texts_of(chart)
    assert {"13", "27", "58", "moving left", "growing"} <= set(texts)
    assert "0" not in texts
    titles = [element.text for element in parsed(chart).iter("title")]
    assert titles[1] == "moving left predicted as growing: 27 (67.5% of the class)"


@pytest.mark.parametrize(
    ("number", "has_counts", "has_picture"), [(30, True, False), (31, False, False), (174, False, True)]
)
def test_the_matrix_of_many_classes(number: int, has_counts: bool, has_picture: bool) -> None:
    chart = matrix_chart("", np.full((number, number), 77), [f"class {index}" for index in range(number)])
    texts = texts_of(chart)
    assert ("77" in texts) == has_counts
    assert ("<image" in chart.svg) == has_picture
    assert sum(text.startswith("class") for text in texts) <= 80
    assert len(chart.svg) < 400_000


def test_bars_from_zero_with_their_values() -> None:
    chart = bar_chart(
        "Top-1", ["a", "b", "c"], [0.8, 0.4, float("nan")], level=("chance", 0.125), intervals=[(0.7, 0.9), None, None]
    )
    assert {"a: 80.0% (70–90)", "b: 40.0%", "c: no value", "0", "100"} <= set(texts_of(chart))
    widths = [float(element.attrib["width"]) for element in parsed(chart).iter("rect")]
    assert widths[0] == pytest.approx(2 * widths[1], rel=0.01)
    assert chart.legend == [(None, "- - chance 12.5%")]


def test_calibration_and_scatter() -> None:
    chart = calibration_chart("Calibration", [(0.55, 0.5, 10, (0.3, 0.7)), (0.95, 1.0, 40, (0.9, 1.0))])
    titles = [element.text for element in parsed(chart).iter("title")]
    assert titles == ["10 predictions, 55.0% confident, 50.0% right", "40 predictions, 95.0% confident, 100.0% right"]
    points = [[0, 0], [1, 0], [0, 1]]
    chart = scatter_chart("Map", points, [0, 1, 9], [f"class {n}" for n in range(10)], ["a", "b", EVIL])
    assert [text for _, text in chart.legend] == ["class 0", "class 1", "■ class 9"]
    assert len(list(parsed(chart).iter("circle"))) == 2  # the tenth class is a square of the third color
    same = scatter_chart("Map", [[1, 1]] * 3, [0, 0, 0], ["x"], ["a"] * 3)
    assert "nan" not in same.svg


def test_no_name_is_markup() -> None:
    charts = [
        line_chart(EVIL, {EVIL: [(0, 1.0), (1, 2.0)]}),
        matrix_chart(EVIL, [[1, 2], [3, 4]], [EVIL, "b"]),
        bar_chart(EVIL, [EVIL], [0.5]),
        scatter_chart(EVIL, [[0, 0]], [0], [EVIL], [EVIL]),
    ]
    for chart in charts:
        parsed(chart)
        assert "<script" not in chart.svg
