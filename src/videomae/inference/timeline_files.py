"""Timelines as files: JSON, CSV and JSON lines, subtitles, pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from videomae.core.errors import ConfigError
from videomae.core.row_file import SUFFIXES as ROW_SUFFIXES
from videomae.core.text import readable
from videomae.inference.segments import Segment
from videomae.inference.window_layout import WindowScores

PICTURE_SUFFIXES = (".png", ".svg")
SUFFIXES = (".json", *ROW_SUFFIXES, ".srt", ".vtt", *PICTURE_SUFFIXES)
# Digits of a score in a file: more than it is worth, and few enough to read.
DIGITS = 6


def check_output(path: str | Path) -> None:
    """Raise a ConfigError unless a timeline can be written to a file of that name."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--output {path}", expected=" or ".join(SUFFIXES), hint="change the ending of its name")


def row_columns(labels: Sequence[str]) -> list[str]:
    """Columns of a CSV of windows: where it is, its best label, and the score of each class."""
    return ["path", "start_seconds", "end_seconds", "label", "probability", *labels]


def window_row(path: str, labels: Sequence[str], window: WindowScores, *, is_csv: bool) -> dict[str, Any]:
    """A window as a row, with the scores of all classes."""
    values = [round(float(score), DIGITS) for score in window.scores]
    best = int(window.scores.argmax())
    row = {
        "path": readable(path),
        "start_seconds": round(window.start_seconds, DIGITS),
        "end_seconds": round(window.end_seconds, DIGITS),
        "label": labels[best],
        "probability": values[best],
    }
    scores = dict(zip(labels, values, strict=True))
    return {**scores, **row} if is_csv else {**row, "scores": scores}


def window_of_row(row: Mapping[str, Any], labels: Sequence[str], number: int) -> WindowScores:
    """What `window_row` made a row of.

    Raises:
        KeyError, ValueError: it is another kind of row.
    """
    scores = row.get("scores", row)
    return WindowScores(
        number,
        float(row["start_seconds"]),
        float(row["end_seconds"]),
        np.array([float(scores[label]) for label in labels], dtype=np.float32),
    )


def subtitles(segments: Sequence[Segment], *, form: Literal["srt", "vtt"]) -> str:
    """Segments as SubRip or WebVTT: cues that never overlap, a line for each label."""
    edges = sorted({edge for segment in segments for edge in (segment.start_seconds, segment.end_seconds)})
    mark = "," if form == "srt" else "."
    blocks: list[str] = []
    for start, end in pairwise(edges):
        shown = [segment for segment in segments if segment.start_seconds < end and segment.end_seconds > start]
        if not shown:
            continue
        lines = [f"{segment.label} {segment.probability:.0%}".replace("-->", "→") for segment in shown]
        if form == "vtt":
            lines = [escape(line, quote=False) for line in lines]
        times = f"{clock(start, mark)} --> {clock(end, mark)}"
        number = [str(len(blocks) + 1)] if form == "srt" else []
        blocks.append("\n".join([*number, times, *lines]) + "\n")
    return "\n".join(["WEBVTT\n", *blocks] if form == "vtt" else blocks)


def clock(seconds: float, mark: str = ".") -> str:
    """Seconds as hh:mm:ss and milliseconds."""
    thousandths = round(seconds * 1000)
    return (
        f"{thousandths // 3_600_000:02d}:{thousandths // 60_000 % 60:02d}:{thousandths // 1000 % 60:02d}"
        f"{mark}{thousandths % 1000:03d}"
    )
