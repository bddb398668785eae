"""Timelines against true segments: mAP at several overlaps, accuracy of frames.

mAP is defined as in the ActivityNet challenge, whose definition results on THUMOS14 share: the detections of a class in
all videos, the best scores first; each takes the true segment of its video with which it overlaps most, where that is
free and the overlap (intersection over union of time) reaches the threshold, else the next best; it is a false positive
where none is left. Average precision is the area below the curve whose precision at a recall is the best at that or any
higher recall; mAP is the mean over the classes that have true segments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from videomae.core.errors import DataError
from videomae.datasets.temporal import TemporalAnnotations, TrueSegment
from videomae.inference.timeline import Timeline

THUMOS_OVERLAPS = (0.3, 0.4, 0.5, 0.6, 0.7)
FRAMES_PER_SECOND = 25.0


@dataclass(frozen=True)
class Detection:
    """What a model found, with its score."""

    start_seconds: float
    end_seconds: float
    label: str
    score: float


def overlaps(start: float, end: float, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Intersection over union of a segment with others, 0–1."""
    shared = np.clip(np.minimum(end, ends) - np.maximum(start, starts), 0, None)
    union = (end - start) + (ends - starts) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def average_precision(
    detections: Sequence[tuple[str, Detection]], truth: Mapping[str, Sequence[TrueSegment]], *, overlap: float
) -> float:
    """Average precision of one class.

    Args:
        detections: (video, detection) of the class.
        truth: video → its true segments of the class; at least one in all.
        overlap: least intersection over union of a detection that counts.

    Returns:
        0–1.
    """
    number = sum(map(len, truth.values()))
    bounds = {
        video: np.array([(s.start_seconds, s.end_seconds) for s in segments], dtype=np.float64).reshape(-1, 2)
        for video, segments in truth.items()
    }
    taken = {video: np.zeros(len(segments), dtype=bool) for video, segments in truth.items()}
    hits = []
    for video, found in sorted(detections, key=lambda pair: -pair[1].score):
        hit = False
        if video in bounds and len(bounds[video]):
            shares = overlaps(found.start_seconds, found.end_seconds, *bounds[video].T)
            for place in np.argsort(-shares, kind="stable"):
                if shares[place] < overlap:
                    break
                if not taken[video][place]:
                    taken[video][place] = hit = True
                    break
        hits.append(hit)
    if not hits:
        return 0.0
    right = np.cumsum(hits)
    precision, recall = right / np.arange(1, len(hits) + 1), right / number
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * best).sum())


def mean_average_precision(
    detections: Mapping[str, Sequence[Detection]], truth: Mapping[str, Sequence[TrueSegment]], *, overlap: float
) -> tuple[float, dict[str, float]]:
    """mAP over the classes that have true segments, and the average precision of each.

    Args:
        detections: video → what was found there.
        truth: video → what is there.
        overlap: least intersection over union.
    """
    labels = sorted({segment.label for segments in truth.values() for segment in segments})
    of_class = {}
    for label in labels:
        own = [(video, d) for video, found in detections.items() for d in found if d.label == label]
        there = {video: [s for s in segments if s.label == label] for video, segments in truth.items()}
        of_class[label] = average_precision(own, there, overlap=overlap)
    return float(np.mean(list(of_class.values()))) if of_class else 0.0, of_class


@dataclass(frozen=True)
class FrameCounts:
    """Moments of videos, and for how many of them the label is right.

    Args:
        num_frames: all.
        num_right: those whose label, or that there is none, was found.
        num_labelled: those within a true segment.
        num_labelled_right: of these, those whose label was found.
    """

    num_frames: int = 0
    num_right: int = 0
    num_labelled: int = 0
    num_labelled_right: int = 0

    def __add__(self, other: FrameCounts) -> FrameCounts:
        return FrameCounts(*(getattr(self, name) + getattr(other, name) for name in vars(self)))


def count_frames(
    detections: Sequence[Detection],
    truth: Sequence[TrueSegment],
    duration_seconds: float,
    *,
    frames_per_second: float = FRAMES_PER_SECOND,
) -> FrameCounts:
    """Compare labels at moments that are spread evenly over a video.

    A moment's label is that of the segment around it, or none. Of detections that overlap, the one with the best score
    counts; of true segments that overlap, each label is right.
    """
    number = max(1, round(duration_seconds * frames_per_second))
    moments = (np.arange(number) + 0.5) * duration_seconds / number
    names = {
        label: place for place, label in enumerate(sorted({s.label for s in detections} | {s.label for s in truth}))
    }
    found = np.full(number, -1)
    for detection in sorted(detections, key=lambda d: d.score):
        found[(moments >= detection.start_seconds) & (moments < detection.end_seconds)] = names[detection.label]
    is_right, is_labelled = np.zeros(number, dtype=bool), np.zeros(number, dtype=bool)
    for segment in truth:
        inside = (moments >= segment.start_seconds) & (moments < segment.end_seconds)
        is_labelled |= inside
        is_right |= inside & (found == names[segment.label])
    is_right |= ~is_labelled & (found < 0)
    return FrameCounts(number, int(is_right.sum()), int(is_labelled.sum()), int((is_right & is_labelled).sum()))


@dataclass(frozen=True)
class TemporalMetrics:
    """How well timelines match true segments.

    Args:
        num_videos: that were compared.
        num_segments: true ones.
        num_detections: found ones.
        map_at: least overlap → mAP, 0–1.
        average_precisions: of each class, the mean over the overlaps.
        frames: labels of moments.
    """

    num_videos: int
    num_segments: int
    num_detections: int
    map_at: Mapping[float, float]
    average_precisions: Mapping[str, float]
    frames: FrameCounts

    @property
    def mean_map(self) -> float:
        """mAP, the mean over the overlaps."""
        return float(np.mean(list(self.map_at.values())))

    @property
    def frame_accuracy(self) -> float:
        """Share of the moments whose label is right, or rightly none."""
        return self.frames.num_right / max(1, self.frames.num_frames)

    @property
    def labelled_frame_accuracy(self) -> float:
        """Share of the moments within true segments whose label is right."""
        return self.frames.num_labelled_right / max(1, self.frames.num_labelled)

    def to_dict(self) -> dict[str, Any]:
        """All figures as plain data, shares of 1."""
        return {
            "num_videos": self.num_videos,
            "num_segments": self.num_segments,
            "num_detections": self.num_detections,
            "map": {f"{overlap:g}": value for overlap, value in self.map_at.items()},
            "mean_map": self.mean_map,
            "frame_accuracy": self.frame_accuracy,
            "labelled_frame_accuracy": self.labelled_frame_accuracy,
            "classes": dict(self.average_precisions),
        }

    def summary_lines(self) -> list[str]:
        """The figures for people."""
        each = "  ".join(f"{overlap:g}: {value:.1%}" for overlap, value in self.map_at.items())
        return [
            f"{self.num_detections} segments found, {self.num_segments} true ones in {self.num_videos} "
            f"video{'s' * (self.num_videos != 1)}",
            f"segment mAP     {self.mean_map:6.1%}   at overlaps of {each}",
            f"frame accuracy  {self.frame_accuracy:6.1%}   within true segments {self.labelled_frame_accuracy:.1%}",
        ]


def evaluate_segments(
    timelines: Sequence[Timeline], annotations: TemporalAnnotations, *, overlaps_at: Sequence[float] = THUMOS_OVERLAPS
) -> TemporalMetrics:
    """Compare timelines with true segments.

    Args:
        timelines: of the videos, each with its segments.
        annotations: what is true.
        overlaps_at: least overlaps at which mAP is computed, THUMOS14's by default.

    Raises:
        DataError: the annotations name none of the videos, or a label that the model does not know.
    """
    detections: dict[str, list[Detection]] = {}
    truth: dict[str, Sequence[TrueSegment]] = {}
    frames = FrameCounts()
    for one in timelines:
        there = annotations.of(one.path, is_only=len(timelines) == 1)
        if there is None:
            continue
        unknown = sorted({segment.label for segment in there} - set(one.labels))
        if unknown:
            raise DataError(
                f"{annotations.file} with the label {', '.join(unknown[:5])}",
                expected=f"labels of the model: {', '.join(one.labels[:10])}{', …' * (len(one.labels) > 10)}",
                hint="rename the labels",
            )
        truth[one.path] = there
        detections[one.path] = [
            Detection(part.start_seconds, part.end_seconds, part.label, part.probability) for part in one.segments
        ]
        frames += count_frames(detections[one.path], there, one.duration_seconds)
    if not truth:
        raise DataError(
            f"{annotations.file} with {', '.join(list(annotations.segments)[:3]) or 'no path'}",
            expected=f"segments of {', '.join(one.path for one in timelines[:3])}",
            hint="correct its column path; for a single video it may be left out",
        )
    found = {overlap: mean_average_precision(detections, truth, overlap=overlap) for overlap in overlaps_at}
    labels = next(iter(found.values()))[1]
    return TemporalMetrics(
        num_videos=len(truth),
        num_segments=sum(map(len, truth.values())),
        num_detections=sum(map(len, detections.values())),
        map_at={overlap: value for overlap, (value, _) in found.items()},
        average_precisions={label: float(np.mean([each[label] for _, each in found.values()])) for label in labels},
        frames=frames,
    )
