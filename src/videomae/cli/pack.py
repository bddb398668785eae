"""`videomae pack`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from videomae.cli.arguments import UsageError, parse, require_at_least
from videomae.cli.console import EXIT_BAD_INPUT, EXIT_DONE, describe_error, print_json, stderr_console
from videomae.cli.data_options import ListOptions

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}
_SHARD_SIZE = "1GB"


@dataclass(frozen=True, kw_only=True)
class PackOptions:
    """Re-encode videos once, small and in a form that is read many times faster; OUT is then DATA like any other.

    Classes, splits and groups are kept, frames keep their number and order, sound is left out. A run that was broken
    off goes on with the same command, and videos that have changed since are packed again.
    """

    data: Annotated[Positional[str], arg(metavar="DATA")]
    """Videos, with classes and splits or without, as for training."""
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """Folder for the packed videos: a new one, or one that this command began."""
    short_side: int = 256
    """Pixels of the frames' shorter side; smaller frames are not enlarged."""
    crf: int = 23
    """Quality, from 0 (best, largest) to 51, as x264 counts it."""
    shards: bool = False
    """Write tar files in the WebDataset convention, readable from URLs too, instead of a file for each video."""
    shard_size: str | None = None
    """Size of a tar file; 1GB unless given."""
    num_workers: int = -1
    """Processes that pack; -1 for one a core."""
    overwrite: bool = False
    """Pack all of it anew where OUT was packed with other settings."""
    strict: bool = False
    """Leave with status 2 if a video is broken."""
    group: str | None = None
    """What names a video's group: a column, parent (folder), or a bracket in the path such as '(s\\d+)_'."""
    lists: OmitArgPrefixes[ListOptions] = field(default_factory=ListOptions)
    json: bool = False
    """Print one JSON document on stdout."""


def run(arguments: list[str]) -> int:
    """Parse, pack, print."""
    options = parse(PackOptions, arguments, command="pack")
    require_at_least(-1, "--num-workers", options.num_workers)
    if options.shard_size is not None and not options.shards:
        raise UsageError(
            f"--shard-size {options.shard_size} without --shards", expected="both", hint="add --shards, or leave it out"
        )
    shard_bytes = _num_bytes(options.shard_size or _SHARD_SIZE) if options.shards else None

    from videomae.cli.pack_report import PackProgress, as_document, print_report, strict_error
    from videomae.curation.pack.packer import PackSettings, pack_videos
    from videomae.datasets.manifest import read_manifest

    settings = PackSettings(short_side=options.short_side, crf=options.crf, shard_bytes=shard_bytes)
    manifest = read_manifest(options.data, root=options.lists.video_root, group=options.group)
    console = stderr_console()
    for notice in manifest.notices:
        console.print(notice, markup=False)
    parts = {(entry.path, entry.part) for entry in manifest.entries}
    progress = PackProgress(console, total=len(parts))
    with progress:
        report = pack_videos(
            manifest,
            options.out,
            settings=settings,
            num_workers=options.num_workers,
            overwrite=options.overwrite,
            on_video=progress.tell,
        )
    error = strict_error(report) if options.strict else None
    if options.json:
        document = as_document(report, settings)
        print_json(document if error is None else {**document, "error": describe_error(error)})
    else:
        print_report(report, settings)
        if error is not None:
            console.print(f"videomae: {error}", markup=False)
    return EXIT_DONE if error is None else EXIT_BAD_INPUT


def _num_bytes(text: str) -> int:
    """The bytes of `1GB`, `500 MB`, `2GiB`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]I?)?B?", text.strip().upper())
    size = float(found[1]) * _UNITS[found[2] or ""] if found else 0
    if size < 1_000_000:
        raise UsageError(f"--shard-size {text}", expected="a size from 1MB, such as 500MB or 1GB", hint="give a size")
    return int(size)
