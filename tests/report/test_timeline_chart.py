"""Which labels get a track, and that odd scores do not break the chart."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from videomae.report.timeline_chart import Bar, timeline_chart


def words_of(svg: bytes) -> list[str]:
    return [text.strip() for text in ElementTree.fromstring(svg).itertext() if text.strip()]


def draw(scores: np.ndarray, bars: list[Bar], **options: object) -> list[str]:
    labels = [f"label {index}" for index in range(scores.shape[1])]
    edges = np.arange(len(scores) + 1.0)
    settings = {"duration_seconds": float(len(scores)), "image_format": "svg", **options}
    return words_of(timeline_chart(edges=edges, scores=scores, labels=labels, bars=bars, **settings))  # type: ignore[arg-type]


def test_labels_of_segments_come_first_and_in_their_order() -> None:
    scores = np.full((10, 20), 0.01)
    scores[:, 7] = scores[:, 12] = 0.6
    scores[0, 3] = 0.4  # no segment, but worth a look
    words = draw(scores, [Bar(0, 2, 12), Bar(3, 9, 7)])
    assert [word for word in words if word.startswith("label")] == ["label 12", "label 7", "label 3"]


def test_at_most_eight_tracks() -> None:
    words = draw(np.full((5, 30), 0.5), [Bar(0, 5, index) for index in range(30)])
    assert sum(word.startswith("label") for word in words) == 8


def test_unknown_times_and_notes() -> None:
    scores = np.full((4, 2), 0.7)
    scores[1:3] = np.nan
    words = draw(scores, [Bar(0, 1, 0)], note="a stream that ended", title="x" * 300)
    assert "a stream that ended" in words
    assert max(map(len, words)) < 160


@pytest.mark.parametrize("seconds", [0.3, 3, 75, 4000, 90_000])
def test_the_axis_is_written_in_round_times(seconds: float) -> None:
    words = draw(np.full((4, 1), 0.5), [], duration_seconds=seconds)
    ticks = [word for word in words if word[0].isdigit()]
    assert 3 <= len(ticks) <= 15
    assert len(set(ticks[1:])) >= len(ticks) - 2
