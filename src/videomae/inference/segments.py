"""From scores of windows to a curve over time, and from that to segments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from videomae.core.errors import ConfigError

_DIGITS = 6  # of a second: windows meet although their ends were computed in floats


@dataclass(frozen=True, kw_only=True)
class SegmentOptions:
    """How windows become segments.

    Args:
        threshold: least score of a label throughout a segment.
        smooth_seconds: scores are averaged over the windows whose centers are no further than half of this away; 0 for
            none.
        min_seconds: shorter segments are left out.
        max_gap_seconds: segments of a label that are no further apart become one.

    Raises:
        ConfigError: for values out of range.
    """

    threshold: float = 0.5
    smooth_seconds: float = 0.0
    min_seconds: float = 0.0
    max_gap_seconds: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ConfigError(f"--threshold {self.threshold:g}", expected="a score above 0, up to 1", hint="try 0.5")
        for option, value in (
            ("--smooth", self.smooth_seconds),
            ("--min-seconds", self.min_seconds),
            ("--max-gap", self.max_gap_seconds),
        ):
            if not 0 <= value < math.inf:
                raise ConfigError(f"{option} {value:g}", expected="seconds, 0 or more", hint=f"change {option}")


@dataclass(frozen=True)
class Segment:
    """A part of a video in which a label's score stays above the threshold.

    Args:
        start_seconds: where it begins.
        end_seconds: where it ends.
        label: the class.
        index: its number in the model.
        probability: mean score of the label in it, 0–1.
    """

    start_seconds: float
    end_seconds: float
    label: str
    index: int
    probability: float


@dataclass(frozen=True)
class Curve:
    """Scores over time that are constant between edges.

    Args:
        edges: (M + 1,) seconds, ascending.
        scores: (M, C) the mean over the windows that lie there; NaN where none does.
    """

    edges: np.ndarray
    scores: np.ndarray

    def at(self, seconds: float) -> np.ndarray | None:
        """The scores (C,) at a moment; None where there are none."""
        place = int(np.searchsorted(self.edges, seconds, side="right")) - 1
        if not 0 <= place < len(self.scores) or np.isnan(self.scores[place, 0]):
            return None
        found: np.ndarray = self.scores[place]
        return found


def smoothed(centers: np.ndarray, scores: np.ndarray, smooth_seconds: float) -> np.ndarray:
    """Scores (N, C) averaged over the windows around each: those with a center within half of `smooth_seconds`."""
    if not smooth_seconds or not len(scores):
        return scores
    reach = smooth_seconds / 2 + 10.0**-_DIGITS
    first = np.searchsorted(centers, centers - reach)
    stop = np.searchsorted(centers, centers + reach, side="right")
    sums = np.concatenate([np.zeros((1, scores.shape[1])), np.cumsum(scores, axis=0, dtype=np.float64)])
    return ((sums[stop] - sums[first]) / (stop - first)[:, None]).astype(scores.dtype)


def curve_of(starts: np.ndarray, ends: np.ndarray, scores: np.ndarray) -> Curve:
    """The mean score at each moment of the windows that overlap there.

    Args:
        starts: (N,) seconds of the windows.
        ends: (N,) seconds.
        scores: (N, C).
    """
    starts, ends = np.round(starts, _DIGITS), np.round(ends, _DIGITS)
    edges = np.unique(np.concatenate([starts, ends]))
    changes = np.zeros((len(edges), scores.shape[1]))
    counts = np.zeros(len(edges))
    for places, sign in ((np.searchsorted(edges, starts), 1), (np.searchsorted(edges, ends), -1)):
        np.add.at(changes, places, sign * scores.astype(np.float64))
        np.add.at(counts, places, sign)
    totals, numbers = changes.cumsum(axis=0)[:-1], counts.cumsum()[:-1, None]
    means = np.divide(totals, numbers, out=np.full_like(totals, np.nan), where=numbers > 0.5)
    return Curve(edges, np.clip(means, 0, None))


def find_segments(curve: Curve, labels: Sequence[str], options: SegmentOptions) -> list[Segment]:
    """The segments of all labels, in the order of their starts; those of different labels may overlap.

    Args:
        curve: scores over time.
        labels: of its C columns.
        options: threshold, gaps, shortest segment.
    """
    found = []
    lengths = np.diff(curve.edges)
    with np.errstate(invalid="ignore"):
        above = curve.scores >= options.threshold
    for index in np.flatnonzero(above.any(axis=0)).tolist():
        steps = np.diff(above[:, index].astype(np.int8), prepend=0, append=0)
        runs: list[list[int]] = []
        for first, stop in zip(np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist(), strict=True):
            gap = curve.edges[first] - curve.edges[runs[-1][1]] if runs else math.inf
            if gap <= options.max_gap_seconds:
                runs[-1][1] = stop
            else:
                runs.append([first, stop])
        for first, stop in runs:
            start, end = float(curve.edges[first]), float(curve.edges[stop])
            if end - start < options.min_seconds - 10.0**-_DIGITS:
                continue
            scores, weights = curve.scores[first:stop, index], lengths[first:stop]
            known = ~np.isnan(scores)
            mean = float(np.average(scores[known], weights=weights[known]))
            found.append(Segment(start, end, labels[index], index, mean))
    return sorted(found, key=lambda segment: (segment.start_seconds, segment.index))
