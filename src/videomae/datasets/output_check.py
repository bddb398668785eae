"""Refuse output folders that overlap with the data."""

from __future__ import annotations

import os
from pathlib import Path

from videomae.core.errors import DataError
from videomae.datasets.entries import VideoEntry
from videomae.datasets.manifest import Manifest
from videomae.video import FrameFolder, ShardMember


def require_apart(output: Path, manifest: Manifest, *, option: str, follows_links: bool = False) -> None:
    """Refuse an output folder that lies in the folder of the data, or holds it or one of its videos.

    Args:
        output: the folder, whether it exists or not.
        manifest: the data.
        option: what the command line calls the folder, for the error.
        follows_links: also look where each video that is a link leads to, which asks the disk for every one.

    Raises:
        DataError: in one line.
    """
    here, data = os.path.realpath(output), os.path.realpath(manifest.source)
    if os.path.isdir(data) and (is_within(here, data) or is_within(data, here)):
        raise DataError(
            f"{option} {output} and DATA {manifest.source}",
            expected="two folders of which neither lies in the other",
            hint="write into a folder beside DATA",
        )
    real: dict[str, str] = {}
    for entry in manifest.entries:
        folder, name = os.path.split(_file_of(entry))
        if folder not in real:
            real[folder] = os.path.realpath(folder)
        place = os.path.join(real[folder], name)
        if is_within(os.path.realpath(place) if follows_links else place, here):
            raise DataError(
                f"{entry.named} in {option} {output}",
                expected="a folder that holds none of the videos",
                hint="write into another folder",
            )


def is_within(path: str, folder: str) -> bool:
    """Whether `path` is `folder`, or lies in it; both as they are, links not followed."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _file_of(entry: VideoEntry) -> str:
    source = entry.path
    if isinstance(source, ShardMember):
        return source.url
    return os.path.abspath(source.path if isinstance(source, FrameFolder) else source)
