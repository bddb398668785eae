"""The parts of an evaluation's report."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from videomae.datasets.entries import VideoEntry
from videomae.evaluation.metrics import calibration_bins, classification_metrics
from videomae.evaluation.multi_label import MultiLabelEvaluation, multi_label_metrics
from videomae.evaluation.report import principal_components, write_evaluation_report
from videomae.evaluation.results import Evaluation
from videomae.evaluation.single_label import SingleLabelEvaluation, SingleLabelResult

NO_LABELS = np.zeros(0, dtype=np.int64)


def evaluation_of(pairs: list[tuple[int, int]], class_names: tuple[str, ...]) -> SingleLabelEvaluation:
    """Of (true, predicted) pairs, predicted with 90 %; the videos cannot be read again."""
    num_classes = len(class_names)
    predicted = np.array([pair[1] for pair in pairs])
    scores = np.full((len(pairs), num_classes), 0.1 / max(num_classes - 1, 1), dtype=np.float32)
    scores[np.arange(len(pairs)), predicted] = 0.9
    labels = np.array([pair[0] for pair in pairs])
    results = tuple(
        SingleLabelResult(VideoEntry(Path(f"gone/{number}.mp4")), int(labels[number]), scores[number])
        for number in range(len(pairs))
    )
    metrics = classification_metrics(scores, labels, broken_labels=NO_LABELS)
    return SingleLabelEvaluation(metrics, class_names, (), results)


def page_of(evaluation: Evaluation, folder: Path) -> str:
    path = write_evaluation_report(folder / "report.html", evaluation, data="DATA", model="MODEL", views="1 view each")
    return path.read_text(encoding="utf-8")


def cells_after(page: str, text: str) -> list[str]:
    """The cells of the first table after a text."""
    table = page[page.index(text) :].split("</table>")[0]
    return re.findall(r"<td[^>]*>(.*?)</td>", table)


def test_many_classes_are_folded_and_the_worst_are_shown(tmp_path: Path) -> None:
    names = tuple(f"class {index:03d}" for index in range(60))
    pairs = [(index, index) for index in range(50) for _ in range(4)]  # ten classes have no videos
    pairs += [(7, 8), (7, 8), (3, 59)]

    evaluation = evaluation_of(pairs, names)
    page = page_of(evaluation, tmp_path)

    assert evaluation.class_table().worst(3) == [7, 3, 0]
    assert len(evaluation.class_table().worst(20)) == 20
    assert page.count("<details>") == 1
    assert "All 60 classes" in page
    assert cells_after(page, "The 20 worst classes")[:4] == ["class 007", "6", "66.7%", "class 008 (2)"]
    frequent = cells_after(page, "The most frequent mistakes")
    assert frequent == ["class 007", "class 008", "2", "33.3%", "class 003", "class 059", "1", "20.0%"]


def test_few_classes_are_all_there(tmp_path: Path) -> None:
    page = page_of(evaluation_of([(0, 0), (1, 0)], ("run", "رقص")), tmp_path)

    assert "<details>" not in page
    assert "The most frequent mistakes" not in page  # the matrix of two classes says it
    assert "\u2068رقص\u2069, taken for run (90.0%); the right class got 10.0%: confident mistake" in page
    assert "no picture: gone/1.mp4" in page


@pytest.mark.parametrize("num_classes", [3, 50])
def test_average_precision_of_few_and_many_classes(tmp_path: Path, num_classes: int) -> None:
    targets = np.zeros((4, num_classes), dtype=bool)
    targets[:, 0] = [True, False, False, False]
    targets[:, 2] = [True, True, False, False]
    scores = np.tile(np.array([[0.1], [0.2], [0.3], [0.4]]), (1, num_classes))
    metrics = multi_label_metrics(scores, targets, broken_targets=np.zeros((0, num_classes), dtype=bool))
    evaluation = MultiLabelEvaluation(metrics, tuple(f"class {index}" for index in range(num_classes)), ())

    page = page_of(evaluation, tmp_path)

    assert evaluation.class_table().worst(20) == [0, 2]
    assert (page.count("<details>") == 1) == (num_classes == 50)
    assert cells_after(page, "Classes</h2>")[:3] == ["class 0", "1", "25.0%"]


def test_near_ties_are_told_from_confident_mistakes() -> None:
    scores = [(0.4996, 0.5004), (0.2, 0.8), (0.35, 0.65), (0.9, 0.1)]
    found = [SingleLabelResult(VideoEntry(Path("x.mp4")), 0, np.array(pair, np.float32)).outcome for pair in scores]
    assert found == ["near tie", "confident mistake", "wrong", "right"]
    assert SingleLabelResult(VideoEntry(Path("x.mp4")), 0, None).outcome == "unreadable"


def test_the_table_of_videos(tmp_path: Path) -> None:
    page = page_of(evaluation_of([(0, 0), (1, 0), (1, 1)], ("run", "sit <b>")), tmp_path)
    data = json.loads(re.findall(r'<script type="application/json">(.*?)</script>', page)[0])
    first, *others = data["rows"]
    assert first["cells"][:3] == ["gone/1.mp4", "sit <b>", "run"]
    assert first["cells"][3:5] == pytest.approx([0.9, 0.1])
    assert first["cells"][5] == "confident mistake"
    assert [row["cells"][5] for row in others] == ["right", "right"]
    assert (tmp_path / first["source"]).resolve() == Path("gone/1.mp4").absolute()


def test_principal_components_are_those_of_a_known_plane() -> None:
    generator = np.random.default_rng(0)
    places = generator.normal(size=(50, 2)) * (5.0, 1.0)
    basis = np.linalg.qr(generator.normal(size=(8, 2)))[0]
    found = principal_components(places @ basis.T + 3.0)
    centered = places - places.mean(axis=0)
    before = np.linalg.norm(centered[:, None] - centered[None], axis=-1)
    np.testing.assert_allclose(np.linalg.norm(found[:, None] - found[None], axis=-1), before, atol=1e-6)
    assert found[:, 0].var() > found[:, 1].var()
    assert principal_components(np.ones((3, 1))).shape == (3, 2)


def test_calibration_bins_against_a_table() -> None:
    confidence = np.array([0.51, 0.53, 0.95, 0.97, 0.99])
    right = np.array([True, False, True, True, False])
    assert calibration_bins(confidence, right) == [
        (pytest.approx(0.52), 0.5, 2),
        (pytest.approx(0.97), pytest.approx(2 / 3), 3),
    ]
