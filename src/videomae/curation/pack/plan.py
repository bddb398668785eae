"""What is to be packed, and under which names."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

from videomae.core.errors import DataError
from videomae.datasets import Manifest, is_within, require_apart
from videomae.datasets.entries import bare_name
from videomae.video import FrameFolder, ShardMember, VideoSource

_SUFFIX = ".mp4"
# Control characters and what other systems refuse in names; a backslash would be a folder there.
_UNWANTED = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\\udc80-\udcff%]')
_MAX_NAME_BYTES = 200


@dataclass(frozen=True)
class PackJob:
    """One file to make.

    Args:
        source: the video.
        part: what to pack of it, as `VideoEntry.part`.
        name: of the packed file below the folder, with `/`.
    """

    source: VideoSource
    part: tuple[float | None, ...]
    name: str


def plan_jobs(manifest: Manifest, *, for_shards: bool) -> tuple[list[PackJob], list[int]]:
    """One job for each video or part of one, however often it is listed.

    Names follow the videos' places: those below DATA, where it is a folder; else those below the folder that holds all.

    Args:
        manifest: the data set.
        for_shards: names must not have another dot than that of `.mp4`: the rest would count as a suffix.

    Returns:
        The jobs, and for each entry of the manifest the number of its job.
    """
    numbers: dict[tuple[VideoSource, tuple[float | None, ...]], int] = {}
    of_entry = []
    for entry in manifest.entries:
        key = (entry.path, entry.part)
        of_entry.append(numbers.setdefault(key, len(numbers)))
    places = [_place(source) for source, _ in numbers]
    base = _base(manifest, places)
    wanted = [_wanted_name(place, base, key) for place, key in zip(places, numbers, strict=True)]
    names = _distinct([_safe(name, for_shards=for_shards) for name in wanted], wanted, for_shards=for_shards)
    return [PackJob(*key, name) for key, name in zip(numbers, names, strict=True)], of_entry


def check_output(out: Path, manifest: Manifest) -> None:
    """Raise a DataError where packing into `out` would read or overwrite what it writes or reads."""
    require_apart(out, manifest, option="OUT", follows_links=True)
    if out.exists() and not out.is_dir():
        raise DataError(f"OUT {out}", expected="a folder", hint="this is a file; choose another name")


def _place(source: VideoSource) -> str:
    """Where the video lies, its suffix taken off: a path whose end is its name."""
    if isinstance(source, ShardMember):
        return os.path.join(os.path.splitext(source.url)[0], source.name)
    if isinstance(source, FrameFolder):
        return os.path.abspath(source.path)
    return os.path.abspath(source)


def _base(manifest: Manifest, places: list[str]) -> str:
    folder = os.path.abspath(manifest.source)
    if os.path.isdir(folder) and all(is_within(place, folder) for place in places):
        return folder
    # Made names have a meaning for people only below the folder that holds all videos.
    try:
        return os.path.commonpath([os.path.dirname(place) for place in places])
    except ValueError:
        return os.sep


def _wanted_name(place: str, base: str, key: tuple[VideoSource, tuple[float | None, ...]]) -> str:
    source, part = key
    name = os.path.relpath(place, base) if is_within(place, base) else os.path.basename(place)
    name = PurePath(name).as_posix()
    if isinstance(source, FrameFolder) and (source.first_frame or source.num_frames is not None):
        first = source.first_frame
        name += f"_{first}" + (f"-{first + source.num_frames}" if source.num_frames is not None else "")
    if part != (None, None):
        start, end = part[-2:]  # of frames where these are given
        folder, _, last = name.rpartition("/")
        as_text, unit = ("{:.0f}", "f") if len(part) > 2 else ("{:g}", "s")
        until = "" if end is None else as_text.format(end)
        name = f"{folder}/" * bool(folder) + f"{bare_name(last)}_{as_text.format(start or 0)}-{until}{unit}"
    return name


def _safe(name: str, *, for_shards: bool, keep_suffix: bool = False) -> str:
    """A name that every file system and every tool takes, `.mp4` at its end."""
    parts = [_UNWANTED.sub(_escape, part) for part in name.split("/") if part not in ("", ".", "..")]
    last = parts[-1] if keep_suffix else bare_name(parts[-1])
    if for_shards:
        last = last.replace(".", "_")
    *folders, last = [_shortened(part) for part in [*parts[:-1], last]]
    # A name that begins with a dot is hidden, and reading the folder would leave it out.
    return "/".join(part if part[:1] != "." else f"_{part[1:]}" for part in [*folders, last]) + _SUFFIX


def _escape(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogateescape"))


def _shortened(part: str) -> str:
    content = part.strip().encode()
    return content[:_MAX_NAME_BYTES].decode(errors="ignore").rstrip() or "_"


def _distinct(names: list[str], wanted: Iterable[str], *, for_shards: bool) -> list[str]:
    """Names of which none is another's, also where capitals do not count; those that clash keep their suffix."""
    clashes = {name for name, count in Counter(name.casefold() for name in names).items() if count > 1}
    taken: set[str] = {name.casefold() for name in names} - clashes
    distinct = []
    for name, full in zip(names, wanted, strict=True):
        if name.casefold() in clashes:
            stem = _safe(full, for_shards=for_shards, keep_suffix=True).removesuffix(_SUFFIX)
            name, number = stem + _SUFFIX, 1
            while name.casefold() in taken:
                number += 1
                name = f"{stem}_{number}{_SUFFIX}"
            taken.add(name.casefold())
        distinct.append(name)
    return distinct
