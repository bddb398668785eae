"""Predictions as rows of CSV and JSON lines files, written as they come; a call that was stopped continues there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from videomae.core.errors import VideoError
from videomae.core.row_file import RowFile, RowFiles
from videomae.core.text import readable
from videomae.datasets.entries import VideoEntry
from videomae.inference.predict import Prediction, VideoPrediction


class PredictionFiles(RowFiles):
    """The files of one call of `predict`.

    Columns of a CSV: `path`, `label`, `probability`, of further labels `label_2`, `probability_2` and so on, `error`.
    A JSON line has `path`, `num_views`, `predictions` as `--json` prints them, and `error`, which is null for most.

    Args:
        paths: .csv or .jsonl.
        top_k: labels of each video.
        settings: what rows depend on.

    Raises:
        ConfigError: for another ending.
    """

    def __init__(self, paths: Sequence[str | Path], *, top_k: int, settings: Mapping[str, Any]) -> None:
        self._top_k = top_k
        further = [name for rank in range(2, top_k + 1) for name in (f"label_{rank}", f"probability_{rank}")]
        columns = ["path", "num_views", "label", "probability", *further, "error"]
        super().__init__([RowFile(path, columns=columns, settings={**settings, "top_k": top_k}) for path in paths])

    def known(self, entries: Sequence[VideoEntry], labels: Mapping[int, str]) -> list[VideoPrediction]:
        """What the files hold of the first videos; a file that is behind another one gets the rows that it lacks."""
        numbers = {label: index for index, label in labels.items()}
        found: list[VideoPrediction] = []
        for file in self._files:
            rows = [_result(row, entry, numbers) for row, entry in zip(file.rows, entries, strict=False)]
            found = rows if len(rows) > len(found) else found
        for file in self._files:
            for result in found[len(file.rows) :]:
                file.add(self._row(file, result))
        return found

    def add(self, result: VideoPrediction) -> None:
        """Append a row."""
        for file in self._files:
            file.add(self._row(file, result))

    def _row(self, file: RowFile, result: VideoPrediction) -> dict[str, Any]:
        error = result.error
        row: dict[str, Any] = {"path": readable(str(result.path)), "num_views": result.num_views}
        if file.path.suffix.lower() != ".csv":
            parts = error and {"value": error.value, "expected": error.expected, "hint": error.hint}
            return {**row, "predictions": [vars(one) for one in result.predictions], "error": parts}
        for rank, one in enumerate(result.predictions, start=1):
            mark = "" if rank == 1 else f"_{rank}"
            row |= {f"label{mark}": one.label, f"probability{mark}": round(one.probability, 6)}
        return {**row, "error": "" if error is None else str(error)}


def _result(row: Mapping[str, Any], entry: VideoEntry, numbers: Mapping[str, int]) -> VideoPrediction:
    """What a row was made of."""
    error = None
    if row["error"]:
        parts = row["error"]
        if isinstance(parts, str):
            value, _, rest = parts.rpartition(": expected ")
            expected, _, hint = rest.partition("; ")
            parts = {"value": value, "expected": expected, "hint": hint}
        error = VideoError(parts["value"], expected=parts["expected"], hint=parts["hint"])
    if "predictions" in row:
        predictions = tuple(Prediction(**one) for one in row["predictions"])
    else:
        marks = ["", *(name.removeprefix("label") for name in row if name.startswith("label_"))]
        labels = [(row[f"label{mark}"], row[f"probability{mark}"]) for mark in marks if row[f"label{mark}"]]
        predictions = tuple(Prediction(label, numbers[label], float(share)) for label, share in labels)
    return VideoPrediction(entry.path, int(row["num_views"]), predictions, error)
