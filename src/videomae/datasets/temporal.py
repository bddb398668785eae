"""Lists of what happens when: segments of videos with their labels."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from videomae.core.errors import DataError
from videomae.core.text import error_reason
from videomae.datasets.entries import Place
from videomae.datasets.tables import END_COLUMNS, LABEL_COLUMNS, START_COLUMNS, read_seconds


@dataclass(frozen=True)
class TrueSegment:
    """What a person saw: a label from start to end, in seconds."""

    start_seconds: float
    end_seconds: float
    label: str


@dataclass(frozen=True)
class TemporalAnnotations:
    """The true segments of videos.

    Args:
        file: that they were read from.
        segments: path as it is in the file → segments; the path "" is whichever single video there is.
    """

    file: Path
    segments: Mapping[str, Sequence[TrueSegment]]

    def of(self, path: str, *, is_only: bool) -> Sequence[TrueSegment] | None:
        """The segments of a video; None where the file does not name it.

        Args:
            path: of the video: the same place, relative to the file or to where we are, or else the same name.
            is_only: it is the only video, so that a file without paths is about it.
        """
        if "" in self.segments:
            return self.segments[""] if is_only else None
        place = os.path.realpath(path)
        for named, found in self.segments.items():
            if place in (os.path.realpath(named), os.path.realpath(self.file.parent / named)):
                return found
        same_name = [found for named, found in self.segments.items() if Path(named).name == Path(path).name]
        return same_name[0] if len(same_name) == 1 else None


def read_temporal(path: str | Path) -> TemporalAnnotations:
    """Read a CSV or TSV with the columns start, end and label, in seconds, and path where it is about several videos.

    Raises:
        DataError: it cannot be read, lacks a column, or has a line that is wrong.
    """
    file = Path(path)
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(file, expected="a CSV of segments", hint=f"it cannot be read: {error_reason(error)}") from error
    delimiter = "\t" if lines and "\t" in lines[0] else ","
    rows = list(csv.reader(lines, delimiter=delimiter))
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    places = [
        next((header.index(name) for name in names if name in header), None)
        for names in (START_COLUMNS, END_COLUMNS, LABEL_COLUMNS)
    ]
    if None in places:
        raise DataError(
            f"{file} with the columns {', '.join(header) or 'none'}",
            expected="start, end and label, and path where it is about several videos",
            hint="name them in its first line",
        )
    start_at, end_at, label_at = (place for place in places if place is not None)
    path_at = header.index("path") if "path" in header else None
    segments: dict[str, list[TrueSegment]] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        place = Place(file, number)
        if len(row) != len(header):
            raise DataError(
                f"{place}: {len(row)} columns", expected=f"{len(header)}, as in the first line", hint="correct the line"
            )
        cells = [cell.strip() for cell in row]
        start, end = read_seconds(cells[start_at], cells[end_at], place)
        if start is None or end is None or not cells[label_at]:
            raise DataError(
                f"{place}: {delimiter.join(cells)}", expected="start, end and label", hint="correct the line"
            )
        segments.setdefault("" if path_at is None else cells[path_at], []).append(
            TrueSegment(start, end, cells[label_at])
        )
    if not segments:
        raise DataError(file, expected="a line for each segment", hint="there is none; check the file")
    return TemporalAnnotations(file, segments)
