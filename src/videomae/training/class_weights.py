"""Weights of the classes in the loss of a classifier."""

from __future__ import annotations

import csv
import difflib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from videomae.core.errors import ConfigError

BALANCED = "balanced"
_EXPECTED = "balanced, NAME=WEIGHT …, or a CSV or JSON file of names and weights"


def read_class_weights(words: Sequence[str]) -> tuple[str, ...]:
    """The words of a recipe, with what a file says in place of its name, so that the run keeps it.

    Raises:
        ConfigError: if a single word is none of those that there are, or the file cannot be read.
    """
    if len(words) != 1 or words[0] == BALANCED or ("=" in words[0] and not Path(words[0]).is_file()):
        return tuple(words)
    path = Path(words[0])
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"class_weights={words[0]!r} ({reason})", expected=_EXPECTED, hint="correct it") from error
    try:
        if path.suffix.lower() == ".json":
            pairs = [(name, float(weight)) for name, weight in json.loads(text).items()]
        else:
            rows = [row for row in csv.reader(text.splitlines(), delimiter="\t" if "\t" in text else ",") if row]
            pairs = [(name.strip(), float(weight)) for name, weight in rows[not _is_number(rows[0][-1]) :]]
        if not pairs:
            raise ValueError("no weights")
    except (ValueError, AttributeError, TypeError, IndexError, csv.Error) as error:
        raise ConfigError(
            f"{path} ({error})",
            expected="a line NAME,WEIGHT for each class, or a JSON object of them",
            hint="correct the file",
        ) from error
    return tuple(f"{name}={weight!r}" for name, weight in pairs)


def class_weights(
    words: Sequence[str],
    counts: Mapping[str, int],
    *,
    num_videos: int,
    class_balance: float = 0.0,
    is_multi_label: bool = False,
) -> Tensor:
    """The weight of each class.

    Of one label per video, weights have a mean of 1 over the clips as they are drawn; "balanced" gives all classes the
    same sum. What `class_balance` has balanced already is not balanced again. Of several labels, they are the weights
    of the positives; "balanced" gives those of each class the same sum as its negatives.

    Args:
        words: of the recipe, as `read_class_weights` leaves them.
        counts: training videos of each class, in the order of the model's outputs.
        num_videos: training videos in all.
        class_balance: of the recipe.
        is_multi_label: whether a video may have several labels.

    Returns:
        (classes,) float32; 1 for classes without videos where nothing else is asked for.

    Raises:
        ConfigError: for a class that there is not, or a weight that is not above 0.
    """
    numbers = torch.tensor(list(counts.values()), dtype=torch.float64)
    if is_multi_label:
        if tuple(words) != (BALANCED,):
            return _given(words, counts).float()
        negatives = num_videos - numbers
        return torch.where((numbers > 0) & (negatives > 0), negatives / numbers.clamp(min=1), 1.0).float()
    drawn = torch.where(numbers > 0, numbers ** (1 - class_balance), 0.0)
    if tuple(words) == (BALANCED,):
        return torch.where(numbers > 0, drawn.sum() / ((numbers > 0).sum() * drawn.clamp(min=1e-9)), 1.0).float()
    weights = _given(words, counts)
    return (weights * drawn.sum() / (weights * drawn).sum()).float()


def _given(words: Sequence[str], counts: Mapping[str, int]) -> Tensor:
    """Those of `NAME=WEIGHT`, 1 for the other classes; float64."""
    weights = dict.fromkeys(counts, 1.0)
    for word in words:
        name, _, number = word.rpartition("=")
        weight = float(number) if _is_number(number) else math.nan
        if not 0 < weight < math.inf or not name:
            raise ConfigError(f"class_weights={word!r}", expected=_EXPECTED, hint="weights are numbers above 0")
        if name not in weights:
            near = difflib.get_close_matches(name, weights, n=1)
            raise ConfigError(
                f"class_weights={word!r}",
                expected=f"one of the classes {', '.join(list(weights)[:10])}",
                hint=f"did you mean {near[0]}?" if near else "correct the name",
            )
        weights[name] = weight
    return torch.tensor(list(weights.values()), dtype=torch.float64)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
