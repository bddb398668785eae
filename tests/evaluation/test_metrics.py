"""Metrics against tables counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from videomae.evaluation.metrics import SingleLabelMetrics, classification_metrics, wilson_interval, worst_mistakes

NONE = np.zeros(0, dtype=np.int64)


def judge(probabilities: list[list[float]], labels: list[int], broken: list[int] | None = None) -> SingleLabelMetrics:
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


def test_confusions_of_a_table_by_hand() -> None:
    rows = {(0, 0): 3, (0, 1): 1, (1, 0): 2, (2, 1): 2, (2, 2): 1}
    pairs = [pair for pair, count in rows.items() for _ in range(count)]

    metrics = judge([np.eye(3)[said].tolist() for _, said in pairs], [true for true, _ in pairs])

    assert metrics.confusions() == [(1, 0, 2), (2, 1, 2), (0, 1, 1)]
    assert judge([[1.0, 0.0]], [0]).confusions() == []


def test_nothing_lost_is_a_loss_of_plain_nought() -> None:
    assert f"{judge([[1.0]], [0]).loss:.3f}" == "0.000"


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


# Newcombe 1998 (table I, method 3) and Agresti & Coull 1998 print these.
@pytest.mark.parametrize(
    ("num_right", "num_videos", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_as_published(num_right: int, num_videos: int, low: float, high: float) -> None:
    assert wilson_interval(num_right, num_videos) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson_interval(num_videos - num_right, num_videos)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_the_interval_is_that_of_all_videos() -> None:
    metrics = judge([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1], broken=[0])

    assert metrics.top1 == 2 / 4
    assert metrics.top1_interval == wilson_interval(2, 4)


def test_how_each_class_fared() -> None:
    rows = [[0.9, 0.1, 0, 0], [0.2, 0.7, 0.1, 0], [0.5, 0.4, 0.1, 0], [0.1, 0.2, 0.7, 0], [0.3, 0.2, 0.5, 0]]

    first, second, third, fourth = judge(rows, [0, 1, 1, 1, 1], broken=[0, 2]).per_class()

    assert (first.num_videos, first.num_right, first.accuracy, first.taken_for) == (2, 1, 1 / 2, None)
    assert (second.num_videos, second.num_right, second.accuracy) == (4, 1, 1 / 4)
    assert (second.taken_for, second.num_taken) == (2, 2)
    assert (third.num_videos, third.num_right, third.accuracy, third.taken_for) == (1, 0, 0.0, None)
    assert (fourth.num_videos, fourth.accuracy) == (0, None)


def test_the_table_agrees_with_the_mean() -> None:
    generator = np.random.default_rng(1)
    probabilities, labels = generator.dirichlet(np.ones(6), size=90), generator.integers(0, 6, 90)
    metrics = classification_metrics(probabilities, labels, broken_labels=generator.integers(0, 6, 9))

    accuracies = [result.accuracy for result in metrics.per_class()]

    assert sum(result.num_videos for result in metrics.per_class()) == metrics.num_videos == 99
    assert np.mean([a for a in accuracies if a is not None]) == pytest.approx(metrics.mean_class_accuracy)


def test_worst_mistakes_come_first() -> None:
    rows = np.array([[0.6, 0.4], [0.9, 0.1], [0.1, 0.9], [0.2, 0.8], [0.8, 0.2], [0.5, 0.5]])

    assert worst_mistakes(rows, np.array([1, 1, 1, 0, 1, 1]), max_count=9) == [1, 3, 4, 0, 5]
    assert worst_mistakes(rows, np.array([1, 1, 1, 0, 1, 1]), max_count=2) == [1, 3]
    assert worst_mistakes(rows, rows.argmax(axis=1), max_count=9) == []


def test_calibration_by_hand() -> None:
    """Bins of a fifteenth: 0.9 and 0.92 share one (half of them right), 0.6 is alone (right)."""
    metrics = judge([[0.9, 0.1], [0.92, 0.08], [0.4, 0.6]], [0, 1, 1])

    assert metrics.calibration_error == pytest.approx((abs(0.9 + 0.92 - 1) + abs(0.6 - 1)) / 3, rel=1e-6)
