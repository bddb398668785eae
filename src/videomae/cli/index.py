"""`videomae index`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from videomae.cli.arguments import UsageError, parse
from videomae.cli.console import EXIT_BAD_INPUT, EXIT_DONE, print_json
from videomae.cli.data_options import ListOptions
from videomae.core.choices import InferencePrecisionName

if TYPE_CHECKING:
    from videomae.retrieval.building import IndexReport


@dataclass(frozen=True, kw_only=True)
class IndexCommandOptions:
    """Put the features of videos into an index, for `videomae search`.

    Repeat the command to bring the index up to date: only videos that are new or have changed are read. Labels of DATA
    are kept, so that `search --suggest-labels` can use them. Needs LanceDB: pip install 'videomae[search]'.

        videomae index VIDEOS --model pretrained --output videos.index
        videomae search videos.index holiday.mp4 --at 12.5
    """

    videos: Annotated[Positional[tuple[Path, ...]], arg(metavar="VIDEO")]
    """Video files, folders of them, or any DATA: a folder of class folders, a CSV, a text file of paths."""
    model: Annotated[str, arg(metavar="CKPT")]
    """Checkpoint of any kind: a folder or a hub name."""
    output: Annotated[Path, arg(metavar="INDEX")]
    """Folder of the index."""
    whole: bool = False
    """A row for each video, not one for each window of it."""
    overlap: float = 0.0
    """Share of a window that the next one repeats; with 0.5, a moment is met more exactly, for twice the time."""
    prune: bool = False
    """Remove videos whose files are gone."""
    device: str = "auto"
    """Where to compute: auto (CUDA, else MPS, else the CPU) or any device of torch, such as cpu, cuda:1 or mps."""
    precision: InferencePrecisionName = "auto"
    """Precision of matrix products; auto is what the hardware multiplies fast."""
    num_workers: int = -1
    """Processes that decode; -1 takes one per core, at most 8."""
    lists: OmitArgPrefixes[ListOptions] = field(default_factory=ListOptions)
    json: bool = False
    """Print one JSON document on stdout."""


def run(arguments: list[str]) -> int:
    """Parse, index, print what changed."""
    options = parse(IndexCommandOptions, arguments, command="index")
    if not options.videos:
        raise UsageError("no video", expected="one video or more", hint="name files or folders after `index`")

    from videomae.api.search import index

    report = index(
        options.videos,
        model=options.model,
        output=options.output,
        whole=options.whole,
        overlap=options.overlap,
        prune=options.prune,
        video_root=options.lists.video_root,
        device=options.device,
        precision=options.precision,
        num_workers=options.num_workers,
    )
    if options.json:
        print_json(
            {
                "output": str(options.output),
                **{name: getattr(report, name) for name in ("num_new", "num_changed", "num_unchanged", "num_removed")},
                **{"missing": report.missing, "num_rows": report.num_rows, "num_broken": len(report.errors)},
                "broken": [{"reason": str(error)} for error in report.errors],
            }
        )
    else:
        print(f"{options.output}: {_counts(report)}; {report.num_rows} rows")
    if report.missing and not options.prune:
        count = "1 video of the index is" if len(report.missing) == 1 else f"{len(report.missing)} videos are"
        print(f"videomae: {count} gone, such as {report.missing[0]}; --prune removes what is gone", file=sys.stderr)
    return EXIT_BAD_INPUT if report.errors else EXIT_DONE


def _counts(report: IndexReport) -> str:
    counts = {
        "new": report.num_new,
        "changed": report.num_changed,
        "unchanged": report.num_unchanged,
        "removed": report.num_removed,
        "unreadable": len(report.errors),
    }
    said = [f"{count} {what}" for what, count in counts.items() if count]
    return ", ".join(said) + " videos" if said else "no videos"
