"""Tables of videos whose first line names the columns."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from videomae.core.errors import DataError
from videomae.datasets.entries import Place, VideoEntry, read_split
from videomae.datasets.labels import LABELS_COLUMN, SCORE_COLUMN, is_missing, one_label, reader_of_labels
from videomae.datasets.line_errors import LineErrors
from videomae.datasets.list_lines import Listed, Paths, Row, about_missing

LABEL_COLUMNS = ("label", "class", "class_name", "category", "action")
START_COLUMNS = ("start_seconds", "start", "time_start")
END_COLUMNS = ("end_seconds", "end", "time_end")
_START_FRAME_COLUMNS = ("start_frame",)
_END_FRAME_COLUMNS = ("end_frame", "stop_frame")
_NUM_SHOWN = 8


def table_rows(
    lines: Sequence[tuple[int, str]], header: Sequence[str], delimiter: str, errors: LineErrors
) -> Iterator[Row]:
    """The rows below a header; those with another number of cells are left to `errors`."""
    reader = csv.reader((line for _, line in lines), delimiter=delimiter)
    for position, (number, _) in enumerate(lines, start=1):
        place = Place(errors.file, number)
        try:
            cells = next(reader)
        except csv.Error as error:
            wrong = DataError(f"{place} ({error})", expected="a line of a table", hint="correct the line")
            errors.add(place, wrong)
            return
        if reader.line_num != position:  # it has swallowed the lines after it
            wrong = DataError(f"{place}: a quote without its end", expected='pairs of "', hint="close or remove it")
            errors.add(place, wrong)
            return
        if len(cells) != len(header):
            wrong = DataError(
                f"{place}: {len(cells)} columns",
                expected=f"{len(header)} columns, as in the first line: {', '.join(header)}",
                hint="quote a path that holds the delimiter",
            )
            errors.add(place, wrong)
            continue
        yield Row(place, [cell.strip() for cell in cells])


def read_score(text: str, place: Place) -> float | None:
    """The number in a cell; None for one that is missing.

    Raises:
        DataError: if it is no finite number.
    """
    if is_missing(text):
        return None
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise DataError(
            f"{place}: the score {text!r}",
            expected="a number such as 3.5",
            hint="correct it, or call the column label where it names a class",
        )
    return score


def headed_entries(rows: Iterable[Row], header: Sequence[str], paths: Paths, group_column: str) -> Listed:
    """The videos of a table with `path`, and whichever of label, labels or score, split, start, end and group it has.

    A score beside label or labels is not read.

    Cells with nan or similar are empty. What is wrong with lines is kept in `paths`.

    Raises:
        DataError: if the table has both label and labels.
    """
    columns = _Columns(header, group_column)
    one = columns.first(LABEL_COLUMNS)
    is_multi_label = LABELS_COLUMN in header
    if is_multi_label and one is not None:
        raise DataError(
            f"{paths.file} with the columns {one} and {LABELS_COLUMN}",
            expected="one of the two",
            hint=f"keep {LABELS_COLUMN} where a video may have several classes, and rename the other",
        )
    rows = list(rows)
    label_of, labels_of = columns.reader(LABEL_COLUMNS), columns.reader((LABELS_COLUMN,))
    several_of, separator_notice = (
        reader_of_labels([labels_of(row.cells) for row in rows]) if is_multi_label else (None, "")
    )
    is_scored = one is None and not is_multi_label
    score_of = columns.reader((SCORE_COLUMN,) if is_scored else ())
    entry_of = _row_reader(columns)
    path_at = header.index("path")
    entries = []
    num_missing = 0
    for row in rows:
        source = paths.find(row.cells[path_at], row.place)
        cell = labels_of(row.cells) if is_multi_label else label_of(row.cells)
        num_missing += bool(cell) and is_missing(cell)
        try:
            about = entry_of(row)
            label = one_label(label_of(row.cells), row.place)
            score = read_score(score_of(row.cells), row.place)
        except DataError as error:
            paths.errors.add(row.place, error)
            continue
        if source is not None:
            labels = several_of(cell) if several_of is not None else None
            entries.append(VideoEntry(source, label=label, labels=labels, score=score, place=row.place, **about))
    notices = [
        *about_missing(paths.file, num_missing),
        *([f"{paths.file}: {separator_notice}"] if separator_notice else []),
        *_about_numbers(paths.file, one, [label_of(row.cells) for row in rows] if one else []),
    ]
    return Listed(tuple(entries), (*notices, *columns.notices(paths.file)), tuple(header))


def _about_numbers(file: object, column: str | None, labels: Sequence[str]) -> list[str]:
    """One line where all labels are numbers, and some have fractions: these are hardly names of classes."""
    found = {label for label in labels if not is_missing(label)}
    try:
        fractions = [label for label in sorted(found) if not float(label).is_integer()]
    except (ValueError, OverflowError):
        return []
    if not fractions:
        return []
    return [
        f"{file}: numbers such as {fractions[0]} are treated as names of {len(found)} classes; to predict the number, "
        f"call the column {SCORE_COLUMN}, not {column}"
    ]


class _Columns:
    """Which columns of a table are read, and which are not.

    Args:
        header: their names.
        group_column: that of the groups.
    """

    def __init__(self, header: Sequence[str], group_column: str) -> None:
        self.header = header
        self.group_column = group_column
        self._used = {"path", group_column, LABELS_COLUMN}

    def first(self, names: Sequence[str]) -> str | None:
        """The first of these columns that there is."""
        return next((name for name in names if name in self.header), None)

    def reader(self, names: Sequence[str]) -> Callable[[list[str]], str]:
        """What gives the cell of the first of these columns that there is, "" without one."""
        name = self.first(names)
        if name is None:
            return lambda cells: ""
        self._used.add(name)
        index = self.header.index(name)
        return lambda cells: cells[index]

    def notices(self, file: object) -> list[str]:
        """One line about columns that are not read, and one about what frames mean."""
        unused = [name for name in self.header if name and name not in self._used]
        found = []
        if self._used & {*_START_FRAME_COLUMNS, *_END_FRAME_COLUMNS}:
            found.append(f"{file}: frames count from 0, and the end is the first that no longer belongs to the part")
        if unused:
            shown = ", ".join(unused[:_NUM_SHOWN]) + (", …" if len(unused) > _NUM_SHOWN else "")
            found.append(
                f"{file}: the column{'s' * (len(unused) > 1)} {shown} {'are' if unused[1:] else 'is'} not used"
            )
        return found


def _row_reader(columns: _Columns) -> Callable[[Row], dict[str, Any]]:
    """What gives split, part and group of a row."""
    split_of, group_of = columns.reader(("split",)), columns.reader((columns.group_column,))
    start_of, end_of = columns.reader(START_COLUMNS), columns.reader(END_COLUMNS)
    start_frame_of, end_frame_of = columns.reader(_START_FRAME_COLUMNS), columns.reader(_END_FRAME_COLUMNS)

    def read(row: Row) -> dict[str, Any]:
        place, cells = row
        start, end = read_seconds(start_of(cells), end_of(cells), place)
        start_frame, end_frame = read_frames(start_frame_of(cells), end_frame_of(cells), place)
        if (start, end) != (None, None) and (start_frame, end_frame) != (None, None):
            raise DataError(
                f"{place}: a part in seconds and in frames", expected="one of the two", hint="leave two cells empty"
            )
        split, group = split_of(cells), group_of(cells)
        return {
            "split": None if is_missing(split) else read_split(split, place),
            "start_seconds": start,
            "end_seconds": end,
            "start_frame": start_frame,
            "end_frame": end_frame,
            "group": None if is_missing(group) else group,
        }

    return read


def read_seconds(start: str, end: str, place: Place) -> tuple[float | None, float | None]:
    """Where a part of a video begins and ends; None for cells that are missing.

    Raises:
        DataError: if they are no numbers of seconds, or in the wrong order.
    """
    if is_missing(start) and is_missing(end):
        return None, None
    try:
        begins, ends = (None if is_missing(text) else float(text) for text in (start, end))
    except ValueError:
        begins = ends = math.nan
    if not (0 <= (begins or 0) < (math.inf if ends is None else ends)) or ends == math.inf:
        raise DataError(
            f"{place}: from {start or 'the beginning'!r} to {end or 'the end'!r}",
            expected="seconds, the end after the start",
            hint="write both as numbers such as 12.5, or leave them empty",
        )
    return begins, ends


def read_frames(start: str, end: str, place: Place) -> tuple[int | None, int | None]:
    """The first frame of a part of a video, counted from 0, and the first one after it; None for missing cells.

    Raises:
        DataError: if they are no whole numbers, or in the wrong order.
    """
    if is_missing(start) and is_missing(end):
        return None, None
    try:
        begins, ends = (None if is_missing(text) else _whole(text) for text in (start, end))
        is_part = (begins or 0) >= 0 and (ends is None or ends > (begins or 0))
    except ValueError:
        begins, ends, is_part = None, None, False
    if not is_part:
        raise DataError(
            f"{place}: from frame {start or 'the first'!r} to {end or 'the last'!r}",
            expected="whole numbers from 0, the end after the start",
            hint="start_frame is the first frame, end_frame the first that no longer belongs to it",
        )
    return begins, ends


def _whole(text: str) -> int:
    """The number; pandas writes whole ones as `12.0` where some are missing."""
    number = float(text)
    if not number.is_integer():
        raise ValueError(text)
    return int(number)
