"""DATA of the command line: a folder, a list or a table of videos becomes a manifest."""

from __future__ import annotations

import contextlib
import gc
import glob
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from videomae.core.errors import DataError
from videomae.datasets.entries import COMMON_SUFFIXES, SPLITS, VIDEO_SUFFIXES, VideoEntry, is_number
from videomae.datasets.folders import folder_entries
from videomae.datasets.groups import assign_groups, leaking_groups
from videomae.datasets.labels import tidy_labels
from videomae.datasets.list_lines import Listed
from videomae.datasets.lists import LIST_SUFFIXES, is_list, lists_in_folder, metadata_of_folder, read_lists
from videomae.datasets.shards import INDEX_NAME, is_packed, read_shard_entries
from videomae.datasets.tars import TAR_SUFFIX, read_tars, tars_below
from videomae.video import is_url

_FORMS = (
    "a folder of class folders, a folder of videos, a CSV, TSV or JSON with path,label[,split], "
    "a text file of paths, a published list, tar files of WebDataset or packed data"
)


@dataclass(frozen=True)
class Manifest:
    """The videos of a data set, in a fixed order.

    Args:
        source: what they were read from: a path, or the URL of shards.
        entries: the videos.
        class_names: names of their classes, sorted, by value where all are numbers.
        notices: what the user should know before these are used, one line each.
        used: of what was taken for a run: which splits are used and which are not; "" where that is all there is.
    """

    source: Path | str
    entries: tuple[VideoEntry, ...]
    class_names: tuple[str, ...]
    notices: tuple[str, ...] = ()
    used: str = ""

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def is_multi_label(self) -> bool:
        """Whether a video may have several classes, or none of them."""
        return bool(self.entries) and self.entries[0].labels is not None

    @property
    def is_scored(self) -> bool:
        """Whether videos have numbers to predict, in place of classes."""
        return any(entry.score is not None for entry in self.entries)

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

    def for_pretraining(self) -> Manifest:
        """The videos to pre-train on: of a data set with splits, train and what is in no split; else all of them."""
        if not self.splits:
            return self
        entries = tuple(entry for entry in self.entries if entry.split in (None, "train"))
        if not entries:
            return self.take_split("train")
        counts = Counter(entry.split or "in no split" for entry in entries)
        used = ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), reverse=True))
        unused = self.others_than("train", None)
        return replace(self, entries=entries, used=f"{used}; not used: {unused}" if unused else used)

    def others_than(self, *splits: str | None) -> str:
        """How many videos are in other splits, for people: `test 40, in no split 6`; "" where there are none."""
        counts = Counter(entry.split for entry in self.entries)
        names = (*self.splits, *([None] if counts[None] else []))
        return ", ".join(f"{name or 'in no split'} {counts[name]}" for name in names if name not in splits)

    def require_classes(self, known: Iterable[str] | None = None, *, multi_label: bool | None = False) -> Manifest:
        """This manifest, if every video has a class, and all of them are `known` (without `known`: two or more).

        Args:
            known: names of classes.
            multi_label: whether a video must be allowed several classes or none, or must have one; None takes both.
                Of several, one class is enough for the whole data set.

        Raises:
            DataError: if one is missing.
        """
        if multi_label is not None and self.entries:
            _require_kind(self, multi_label=multi_label)
        unlabelled = next((entry for entry in self.entries if entry.label is None and entry.labels is None), None)
        if unlabelled is not None:
            raise DataError(
                f"{unlabelled.named} without a class",
                expected="a class for every video",
                hint="put the videos of each class in a folder of its name, or list them in a CSV with path,label",
            )
        found = sorted(_class_names(self.entries))
        if not found:
            raise DataError(
                f"{self.source} without a class for any of its {len(self)} videos",
                expected="a video that shows one of the classes",
                hint="fill in the column labels",
            )
        if known is None and len(found) < 2 and not self.is_multi_label:
            raise DataError(
                f"{self.source} with the one class {found[0]!r}",
                expected="two classes or more",
                hint="give a folder that holds one folder for each class",
            )
        known_names = set(self.class_names if known is None else known)
        unknown = next(((e, name) for e in self.entries for name in e.classes if name not in known_names), None)
        if unknown is not None:
            entry, name = unknown
            raise DataError(
                f"{self.source if entry.place is None else entry.named} with the class {name!r}",
                expected=f"the classes {', '.join(_sorted_names(known_names)[:10])}",
                hint=_unknown_hint(set(found), known_names),
            )
        return self

    def require_scores(self) -> Manifest:
        """This manifest, if every video has a score.

        Raises:
            DataError: if one has none.
        """
        without = next((entry for entry in self.entries if entry.score is None), None)
        if without is not None:
            raise DataError(
                f"{without.named} without a score",
                expected="a number for every video",
                hint="list the videos in a CSV with path,score",
            )
        return self

    def class_counts(self) -> dict[str, int]:
        """Videos of each class, every class named; one with several classes counts for each of them."""
        counts = Counter(name for entry in self.entries for name in entry.classes)
        return {name: counts[name] for name in self.class_names}


def read_manifest(data: str | Path, *, root: str | Path | None = None, group: str | None = None) -> Manifest:
    """Find the videos of DATA; docs/data.md describes all forms.

    Forms: a folder of class folders; a folder that holds only `train`, `val`, `test` (each any of the other folders);
    a folder of videos, at any depth, without classes; a CSV or TSV with the columns `path` and optionally `label`,
    `labels` in its place, `split`, `start`, `end` (seconds) and `group`, or JSON objects with these keys; the original
    code's lines `path label` without a header, `path 0 -1`, `folder start total` and `folder total label`; a text file
    of paths; the lists that Kinetics, Something-Something V2, UCF101 and HMDB51 are published with; several lists by a
    pattern with `*`, or by the folder that holds them; packed shards by their folder or URL. A folder of numbered
    images is a video.
    Paths in a file are relative to it. Videos of folders are sorted by path, lists keep their order; classes are sorted
    by name, or by value where all are numbers. Numbered classes get their names from a list of classes beside the file.

    Args:
        data: a path, a pattern or a URL.
        root: of lists: what their paths are relative to, or the folder below which videos that are named lie.
        group: what names a video's group: a column, `parent` for the folder that holds it, or a regular expression
            with one pair of brackets, searched in its path. None for the column `group`, where there is one.

    Raises:
        DataError: if there is no such file or folder, it holds no video, or a line is malformed.
    """
    with _without_collection():
        source, listed = _read(str(data), None if root is None else Path(root).expanduser(), group)
    if not listed.entries:
        raise _without_videos(source)
    entries = listed.entries
    if group is not None:
        base = Path(root) if root is not None else _folder_of(source)
        entries = assign_groups(entries, group, base=base, columns=listed.columns)
    leak = leaking_groups(entries)
    names = _class_names(entries)
    _require_all_or_none(entries)
    notices = listed.notices if leak is None else (*listed.notices, f"{source}: {leak}")
    return Manifest(source=source, entries=entries, class_names=_sorted_names(names), notices=notices)


def videos_text(count: int, kind: str = "") -> str:
    """A number of videos of a kind, such as "1 video" or "52 validation videos"."""
    return f"{count} {kind and kind + ' '}video{'' if count == 1 else 's'}"


def evaluated_split(whole: Manifest, taken: Manifest) -> str:
    """Which split of a data set is evaluated, and which are not: one line; "" where it names no splits."""
    if not whole.splits:
        return ""
    unused = whole.others_than(*taken.splits)
    return f"{taken.splits[0]}: {videos_text(len(taken))}" + (f"; not used: {unused}" if unused else "")


def used_splits(whole: Manifest, train: Manifest, other: Manifest | None, *, purpose: str) -> str:
    """How many videos are used for training and for validation or testing, and which are unused, in one line.

    Args:
        whole: DATA.
        train: its training videos.
        other: the validation or test videos, of DATA or of other data; None where there are none.
        purpose: of `other`: "validation" or "test".

    Returns:
        The line; "" where all of DATA is used for training and nothing else.
    """
    if not whole.splits and other is None:
        return ""
    is_own = other is not None and other.source == whole.source
    text = videos_text(len(train), "training")
    if other is None:
        split = "val" if purpose == "validation" else purpose
        text += f", no {purpose} videos (there is no split {split})"
    else:
        place = [*other.splits[:1], *([] if is_own else [str(other.source)])]
        text += f", {videos_text(len(other), purpose)}" + (f" ({' of '.join(place)})" if place else "")
    used = (*(other.splits if is_own and other is not None else ()), "train")
    unused = whole.others_than(*used) if whole.splits else ""
    return f"{text}; not used: {unused}" if unused else text


def read_videos(sources: Iterable[str | Path], *, root: str | Path | None = None) -> tuple[list[VideoEntry], list[str]]:
    """The videos of several sources, each a video file or any DATA, in their order; and the notices about them.

    Args:
        sources: what is neither a folder, a list nor a URL counts as a video file, whatever its suffix.
        root: where the videos of lists are, as for `read_manifest`.

    Raises:
        DataError: if a folder or a list holds no video, or is damaged.
    """
    entries: list[VideoEntry] = []
    notices: list[str] = []
    for source in sources:
        path = Path(source).expanduser()
        is_list = path.suffix.lower() in (*LIST_SUFFIXES, TAR_SUFFIX) or path.name == INDEX_NAME
        if not (path.is_dir() or (is_list and path.is_file()) or is_url(str(source))):
            entries.append(VideoEntry(path))  # also where it does not exist: reading it gives the clearest error
            continue
        manifest = read_manifest(source, root=root)
        entries += manifest.entries
        notices += manifest.notices
    return entries, notices


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Stop the collection of cycles for the time being: among a million new objects it costs a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read(data: str, root: Path | None, group: str | None) -> tuple[Path | str, Listed]:
    """The entries of DATA, by its form."""
    if is_url(data):
        folder = data.rstrip("/").removesuffix(f"/{INDEX_NAME}")
        return folder, _read_packed(folder)
    source = Path(data).expanduser()
    if source.name == INDEX_NAME and is_packed(source.parent):
        source = source.parent
    column = None if group is None else group.lower()
    if source.is_dir():
        return source, _read_folder(source, root, column)
    if source.is_file() and source.suffix.lower() in VIDEO_SUFFIXES:
        raise DataError(source, expected=_FORMS, hint="this is one video; put it in a folder")
    if source.is_file() and source.suffix.lower() in LIST_SUFFIXES:
        return source, read_lists([source], root=root, group_column=column)
    if source.is_file() and source.suffix.lower() == TAR_SUFFIX:
        return source, read_tars([source], column)
    if source.exists():
        raise DataError(source, expected=_FORMS, hint=f"name lists {', '.join(LIST_SUFFIXES)}")
    named = [path for path in map(Path, sorted(glob.glob(str(source)))) if path.is_file()]
    tars = [path for path in named if path.suffix.lower() == TAR_SUFFIX]
    if tars:
        return source, read_tars(tars, column)
    lists = [path for path in named if is_list(path)]
    if not lists:
        raise DataError(source, expected=_FORMS, hint="there is no such file or folder; check the path")
    return source, read_lists(lists, root=root, group_column=column)


def _read_folder(folder: Path, root: Path | None, column: str | None) -> Listed:
    if is_packed(folder):
        return _read_packed(folder)
    found, folder_notices = folder_entries(folder)
    metadata = metadata_of_folder(folder)
    if metadata:
        listed = read_lists(metadata, root=root, group_column=column)
        return replace(listed, notices=(*_unlisted(found, listed, metadata), *listed.notices))
    if not found and (tars := tars_below(folder)):
        return read_tars(tars, column)
    entries, about_labels = tidy_labels(found, folder)
    folder_notices = (*folder_notices, *about_labels)
    lists, notices = lists_in_folder(folder)
    if lists and not entries:
        listed = read_lists(lists, root=root, group_column=column)
        return replace(listed, notices=(*notices, *listed.notices))
    if root is not None:
        raise DataError(
            f"the folder {folder} with --video-root {root}",
            expected="a list of videos, whose paths begin there",
            hint="leave --video-root out, or give a list",
        )
    has_classes = len({entry.label for entry in entries}) > 1
    return Listed(entries, folder_notices if has_classes else (*folder_notices, *_unread(folder, lists)))


def _unlisted(found: Sequence[VideoEntry], listed: Listed, metadata: Sequence[Path]) -> tuple[str, ...]:
    """A notice about videos that lie beside metadata that do not name them."""
    named = {str(entry.path) for entry in listed.entries}
    count = sum(str(entry.path) not in named for entry in found)
    names = " and ".join(map(str, metadata[:2]))
    return (f"{names}: {videos_text(count)} beside it that it does not name are not used",) if count else ()


def _unread(folder: Path, lists: Sequence[Path]) -> tuple[str, ...]:
    """A notice about lists beside videos without class folders: mostly the lists hold the classes."""
    if not lists:
        return ()
    names = ", ".join(file.name for file in lists[:4]) + (", …" if len(lists) > 4 else "")
    return (f"{folder}: its lists ({names}) are not used, because it holds videos; pass a list as DATA to use it",)


def _read_packed(folder_or_url: Path | str) -> Listed:
    return Listed(tuple(read_shard_entries(folder_or_url)), columns=("group",))


def _folder_of(source: Path | str) -> Path:
    path = Path(source)
    return path if path.is_dir() else path.parent


def _without_videos(source: Path | str) -> DataError:
    if not Path(source).is_dir():
        return DataError(
            f"{source} without videos",
            expected="a line for each video",
            hint="the list is empty; write the paths of the videos into it",
        )
    return DataError(
        f"{source} without videos",
        expected=f"files that end in {', '.join(COMMON_SUFFIXES)} or as other videos do",
        hint="give the folder that holds the videos or the folders of classes",
    )


def _class_names(entries: Sequence[VideoEntry]) -> set[str]:
    if entries and entries[0].labels is not None:
        return {name for entry in entries for name in entry.classes}
    return {entry.label for entry in entries if entry.label is not None}


def _require_all_or_none(entries: Sequence[VideoEntry]) -> None:
    """Refuse lists of which only some have the column `labels`: what their videos do not show would be a guess."""
    is_multi_label = entries[0].labels is not None
    other = next((entry for entry in entries if (entry.labels is not None) != is_multi_label), None)
    if other is not None:
        without = other if is_multi_label else entries[0]
        raise DataError(
            f"{without.named} without the column labels, which other lists have",
            expected="it in all of them or in none",
            hint="add it; leave it empty where a video shows none of the classes",
        )


def _require_kind(manifest: Manifest, *, multi_label: bool) -> None:
    if manifest.is_multi_label == multi_label:
        return
    first = manifest.entries[0]
    if multi_label:
        raise DataError(
            f"{first.named} with one class" if first.label else f"{first.named} without the column labels",
            expected="several labels for each video, as the model or the training videos have",
            hint="list the videos with the column labels, and | between the names of classes",
        )
    raise DataError(
        f"{first.named} with several labels",
        expected="one class for each video",
        hint="list the videos with the column label, or train a model of several labels on them",
    )


def _unknown_hint(found: set[str], known: set[str]) -> str:
    if all(map(is_number, found | known)):
        firsts = {min(map(int, found)), min(map(int, known))}
        if firsts == {0, 1}:
            return "one list seems to count its classes from 0 and the other from 1; make both count alike"
    return "rename the class, or choose a model that was trained on it"


def _sorted_names(names: set[str]) -> tuple[str, ...]:
    if names and all(map(is_number, names)):
        return tuple(sorted(names, key=lambda name: (int(name), name)))  # "1" and "01" have one value
    return tuple(sorted(names))
