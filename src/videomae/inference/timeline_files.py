"""Timelines as files: JSON, CSV and JSON lines, subtitles, pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from videomae.core.errors import ConfigError
from videomae.core.files import write_bytes, write_text
from videomae.core.row_file import SUFFIXES as ROW_SUFFIXES, RowFile
from videomae.core.text import readable
from videomae.inference.segments import Segment
from videomae.inference.timeline import Timeline, WindowScores

PICTURE_SUFFIXES = (".png", ".svg")
SUFFIXES = (".json", *ROW_SUFFIXES, ".srt", ".vtt", *PICTURE_SUFFIXES)
# Digits of a score in a file: more than it is worth, and few enough to read.
_DIGITS = 6


def check_output(path: str | Path) -> None:
    """Raise a ConfigError unless a timeline can be written to a file of that name."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--output {path}", expected=" or ".join(SUFFIXES), hint="change the ending of its name")


def save(timeline: Timeline, path: Path, *, top_k: int = 5) -> Path:
    """Write a timeline, in the form that the ending of `path` names.

    - .json: windows with their `top_k` labels, and segments.
    - .csv, .jsonl: a row for each window, with the scores of all classes, as the model gave them.
    - .srt, .vtt: the segments as subtitles.
    - .png, .svg: a chart.

    Raises:
        ConfigError: for another ending.
        InputError: if the place cannot be written.
    """
    check_output(path)
    suffix = path.suffix.lower()
    if suffix in ROW_SUFFIXES:
        with RowFile(path, columns=row_columns(timeline.labels), settings={}) as file:
            for number in range(timeline.num_windows):
                file.add(
                    window_row(
                        timeline.path,
                        timeline.labels,
                        WindowScores(
                            number,
                            float(timeline.start_seconds[number]),
                            float(timeline.end_seconds[number]),
                            timeline.window_scores[number],
                        ),
                        is_csv=suffix == ".csv",
                    )
                )
    elif suffix == ".json":
        write_text(path, json.dumps(as_json(timeline, top_k=top_k), indent=1, ensure_ascii=False) + "\n")
    elif suffix == ".srt":
        write_text(path, subtitles(timeline.segments, form="srt"))
    elif suffix == ".vtt":
        write_text(path, subtitles(timeline.segments, form="vtt"))
    else:
        write_bytes(path, picture(timeline, "png" if suffix == ".png" else "svg"))
    return path


def as_json(timeline: Timeline, *, top_k: int) -> dict[str, Any]:
    """A timeline as plain data: its windows with their `top_k` labels, and its segments."""
    windows = [
        {
            "start_seconds": round(float(timeline.start_seconds[number]), _DIGITS),
            "end_seconds": round(float(timeline.end_seconds[number]), _DIGITS),
            "predictions": [vars(prediction) for prediction in timeline.predictions(number, top_k)],
        }
        for number in range(timeline.num_windows)
    ]
    return {
        "path": readable(timeline.path),
        "duration_seconds": round(timeline.duration_seconds, _DIGITS),
        "window_seconds": timeline.window_seconds,
        "hop_seconds": timeline.hop_seconds,
        "ended": timeline.ended,
        "segments": [vars(segment) for segment in timeline.segments],
        "windows": windows,
    }


def row_columns(labels: Sequence[str]) -> list[str]:
    """Columns of a CSV of windows: where it is, its best label, and the score of each class."""
    return ["path", "start_seconds", "end_seconds", "label", "probability", *labels]


def window_row(path: str, labels: Sequence[str], window: WindowScores, *, is_csv: bool) -> dict[str, Any]:
    """A window as a row, with the scores of all classes."""
    values = [round(float(score), _DIGITS) for score in window.scores]
    best = int(window.scores.argmax())
    row = {
        "path": readable(path),
        "start_seconds": round(window.start_seconds, _DIGITS),
        "end_seconds": round(window.end_seconds, _DIGITS),
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


def picture(timeline: Timeline, image_format: Literal["png", "svg"]) -> bytes:
    """The timeline as a chart: the bytes of a file."""
    from videomae.report.timeline_chart import Bar, timeline_chart

    return timeline_chart(
        edges=timeline.curve.edges,
        scores=timeline.curve.scores,
        labels=timeline.labels,
        bars=[Bar(part.start_seconds, part.end_seconds, part.index) for part in timeline.segments],
        threshold=timeline.options.threshold,
        duration_seconds=timeline.duration_seconds,
        thumbnails=timeline.thumbnails,
        title=Path(timeline.path).name or timeline.path,
        note=timeline.ended or "",
        image_format=image_format,
    )
