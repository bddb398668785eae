"""DATA of the command line: a folder, a list or a table of videos becomes a manifest."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from videomae.core.errors import DataError
from videomae.video.source import VideoSource

# Those that people have most come first: an error lists them all.
_SUFFIXES = ".mp4 .avi .mkv .webm .mov .m4v .wmv .flv .mpg .mpeg .gif .3gp .asf .m2ts .mts .ogv .ts .vob"
VIDEO_SUFFIXES = frozenset(_SUFFIXES.split())
SPLITS = ("train", "val", "test")
_TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".list")
# What people call the columns of their tables.
_HEADER_NAMES = frozenset(
    (
        *("path", "paths", "file", "files", "filename", "file_name", "filepath", "file_path", "clip", "clip_path"),
        *("video", "videos", "video_path", "video_name", "video_id", "name", "id", "label", "labels", "class"),
        *("class_name", "category", "action", "target", "split"),
    )
)
_FORMS = "a folder of class folders, a folder of videos, a CSV or TSV with path,label[,split], or a text file of paths"


@dataclass(frozen=True)
class VideoEntry:
    """One video of a data set.

    Args:
        path: where it is.
        label: the name of its class.
        split: train, val or test.
        start_seconds: where the part that counts begins; None for the video's start.
        end_seconds: where it ends; None for the video's end.
        group: what it shares with others that must stay on the same side of a split (a source, a person).
    """

    path: VideoSource
    label: str | None = None
    split: str | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None
    group: str | None = None


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
        """This manifest, if every video has a class, and all of them are `known` (without `known`: two or more).

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
        found = sorted({entry.label for entry in self.entries if entry.label is not None})
        if known is None and len(found) < 2:
            raise DataError(
                f"{self.source} with the one class {found[0]!r}",
                expected="two classes or more",
                hint="give a folder that holds one folder for each class",
            )
        known_names = set(self.class_names if known is None else known)
        unknown = [name for name in found if name not in known_names]
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
    if not entries and source.is_file():
        raise DataError(
            f"{source} without videos",
            expected="a line for each video",
            hint="the list is empty; write the paths of the videos into it",
        )
    if not entries:
        raise DataError(
            f"{source} without videos",
            expected=f"files that end in {_SUFFIXES.replace(' ', ', ')}",
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
    videos = list(_videos_below(folder))
    tops = _tops(folder, videos)
    # Videos decide: a licence or a folder of annotations beside train/ and val/ does not make classes of these.
    if tops and tops <= set(SPLITS):
        for split in (split for split in SPLITS if split in tops):
            inside = folder / split
            yield from _labelled(inside, [video for video in videos if inside in video.parents], split)
    else:
        yield from _labelled(folder, videos, None)


def _labelled(folder: Path, videos: list[Path], split: str | None) -> Iterator[VideoEntry]:
    """Each video with the folder below `folder` that holds it as its class."""
    # Videos that lie beside folders belong to no class, so then none does: a mixed folder is a collection.
    classes = _tops(folder, videos)
    for video in videos:
        yield VideoEntry(video, label=video.relative_to(folder).parts[0] if classes else None, split=split)


def _tops(folder: Path, videos: list[Path]) -> set[str]:
    """The names of the folders right below `folder` that hold the videos; none if any lies in `folder` itself."""
    parts = [video.relative_to(folder).parts for video in videos]
    return set() if any(len(names) == 1 for names in parts) else {names[0] for names in parts}


def _videos_below(folder: Path, above: frozenset[str] = frozenset()) -> Iterator[Path]:
    """All videos at any depth, sorted by path, through links too; hidden files and folders are left out."""
    here = os.path.realpath(folder)
    if here in above:  # a link to a folder that holds it
        return
    try:
        with os.scandir(folder) as children:
            shown = sorted((child for child in children if not child.name.startswith(".")), key=lambda c: c.name)
    except OSError as error:
        raise DataError(
            f"{folder} ({error.strerror})", expected="a folder that can be read", hint="change its permissions"
        ) from error
    for child in shown:
        path = folder / child.name
        if os.path.isdir(path):
            yield from _videos_below(path, above | {here})
        elif path.suffix.lower() in VIDEO_SUFFIXES and (os.path.isfile(path) or child.is_symlink()):
            yield path  # a link to nowhere too: reading it names it, leaving it out would hide the loss


def _table_entries(table: Path) -> Iterator[VideoEntry]:
    try:
        lines = table.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{table} ({error.reason})", expected="UTF-8 text", hint="save the file as UTF-8") from error
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        return
    delimiter = "\t" if "\t" in numbered[0][1] else ","
    header = [name.strip().lower() for name in next(csv.reader([numbered[0][1]], delimiter=delimiter))]
    if "path" in header:
        yield from _headed_entries(table, numbered[1:], header, delimiter)
    else:
        for number, line in numbered:
            yield _bare_entry(table, number, line.strip(), is_first=number == numbered[0][0])


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


def _bare_entry(table: Path, number: int, line: str, *, is_first: bool) -> VideoEntry:
    """A path alone, or the original code's `path label`; a path may hold spaces, so what exists decides."""
    if Path(line).suffix.lower() in VIDEO_SUFFIXES or os.path.isfile(table.parent / line):
        return VideoEntry(_existing(table, number, line))
    for separator in ("\t", ",", " "):
        path, _, label = (part.strip() for part in line.rpartition(separator))
        if path.startswith('"') and path.endswith('"'):  # as spreadsheets write a path that holds a comma
            path = path[1:-1].replace('""', '"')
        if Path(path).suffix.lower() in VIDEO_SUFFIXES:
            return VideoEntry(_existing(table, number, path), label or None)
    raise DataError(
        f"{table}, line {number}: {line[:120]!r}",
        expected="a video's path, or a path and a label",
        hint=_column_hint(line, is_first=is_first),
    )


def _column_hint(line: str, *, is_first: bool) -> str:
    """What to do about a line that names no video: often the header of a table whose columns we do not know."""
    names = {cell.strip(' "').lower() for cell in re.split(r"[,;|\t]", line)}
    is_header = is_first and not names.isdisjoint(_HEADER_NAMES)
    name_it = ["name the column of the videos path"] if is_header and "path" not in names else []
    split_it = ["separate the columns by commas or tabs"] if ";" in line or "|" in line else []
    return " and ".join(name_it + split_it) or "write path,label,split in the first line if the file has columns"


def _existing(table: Path, number: int, path: str) -> Path:
    # Joining keeps an absolute path as it is.
    found = table.parent / path
    if not os.path.isfile(found):
        raise DataError(
            f"{table}, line {number}: {path!r}",
            expected=f"a path of an existing file, relative to {table.parent}",
            hint="correct the path or remove the line",
        )
    return found


def _sorted_names(names: set[str]) -> tuple[str, ...]:
    if names and all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))  # "1" and "01" have one value
    return tuple(sorted(names))
