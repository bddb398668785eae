"""What all readers of lists share: lines, rows, paths, and what comes out."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from videomae.core.errors import DataError
from videomae.datasets.entries import Place, VideoEntry
from videomae.datasets.folders import Files
from videomae.datasets.line_errors import LineErrors
from videomae.video import FrameFolder, VideoSource

TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".list")


@dataclass(frozen=True)
class Listed:
    """What was read from a list.

    Args:
        entries: its videos, in its order.
        notices: what its user should know, one line each.
        columns: names of its columns; none where it has no header.
    """

    entries: tuple[VideoEntry, ...]
    notices: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


class Row(NamedTuple):
    """The cells of a line that is not empty."""

    place: Place
    cells: list[str]


def read_lines(file: Path) -> list[tuple[int, str]]:
    """The lines that are not empty, with their numbers from 1.

    Raises:
        DataError: if the file cannot be read as UTF-8 text.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} ({error.reason})", expected="UTF-8 text", hint="save the file as UTF-8") from error
    except OSError as error:
        raise DataError(
            f"{file} ({error.strerror})", expected="a list that can be read", hint="change its permissions"
        ) from error
    # Only what ends a line in a file: `splitlines` would also break at characters that a path may hold.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [(number, line) for number, line in enumerate(lines, start=1) if line and not line.isspace()]


def split_header(line: str) -> tuple[list[str], str]:
    """The cells of the first line in lower case, and the delimiter."""
    delimiter = "\t" if "\t" in line else ","
    try:
        cells = next(csv.reader([line], delimiter=delimiter))
    except csv.Error:  # a line longer than any header
        return [], delimiter
    return [name.strip().lower() for name in cells], delimiter


class Paths:
    """Turns the paths of a list into videos that exist.

    Args:
        file: the list.
        root: what its paths are relative to; None for the folder that holds it.

    Attributes:
        errors: what is wrong with the list's lines; `finish` reports it with the paths that are not there.
    """

    def __init__(self, file: Path, root: Path | None) -> None:
        self.file = file
        self.base = root or file.parent
        self._prefix = os.path.join(str(self.base), "")
        self._files = Files()
        self._folders: dict[str, Path] = {}
        self._missing: list[tuple[Place, str]] = []
        self.num_found = 0
        self.errors = LineErrors(file)

    def find(self, path: str, place: Place) -> VideoSource | None:
        """The file, or the folder of numbered frames; None for what is not there, which `finish` reports."""
        found = self.look_up(path)
        if found is None:
            self._missing.append((place, path))
        else:
            self.num_found += 1
        return found

    def look_up(self, path: str) -> VideoSource | None:
        """The file, or the folder of numbered frames, or None."""
        # Joining keeps an absolute path as it is.
        joined = os.path.join(self._prefix, path)
        folder, name = os.path.split(joined)
        if self._files.is_file(folder, name):
            parent = self._folders.get(folder)
            if parent is None:
                parent = self._folders[folder] = Path(folder)
            return parent / name  # half the cost of a path from text, for lists of a million lines
        return FrameFolder(Path(joined)) if path and self._files.is_frame_folder(joined) else None

    def finish(self) -> None:
        """Report what was not found, and the other errors of the list, in the order of its lines.

        Raises:
            DataError: if there are any.
        """
        hint = "correct the path or remove the line"
        if not self.num_found and len(self._missing) > 1:
            hint = "give the folder that the paths are relative to with --video-root"
        longest = 500 if len(self._missing) == 1 else 100
        for place, path in self._missing:
            error = DataError(
                f"{place}: {path[:longest]!r}",
                expected=f"a path of an existing file or folder of frames, relative to {self.base}",
                hint=hint,
            )
            self.errors.add(place, error)
        self.errors.finish()


def about_missing(file: Path, count: int) -> tuple[str, ...]:
    """A notice about cells that hold nan or similar."""
    labels = "1 label" if count == 1 else f"{count} labels"
    return (f"{file}: {labels} (nan, None, null or N/A) treated as missing",) if count else ()
