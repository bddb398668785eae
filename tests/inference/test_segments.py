"""Smoothing, the curve over time and segments, against examples worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from videomae.core.errors import ConfigError
from videomae.inference.segments import Curve, Segment, SegmentOptions, curve_of, find_segments, smoothed


def test_where_windows_overlap_their_mean_counts() -> None:
    starts, ends = np.array([0.0, 2, 4]), np.array([4.0, 6, 8])
    scores = np.array([[0.8, 0.2], [0.4, 0.6], [0.0, 1.0]])
    curve = curve_of(starts, ends, scores)
    assert curve.edges.tolist() == [0, 2, 4, 6, 8]
    assert curve.scores == pytest.approx(np.array([[0.8, 0.2], [0.6, 0.4], [0.2, 0.8], [0.0, 1.0]]))
    assert curve.at(3.9) == pytest.approx([0.6, 0.4])
    assert curve.at(8) is None
    assert curve.at(-0.1) is None


def test_between_windows_nothing_is_known() -> None:
    curve = curve_of(np.array([0.0, 3]), np.array([1.0, 4]), np.array([[0.9], [0.7]]))
    assert curve.edges.tolist() == [0, 1, 3, 4]
    assert np.isnan(curve.scores[1, 0])
    assert curve.at(2) is None
    parts = find_segments(curve, ["a"], SegmentOptions())
    assert [(part.start_seconds, part.end_seconds) for part in parts] == [(0, 1), (3, 4)]


def test_windows_whose_ends_were_computed_meet() -> None:
    starts = np.arange(30) * 0.1
    curve = curve_of(starts, starts + 0.1, np.ones((30, 1)))
    assert len(curve.edges) == 31
    assert (curve.scores == 1).all()


CURVE = Curve(np.array([0.0, 1, 2, 3, 5, 6]), np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]]))


def test_segments() -> None:
    parts = find_segments(CURVE, ["run", "swim"], SegmentOptions())
    assert parts == [
        Segment(0, 2, "run", 0, pytest.approx(0.75)),
        Segment(2, 3, "swim", 1, pytest.approx(0.8)),
        Segment(3, 5, "run", 0, pytest.approx(0.7)),
        Segment(5, 6, "swim", 1, pytest.approx(0.6)),
    ]


def test_a_gap_is_bridged_and_counts_for_the_mean() -> None:
    first, *others = find_segments(CURVE, ["run", "swim"], SegmentOptions(max_gap_seconds=1))
    assert (first.start_seconds, first.end_seconds) == (0, 5)
    assert first.probability == pytest.approx((0.9 + 0.6 + 0.2 + 2 * 0.7) / 5)
    assert [part.label for part in others] == ["swim", "swim"]


def test_short_segments_are_left_out() -> None:
    parts = find_segments(CURVE, ["run", "swim"], SegmentOptions(min_seconds=1.5))
    assert [part.label for part in parts] == ["run", "run"]
    assert find_segments(CURVE, ["run", "swim"], SegmentOptions(threshold=0.95)) == []


def test_a_score_that_is_the_threshold_belongs_to_the_segment() -> None:
    curve = Curve(np.array([0.0, 1, 2]), np.array([[0.5], [0.49]]))
    assert [part.end_seconds for part in find_segments(curve, ["a"], SegmentOptions(threshold=0.5))] == [1]


def test_smoothing_averages_the_windows_around() -> None:
    centers = np.array([1.0, 2, 3, 4, 4.5])
    scores = np.array([[0.0], [3], [6], [0], [9]], dtype=np.float32)
    assert smoothed(centers, scores, 0) is scores
    assert smoothed(centers, scores, 2)[:, 0].tolist() == [1.5, 3, 3, 5, 4.5]
    assert smoothed(centers, scores, 100)[:, 0] == pytest.approx(np.full(5, 3.6))
    assert smoothed(centers[:0], scores[:0], 2).shape == (0, 1)


@pytest.mark.parametrize(
    "bad", [{"threshold": 0}, {"threshold": 1.2}, {"smooth_seconds": -1}, {"max_gap_seconds": float("inf")}]
)
def test_values_out_of_range(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        SegmentOptions(**bad)
