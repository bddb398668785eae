"""Lists of videos in any of the forms that we read: which form it is, and several lists as one."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from videomae.core.errors import DataError
from videomae.datasets.bare_lists import bare_entries
from videomae.datasets.classes import CLASS_LIST_NAMES, ClassList, find_class_list, name_classes
from videomae.datasets.entries import LABEL_SEPARATOR, Place, VideoEntry, split_in_file_name
from videomae.datasets.folders import NamedVideos
from videomae.datasets.labels import LABELS_COLUMN, tidy_labels
from videomae.datasets.layout import split_folder
from videomae.datasets.line_errors import LineErrors
from videomae.datasets.list_lines import TABLE_SUFFIXES, Listed, Paths, Row, read_lines, split_header
from videomae.datasets.published_lists import (
    Finder,
    hmdb51_entries,
    is_hmdb51,
    is_kinetics,
    is_ucf101,
    json_items,
    kinetics_entries,
    lists_of_first_split,
    something_entries,
    ucf101_entries,
)
from videomae.datasets.tables import headed_entries, table_rows
from videomae.video import FrameFolder

LIST_SUFFIXES = (*TABLE_SUFFIXES, ".json", ".jsonl")
# Beside the videos of a folder, as `videofolder` of Hugging Face datasets has it.
_METADATA_NAMES = ("metadata.csv", "metadata.jsonl")
_METADATA_PATH = "file_name"
# Something-Something V2 comes with the classes of its test videos in a form of its own, beside the lists.
_MAX_HEADER = 1 << 16
_NO_LISTS = frozenset((*CLASS_LIST_NAMES, "test-answers.csv"))


def is_list(file: Path) -> bool:
    """Whether the name of a file is one of a list of videos."""
    return file.suffix.lower() in LIST_SUFFIXES and file.name not in _NO_LISTS


def lists_in_folder(folder: Path) -> tuple[list[Path], tuple[str, ...]]:
    """The lists in a folder that holds no videos, and notices about them: official splits, or train.csv, val.csv."""
    lists, notices = lists_of_first_split(folder)
    if not lists:
        named = (child for child in folder.iterdir() if is_list(child) and child.is_file())
        lists = sorted(file for file in named if split_in_file_name(file.stem) is not None)
    return lists, notices


def metadata_of_folder(folder: Path) -> list[Path]:
    """The metadata.csv or metadata.jsonl in a folder, or those in its split folders, that name videos by `file_name`.

    That is the form of Hugging Face's `videofolder`.
    """
    splits = sorted(child for child in folder.iterdir() if child.is_dir() and split_folder(child.name) is not None)
    for places in ([folder], splits):
        found = [place / name for place in places for name in _METADATA_NAMES if (place / name).is_file()]
        if found and all(_names_files(file) for file in found):
            return found
    return []


def _names_files(file: Path) -> bool:
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        return _METADATA_PATH in lines.readline(_MAX_HEADER)


def read_lists(files: Sequence[Path], *, root: Path | None, group_column: str | None) -> Listed:
    """The videos of one list, or of several; of several, those whose lines name no splits are named by their files.

    Args:
        files: the lists.
        root: where the videos are; None for the places that the lists give.
        group_column: the column that names groups; None for `group`.

    Raises:
        DataError: if a line is at fault, or a class is unknown.
    """
    readers: dict[Path, _ListReader] = {}
    found = []
    for file in files:
        reader = readers.setdefault(file.parent, _ListReader(file.parent, root, group_column))
        listed = reader.read(file)
        if not any(entry.split for entry in listed.entries):
            split_of = _splits_of_metadata(file) if file.name in _METADATA_NAMES else _split_of_list(file, len(files))
            listed = replace(listed, entries=tuple(replace(entry, split=split_of(entry)) for entry in listed.entries))
        found.append(listed)
    listing = files[0] if len(files) == 1 else files[0].parent
    return finished(found, listing, readers[files[0].parent].class_list())


def finished(found: Sequence[Listed], listing: Path, class_list: ClassList | None) -> Listed:
    """What was read from several lists as one: one name for one class, each video once.

    Args:
        found: what was read.
        listing: where from, for the notices.
        class_list: names of numbered classes.

    Raises:
        DataError: if a class is unknown, or a video has two.
    """
    entries = [entry for listed in found for entry in listed.entries]
    tidy, label_notices = tidy_labels(entries, listing)
    named, notices = name_classes(tidy, listing, class_list)
    kept, repeats = without_repeats(named, may_contradict=any(is_kinetics(listed.columns) for listed in found))
    own = [notice for listed in found for notice in listed.notices]
    return Listed(
        kept,
        tuple(dict.fromkeys([*own, *label_notices, *notices, *repeats])),
        tuple(dict.fromkeys(column for listed in found for column in listed.columns)),
    )


def _split_of_list(file: Path, num_files: int) -> Callable[[VideoEntry], str | None]:
    split = split_in_file_name(file.stem) if num_files > 1 else None
    return lambda entry: split


def _splits_of_metadata(file: Path) -> Callable[[VideoEntry], str | None]:
    """The split folder that holds the file, or else the one below it that holds the video."""
    split = split_folder(file.parent.name)
    prefix = os.path.join(str(file.parent), "")

    def split_of(entry: VideoEntry) -> str | None:
        first, *rest = str(entry.path).removeprefix(prefix).replace(os.sep, "/").split("/")
        return split or (split_folder(first) if rest else None)

    return split_of


class _ListReader:
    """Reads the lists of one folder; the videos and class names they share are searched for once."""

    def __init__(self, folder: Path, root: Path | None, group_column: str | None) -> None:
        self._folder, self._root = folder, root
        self._group_column = group_column
        self._videos: NamedVideos | None = None
        self._classes: tuple[ClassList | None] | None = None

    def class_list(self) -> ClassList | None:
        if self._classes is None:
            self._classes = (find_class_list(self._folder),)
        return self._classes[0]

    def read(self, file: Path) -> Listed:
        if file.suffix.lower() in (".json", ".jsonl"):
            return self._read_json(file)
        if is_ucf101(file):
            return ucf101_entries(file, self._finder(), self.class_list())
        if is_hmdb51(file):
            return hmdb51_entries(file, self._finder())
        lines = read_lines(file)
        if not lines:
            return Listed(())
        header, delimiter = split_header(lines[0][1])
        header = _with_path(header)
        if is_kinetics(header):
            errors = LineErrors(file)
            rows = list(table_rows(lines[1:], header, delimiter, errors))
            errors.finish()
            return kinetics_entries(rows, header, self._finder(), self._group_column or "youtube_id")
        paths = Paths(file, self._root)
        if "path" in header:
            below = table_rows(lines[1:], header, delimiter, paths.errors)
            listed = headed_entries(below, header, paths, self._group_column or "group")
        else:
            listed = bare_entries(file, lines, paths)
        paths.finish()
        return listed

    def _read_json(self, file: Path) -> Listed:
        items = json_items(file)
        if not items:
            return Listed(())
        items = [(place, dict(zip(_with_path(list(item)), item.values(), strict=True))) for place, item in items]
        if not all("path" in item for _, item in items):
            return something_entries(items, self._finder(), self.class_list())
        header = list(dict.fromkeys(key.lower() for _, item in items for key in item))
        rows = []
        for place, item in items:
            if isinstance(item.get("label"), list | dict):
                raise DataError(
                    f"{place}: the label {item['label']}",
                    expected="one class",
                    hint=f"keep the one that counts, or call them {LABELS_COLUMN}",
                )
            cells = {
                key.lower(): joined_labels(value, place) if key.lower() == LABELS_COLUMN else str(value).strip()
                for key, value in item.items()
                if value is not None
            }
            rows.append(Row(place, [cells.get(name, "") for name in header]))
        paths = Paths(file, self._root)
        listed = headed_entries(rows, header, paths, self._group_column or "group")
        paths.finish()
        return listed

    def _finder(self) -> Finder:
        if self._videos is None:
            self._videos = Finder.look_below(self._folder, self._root)
        return Finder(self._videos)


def _with_path(header: list[str]) -> list[str]:
    """The columns, with `path` for the `file_name` of Hugging Face's metadata."""
    if "path" in header:
        return header
    return ["path" if name == _METADATA_PATH else name for name in header]


def joined_labels(labels: object, place: Place) -> str:
    """Classes in JSON, as text or as a list, as a cell of a table has them."""
    if isinstance(labels, str | float):  # NaN
        return str(labels)
    values = labels if isinstance(labels, list) else [None]
    names = [str(value).strip() for value in values if isinstance(value, str | int)]
    if len(names) < len(values) or any(LABEL_SEPARATOR in name for name in names):
        raise DataError(
            f"{place}: the labels {str(labels)[:120]}",
            expected=f"a list of names or numbers of classes, without {LABEL_SEPARATOR} in them",
            hint="correct the list",
        )
    # With the separator at the end nothing else separates: a name may contain a comma.
    return LABEL_SEPARATOR.join([*names, ""]) if names else ""


def without_repeats(
    entries: Sequence[VideoEntry], *, may_contradict: bool = False
) -> tuple[tuple[VideoEntry, ...], tuple[str, ...]]:
    """The videos, each once, and one line about those that were listed again.

    Args:
        entries: the videos in the order of their lists.
        may_contradict: keep the first of two classes of one video instead of raising, for published lists.

    Raises:
        DataError: if a video has two classes, or is in train and in another split; names both lines.
    """
    first_of: dict[object, VideoEntry] = {}
    in_splits: set[object] = set()
    kept, repeated, contradicted, shared = [], [], [], []
    for entry in entries:
        key = _identity(entry)
        first = first_of.setdefault(key, entry)
        if first is entry:
            kept.append(entry)
        elif (first.label, first.labels, first.score) != (entry.label, entry.labels, entry.score):
            if not may_contradict:
                what = "class" if (first.score, entry.score) == (None, None) else "score"
                raise _contradiction(first, entry, what, first.label_text, entry.label_text)
            contradicted.append((first, entry))
        elif first.split == entry.split or (key, entry.split) in in_splits:
            repeated.append((first, entry))
        elif "train" in (first.split, entry.split):
            raise _contradiction(first, entry, "split", first.split, entry.split)
        else:
            in_splits.add((key, entry.split))
            kept.append(entry)
            shared.append((first, entry))
    return tuple(kept), (
        *_tell(repeated, "is listed again; each video is taken once"),
        *_tell(contradicted, "has another class, or none; the first is kept"),
        *_tell(shared, "is in both val and test"),
    )


def _identity(entry: VideoEntry) -> object:
    """What makes two lines name one video; text, because paths are slow to hash."""
    source = entry.path
    part = (source.first_frame, source.num_frames) if isinstance(source, FrameFolder) else None
    return str(source) if part is None and not entry.is_part else (str(source), part, *entry.part)


def _contradiction(first: VideoEntry, second: VideoEntry, what: str, one: str | None, other: str | None) -> DataError:
    return DataError(
        f"{second.named} " + (f"without a {what}" if other is None else f"with the {what} {other!r}"),
        expected=f"{'none' if one is None else repr(one)}, as in {first.place}",
        hint=f"a video has one {what}; remove one of the lines"
        if second.labels is None or what == "split"
        else "name all classes of a video in one line, and remove the other",
    )


def _tell(pairs: Sequence[tuple[VideoEntry, VideoEntry]], what: str) -> tuple[str, ...]:
    if not pairs:
        return ()
    first, second = pairs[0]
    more = f" (and {len(pairs) - 1} more)" if len(pairs) > 1 else ""
    return (f"{second.place}: the video of {first.place} {what}{more}",)
