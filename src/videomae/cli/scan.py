"""`videomae scan`."""

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
class ScanOptions:
    """Try every video of a data set: what is broken, too short, there twice or leaking, and what the set is like.

    What is found out is kept, and training uses it; files that have not changed since are not read again, so that an
    interrupted scan resumes where it was.
    """

    data: Annotated[Positional[str], arg(metavar="DATA")]
    """Videos, with classes and splits or without, as for training."""
    full: bool = False
    """Decode every frame, not only the first, the middle and the last one."""
    num_workers: int = -1
    """Processes that read videos; -1 for one a core."""
    limit_seconds: float | None = None
    """Time for one video, after which it counts as broken; 60 unless given, 1800 with --full."""
    num_frames: int = 16
    """Frames of the clips that you want to draw, to find what is too short for them."""
    frame_stride: int = 4
    """Distance of these frames."""
    report: Path | None = None
    """Write a CSV file with a line for each video: what is wrong with it, and all that is known of it."""
    lists: OmitArgPrefixes[ListOptions] = field(default_factory=ListOptions)
    group: str | None = None
    """What must stay on one side of a split, to find where it does not: a column of the list, parent (a video's
    folder), or a regular expression with brackets round the part of the path that names the source."""
    strict: bool = False
    """Leave with status 2 if a video is broken, leaks into another split or is under two classes."""
    json: bool = False
    """Print one JSON document on stdout."""


def run(arguments: list[str]) -> int:
    """Parse, scan, print."""
    options = parse(ScanOptions, arguments, command="scan")

    from videomae.api.curation import scan
    from videomae.cli.scan_report import as_document, print_report, strict_error, write_csv

    report = scan(
        options.data,
        full=options.full,
        num_frames=options.num_frames,
        frame_stride=options.frame_stride,
        group=options.group,
        video_root=options.lists.video_root,
        num_workers=options.num_workers,
        limit_seconds=options.limit_seconds,
    )
    if options.report is not None:
        write_csv(report, options.report)
    error = strict_error(report) if options.strict else None
    if options.json:
        document = as_document(report)
        print_json(document if error is None else {**document, "error": describe_error(error)})
    else:
        print_report(report, csv=options.report)
        if error is not None:
            print(f"videomae: {error}", file=sys.stderr)
    return EXIT_DONE if error is None else EXIT_BAD_INPUT
