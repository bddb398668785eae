"""Scores of videos as a network learns them: with a mean of 0 and a deviation of 1."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from videomae.core.errors import DataError
from videomae.datasets.entries import VideoEntry
from videomae.datasets.manifest import Manifest

SCORE = "score"
_MAX_ORDERED = 100
_WEIGHT, _BIAS = "classifier.weight", "classifier.bias"


class ScoreScale:
    """Mean and deviation of the training scores.

    The network learns (score − mean) / deviation, whatever the unit of the scores; the checkpoint that users get has
    both in the weights of its head, and gives the score itself.

    Args:
        manifest: the training videos, all with scores.

    Raises:
        DataError: if all scores are the same.
    """

    def __init__(self, manifest: Manifest) -> None:
        scores = torch.tensor([entry.score for entry in manifest.entries], dtype=torch.float64)
        self.lowest, self.highest = float(scores.min()), float(scores.max())
        self.mean, self.deviation = float(scores.mean()), float(scores.std(correction=0))
        if not self.deviation > 0:
            raise DataError(
                f"{manifest.source} with the score {self.mean:g} for all its videos",
                expected="different scores",
                hint="nothing can be learned from one score",
            )
        self._standardized = ((scores - self.mean) / self.deviation).float()

    def targets(self, indices: Tensor) -> Tensor:
        """(B, 1) float32 of the videos at these places (B,)."""
        return self._standardized[indices][:, None]

    def in_units(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Trained weights as those of a model that gives scores."""
        found = dict(weights)
        found[_WEIGHT] = weights[_WEIGHT] * self.deviation
        found[_BIAS] = weights[_BIAS] * self.deviation + self.mean
        return found

    @torch.no_grad()
    def standardize_(self, model: Any) -> None:
        """Make a model that gives scores one that gives standardized ones, as it is trained."""
        model.classifier.weight.div_(self.deviation)
        model.classifier.bias.sub_(self.mean).div_(self.deviation)

    @contextmanager
    def applied(self, model: Any) -> Iterator[None]:
        """Within it a model in training gives scores; then it has its own weights again, bit for bit."""
        head = (model.classifier.weight.detach(), model.classifier.bias.detach())
        own = [weight.clone() for weight in head]
        try:
            head[0].mul_(self.deviation)
            head[1].mul_(self.deviation).add_(self.mean)
            yield
        finally:
            for weight, value in zip(head, own, strict=True):
                weight.copy_(value)


def as_ordered(manifest: Manifest, validation: Manifest | None) -> tuple[Manifest, Manifest | None]:
    """Training and validation videos with their scores, or labels that are numbers, as classes in ascending order.

    Raises:
        DataError: if labels are no numbers, or there are too many different ones.
    """
    both = [part for part in (manifest, validation) if part is not None]
    ordered = [tuple(map(_with_number_as_label, part.entries)) for part in both]
    found = {name for part in both for name in part.class_names}
    found |= {entry.label for entries in ordered for entry in entries if entry.label is not None}
    odd = next((name for name in sorted(found) if not _is_number(name)), None)
    if odd is not None or manifest.is_multi_label or not 2 <= len(found) <= _MAX_ORDERED:
        what = f"the class {odd!r}" if odd is not None else f"{len(found)} different numbers"
        raise DataError(
            f"{manifest.source} with {'several labels' if manifest.is_multi_label else what}, for --ordinal",
            expected=f"one number for each video, of 2 to {_MAX_ORDERED} different ones",
            hint="leave --ordinal out",
        )
    names = tuple(sorted(found, key=float))
    parts = [replace(part, entries=entries, class_names=names) for part, entries in zip(both, ordered, strict=True)]
    return parts[0], parts[1] if validation is not None else None


def _with_number_as_label(entry: VideoEntry) -> VideoEntry:
    return entry if entry.score is None else replace(entry, label=f"{entry.score:.12g}", score=None)


def _is_number(name: str) -> bool:
    try:
        return math.isfinite(float(name))
    except ValueError:
        return False


def ordinal_targets(class_names: Sequence[str]) -> Tensor:
    """Soft targets of ordered classes (SORD, Díaz & Marathe 2019): the neighbors of a class have their share.

    A class at a distance of d steps from the right one has a share proportional to exp(−d²); a step is the mean
    distance of two classes that follow one another.

    Args:
        class_names: numbers, ascending; two or more.

    Returns:
        (classes, classes) float32; row i is the target of class i, and adds up to 1.
    """
    values = torch.tensor([float(name) for name in class_names], dtype=torch.float64)
    step = (values[-1] - values[0]) / (len(values) - 1)
    return (-(((values[:, None] - values) / step) ** 2)).softmax(dim=1).float()
