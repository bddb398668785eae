"""What the folders of a data set mean: splits, classes, or neither; pure functions of the paths below it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from videomae.core.errors import DataError
from videomae.core.text import readable
from videomae.datasets.entries import SPLITS, split_named

Parts = tuple[str, ...]
# In the name of a split folder these are independent of the split: `videos_train`, `train_256`, `test-set`.
_NEUTRAL = frozenset(
    (
        *("set", "split", "data", "dataset", "video", "videos", "clip", "clips", "frames", "rawframes", "images"),
        *("folder", "dir", "224", "240", "256", "320", "340", "360", "480", "p"),
    )
)
_UNLABELLED = re.compile(r"(un|not_|no_?)label+(ed|s)?|without_labels?|pre_?train(ing)?|unsupervised|ssl")
_WORDS = re.compile(r"\d+|[^\W\d_]+")
_NUM_SHOWN = 5
_HOW_TO_CHANGE = "list the videos in a CSV with path,label,split to change this"


@dataclass(frozen=True)
class PlacedVideo:
    """The class and split of a video by its place.

    Args:
        index: of the video, among the paths that were given.
        label: its class, as its folder is called; None without.
        split: train, val or test; None without.
    """

    index: int
    label: str | None
    split: str | None


@dataclass(frozen=True)
class Layout:
    """The classes and splits of a data set by its folders.

    Args:
        videos: the videos, those of splits by train, val and test, then the others, each in the given order.
        notices: how it was read, where that is not plain; one line each.
    """

    videos: tuple[PlacedVideo, ...]
    notices: tuple[str, ...] = ()


def split_folder(name: str) -> str | None:
    """The split that a folder of this name holds (`train`, `Validation`, `videos_val`, `train_256`); None if none."""
    if (split := split_named(name)) is not None:
        return split
    words = _WORDS.findall(name.lower())
    named = {split for word in words if (split := split_named(word)) is not None}
    others = [word for word in words if split_named(word) is None]
    return named.pop() if len(named) == 1 and _NEUTRAL.issuperset(others) else None


def read_layout(folder: Path, paths: Sequence[Parts]) -> Layout:
    """Decide what the folders mean.

    Folders with names of splits are splits, whatever lies beside them; other folders are in no split. One name of a
    split alone may be a class (`train` beside `bus` and `car`): then what lies inside decides. Ambiguous cases give a
    notice.

    Args:
        folder: the data set, for messages.
        paths: of each video, the names from the folder to the file, the file's last.

    Raises:
        DataError: if two folders hold the same split.
    """
    tree = _Tree(readable(str(folder)), paths)
    depth = _depth_of_splits(paths)
    if depth:
        deeper = _Tree(readable(str(folder.joinpath(*paths[0][:depth]))), [parts[depth:] for parts in paths])
        if deeper.has_splits():
            layout = deeper.as_splits()
            return Layout(layout.videos, (f"{folder}: the splits are those of {deeper.folder}", *layout.notices))
    if tree.has_splits():
        return tree.as_splits()
    return tree.as_classes_of_splits() if tree.has_splits_in_classes() else tree.as_classes()


def _depth_of_splits(paths: Sequence[Parts]) -> int:
    """How many folders, each the only one where it is, lie above the split folders; 0 where these are at the top."""
    for depth in range(min((len(parts) for parts in paths), default=1) - 1):
        names = {parts[depth] for parts in paths}
        if any(split_folder(name) for name in names):
            return depth
        if len(names) > 1:
            return 0
    return 0


class _Tree:
    """The videos below a folder, by the names on the way to them."""

    def __init__(self, folder: str, paths: Sequence[Parts]) -> None:
        self.folder = folder
        self.paths = paths
        self.tops = list(dict.fromkeys(parts[0] for parts in paths if len(parts) > 1))
        self.num_loose = sum(len(parts) < 2 for parts in paths)
        self.split_of = {top: split for top in self.tops if (split := split_folder(top)) is not None}
        self.others = [top for top in self.tops if top not in self.split_of]

    def subfolders(self, tops: Iterable[str]) -> set[str]:
        """Names of the folders in these folders that hold videos."""
        wanted = set(tops)
        return {parts[1] for parts in self.paths if len(parts) > 2 and parts[0] in wanted}

    def has_splits(self) -> bool:
        """Whether the folders at the top are splits."""
        if not self.split_of:
            return False
        if len(set(self.split_of.values())) > 1 or not self.others or self.num_loose:
            return True
        if all(_is_unlabelled(name) for name in self.others):
            return True
        classes = self.subfolders(self.split_of)
        around = self.subfolders(self.others)
        # A split holds classes: those that lie beside it too, or where what lies beside it holds none.
        return bool(classes) and (not around or not classes.isdisjoint({*around, *self.others}))

    def has_splits_in_classes(self) -> bool:
        """Whether each folder at the top holds split folders, and nothing else."""
        if any(len(parts) < 3 for parts in self.paths):
            return False
        splits = {split_folder(name) for name in self.subfolders(self.tops)}
        return None not in splits and len(splits) > 1

    def as_splits(self) -> Layout:
        """The folders at the top that are splits, each with its classes, and all others in no split."""
        _require_one_folder_each(self.folder, self.split_of)
        videos = [
            video
            for split in SPLITS
            for video in self._labelled([top for top, name in self.split_of.items() if name == split], split)
        ]
        rest = [i for i, parts in enumerate(self.paths) if len(parts) < 2 or parts[0] not in self.split_of]
        videos += [PlacedVideo(index, None, None) for index in rest]
        notices = [f"{self.folder}: {text}" for text in (self._about_names(), self._about_others(len(rest))) if text]
        return Layout(tuple(videos), tuple(notices))

    def as_classes_of_splits(self) -> Layout:
        """`CLASS/train/…`; where the splits hold the same folders again, these are several data sets instead."""
        inner = {(parts[0], parts[2]) for parts in self.paths if len(parts) > 3}
        shared = len({name for _, name in inner}) < len(inner)
        split_of = {name: split_folder(name) for name in self.subfolders(self.tops)}
        read = [
            PlacedVideo(index, None if shared else parts[0], split_of[parts[1]])
            for index, parts in enumerate(self.paths)
        ]
        videos = [video for split in SPLITS for video in read if video.split == split]
        if shared:
            text = f"{_shown(self.tops)} are separate data sets, with splits but without classes; pass one of them"
        else:
            text = f"its splits are inside the class folders ({_shown(self.tops)})"
        return Layout(tuple(videos), (f"{self.folder}: {text}; {_HOW_TO_CHANGE}",))

    def as_classes(self) -> Layout:
        """The folders at the top are classes; with videos beside them, the data set has none."""
        if self.num_loose or not self.tops:
            return Layout(tuple(PlacedVideo(index, None, None) for index in range(len(self.paths))))
        unlabelled = [top for top in self.tops if _is_unlabelled(top)] if len(self.tops) > 1 else []
        videos = tuple(
            PlacedVideo(index, None if parts[0] in unlabelled else parts[0], None)
            for index, parts in enumerate(self.paths)
        )
        notices = []
        if unlabelled:
            notices.append(
                f"{self.folder}: the videos of {_shown(unlabelled)} have no class; to train on the others, "
                "put those into train/"
            )
        doubtful = [top for top in self.tops if top in self.split_of or _seems_split(top)]
        if doubtful and (set(doubtful) & set(self.split_of) or len(doubtful) > 1):
            notices.append(
                f"{self.folder}: {_shown(doubtful)} {_are(doubtful)} treated as {_classes(doubtful)}, not as "
                f"{_splits(doubtful)}; {_HOW_TO_CHANGE}"
            )
        hidden = sorted(name for name in self.subfolders(self.tops) if split_folder(name))
        if hidden:
            notices.append(
                f"{self.folder}: the folders {_shown(hidden)} inside the classes are not treated as splits, because "
                f"there are other videos beside them; {_HOW_TO_CHANGE}"
            )
        return Layout(videos, tuple(notices))

    def _labelled(self, tops: Sequence[str], split: str) -> list[PlacedVideo]:
        inside = [(index, parts) for index, parts in enumerate(self.paths) if len(parts) > 1 and parts[0] in tops]
        # Videos that lie beside folders belong to no class, so then none does: a mixed folder is a collection.
        has_classes = all(len(parts) > 2 for _, parts in inside)
        return [PlacedVideo(index, parts[1] if has_classes else None, split) for index, parts in inside]

    def _about_names(self) -> str:
        unusual = {top: split for top, split in self.split_of.items() if split_named(top) is None or _is_odd(top)}
        return ", ".join(f"{readable(top)}/ is treated as the split {split}" for top, split in unusual.items())

    def _about_others(self, count: int) -> str:
        if not count:
            return ""
        names = [*self.others, *(["loose videos"] if self.num_loose else [])]
        return (
            f"{_shown(names)} beside {_shown(list(self.split_of))}, in no split ({count} video{'s' * (count > 1)}): "
            f"pretrain uses them, finetune and evaluate do not; {_HOW_TO_CHANGE}"
        )


def _is_odd(name: str) -> bool:
    """Whether the name means a split to most people, and not to all."""
    return name.strip().lower() in ("dev", "eval", "evaluation", "trainval")


def _is_unlabelled(name: str) -> bool:
    return _UNLABELLED.match(name.strip().lower().replace(" ", "_").replace("-", "_")) is not None


def _seems_split(name: str) -> bool:
    """Whether a split is part of the name, as in `train1` and `my_test`."""
    return any(split_named(word) for word in _WORDS.findall(name.lower()))


def _require_one_folder_each(folder: str, split_of: dict[str, str]) -> None:
    for split in SPLITS:
        names = [top for top, found in split_of.items() if found == split]
        if len(names) > 1:
            raise DataError(
                f"{folder} with the folders {' and '.join(map(readable, names))} for the split {split}",
                expected=f"one folder for {split}",
                hint="rename one of them or give one of them alone, or list the videos in a CSV with path,label,split",
            )


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NUM_SHOWN} more" if len(names) > _NUM_SHOWN else ""
    return ", ".join(map(readable, names[:_NUM_SHOWN])) + more


def _plural(one: str, several: str) -> Callable[[Sequence[str]], str]:
    return lambda names: one if len(names) == 1 else several


_are = _plural("is", "are")
_classes = _plural("a class", "classes")
_splits = _plural("a split", "splits")
