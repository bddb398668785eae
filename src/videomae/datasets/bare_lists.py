"""Lists without a header: the lines of the original code bases, or paths alone."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from videomae.core.errors import DataError
from videomae.datasets.entries import Place, VideoEntry, has_video_suffix
from videomae.datasets.folders import is_frame
from videomae.datasets.labels import is_missing, one_label
from videomae.datasets.list_lines import Listed, Paths, about_missing
from videomae.video import FrameFolder, VideoSource

# What people call the columns of their tables.
_HEADER_NAMES = frozenset(
    (
        *("path", "paths", "file", "files", "filename", "file_name", "filepath", "file_path", "clip", "clip_path"),
        *("video", "videos", "video_path", "video_name", "video_id", "name", "id", "label", "labels", "class"),
        *("class_name", "category", "action", "target", "split"),
    )
)
_WHOLE_NUMBER = re.compile(r"-?\d{1,9}")
# How many folders are looked into to learn what the columns mean.
_NUM_ASKED = 20


def bare_entries(file: Path, lines: Sequence[tuple[int, str]], paths: Paths) -> Listed:
    """The videos of a list without a header: a path in each line, `path label`, or three columns for frames.

    What is wrong with lines is kept in `paths`.

    Raises:
        DataError: if the first line is the header of a table without the column path.
    """
    entries: list[VideoEntry] = []
    framed: list[_FramedLine] = []
    num_missing = 0
    for number, line in lines:
        place, line = Place(file, number), line.strip()
        cells = line.rsplit(None, 2)
        if len(cells) == 3 and all(map(_WHOLE_NUMBER.fullmatch, cells[1:])) and not has_video_suffix(line):
            framed.append(_FramedLine(place, cells[0], int(cells[1]), int(cells[2]), len(entries)))
            entries.append(VideoEntry(Path(cells[0]), place=place))  # replaced below, when all are known
            continue
        path, label = _split_line(line, paths)
        if path is None:
            hint = _column_hint(line) if number == lines[0][0] else ""
            error = DataError(
                f"{place}: {line[:120]!r}",
                expected="a video's path, or a path and a label",
                hint=hint or "write path,label,split in the first line if the file has columns",
            )
            if hint:  # the header of a table, whose other lines would all be wrong
                raise error
            paths.errors.add(place, error)
            continue
        source = paths.find(path, place)
        try:
            known = one_label(label, place)
        except DataError as error:
            paths.errors.add(place, error)
            continue
        num_missing += bool(label) and is_missing(label)
        if source is not None:
            entries.append(VideoEntry(source, label=known, place=place))
    notices = _fill_in_frames(entries, framed, paths) if framed else ()
    return Listed(tuple(entries), (*notices, *about_missing(file, num_missing)))


def _split_line(line: str, paths: Paths) -> tuple[str | None, str]:
    """Path and label of a line; a path may hold spaces and commas, so what is a video or exists decides."""
    if has_video_suffix(line):
        return line, ""
    for separator in ("\t", ",", " "):
        if separator not in line:
            continue
        path, _, label = (part.strip() for part in line.rpartition(separator))
        if path.startswith('"') and path.endswith('"'):  # as spreadsheets write a path that holds a comma
            path = path[1:-1].replace('""', '"')
        if has_video_suffix(path):
            return path, label
    for separator in ("", "\t", ",", " "):  # folders of frames, and files of other suffixes
        path, _, label = line.rpartition(separator) if separator else (line, "", "")
        if path.strip() and paths.look_up(path.strip()) is not None:
            return path.strip(), label.strip()
    return None, ""


def _column_hint(line: str) -> str:
    """What to do about a first line that seems the header of a table whose columns we do not know; "" for others."""
    names = {cell.strip(' "').lower() for cell in re.split(r"[,;|\t]", line)}
    is_header = not names.isdisjoint(_HEADER_NAMES)
    name_it = ["name the column of the videos path"] if is_header and "path" not in names else []
    split_it = ["separate the columns by commas or tabs"] if ";" in line or "|" in line else []
    return " and ".join(name_it + split_it)


class _FramedLine(NamedTuple):
    """`path first second`, and which entry it becomes."""

    place: Place
    path: str
    first: int
    second: int
    entry_index: int


def _fill_in_frames(entries: list[VideoEntry], framed: Sequence[_FramedLine], paths: Paths) -> tuple[str, ...]:
    """Replace the entries of lines with three columns; these are `start total` or `total label`, the same in all.

    A total of -1 stands for a video file, or for all frames.
    """
    sources = [paths.find(line.path, line.place) for line in framed]
    has_labels = _second_is_label(framed, sources)
    for line, source in zip(framed, sources, strict=True):
        start, total = (0, line.first) if has_labels else (line.first, line.second)
        if isinstance(source, FrameFolder):
            num_frames = total if total >= 0 else None
            source = FrameFolder(source.path, _images_before(source.path, start), num_frames)
        elif source is not None and (start, total) != (0, -1):
            error = DataError(
                f"{line.place}: {line.first} {line.second} after a video file",
                expected="0 -1, which stands for the whole of a video file",
                hint="write `path label`, or path,label,start_frame,end_frame with a header",
            )
            paths.errors.add(line.place, error)
        label = str(line.second) if has_labels else None
        # What was not found stays as it is: the error comes after all lines.
        entries[line.entry_index] = VideoEntry(source or Path(line.path), label=label, place=line.place)
    meaning = "folder, number of frames, class" if has_labels else "folder, first frame, number of frames"
    folders = any(isinstance(source, FrameFolder) for source in sources)
    return (f"{framed[0].place.file}: its three columns are read as {meaning}",) if folders else ()


def _second_is_label(framed: Sequence[_FramedLine], sources: Sequence[VideoSource | None]) -> bool:
    """Whether the columns are `total label`: then the first is how many images the folders hold."""
    if all(line.first <= 1 for line in framed) or any(line.second < 0 for line in framed):
        return False  # no video of one frame, no class below 0
    pairs = zip(framed, sources, strict=True)
    asked = [(line, source.path) for line, source in pairs if isinstance(source, FrameFolder) and line.first > 1]
    counts = [(line, len(_frame_numbers(folder))) for line, folder in asked[:_NUM_ASKED]]
    for line, num_images in counts:
        if line.first > num_images:
            raise DataError(
                f"{line.place}: {line.first} {line.second} for a folder of {num_images} images",
                expected="first frame and number of frames, or number of frames and class",
                hint="correct the numbers",
            )
    # One image more or less than counted: some tools number from 0 and some from 1.
    num_whole = sum(abs(line.first - num_images) <= 1 for line, num_images in counts)
    num_parts = sum(line.first + line.second - 1 <= num_images for line, num_images in counts)
    return 2 * num_whole >= len(counts) or num_parts < len(counts)


def _frame_numbers(folder: Path) -> list[int]:
    """The number that each image's name ends with."""
    names = [os.path.splitext(name)[0] for name in os.listdir(folder) if is_frame(name)]
    return [int(re.findall(r"\d+", name)[-1]) for name in names]


def _images_before(folder: Path, start: int) -> int:
    # Lists count from 0 or from 1 for the first image, however the images themselves are numbered.
    return 0 if start <= 1 else sum(number < start for number in _frame_numbers(folder))
