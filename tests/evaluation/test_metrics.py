"""Metrics against tables counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from videomae.evaluation.metrics import Metrics, classification_metrics

NONE = np.zeros(0, dtype=np.int64)


def judge(probabilities: list[list[float]], labels: list[int], broken: list[int] | None = None) -> Metrics:
    return classification_metrics(
        np.array(probabilities, dtype=np.float32).reshape(len(labels), -1),
        np.array(labels, dtype=np.int64),
        broken_labels=np.array(broken or [], dtype=np.int64),
    )


def ranking(*classes: int) -> list[float]:
    """Probabilities of seven classes in which the given ones come first, in that order, then the others."""
    order = [*classes, *(index for index in range(7) if index not in classes)]
    return [(7 - order.index(index)) / 28 for index in range(7)]


def test_a_table_by_hand() -> None:
    metrics = judge(
        [[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.2, 0.5, 0.3], [0.5, 0.4, 0.1], [0.6, 0.3, 0.1]],
        [0, 2, 1, 1, 1],
    )

    assert metrics.num_videos == 5
    assert metrics.num_broken == 0
    assert metrics.top1 == pytest.approx(3 / 5)
    assert metrics.top5 == 1
    assert metrics.mean_class_accuracy == pytest.approx((1 + 1 / 3 + 1) / 3)
    assert metrics.loss == pytest.approx(-sum(math.log(p) for p in (0.7, 0.6, 0.5, 0.4, 0.3)) / 5, rel=1e-6)
    assert metrics.confusion.tolist() == [[1, 0, 0], [2, 1, 0], [0, 0, 1]]


def test_top5_of_seven_classes() -> None:
    rows = [ranking(3, 0, 1, 2, 4), ranking(0, 1, 2, 4, 3), ranking(0, 1, 2, 4, 5, 3), ranking(0, 1, 2, 4, 5, 6, 3)]

    metrics = judge(rows, [3, 3, 3, 3])

    assert metrics.top1 == 1 / 4
    assert metrics.top5 == 2 / 4


@pytest.mark.parametrize("num_classes", [2, 3, 5])
def test_up_to_five_classes_are_always_in_the_top_five(num_classes: int) -> None:
    rows = [[1.0] + [0.0] * (num_classes - 1)] * num_classes

    metrics = judge(rows, list(range(num_classes)))

    assert metrics.top5 == 1
    assert metrics.top1 == pytest.approx(1 / num_classes)


def test_equal_scores_rank_by_class() -> None:
    metrics = judge([[0.25] * 4] * 4, [0, 1, 2, 3])

    assert metrics.top1 == 1 / 4
    assert metrics.confusion[:, 0].tolist() == [1, 1, 1, 1]
    assert judge([[1 / 7] * 7] * 7, list(range(7))).top5 == pytest.approx(5 / 7)


def test_classes_without_videos_are_left_out_of_the_mean() -> None:
    metrics = judge([[0.1, 0.9, 0, 0], [0.1, 0.9, 0, 0], [0.9, 0.1, 0, 0]], [1, 1, 1])

    assert metrics.mean_class_accuracy == pytest.approx(2 / 3)
    assert metrics.confusion.sum() == 3


def test_broken_videos_count_as_wrong_everywhere() -> None:
    metrics = judge([[0.9, 0.1, 0], [0.2, 0.8, 0]], [0, 1], broken=[1, 2, 2])

    assert metrics.num_videos == 5
    assert metrics.num_broken == 3
    assert metrics.top1 == metrics.top5 == 2 / 5
    # Class 2 has broken videos alone: none of them is right.
    assert metrics.mean_class_accuracy == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert metrics.confusion.sum() == 2
    assert metrics.loss == pytest.approx(-(math.log(0.9) + math.log(0.8)) / 2, rel=1e-6)


def test_a_probability_of_zero_has_a_finite_loss() -> None:
    assert math.isfinite(judge([[0.0, 1.0]], [0]).loss)


def test_a_single_class() -> None:
    metrics = judge([[1.0], [1.0]], [0, 0])

    assert (metrics.top1, metrics.top5, metrics.mean_class_accuracy, metrics.loss) == (1, 1, 1, 0)


def test_all_numbers_are_plain() -> None:
    metrics = judge([[0.5, 0.5]], [0], broken=[1])

    for name in ("top1", "top5", "mean_class_accuracy", "loss"):
        assert type(getattr(metrics, name)) is float
    assert type(metrics.num_videos) is type(metrics.num_broken) is int


def test_against_plain_counting() -> None:
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(9), size=200)
    labels, broken = generator.integers(0, 9, 200), generator.integers(0, 9, 11)

    metrics = classification_metrics(probabilities, labels, broken_labels=broken)

    top1 = top5 = 0
    per_class = {index: [0, int((broken == index).sum())] for index in range(9)}
    for row, label in zip(probabilities, labels, strict=True):
        order = sorted(range(9), key=lambda index: -row[index])
        top1 += order[0] == label
        top5 += label in order[:5]
        per_class[label][0] += order[0] == label
        per_class[label][1] += 1
    assert metrics.top1 == pytest.approx(top1 / 211)
    assert metrics.top5 == pytest.approx(top5 / 211)
    assert metrics.mean_class_accuracy == pytest.approx(
        sum(right / total for right, total in per_class.values()) / len(per_class)
    )
