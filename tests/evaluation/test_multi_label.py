"""Average precision by hand, and what broken videos and classes without videos count."""

from __future__ import annotations

import math

import numpy as np
import pytest

from videomae.evaluation.multi_label import average_precision, multi_label_metrics


@pytest.mark.parametrize(
    ("scores", "positives", "num_missed", "expected"),
    [
        ([0.9, 0.8, 0.7], [1, 0, 0], 0, 1.0),
        ([0.9, 0.8, 0.7], [0, 0, 1], 0, 1 / 3),
        # Found at the places 1, 3 and 5: 1/1, 2/3 and 3/5.
        ([0.9, 0.8, 0.7, 0.6, 0.5], [1, 0, 1, 0, 1], 0, (1 + 2 / 3 + 3 / 5) / 3),
        # The same, one more positive that is never found.
        ([0.9, 0.8, 0.7, 0.6, 0.5], [1, 0, 1, 0, 1], 1, (1 + 2 / 3 + 3 / 5) / 4),
        # Equals are found together, whatever their order: 2 of 4, then 3 of 5.
        ([0.5, 0.5, 0.5, 0.5, 0.1], [1, 0, 1, 0, 1], 0, (2 * 2 / 4 + 3 / 5) / 3),
        ([0.5, 0.5, 0.5, 0.5, 0.1], [0, 1, 0, 1, 1], 0, (2 * 2 / 4 + 3 / 5) / 3),
        ([0.2, 0.4], [0, 0], 2, 0.0),
    ],
)
def test_average_precision(scores: list[float], positives: list[int], num_missed: int, expected: float) -> None:
    found = average_precision(np.array(scores), np.array(positives, dtype=bool), num_missed=num_missed)
    assert found == pytest.approx(expected)


def test_a_class_without_positives_has_none() -> None:
    assert math.isnan(average_precision(np.array([0.3]), np.array([False])))


def test_metrics_by_hand() -> None:
    scores = np.array([[0.9, 0.2, 0.5], [0.6, 0.7, 0.5]], dtype=np.float32)
    targets = np.array([[True, True, False], [False, True, False]])
    metrics = multi_label_metrics(scores, targets, broken_targets=np.array([[True, False, False]]))
    assert (metrics.num_videos, metrics.num_broken) == (3, 1)
    assert metrics.num_positives.tolist() == [2, 2, 0]
    # Of the first class the broken video is never found; the third has no videos, and does not count.
    assert metrics.average_precision[:2].tolist() == pytest.approx([0.5, 1.0])
    assert math.isnan(metrics.average_precision[2])
    assert metrics.mean_average_precision == pytest.approx(0.75)
    shares = [0.9, 0.2, 0.5, 0.4, 0.7, 0.5]
    assert metrics.loss == pytest.approx(-sum(math.log(share) for share in shares) / 6, rel=1e-6)
