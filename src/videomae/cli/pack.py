"""`videomae pack`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from videomae.cli.arguments import parse
from videomae.cli.console import EXIT_BAD_INPUT, EXIT_DONE, describe_error, print_json
from videomae.cli.data_options import ListOptions


@dataclass(frozen=True, kw_only=True)
class PackOptions:
    """Re-encode videos once, small and in a form that is read many times faster; OUT is then DATA like any other.

    Classes, splits and groups are kept, frames keep their number and order, sound is dropped. A run that was broken
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

    from videomae.api.curation import pack
    from videomae.cli.pack_report import as_document, print_report, strict_error

    report = pack(
        options.data,
        options.out,
        short_side=options.short_side,
        crf=options.crf,
        shards=options.shards,
        shard_size=options.shard_size,
        overwrite=options.overwrite,
        group=options.group,
        video_root=options.lists.video_root,
        num_workers=options.num_workers,
    )
    error = strict_error(report) if options.strict else None
    if options.json:
        document = as_document(report)
        print_json(document if error is None else {**document, "error": describe_error(error)})
    else:
        print_report(report)
        if error is not None:
            print(f"videomae: {error}", file=sys.stderr)
    return EXIT_DONE if error is None else EXIT_BAD_INPUT
