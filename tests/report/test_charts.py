import io
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

from videomae.core.errors import ShapeError
from videomae.report.charts import confusion_matrix, loss_curves
from videomae.report.curves import running_mean


def texts_of(svg: bytes) -> list[str]:
    """All texts of a chart, which the file holds as texts."""
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    return [element.text or "" for element in root.iter() if element.tag.endswith("}text")]


def width_of(svg: bytes) -> float:
    return float(ElementTree.fromstring(svg).attrib["viewBox"].split()[2])


def test_names_in_any_script_are_texts_with_room() -> None:
    """No font here has them, perhaps, but a reader's browser does; nothing is said about it (warnings are errors)."""
    names = ["跳舞", "농구 경기", "पढ़ना", "رقص", "🏀 basketball", "танец"]
    counts = np.eye(6, dtype=int)

    texts = texts_of(confusion_matrix(counts, names))

    assert set(names) <= set(texts)
    assert {f"{name} (1)" for name in names} <= set(texts)
    # A wide character takes its font's size; the box that is measured for a missing one takes less.
    wide, narrow = ("舞" * 20, "a" * 20)
    assert width_of(loss_curves({wide: [(0, 1.0)]})) > width_of(loss_curves({narrow: [(0, 1.0)]})) + 2 * 20 * 10 * 0.4


def falling_loss(num_steps: int) -> list[tuple[int, float]]:
    return [(step, 0.6 + 0.5 * np.exp(-step / 50)) for step in range(num_steps)]


def test_running_mean_against_a_table() -> None:
    values = [1.0, 3.0, 5.0, 7.0, 100.0]

    np.testing.assert_allclose(running_mean(values, 1), values)
    np.testing.assert_allclose(running_mean(values, 3), [2, 3, 5, 112 / 3, 53.5])
    np.testing.assert_allclose(running_mean(values, 99), [23.2] * 5)
    assert running_mean([], 3).shape == (0,)


def test_loss_curves_name_each_series_with_its_last_value() -> None:
    svg = loss_curves(
        {"pre-training": falling_loss(20), "validation": [(10, 0.75)]}, title="The losses", x_label="epoch"
    )

    texts = texts_of(svg)
    assert {"The losses", "epoch", "loss", "validation: last 0.75"} <= set(texts)
    assert f"pre-training: last {falling_loss(20)[-1][1]:.3g}" in texts


def test_long_series_are_smoothed_and_say_so() -> None:
    assert "a: last 0.61 (mean of 5)" in texts_of(loss_curves({"a": falling_loss(200)}))
    assert "a: last 0.609" in texts_of(loss_curves({"a": falling_loss(200)}, smoothing_points=1))


def test_values_that_are_not_finite_are_counted() -> None:
    svg = loss_curves({"a": [(0, 1.0), (1, float("nan")), (2, float("inf")), (3, 0.5)], "b": [(0, float("nan"))]})

    assert {"a: last 0.5, 2 not finite", "b (1 not finite)"} <= set(texts_of(svg))


@pytest.mark.parametrize("series", [{}, {"a": []}, {"a": [(0, float("nan"))]}])
def test_no_values_are_said(series: dict[str, list[tuple[int, float]]]) -> None:
    assert "no values yet" in texts_of(loss_curves(series))


def test_names_are_drawn_as_they_are() -> None:
    series = {"_hidden": [(0, 1.0)], "$a_b$ & <c>": [(0, 2.0)], "tab\there": [], "half \udcff": []}

    texts = "\n".join(texts_of(loss_curves(series)))

    assert "_hidden: last 1" in texts
    assert "$a_b$" in texts
    assert "tab here (no values)" in texts
    assert "half \\udcff" in texts


def test_very_long_series_stay_small_files() -> None:
    random = np.random.default_rng(0)
    pairs = list(enumerate((random.normal(0.6, 0.1, 100_000)).tolist()))

    assert len(loss_curves({"a": pairs})) < 400_000


def test_many_series_differ_in_color_or_line() -> None:
    svg = loss_curves({f"run {index}": falling_loss(3) for index in range(10)}).decode()

    lines = set(re.findall(r"(stroke-dasharray: [^;]*; .*?stroke: #\w{6}|stroke: #\w{6}; stroke-width: 1\.8)", svg))
    assert len(lines) >= 10


def test_confusion_matrix_shows_counts_and_names() -> None:
    texts = texts_of(confusion_matrix([[13, 27], [0, 58]], ["moving left", "growing"], title="Held-out clips"))

    assert {"13", "27", "58", "0", "moving left (40)", "growing (58)", "moving left", "Held-out clips"} <= set(texts)


def test_confusion_matrix_leaves_a_class_without_videos_pale() -> None:
    png = confusion_matrix([[0, 0], [0, 9]], ["none", "some"], image_format="png")

    colors = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).reshape(-1, 3)
    pale, full = ((colors == color).all(-1).sum() for color in ((247, 251, 255), (8, 48, 107)))
    assert pale / full == pytest.approx(3, rel=0.05)  # the cells of (none, none), (none, some), (some, none)


def test_confusion_matrix_of_many_classes_drops_what_cannot_be_read() -> None:
    counts = np.full((31, 31), 77)
    assert "77" in texts_of(confusion_matrix(counts[:30, :30], [f"class {index}" for index in range(30)]))
    assert "77" not in texts_of(confusion_matrix(counts, [f"class {index}" for index in range(31)]))

    texts = texts_of(confusion_matrix(np.eye(174), [f"class {index}" for index in range(174)]))
    assert "class 5" in texts
    assert "class 6" not in texts


def test_confusion_matrix_without_classes_says_so() -> None:
    assert "no classes" in texts_of(confusion_matrix([], []))


@pytest.mark.parametrize(
    ("matrix", "names", "message"),
    [
        ([[1, 2]], ["a", "b"], r"shape \(1, 2\) for 2 class names: expected \(2, 2\)"),
        ([[1, 0], [0, 1]], ["a"], r"expected \(1, 1\)"),
        ([[-1, 0], [0, 1]], ["a", "b"], "values from -1.0 to 1.0: expected counts"),
        ([[float("nan"), 0], [0, 1]], ["a", "b"], "expected counts"),
    ],
)
def test_confusion_matrix_refuses_what_is_none(matrix: list[list[float]], names: list[str], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        confusion_matrix(matrix, names)


def test_png_is_asked_for_by_name() -> None:
    with Image.open(io.BytesIO(loss_curves({"a": falling_loss(100)}, image_format="png"))) as image:
        assert image.format == "PNG"
        assert image.width > 900


def test_the_users_own_settings_neither_matter_nor_change(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = loss_curves({"a": falling_loss(100)})
    monkeypatch.setitem(matplotlib.rcParams, "lines.color", "red")
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 30)
    before = dict(matplotlib.rcParams)

    assert loss_curves({"a": falling_loss(100)}) == plain
    assert dict(matplotlib.rcParams) == before


def test_importing_loads_no_matplotlib_and_drawing_no_pyplot() -> None:
    code = (
        "import sys; from videomae.report import charts, html, pictures;"
        "assert 'matplotlib' not in sys.modules and 'torch' not in sys.modules;"
        "charts.loss_curves({'a': [(0, 1.0)]});"
        "assert 'matplotlib.pyplot' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_flat_line_of_two_steps_has_plain_axes() -> None:
    texts = texts_of(loss_curves({"loss": [(1, 0.693147), (2, 0.693151)], "one": [(2, 0.69315)]}))

    assert not any("e" in text and text[:1].isdigit() for text in texts)
    assert "1.2" not in texts
    assert {"1", "2"} <= set(texts)
