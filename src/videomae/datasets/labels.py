"""Names of classes as people and programs write them: missing ones, several in a cell, one name in several forms."""

from __future__ import annotations

import ast
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from videomae.core.errors import DataError
from videomae.datasets.entries import LABEL_SEPARATOR, Place, VideoEntry

LABELS_COLUMN = "labels"
SCORE_COLUMN = "score"
# As pandas reads and writes what is missing.
_MISSING = frozenset(
    (
        *("", "nan", "NaN", "-nan", "-NaN", "None", "null", "NULL", "N/A", "n/a", "NA", "<NA>", "NaT"),
        *("#N/A", "#N/A N/A", "#NA", "1.#IND", "1.#QNAN", "-1.#IND", "-1.#QNAN"),
    )
)
_NUMBER = re.compile(r"(\d{1,9})(\.0*)?", re.ASCII)
_SEVERAL_NUMBERS = re.compile(r"\d+(\s*[,;|]\s*\d+)+")
_IGNORED = re.compile(r"[\s_-]+")
_NUM_SHOWN = 5


def is_missing(cell: str) -> bool:
    """Whether a cell stands for nothing: empty, or a word such as nan, None, null or N/A that pandas writes."""
    return cell in _MISSING


def split_labels(cell: str) -> tuple[str, ...]:
    """The classes of a cell with `|` between them, sorted, each once; none for an empty one."""
    return tuple(sorted({name.strip() for name in cell.split(LABEL_SEPARATOR)} - {""}))


def one_label(label: str, place: Place) -> str | None:
    """The label of a cell; None for one that is missing.

    Raises:
        DataError: if it is a list of numbers.
    """
    if _SEVERAL_NUMBERS.fullmatch(label):
        raise DataError(
            f"{place}: the labels {label!r}",
            expected="one class for each video",
            hint=f"keep the one that counts, or name the column {LABELS_COLUMN} and put {LABEL_SEPARATOR} between them",
        )
    return None if is_missing(label) else label


def reader_of_labels(cells: Sequence[str]) -> tuple[Callable[[str], tuple[str, ...]], str]:
    """How the cells of a column `labels` name several classes.

    `|` separates them; in a column without any, lists as Python and JSON write them (`['a', 'b']`), else `;`, else `,`.

    Returns:
        What gives the classes of a cell, sorted, each once; and a line for the user where they are not divided by `|`.
    """
    filled = [cell for cell in cells if not is_missing(cell)]
    if not filled or any(LABEL_SEPARATOR in cell for cell in filled):
        return _without_missing, ""
    if all(_as_list(cell) is not None for cell in filled):
        return lambda cell: tuple(sorted(set(_as_list(cell) or ()))), ""
    separator = next((letter for letter in ";," if any(letter in cell for cell in filled)), "")
    if not separator:
        return _without_missing, ""
    example = next(cell for cell in filled if separator in cell)
    notice = (
        f"in the column {LABELS_COLUMN}, {separator!r} is used as the separator of classes, as in {example[:80]!r}; "
        f"with {LABEL_SEPARATOR} at the end of a cell it is part of the names"
    )
    return lambda cell: _without_missing(cell.replace(separator, LABEL_SEPARATOR)), notice


def _without_missing(cell: str) -> tuple[str, ...]:
    return () if is_missing(cell) else split_labels(cell)


def _as_list(cell: str) -> list[str] | None:
    """The names in a cell such as `['a', 'b']`; None for any other, and `[]` for one that is missing."""
    if is_missing(cell):
        return []
    if (cell[0], cell[-1]) not in (("[", "]"), ("(", ")"), ("{", "}")):
        return None
    try:
        names = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    is_list = isinstance(names, list | tuple | set) and all(isinstance(name, str | int) for name in names)
    return [str(name).strip() for name in names] if is_list else None


def tidy_labels(entries: Sequence[VideoEntry], listing: Path | str) -> tuple[tuple[VideoEntry, ...], tuple[str, ...]]:
    """One class for one name: Unicode's composed form (NFC) of each, and `1` for `1.0` where all are numbers.

    Args:
        entries: the videos.
        listing: what they come from, for the notices.

    Returns:
        The videos, and what their user should know: forms that are treated as one, names that look alike, and names
        that seem to be several classes; one line each.
    """
    counts = Counter(name for entry in entries for name in entry.classes)
    tidy = {name: unicodedata.normalize("NFC", name) for name in counts}
    notices = [
        f"{listing}: the class {name!r} is written in two forms of Unicode, which are treated as one"
        for name, forms in _by(tidy.get, counts).items()
        if len(forms) > 1
    ]
    if counts and all(map(_NUMBER.fullmatch, counts)) and (floats := [name for name in counts if "." in name]):
        tidy = {name: name.partition(".")[0] for name in counts}
        notices.append(f"{listing}: classes such as {floats[0]} are treated as whole numbers")
    if any(name != new for name, new in tidy.items()):
        entries = [_renamed(entry, tidy) for entry in entries]
    names = sorted(set(tidy.values()))
    notices += [f"{listing}: {text}" for text in (*_alike(names), *_several_in_one(entries, names))]
    return tuple(entries), tuple(notices)


def _renamed(entry: VideoEntry, names: dict[str, str]) -> VideoEntry:
    if entry.labels is not None:
        return replace(entry, labels=tuple(sorted({names[name] for name in entry.labels})))
    return entry if entry.label is None else replace(entry, label=names[entry.label])


def _alike(names: Sequence[str]) -> list[str]:
    """Names that differ in capitals, or in spaces, dashes and underscores."""
    notices = []
    for key, word in ((str.casefold, "capitals"), (_loosely, "capitals or spaces")):
        for group in _by(key, names).values():
            if len(group) > 1 and (word == "capitals" or len({name.casefold() for name in group}) > 1):
                first, second = group[:2]
                notices.append(f"the classes {first!r} and {second!r} differ in {word} only")
    return notices[:_NUM_SHOWN]


def _loosely(name: str) -> str:
    number = _NUMBER.fullmatch(name)
    # Where not all are numbers, `1.0` is a name; `01` and `1` are two in class folders that count so.
    return number[1] if number is not None else _IGNORED.sub("", name.casefold()) or name


def _several_in_one(entries: Sequence[VideoEntry], names: Sequence[str]) -> list[str]:
    """A line about labels that seem to be several classes: with `;` or `|`, or with commas between known classes."""
    known = set(names)
    several = [
        name
        for name in names
        if re.search(r"\w\s*[;|]\s*\w", name)
        or ("," in name and all(part.strip() in known for part in name.split(",") if part.strip()))
    ]
    if not several or any(entry.labels is not None for entry in entries[:1]):
        return []
    more = f" and {len(several) - 1} more seem" if len(several) > 1 else " seems"
    return [
        f"the class {several[0][:80]!r}{more} to be several classes, but is treated as one; where a video may have "
        f"several, call the column {LABELS_COLUMN}"
    ]


def _by(key: Callable[[str], str | None], names: Sequence[str] | Counter[str]) -> dict[str | None, list[str]]:
    groups: dict[str | None, list[str]] = defaultdict(list)
    for name in names:
        groups[key(name)].append(name)
    return groups
