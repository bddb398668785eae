"""Segment mAP and frame accuracy: worked by hand, and against the definition of the ActivityNet challenge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from videomae.core.errors import DataError
from videomae.datasets.temporal import TrueSegment, read_temporal
from videomae.evaluation.temporal import (
    Detection,
    average_precision,
    count_frames,
    evaluate_segments,
    mean_average_precision,
    overlaps,
)
from videomae.inference.timeline import Timeline


def test_overlap_is_shared_time_over_all_time() -> None:
    found = overlaps(2, 6, np.array([2.0, 4, 6, 0, 3]), np.array([6.0, 8, 8, 10, 4]))
    assert found == pytest.approx([1, 2 / 6, 0, 4 / 10, 1 / 4])
    assert overlaps(1, 1, np.array([1.0]), np.array([1.0])).tolist() == [0]


def detections(*rows: tuple[float, float, float]) -> list[tuple[str, Detection]]:
    return [("v", Detection(start, end, "a", score)) for start, end, score in rows]


TRUE = {"v": [TrueSegment(0, 10, "a"), TrueSegment(20, 30, "a")]}


def test_average_precision_by_hand() -> None:
    # Right, wrong, right: precisions 1, 1/2, 2/3 at recalls 1/2, 1/2, 1. The area is 1/2 · 1 + 1/2 · 2/3.
    found = detections((0, 10, 0.9), (50, 60, 0.8), (20, 30, 0.7))
    assert average_precision(found, TRUE, overlap=0.5) == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)
    # The order of the list does not matter, that of the scores does.
    assert average_precision(found[::-1], TRUE, overlap=0.5) == pytest.approx(5 / 6)
    # A second detection of a segment that is taken is wrong.
    twice = detections((0, 10, 0.9), (0, 9, 0.8), (20, 30, 0.7))
    assert average_precision(twice, TRUE, overlap=0.5) == pytest.approx(5 / 6)
    # 8 of 10 seconds suffice for 0.7, not for 0.9.
    short = detections((0, 8, 0.9))
    assert average_precision(short, TRUE, overlap=0.7) == pytest.approx(1 / 2)
    assert average_precision(short, TRUE, overlap=0.9) == 0
    assert average_precision([], TRUE, overlap=0.5) == 0


def test_a_detection_takes_the_next_best_segment_where_the_best_is_taken() -> None:
    truth = {"v": [TrueSegment(0, 10, "a"), TrueSegment(3, 13, "a")]}
    found = detections((0, 10, 0.9), (1, 11, 0.8))
    assert average_precision(found, truth, overlap=0.5) == 1


def test_other_videos_and_classes_do_not_count() -> None:
    truth = {"v": [TrueSegment(0, 10, "a"), TrueSegment(0, 10, "b")], "w": [TrueSegment(5, 15, "a")]}
    found = {
        "v": [Detection(0, 10, "a", 0.9), Detection(0, 10, "c", 0.99)],
        "w": [Detection(0, 10, "b", 0.9), Detection(40, 50, "a", 0.95)],
    }
    value, of_class = mean_average_precision(found, truth, overlap=0.5)
    assert of_class == {"a": pytest.approx(1 / 2 * 1 / 2), "b": 0}
    assert value == pytest.approx(1 / 8)


def reference_precision(rows: np.ndarray, truth: np.ndarray, threshold: float) -> float:
    """The challenge's evaluation of one class in plain loops: rows (video, start, end, score), truth (video, s, e)."""
    rows = rows[np.argsort(-rows[:, 3], kind="stable")]
    taken = [False] * len(truth)
    tp = np.zeros(len(rows))
    fp = np.zeros(len(rows))
    for number, (video, start, end, _) in enumerate(rows):
        candidates = [k for k in range(len(truth)) if truth[k][0] == video]
        iou = []
        for k in candidates:
            shared = max(0.0, min(end, truth[k][2]) - max(start, truth[k][1]))
            iou.append(shared / ((end - start) + (truth[k][2] - truth[k][1]) - shared))
        for place in sorted(range(len(candidates)), key=lambda p: -iou[p]):
            if iou[place] < threshold:
                break
            if taken[candidates[place]]:
                continue
            taken[candidates[place]] = True
            tp[number] = 1
            break
        fp[number] = 1 - tp[number]
    tp, fp = np.cumsum(tp), np.cumsum(fp)
    precision = np.concatenate([[0], tp / (tp + fp), [0]])
    recall = np.concatenate([[0], tp / len(truth), [1]])
    for number in range(len(precision) - 1, 0, -1):
        precision[number - 1] = max(precision[number - 1], precision[number])
    steps = np.flatnonzero(recall[1:] != recall[:-1]) + 1
    return float(np.sum((recall[steps] - recall[steps - 1]) * precision[steps]))


@pytest.mark.parametrize("seed", range(20))
def test_as_the_challenge_defines_it(seed: int) -> None:
    draw = np.random.default_rng(seed)
    truth = np.array(
        [(video, start, start + draw.uniform(1, 9)) for video in range(4) for start in draw.uniform(0, 60, 5)]
    )
    near = truth[draw.integers(0, len(truth), 30)] + np.c_[np.zeros(30), draw.normal(0, 1.5, (30, 2))]
    near[:, 2] = np.maximum(near[:, 2], near[:, 1] + 0.1)
    rows = np.c_[near, draw.uniform(0, 1, 30)]
    found = [(f"{int(v)}", Detection(s, e, "a", p)) for v, s, e, p in rows]
    there = {f"{video}": [TrueSegment(s, e, "a") for v, s, e in truth if v == video] for video in range(4)}
    for threshold in (0.1, 0.3, 0.5, 0.7, 0.95):
        expected = reference_precision(rows, truth, threshold)
        assert average_precision(found, there, overlap=threshold) == pytest.approx(expected, abs=1e-12)


def test_frames_by_hand() -> None:
    truth = [TrueSegment(2, 6, "a"), TrueSegment(4, 8, "b")]  # both from 4 to 6
    found = [Detection(2, 5, "a", 0.6), Detection(4.5, 9, "b", 0.9)]
    counts = count_frames(found, truth, 10, frames_per_second=2)  # moments 0.25, 0.75, …
    # Right: 0–2 nothing, 2–4.5 a, 4.5–8 b, 9–10 nothing; wrong: 8–9, where there is no b any more.
    assert (counts.num_frames, counts.num_right) == (20, 18)
    assert (counts.num_labelled, counts.num_labelled_right) == (12, 12)
    nothing = count_frames([], truth, 10, frames_per_second=2)
    assert (nothing.num_right, nothing.num_labelled_right) == (8, 0)


def made_timeline(path: str, labels: str = "ab") -> Timeline:
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]], dtype=np.float32)
    starts = np.array([0.0, 2, 4])
    return Timeline(path, tuple(labels), starts, starts + 2, scores, 6.0, 2.0, 2.0)


def test_a_timeline_against_a_file(tmp_path: Path) -> None:
    (tmp_path / "true.csv").write_text("start,end,label\n0,4,a\n4.5,6,b\n")
    metrics = evaluate_segments([made_timeline("x.mp4")], read_temporal(tmp_path / "true.csv"))
    # b is found from 4 to 6: 1.5 of 2 seconds.
    assert metrics.map_at == {0.3: 1, 0.4: 1, 0.5: 1, 0.6: 1, 0.7: 1}
    assert metrics.frame_accuracy == pytest.approx(5.5 / 6, abs=0.01)
    assert metrics.labelled_frame_accuracy == 1
    assert metrics.to_dict()["map"]["0.5"] == 1
    assert "2 segments found, 2 true ones in 1 video" in metrics.summary_lines()[0]
    strict = evaluate_segments([made_timeline("x.mp4")], read_temporal(tmp_path / "true.csv"), overlaps_at=(0.9,))
    assert strict.average_precisions == {"a": 1, "b": 0}


def test_videos_are_found_by_path_or_name(tmp_path: Path) -> None:
    (tmp_path / "true.tsv").write_text("path\tstart_seconds\tend_seconds\tclass\nx.mp4\t0\t4\ta\nsub/y.mp4\t4\t6\tb\n")
    annotations = read_temporal(tmp_path / "true.tsv")
    timelines = [made_timeline(str(tmp_path / "x.mp4")), made_timeline("elsewhere/y.mp4"), made_timeline("z.mp4")]
    metrics = evaluate_segments(timelines, annotations)
    assert (metrics.num_videos, metrics.num_segments) == (2, 2)
    with pytest.raises(DataError, match="correct its column path"):
        evaluate_segments([made_timeline("z.mp4")], annotations)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected start, end and label"),
        ("start,label\n0,a\n", "with the columns start, label: expected start, end and label"),
        ("start,end,label\n", "expected a line for each segment"),
        ("start,end,label\n3,2,a\n", "line 2: from '3' to '2': expected seconds, the end after the start"),
        ("start,end,label\n0,1,a\n1,2\n", "line 3: 2 columns: expected 3"),
        ("start,end,label\n0,,a\n", "line 2: 0,,a: expected start, end and label"),
        ("start,end,label\n0,1,zebra\n", "with the label zebra: expected labels of the model: a, b"),
    ],
)
def test_files_that_are_wrong(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "true.csv").write_text(text)
    with pytest.raises(DataError) as error:
        evaluate_segments([made_timeline("x.mp4")], read_temporal(tmp_path / "true.csv"))
    assert said in str(error.value)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_temporal(tmp_path / "none.csv")
