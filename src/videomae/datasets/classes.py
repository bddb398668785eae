"""Names for numbered classes: lists of classes beside a list of videos, and what is wrong with the numbers."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from videomae.core.errors import DataError
from videomae.core.files import read_json
from videomae.datasets.entries import Place, VideoEntry, is_number
from videomae.datasets.list_lines import read_lines

CLASS_LIST_NAMES = ("classInd.txt", "labels.json", "classes.txt", "class_names.txt", "label_map.txt")
_NUMBERED = re.compile(r"(\d{1,9})[\s,:]+(\S.*)")
_NUM_SHOWN = 5


@dataclass(frozen=True)
class ClassList:
    """The classes of a data set by their numbers.

    Args:
        file: where they are listed.
        names: name of each number.
    """

    file: Path
    names: Mapping[int, str]


def find_class_list(folder: Path) -> ClassList | None:
    """The class list in `folder`; None where there is none.

    Raises:
        DataError: if there is one that cannot be understood.
    """
    for name in CLASS_LIST_NAMES:
        if (folder / name).is_file():
            return read_class_list(folder / name)
    return None


def read_class_list(file: Path) -> ClassList:
    """Classes as lines `number name`, or as names alone, which count from 0; as JSON {name: number} or [name, ...].

    Raises:
        DataError: if it is none of these, or a number or name comes twice.
    """
    pairs = _json_pairs(file) if file.suffix.lower() == ".json" else _text_pairs(file)
    names: dict[int, str] = {}
    number_of: dict[str, int] = {}
    for place, number, name in pairs:
        if number in names or name in number_of:
            other = names[number] if number in names else str(number_of[name])
            raise DataError(
                f"{place}: {number} {name}",
                expected="each number and each name once",
                hint=f"it is there already with {other}; correct one of them",
            )
        names[number] = unicodedata.normalize("NFC", name)  # as labels are
        number_of[name] = number
    if not names:
        raise DataError(f"{file} without classes", expected="a name for each class", hint="write one in each line")
    return ClassList(file, names)


def _text_pairs(file: Path) -> list[tuple[Place, int, str]]:
    lines = [(Place(file, number), line.strip()) for number, line in read_lines(file)]
    numbered = [_NUMBERED.fullmatch(line) for _, line in lines]
    if all(numbered):  # else a number is part of a name, as in `3 point shot`
        found = zip(lines, numbered, strict=True)
        return [(place, int(match[1]), match[2]) for (place, _), match in found if match is not None]
    return [(place, number, line) for number, (place, line) in enumerate(lines)]


def _json_pairs(file: Path) -> list[tuple[Place, int, str]]:
    document = read_json(file, error_type=DataError, encoding="utf-8-sig")
    if isinstance(document, list) and all(isinstance(name, str) for name in document):
        return [(Place(file, number + 1, "item"), number, name) for number, name in enumerate(document)]
    pairs = []
    items = document.items() if isinstance(document, dict) else ()
    for item, (name, number) in enumerate(items, start=1):
        if not is_number(str(number)):
            raise DataError(
                f"{Place(file, item, 'item')}: {str(name)[:80]!r}: {str(number)[:80]!r}",
                expected="a number for each name of a class",
                hint="correct it, or rename the file if it lists no classes",
            )
        pairs.append((Place(file, item, "item"), int(number), str(name)))
    return pairs


def name_classes(
    entries: Sequence[VideoEntry], listing: Path, class_list: ClassList | None
) -> tuple[tuple[VideoEntry, ...], tuple[str, ...]]:
    """Give numbered classes their names, and check them.

    Args:
        entries: the videos.
        listing: the list that they come from, for the notices.
        class_list: names of the numbers; None leaves the numbers.

    Returns:
        The videos, and what their user should know, one line each.

    Raises:
        DataError: if a class is not in the list, with the line that names it.
    """
    labels = {name for entry in entries for name in entry.classes}
    if not labels:
        return tuple(entries), ()
    if not all(map(is_number, labels)):
        return tuple(entries), _check_names(entries, labels, listing, class_list)
    numbers = {int(label) for label in labels}
    if class_list is None:
        return tuple(entries), _tell_gaps(numbers, listing)
    _check_numbers(entries, numbers, class_list)
    named = tuple(_named(entry, class_list.names) for entry in entries)
    return named, _about_unused({class_list.names[number] for number in numbers}, listing, class_list)


def _named(entry: VideoEntry, names: Mapping[int, str]) -> VideoEntry:
    if entry.labels is not None:
        return replace(entry, labels=tuple(sorted({names[int(number)] for number in entry.labels})))
    return entry if entry.label is None else replace(entry, label=names[int(entry.label)])


def _first_wrong(entries: Sequence[VideoEntry], is_known: Callable[[str], bool]) -> tuple[VideoEntry, str] | None:
    """The first video with a class that is not known, and that class."""
    return next(((entry, name) for entry in entries for name in entry.classes if not is_known(name)), None)


def _check_numbers(entries: Sequence[VideoEntry], numbers: set[int], class_list: ClassList) -> None:
    known = class_list.names
    found = _first_wrong(entries, lambda name: int(name) in known)
    if found is None:
        return
    wrong, number = found
    first, last = min(known), max(known)
    if first == 0 and numbers <= set(range(1, last + 2)):
        hint = f"the labels seem to count from 1 and {class_list.file.name} from 0; write `1 name` in its lines"
    elif first == 1 and numbers <= set(range(last)):
        hint = f"the labels seem to count from 0 and {class_list.file.name} from 1; make both count alike"
    else:
        hint = f"correct the label, or add its name to {class_list.file.name}"
    raise DataError(
        f"{wrong.named} with the class {number}",
        expected=f"a class of {class_list.file}, which has {len(known)}, from {first} to {last}",
        hint=hint,
    )


def _check_names(
    entries: Sequence[VideoEntry], labels: set[str], listing: Path, class_list: ClassList | None
) -> tuple[str, ...]:
    if class_list is None:
        return ()
    known = set(class_list.names.values())
    if labels.isdisjoint(known):
        return (f"{class_list.file} names none of the classes of {listing}; it is not used",)
    found = _first_wrong(entries, known.__contains__)
    if found is not None:
        wrong, name = found
        similar = difflib.get_close_matches(name, known, n=1)
        raise DataError(
            f"{wrong.named} with the class {name!r}",
            expected=f"one of the {len(known)} classes of {class_list.file}",
            hint=f"did you mean {similar[0]!r}?" if similar else "correct the label, or add it to the classes",
        )
    return _about_unused(labels, listing, class_list)


def _tell_gaps(numbers: set[int], listing: Path) -> tuple[str, ...]:
    first = min(min(numbers), 1)  # lists count from 0 or from 1
    missing = [number for number in range(first, max(numbers)) if number not in numbers]
    if not missing:
        return ()
    shown = ", ".join(map(str, missing[:_NUM_SHOWN])) + (", ..." if len(missing) > _NUM_SHOWN else "")
    return (
        f"{listing}: classes from {first} to {max(numbers)}, but no video of {shown}; "
        f"the {len(numbers)} classes that have videos keep their numbers as names",
    )


def _about_unused(used: set[str], listing: Path, class_list: ClassList) -> tuple[str, ...]:
    unused = [name for _, name in sorted(class_list.names.items()) if name not in used]
    if not unused:
        return ()
    shown = ", ".join(map(repr, unused[:_NUM_SHOWN])) + (", ..." if len(unused) > _NUM_SHOWN else "")
    return (
        f"{listing}: no video of {len(unused)} of the {len(class_list.names)} classes of {class_list.file.name} "
        f"({shown}); these classes are ignored",
    )
