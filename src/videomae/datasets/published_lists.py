"""Lists as the data sets are published with: Kinetics, Something-Something V2, UCF101, HMDB51."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from videomae.core.errors import DataError
from videomae.core.files import read_json
from videomae.datasets.classes import ClassList
from videomae.datasets.entries import Place, VideoEntry, bare_name, read_split
from videomae.datasets.folders import NamedVideos
from videomae.datasets.labels import one_label
from videomae.datasets.list_lines import Listed, Row, read_lines
from videomae.datasets.tables import read_seconds
from videomae.video import VideoSource

# Folders in which videos lie beside the folder of their lists.
_FOLDERS_OF_VIDEOS = (
    *(
        "videos",
        "clips",
        "data",
        "frames",
        "rawframes",
        "train",
        "val",
        "validate",
        "validation",
        "test",
        "replacement",
    ),
    *("UCF-101", "hmdb51_org", "hmdb51", "20bn-something-something-v2"),
)
_UCF_LIST = re.compile(r"(train|test)list\d*\.txt", re.IGNORECASE)
_UCF_SOURCE = re.compile(r"(v_.+_g\d+)_c\d+")
_HMDB_LIST = re.compile(r"(.+)_test_split(\d)\.txt", re.IGNORECASE)
_HMDB_SPLITS = {"0": None, "1": "train", "2": "test"}


def is_kinetics(header: Sequence[str]) -> bool:
    """Whether these are the columns of a Kinetics list (400, 600, 700)."""
    return {"youtube_id", "time_start", "time_end"} <= set(header) and "path" not in header


def is_ucf101(file: Path) -> bool:
    """Whether this is called as the splits of UCF101 are."""
    return _UCF_LIST.fullmatch(file.name) is not None


def is_hmdb51(file: Path) -> bool:
    """Whether this is called as the splits of HMDB51 are."""
    return _HMDB_LIST.fullmatch(file.name) is not None


def lists_of_first_split(folder: Path) -> tuple[list[Path], tuple[str, ...]]:
    """The lists of the first of the three official splits of UCF101 or HMDB51 in a folder, and notices about it."""
    names = sorted(child.name for child in folder.iterdir() if child.is_file())
    ucf = [name for name in names if name.lower() in ("trainlist01.txt", "testlist01.txt")]
    hmdb = [name for name in names if (found := _HMDB_LIST.fullmatch(name)) is not None and found[2] == "1"]
    lists = ucf or hmdb
    if not lists:
        return [], ()
    others = folder / ("*list02.txt" if ucf else "*_test_split2.txt")
    return [folder / name for name in lists], (f"{folder}: split 1 is taken; for the second give '{others}'",)


class Finder:
    """Finds the videos of lists that give names instead of paths, and reports those that are not there."""

    def __init__(self, videos: NamedVideos) -> None:
        self.videos = videos
        self._missing: list[tuple[Place, str]] = []
        self._num_found = 0

    @staticmethod
    def look_below(folder: Path, root: Path | None) -> NamedVideos:
        """The videos, at any depth, below `root`; without one below the folder of the list and folders beside it.

        These are called `videos`, `clips`, `data`, `frames`, `train`, `val`, `test`, or as the archives unpack.
        """
        above = folder.absolute().parent
        return NamedVideos([root] if root is not None else [folder, *(above / name for name in _FOLDERS_OF_VIDEOS)])

    def find(self, names: Sequence[str], place: Place, *, within: Sequence[str | None]) -> VideoSource | None:
        """The first of `names` that there is."""
        for name in names:
            found = self.videos.find(name, within=within)
            if found is not None:
                self._num_found += 1
                return found
        self._missing.append((place, names[0]))
        return None

    def finish(self, *, may_lack: bool) -> tuple[str, ...]:
        """Report what was not found: as an error, or where a list `may_lack` videos, in one line.

        Raises:
            DataError: naming the first line, and how many there are.
        """
        notices = []
        if self._missing:
            (place, name), total = self._missing[0], self._num_found + len(self._missing)
            where = " and ".join(map(str, self.videos.folders)) or "the folder of the list"
            if not (may_lack and self._num_found):
                more = f", and {len(self._missing) - 1} more of {total}" if len(self._missing) > 1 else ""
                raise DataError(
                    f"{place}: no video {name!r}{more}",
                    expected=f"a video of this name below {where}",
                    hint="give the folder of the videos with --video-root",
                )
            notices.append(
                f"{place.file}: {len(self._missing)} of {total} videos are missing and skipped; the first is "
                f"{name} in {place.unit} {place.number}"
            )
        for name, (first, second) in list(self.videos.ambiguous.items())[:1]:
            notices.append(
                f"{len(self.videos.ambiguous)} videos are in several folders, such as {name}: "
                f"{first} is used, not {second}; choose with --video-root"
            )
        self.videos.ambiguous.clear()  # the next list reports its own
        return tuple(notices)


def kinetics_entries(rows: Iterable[Row], header: Sequence[str], finder: Finder, group_column: str) -> Listed:
    """The videos of a Kinetics list that are there; its test split has no labels.

    `ID_START_END` with six digits each is the clip; `ID` alone is the source video, of which the seconds count. Clips
    of one source are a group, unless another column names it. Videos vanish from where they were published, so a list
    may name more than there are.
    """
    at = {name: header.index(name) for name in header}
    group_at = at.get(group_column, at["youtube_id"])
    entries = []
    for place, cells in rows:
        youtube_id = cells[at["youtube_id"]]
        label = one_label(cells[at["label"]], place) if "label" in at else None
        split = read_split(cells[at["split"]], place) if "split" in at else None
        start, end = read_seconds(cells[at["time_start"]], cells[at["time_end"]], place)
        names = [youtube_id]
        if start is not None and end is not None:
            names.insert(0, f"{youtube_id}_{round(start):06d}_{round(end):06d}")
        source = finder.find(names, place, within=(label, split))
        if source is None:
            continue
        is_whole = bare_name(source.name) != youtube_id
        entries.append(
            VideoEntry(
                source,
                label=label,
                split=split,
                start_seconds=None if is_whole else start,
                end_seconds=None if is_whole else end,
                group=cells[group_at] or None,
                place=place,
            )
        )
    return Listed(tuple(entries), finder.finish(may_lack=True), tuple(header))


def json_items(file: Path) -> list[tuple[Place, dict[str, Any]]]:
    """The objects of a JSON list, or of a file with one in each line (.jsonl), with their numbers.

    Raises:
        DataError: if the file holds something else.
    """
    is_lines = file.suffix.lower() == ".jsonl"
    document = [] if is_lines else read_json(file, error_type=DataError, encoding="utf-8-sig")
    if not isinstance(document, list):
        raise DataError(
            f"{file} with {type(document).__name__} at the top",
            expected="a list of videos: [{...}, ...]",
            hint="give train.json or validation.json; labels.json only names the classes",
        )
    items = [(Place(file, number, "item"), item) for number, item in enumerate(document, start=1)]
    if is_lines:
        items = [_json_line(Place(file, number), line) for number, line in read_lines(file)]
    for place, item in items:
        if not isinstance(item, dict) or not (item.keys() & {"id", "path", "file_name"}):
            raise DataError(
                f"{place}: {str(item)[:120]}",
                expected="an object with the id or the path of a video",
                hint="correct the item",
            )
    return items


def _json_line(place: Place, line: str) -> tuple[Place, Any]:
    try:
        return place, json.loads(line)
    except ValueError as error:
        raise DataError(f"{place} ({error})", expected="a JSON object in each line", hint="correct the line") from error


def something_entries(
    items: Sequence[tuple[Place, Mapping[str, Any]]], finder: Finder, class_list: ClassList | None
) -> Listed:
    """The videos of a Something-Something V2 list; the class is the template without brackets, test has none.

    Raises:
        DataError: if a template is no class of labels.json, or a video is not there.
    """
    known = None if class_list is None else set(class_list.names.values())
    entries = []
    for place, item in items:
        label = _template(item, place)
        if label is not None and known is not None and class_list is not None and label not in known:
            raise DataError(
                f"{place}: the class {label!r}",
                expected=f"one of the {len(known)} classes of {class_list.file}",
                hint="get both files from the same release",
            )
        source = finder.find([str(item["id"])], place, within=())
        if source is not None:
            entries.append(VideoEntry(source, label=label, place=place))
    return Listed(tuple(entries), finder.finish(may_lack=False))


def _template(item: Mapping[str, Any], place: Place) -> str | None:
    if "template" in item:
        return str(item["template"]).replace("[", "").replace("]", "")
    if "placeholders" in item:  # then `label` is a sentence about this one video
        raise DataError(
            f"{place} without a template", expected='"template", which is the class', hint="get the file again"
        )
    return str(item["label"]) if item.get("label") is not None else None


def ucf101_entries(file: Path, finder: Finder, class_list: ClassList | None) -> Listed:
    """The videos of trainlist01.txt (`Class/v_Class_g01_c01.avi 1`) or testlist01.txt (no numbers).

    The class is the folder that a line names; its number must be that of classInd.txt, where there is one. Clips cut
    from one source video are a group.

    Raises:
        DataError: if a number belongs to another class, or a video is not there.
    """
    number_of = {} if class_list is None else {name: str(number) for number, name in class_list.names.items()}
    is_given = bool(number_of)
    entries = []
    for number, line in read_lines(file):
        place = Place(file, number)
        path, _, class_number = line.strip().partition(" ")
        label, slash, name = path.replace("\\", "/").rpartition("/")
        if not slash:
            raise DataError(f"{place}: {line[:120]!r}", expected="Class/video.avi", hint="correct the line")
        if is_given and label not in number_of:
            raise DataError(
                f"{place}: the class {label!r}",
                expected=f"one of the {len(number_of)} classes of classInd.txt",
                hint="get both files from the same release",
            )
        expected = number_of.setdefault(label, class_number) if class_number else ""
        if class_number != expected:
            raise DataError(
                f"{place}: {label} with the number {class_number}",
                expected=f"{expected}, as in {'classInd.txt' if is_given else 'earlier lines'}",
                hint="correct the number; classes count from 1",
            )
        source = finder.find([bare_name(name)], place, within=(label,))
        if source is not None:
            found = _UCF_SOURCE.fullmatch(bare_name(name))
            entries.append(VideoEntry(source, label=label, group=found[1] if found else None, place=place))
    return Listed(tuple(entries), finder.finish(may_lack=False))


def hmdb51_entries(file: Path, finder: Finder) -> Listed:
    """The videos of CLASS_test_splitN.txt: `name.avi 1` is train, 2 is test, 0 belongs to neither.

    Raises:
        DataError: if a line has another form, or a video is not there.
    """
    return Listed(tuple(_hmdb51_entries(file, finder)), finder.finish(may_lack=False))


def _hmdb51_entries(file: Path, finder: Finder) -> Iterator[VideoEntry]:
    called = _HMDB_LIST.fullmatch(file.name)
    label = called[1] if called else file.stem
    for number, line in read_lines(file):
        place = Place(file, number)
        name, which = [*line.strip().rsplit(None, 1), ""][:2]
        if which not in _HMDB_SPLITS:
            raise DataError(
                f"{place}: {line[:120]!r}", expected="a video's name and 1 (train), 2 (test) or 0", hint="correct it"
            )
        split = _HMDB_SPLITS[which]
        if split is not None:
            source = finder.find([bare_name(name)], place, within=(label,))
            if source is not None:
                yield VideoEntry(source, label=label, split=split, place=place)
