"""Errors and correlations of predicted numbers, worked by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from videomae.core.errors import DataError, VideoError
from videomae.datasets.entries import VideoEntry
from videomae.datasets.manifest import Manifest
from videomae.evaluation.regression import evaluate_regression, mean_ranks, pearson, regression_metrics
from videomae.evaluation.results import ScoredVideos


def test_errors_by_hand() -> None:
    metrics = regression_metrics(np.array([1.0, 2.0, 6.0]), np.array([2.0, 2.0, 3.0]), num_broken=2)
    assert metrics.mae == pytest.approx(4 / 3)  # 1, 0, 3
    assert metrics.rmse == pytest.approx(math.sqrt(10 / 3))
    assert metrics.loss == pytest.approx(10 / 3)
    assert metrics.baseline == pytest.approx(1 / 3)  # the median is 2
    assert (metrics.num_videos, metrics.num_broken) == (5, 2)


def test_pearson_by_hand() -> None:
    # Deviations −1, 0, 1 and −2, 1, 1: 3 / √(2 · 6).
    assert pearson(np.array([1.0, 2, 3]), np.array([0.0, 3, 3])) == pytest.approx(3 / math.sqrt(12))
    assert pearson(np.array([1.0, 2, 3]), np.array([-1.0, -2, -3])) == pytest.approx(-1)
    assert math.isnan(pearson(np.array([1.0, 2, 3]), np.array([5.0, 5, 5])))


def test_equal_values_have_the_mean_of_their_ranks() -> None:
    assert mean_ranks(np.array([10.0, 20, 10, 30, 20, 20])).tolist() == [1.5, 4, 1.5, 6, 4, 4]
    assert mean_ranks(np.array([3.0])).tolist() == [1]


def test_spearman_with_ties_by_hand() -> None:
    # Ranks 1, 2.5, 2.5, 4 and 1, 3, 2, 4; deviations −1.5, 0, 0, 1.5 and −1.5, .5, −.5, 1.5: 4.5 / √(4.5 · 5).
    metrics = regression_metrics(np.array([0.1, 5.0, 5.0, 90.0]), np.array([1.0, 3.0, 2.0, 4.0]))
    assert metrics.spearman == pytest.approx(4.5 / math.sqrt(4.5 * 5))
    # A monotonous function keeps the ranks.
    true = np.array([1.0, 2, 3, 4])
    assert regression_metrics(np.exp(true), true).spearman == pytest.approx(1)


def _evaluation(predicted: list[float | None], true: list[float]) -> object:
    entries = tuple(VideoEntry(Path(f"{place}.mp4"), score=score) for place, score in enumerate(true))
    scored = ScoredVideos(
        {place: np.array([value], dtype=np.float32) for place, value in enumerate(predicted) if value is not None},
        {place: VideoError("broken", expected="x", hint="y") for place, value in enumerate(predicted) if value is None},
    )
    return evaluate_regression(scored, Manifest(Path("list.csv"), entries, ()), ("score",))


def test_unreadable_videos_have_no_prediction() -> None:
    evaluation = _evaluation([1.0, None, 3.0], [1.0, 100.0, 4.0])
    assert evaluation.mae == 0.5
    assert (evaluation.metrics.num_videos, evaluation.metrics.num_broken) == (3, 1)
    assert evaluation.results[1].cells(("score",)) == ["100", ""]
    assert evaluation.results[2].cells(("score",)) == ["4", "3"]
    with pytest.raises(DataError, match="none of which can be read"):
        _evaluation([None, None], [1.0, 2.0])


def test_everything_is_json_where_correlations_are_not_defined() -> None:
    evaluation = _evaluation([2.0], [1.0])
    found = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert (found["mae"], found["pearson"], found["spearman"]) == (1.0, None, None)
    assert evaluation.metrics.logged() == {"loss": 1.0, "mae": 1.0, "rmse": 1.0}
    assert evaluation.summary_lines()[2] == "Pearson   –"


def test_the_table_of_errors_goes_from_the_lowest_to_the_highest_scores() -> None:
    table = _evaluation([1.0, 2, 3, 4, 5, 6, 7, 0], [1.0, 2, 3, 4, 5, 6, 7, 8]).class_table()
    assert table.title == "Errors"
    assert table.rows[0] == ("1 to 2", 2, "0", "+0")
    assert table.rows[-1] == ("7 to 8", 2, "4", "-4")
    assert table.worst(1) == [3]
