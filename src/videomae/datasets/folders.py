"""Videos in folders: by class, by split, by name; folders of numbered frames are videos too."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from videomae.core.errors import DataError
from videomae.core.files import split_suffix
from videomae.core.text import readable
from videomae.datasets.entries import VideoEntry, bare_name, has_video_suffix, is_passed_over, split_named
from videomae.datasets.layout import read_layout
from videomae.video import FrameFolder, VideoSource
from videomae.video.frame_folder import IMAGE_SUFFIXES

# One image in a folder is a preview or a logo rather than a video.
_MIN_FRAMES = 2
# A folder is listed once more of its files than this are asked for; until then each file is asked for by itself.
_FEW_FILES = 3
_NUM_SHOWN = 5


class FoundVideo(NamedTuple):
    """A video below a folder, and the names on the way to it, its own the last."""

    parts: tuple[str, ...]
    source: VideoSource


def videos_below(folder: Path, passed_over: Counter[str] | None = None) -> list[FoundVideo]:
    """All videos at any depth, sorted by path, through links too; hidden files and folders are skipped.

    A folder that holds numbered images, and neither folders nor videos, is one video.

    Args:
        folder: where to look.
        passed_over: is given how many files there are of each ending that might be a video's and is not known.

    Raises:
        DataError: if a folder cannot be read.
    """
    return list(_walk(str(folder), (), frozenset(), Counter() if passed_over is None else passed_over))


def folder_entries(folder: Path) -> tuple[tuple[VideoEntry, ...], tuple[str, ...]]:
    """The videos of a folder of class folders, of split folders, or of neither; and how it was read, one line each.

    Raises:
        DataError: if a folder cannot be read, or two hold the same split.
    """
    passed_over: Counter[str] = Counter()
    videos = videos_below(folder, passed_over)
    layout = read_layout(folder, [video.parts for video in videos])
    entries = tuple(
        VideoEntry(videos[place.index].source, label=place.label and readable(place.label), split=place.split)
        for place in layout.videos
    )
    return entries, (*layout.notices, *_about_passed_over(folder, passed_over))


def _about_passed_over(folder: Path, passed_over: Counter[str]) -> tuple[str, ...]:
    if not passed_over:
        return ()
    counts = sorted(passed_over.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in counts[:_NUM_SHOWN])
    more = ", …" if len(counts) > _NUM_SHOWN else ""
    total = passed_over.total()
    files = "1 file" if total == 1 else f"{total} files"
    return (f"{folder}: skipped {files} without a video suffix ({readable(shown)}{more}); a list may name any file",)


def _walk(
    folder: str, parts: tuple[str, ...], above: frozenset[str], passed_over: Counter[str]
) -> Iterator[FoundVideo]:
    here = os.path.realpath(folder)
    if here in above:  # a link to a folder that holds it
        return
    try:
        with os.scandir(folder) as children:
            shown = sorted((child for child in children if not child.name.startswith(".")), key=lambda c: c.name)
    except OSError as error:
        raise DataError(
            f"{readable(folder)} ({error.strerror})",
            expected="a folder that can be read",
            hint="change its permissions",
        ) from error
    has_videos_or_folders = False
    num_images = 0
    for child in shown:
        if _is_folder(child):
            has_videos_or_folders = True
            yield from _walk(child.path, (*parts, child.name), above | {here}, passed_over)
        elif has_video_suffix(child.name):
            has_videos_or_folders = True
            # A link to nowhere and a pipe too: reading it names it, leaving it out would hide the loss.
            yield FoundVideo((*parts, child.name), Path(child.path))
        elif is_frame(child.name):
            num_images += 1
        elif is_passed_over(child.name):
            passed_over[os.path.splitext(child.name)[1].lower()] += 1
    if num_images >= _MIN_FRAMES and not has_videos_or_folders:
        yield FoundVideo(parts, FrameFolder(Path(folder)))


def is_frame(name: str) -> bool:
    """Whether a file of this name may be a frame: an image with a number."""
    stem, suffix = split_suffix(name)
    is_image = suffix in IMAGE_SUFFIXES and not name.startswith(".")
    return is_image and any(letter.isdecimal() for letter in stem)


def _is_folder(child: os.DirEntry[str]) -> bool:
    try:
        return child.is_dir()
    except OSError:  # a link to itself
        return False


class Files:
    """Which files exist, for lists of a million lines: a folder that is asked about often is listed once."""

    def __init__(self) -> None:
        self._asked: dict[str, int] = {}
        self._names: dict[str, frozenset[str]] = {}

    def is_file(self, folder: str, name: str) -> bool:
        """Whether `name` in `folder` is an existing file, or a link to one."""
        names = self._names.get(folder)
        if names is None:
            asked = self._asked[folder] = self._asked.get(folder, 0) + 1
            if asked > _FEW_FILES:
                names = self._names[folder] = _file_names(folder)
        # What the listing lacks is asked for: names that differ only in case may be one file on the disk.
        return (names is not None and name in names) or _is_file(os.path.join(folder, name))

    @staticmethod
    def is_frame_folder(path: str) -> bool:
        """Whether `path` is a folder that holds numbered images."""
        try:
            with os.scandir(path) as children:
                return any(is_frame(child.name) for child in children)
        except (OSError, ValueError):  # no folder, or no path at all
            return False


def _is_file(path: str) -> bool:
    try:
        return os.path.isfile(path)
    except ValueError:  # a character that no path can have
        return False


def _file_names(folder: str) -> frozenset[str]:
    try:
        with os.scandir(folder) as children:
            # Links are left to the question about each: they may lead nowhere.
            return frozenset(child.name for child in children if child.is_file(follow_symlinks=False))
    except (OSError, ValueError):  # it may be forbidden to list a folder whose files can be read
        return frozenset()


class NamedVideos:
    """The videos below some folders by their bare names, for lists that name no paths.

    Args:
        folders: where to look, at any depth; those that do not exist are skipped.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self.folders = tuple(dict.fromkeys(folder for folder in folders if folder.is_dir()))
        self._by_name: dict[str, list[FoundVideo]] = {}
        seen: set[str] = set()
        for folder in self.folders:
            for video in videos_below(folder):
                if video.parts and str(video.source) not in seen:
                    seen.add(str(video.source))
                    self._by_name.setdefault(bare_name(video.parts[-1]), []).append(video)
        self.ambiguous: dict[str, tuple[VideoSource, VideoSource]] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def find(self, name: str, *, within: Sequence[str | None] = ()) -> VideoSource | None:
        """The video called `name` without its suffix; of several, one in a folder named as one of `within`."""
        found = self._by_name.get(name)
        if found is None:
            return None
        if len(found) > 1:
            for folder in within:
                inside = [video for video in found if folder is not None and _lies_in(video, folder)]
                found = inside or found
            if len(found) > 1:
                self.ambiguous[name] = (found[0].source, found[1].source)
        return found[0].source


def _lies_in(video: FoundVideo, folder: str) -> bool:
    wanted = _plain(folder)
    return any(_plain(part) == wanted or split_named(part) == wanted for part in video.parts[:-1])


def _plain(name: str) -> str:
    return name.lower().replace(" ", "_")
