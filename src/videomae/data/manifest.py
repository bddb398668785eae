"""DATA of the command line: a folder, a list or a table of videos becomes a manifest."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from videomae.core.errors import DataError

_SUFFIXES = "3gp avi asf flv gif m2ts m4v mkv mov mp4 mpeg mpg mts ogv ts vob webm wmv"
VIDEO_SUFFIXES = frozenset(f".{suffix}" for suffix in _SUFFIXES.split())
SPLITS = ("train", "val", "test")
_TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".list")
_FORMS = "a folder of class folders, a folder of videos, a CSV or TSV with path,label[,split], or a text file of paths"


@dataclass(frozen=True)
class VideoEntry:
    """One video of a data set."""

    path: Path
    label: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class Manifest:
    """The videos of a data set, in a fixed order, and the names of its classes, sorted."""

    source: Path
    entries: tuple[VideoEntry, ...]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that the data set names, in the order train, val, test."""
        found = {entry.split for entry in self.entries}
        return tuple(split for split in SPLITS if split in found)

    def take_split(self, *wanted: str) -> Manifest:
        """The first of the `wanted` splits that exists; a data set that names no splits is taken whole."""
        if not self.splits:
            return self
        for split in wanted:
            if split in self.splits:
                return replace(self, entries=tuple(entry for entry in self.entries if entry.split == split))
        raise DataError(
            f"{self.source} with the splits {', '.join(self.splits)}",
            expected=f"a split named {' or '.join(wanted)}",
            hint="rename a split, or give the path of one split's folder or list",
        )

    def require_classes(self, known: Iterable[str] | None = None) -> Manifest:
        """This manifest, if every video has a class, there are two or more, and all are `known`.

        Raises:
            DataError: says what is missing.
        """
        unlabelled = next((entry for entry in self.entries if entry.label is None), None)
        if unlabelled is not None:
            raise DataError(
                f"{unlabelled.path} without a class",
                expected="a class for every video",
                hint="put the videos of each class in a folder of its name, or list them in a CSV with path,label",
            )
        if known is None and len(self.class_names) < 2:
            raise DataError(
                f"{self.source} with the one class {self.class_names[0]!r}",
                expected="two classes or more",
                hint="give a folder that holds one folder for each class",
            )
        known_names = set(self.class_names if known is None else known)
        unknown = sorted(set(self.class_names) - known_names)
        if unknown:
            raise DataError(
                f"{self.source} with the class {unknown[0]!r}",
                expected=f"the classes {', '.join(sorted(known_names)[:10])}",
                hint="rename the class, or choose a model that was trained on it",
            )
        return self

    def class_counts(self) -> dict[str, int]:
        """Videos of each class, every class named."""
        counts = Counter(entry.label for entry in self.entries)
        return {name: counts[name] for name in self.class_names}


def read_manifest(data: str | Path) -> Manifest:
    """Find the videos of DATA.

    Forms: a folder of class folders; a folder that holds only `train`, `val`, `test` (each any of the other folders);
    a folder of videos, at any depth, without classes; a CSV or TSV with the columns `path`, `label` and optionally
    `split`; the original code's lines `path label` without a header; a text file of paths. Paths in a file are relative
    to it. Videos are sorted by path (files keep their order), classes by name, or by value where all are numbers.

    Raises:
        DataError: if there is no such file or folder, it holds no video, or a line is malformed (says which).
    """
    source = Path(data).expanduser()
    if source.is_dir():
        entries = list(_folder_entries(source))
    elif source.is_file() and source.suffix.lower() in _TABLE_SUFFIXES:
        entries = list(_table_entries(source))
    elif source.is_file() and source.suffix.lower() in VIDEO_SUFFIXES:
        raise DataError(source, expected=_FORMS, hint="this is one video; put it in a folder")
    elif source.exists():
        raise DataError(source, expected=_FORMS, hint=f"name lists {', '.join(_TABLE_SUFFIXES)}")
    else:
        raise DataError(source, expected=_FORMS, hint="there is no such file or folder; check the path")
    if not entries:
        raise DataError(
            f"{source} without videos",
            expected=f"files such as {', '.join(sorted(VIDEO_SUFFIXES)[:9])}",
            hint="give the folder that holds the videos or the folders of classes",
        )
    names = {entry.label for entry in entries if entry.label is not None}
    return Manifest(source=source, entries=tuple(entries), class_names=_sorted_names(names))


def find_videos(paths: Iterable[str | Path]) -> list[Path]:
    """Files as given, and all videos of folders that are given, sorted.

    Raises:
        DataError: if a folder holds no video.
    """
    found: list[Path] = []
    for given in paths:
        path = Path(given).expanduser()
        # A path that does not exist is kept: reading it gives the clearest error.
        found += [entry.path for entry in read_manifest(path).entries] if path.is_dir() else [path]
    return found


def _folder_entries(folder: Path) -> Iterator[VideoEntry]:
    children = [child for child in sorted(folder.iterdir()) if not child.name.startswith(".")]
    folders = [child for child in children if child.is_dir()]
    loose = any(_is_video(child) for child in children)
    # A licence or a read-me beside train/ and val/ does not make them classes.
    if folders and not loose and all(child.name in SPLITS for child in folders):
        for split_folder in sorted(folders, key=lambda child: SPLITS.index(child.name)):
            for entry in _folder_entries(split_folder):
                yield replace(entry, split=split_folder.name)
        return
    # Videos that lie beside folders belong to no class, so then none does: a mixed folder is a collection.
    classes = folders and not loose
    for path in _videos_below(folder):
        yield VideoEntry(path, label=path.relative_to(folder).parts[0] if classes else None)


def _videos_below(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if _is_video(path) and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()


def _table_entries(table: Path) -> Iterator[VideoEntry]:
    try:
        lines = table.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{table} ({error.reason})", expected="UTF-8 text", hint="save the file as UTF-8") from error
    numbered = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        return
    delimiter = "\t" if "\t" in numbered[0][1] else ","
    header = [name.strip().lower() for name in next(csv.reader([numbered[0][1]], delimiter=delimiter))]
    if "path" in header:
        yield from _headed_entries(table, numbered[1:], header, delimiter)
    else:
        for number, line in numbered:
            yield _bare_entry(table, number, line)


def _headed_entries(
    table: Path, numbered: list[tuple[int, str]], header: list[str], delimiter: str
) -> Iterator[VideoEntry]:
    for number, line in numbered:
        cells = [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]
        if len(cells) != len(header):
            raise DataError(
                f"{table}, line {number}: {len(cells)} columns",
                expected=f"{len(header)} columns, as in the first line: {', '.join(header)}",
                hint="quote a path that holds the delimiter",
            )
        row = dict(zip(header, cells, strict=True))
        split = row.get("split") or None
        if split is not None and split not in SPLITS:
            raise DataError(
                f"{table}, line {number}: split {split!r}",
                expected=" or ".join(SPLITS),
                hint="correct the split column",
            )
        yield VideoEntry(_existing(table, number, row["path"]), row.get("label") or None, split)


def _bare_entry(table: Path, number: int, line: str) -> VideoEntry:
    """A path alone, or the original code's `path label`; a path may hold spaces, so what exists decides."""
    whole = table.parent / line
    if whole.suffix.lower() in VIDEO_SUFFIXES or whole.exists():
        return VideoEntry(_existing(table, number, line))
    for separator in ("\t", ",", " "):
        path, found, label = line.rpartition(separator)
        if found and Path(path.strip()).suffix.lower() in VIDEO_SUFFIXES:
            return VideoEntry(_existing(table, number, path.strip()), label.strip())
    raise DataError(
        f"{table}, line {number}: {line[:120]!r}",
        expected="a video's path, or a path and a label",
        hint="write path,label,split in the first line if the file has columns",
    )


def _existing(table: Path, number: int, path: str) -> Path:
    # Joining keeps an absolute path as it is.
    found = table.parent / path
    if not found.exists():
        raise DataError(
            f"{table}, line {number}: {path}",
            expected=f"a path of an existing file, relative to {table.parent}",
            hint="correct the path or remove the line",
        )
    return found


def _sorted_names(names: set[str]) -> tuple[str, ...]:
    if names and all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=int))
    return tuple(sorted(names))
