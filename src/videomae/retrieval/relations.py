"""What an index says of its videos among each other: near-duplicates, and labels of neighbors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch

from videomae.core.errors import DataError
from videomae.evaluation.probes import Features, ProbeOptions, probe
from videomae.retrieval.index import Rows, VideoIndex

# Rows that are compared with all at a time.
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class NearDuplicate:
    """Two videos of nearly the same content.

    Args:
        first: path of the one with more windows.
        second: path of the other.
        similarity: mean over the windows of `second` that have their like in `first`.
        num_matched: how many those are.
        num_windows: of `second`.
        offset_seconds: how much later the same is shown in `first`; None for whole videos.
    """

    first: str
    second: str
    similarity: float
    num_matched: int
    num_windows: int
    offset_seconds: float | None


def near_duplicates(index: VideoIndex, *, threshold: float = 0.95, min_share: float = 0.5) -> list[NearDuplicate]:
    """Pairs of videos whose shorter one has at least `min_share` of its windows in the other, the most similar first.

    All pairs of rows are compared: time grows with the square of their number.

    Args:
        index: of the videos.
        threshold: similarity of two windows from which on they count as the same.
        min_share: of the windows of the shorter video, above 0 and up to 1.
    """
    rows = index.rows()
    paths = [window.path for window in rows.windows]
    names, video, num_windows = np.unique(np.array(paths, dtype=str), return_inverse=True, return_counts=True)
    best: dict[tuple[int, int], list[tuple[float, float]]] = {}  # of each row of the shorter video: similarity, offset
    centers = np.array([window.center_seconds for window in rows.windows])
    for start, similar in _similarities(index, rows):
        similar[video[start : start + len(similar), None] == video[None]] = -np.inf
        one, other = np.nonzero(similar >= threshold)
        for row in np.unique(one):
            found = other[one == row]
            mine = int(video[start + row])
            for theirs in np.unique(video[found]):
                if (num_windows[theirs], -theirs) < (num_windows[mine], -mine):
                    continue  # counted from the shorter one's side
                near = found[video[found] == theirs]
                match = near[similar[row, near].argmax()]
                offset = centers[match] - centers[start + row]
                best.setdefault((int(theirs), mine), []).append((float(similar[row, match]), float(offset)))
    is_timed = index.settings.windows
    pairs = [
        NearDuplicate(
            str(names[theirs]),
            str(names[mine]),
            similarity=float(np.mean([similarity for similarity, _ in matches])),
            num_matched=len(matches),
            num_windows=int(num_windows[mine]),
            offset_seconds=float(np.median([offset for _, offset in matches])) if is_timed else None,
        )
        for (theirs, mine), matches in best.items()
        if len(matches) >= min_share * num_windows[mine]
    ]
    return sorted(pairs, key=lambda pair: (-round(pair.similarity, 4), pair.first, pair.second))


@dataclass(frozen=True, slots=True)
class SuggestedLabel:
    """The label that a video's nearest labeled neighbors have.

    Args:
        path: of a video without a label.
        label: of most of its neighbors.
        confidence: its share of their votes.
    """

    path: str
    label: str
    confidence: float


def suggest_labels(index: VideoIndex, *, num_neighbors: int = 20) -> list[SuggestedLabel]:
    """Labels for the videos of an index that have none, the surest first.

    The nearest labeled windows vote for each window (as in `probe --method knn`); the votes of a video's windows are
    averaged.

    Raises:
        DataError: if no video of the index has a label.
    """
    rows = index.rows()
    labels = np.array([window.label for window in rows.windows])
    if not (labels != "").any():
        raise DataError(
            f"{index.folder}, in which no video has a label",
            expected="some labeled videos",
            hint="index labeled ones as well: a folder of class folders, or a CSV of path,label",
        )
    classes, targets = np.unique(labels[labels != ""], return_inverse=True)
    features = torch.from_numpy(rows.features)
    features = features - features.mean(0)  # the votes go by cosine
    known, unknown = (torch.from_numpy(mask) for mask in (labels != "", labels == ""))
    if not unknown.any():
        return []
    train = Features(features[known], torch.from_numpy(targets))
    test = Features(features[unknown], torch.zeros(int(unknown.sum()), dtype=torch.int64))
    options = ProbeOptions(method="knn", num_neighbors=num_neighbors)
    votes = probe(train, test, num_classes=len(classes), options=options).probabilities
    paths = [window.path for window in rows.windows if not window.label]
    found = []
    for path, group in groupby(range(len(paths)), key=lambda row: paths[row]):
        mean = votes[list(group)].mean(axis=0)
        found.append(SuggestedLabel(path, str(classes[mean.argmax()]), float(mean.max())))
    return sorted(found, key=lambda suggestion: (-suggestion.confidence, suggestion.path))


def _similarities(index: VideoIndex, rows: Rows) -> Iterator[tuple[int, np.ndarray]]:
    """The similarities of some rows to all, and the first of them."""
    for start in range(0, len(rows.windows), _ROWS_AT_ONCE):
        yield start, index.similarities(rows.features[start : start + _ROWS_AT_ONCE], rows.features)
