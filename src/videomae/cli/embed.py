"""`videomae embed`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from videomae.cli.arguments import UsageError, parse
from videomae.cli.console import EXIT_BAD_INPUT, EXIT_DONE, describe_error, print_json, stderr_console
from videomae.cli.data_options import ListOptions
from videomae.cli.model_options import ViewRunOptions

if TYPE_CHECKING:
    from videomae.core.errors import VideoError
    from videomae.datasets.entries import VideoEntry


@dataclass(frozen=True, kw_only=True)
class EmbedCommandOptions:
    """Write what a checkpoint's encoder says about videos, nothing masked: one row for each video, or each window.

    Rows hold path, label (where DATA has labels), start_seconds, end_seconds and features. In Python:
    numpy.load("features.npz")["features"], or pandas.read_parquet("features.parquet").
    """

    videos: Annotated[Positional[tuple[Path, ...]], arg(metavar="VIDEO")]
    """Video files, folders of them, or any DATA: a folder of class folders, a CSV, a text file of paths."""
    model: str
    """Checkpoint of any kind: a folder or a hub name."""
    output: Path
    """File to write: .npz (NumPy) or .parquet (needs pyarrow, takes any number of rows)."""
    windows: bool = False
    """Consecutive clips over the whole of each video, each a row with its start and end."""
    overlap: float = 0.0
    """Share of a window that the next one repeats."""
    dense: bool = False
    """Every token's features (time, height, width, D) instead of their mean (D)."""
    lists: OmitArgPrefixes[ListOptions] = field(default_factory=ListOptions)
    run: OmitArgPrefixes[ViewRunOptions] = field(default_factory=ViewRunOptions)
    json: bool = False
    """Print one JSON document on stdout."""


def run(arguments: list[str]) -> int:
    """Parse, embed, say what was written."""
    options = parse(EmbedCommandOptions, arguments, command="embed")
    if not options.videos:
        raise UsageError("no video", expected="one video or more", hint="name files or folders after `embed`")

    from rich.progress import Progress

    from videomae.cli.models import open_for_views
    from videomae.inference.embed import EmbedOptions, embed_videos
    from videomae.inference.feature_files import FeatureFile

    entries = _entries(options.videos, options.lists.video_root)
    embed = EmbedOptions(
        num_clips=options.run.clips,
        num_crops=options.run.crops,
        windows=options.windows,
        overlap=options.overlap,
        dense=options.dense,
        precision=options.run.precision,
        num_workers=options.run.num_workers,
        read_limit_seconds=options.run.read_limit_seconds,
    )
    file = FeatureFile(options.output)
    checkpoint, _, device = open_for_views(options.model, options.run, for_features=True)
    checkpoint.model.to(device)
    console = stderr_console()
    broken: list[VideoError] = []
    shape: tuple[int, ...] = ()
    seen: set[int] = set()
    with file, Progress(console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("embedding", total=len(entries))
        for row in embed_videos(checkpoint, entries, options=embed, device=device):
            if row.error is not None:
                broken.append(row.error)
                if len(entries) > 1:  # a single one ends the command with this line
                    console.print(f"left out, cannot be read: {row.error}", markup=False)
            if row.values is not None:
                entry, shape = entries[row.index], tuple(row.values.shape)
                start, end = row.start_seconds, row.end_seconds
                file.add(str(entry.path), entry.label_text, row.values.numpy(), start_seconds=start, end_seconds=end)
            if row.index not in seen:
                seen.add(row.index)
                progress.advance(bar)
    if not file.num_rows:
        raise broken[0]
    _tell(options, len(entries), broken, file.num_rows, shape)
    if broken:
        print(f"videomae: {len(broken)} of {len(entries)} videos cannot be read", file=sys.stderr)
    return EXIT_BAD_INPUT if broken else EXIT_DONE


def _entries(paths: tuple[Path, ...], video_root: Path | None) -> list[VideoEntry]:
    from videomae.datasets.entries import VIDEO_SUFFIXES, VideoEntry
    from videomae.datasets.manifest import read_manifest

    entries: list[VideoEntry] = []
    for path in paths:
        # A path that does not exist is kept: reading it gives the clearest error.
        is_video = path.suffix.lower() in VIDEO_SUFFIXES or not path.exists()
        if is_video and not path.is_dir():
            entries.append(VideoEntry(path))
            continue
        manifest = read_manifest(path, root=video_root)
        entries += manifest.entries
        for notice in manifest.notices:
            stderr_console().print(notice, markup=False)
    return entries


def _tell(
    options: EmbedCommandOptions, num_videos: int, broken: list[VideoError], num_rows: int, shape: tuple[int, ...]
) -> None:
    if options.json:
        document: dict[str, object] = {
            "output": str(options.output),
            "num_videos": num_videos - len(broken),
            "num_broken": len(broken),
            "num_rows": num_rows,
            "feature_shape": list(shape),
        }
        if broken:
            document["error"] = describe_error(broken[0])
        print_json(document)
    else:
        size = " × ".join(map(str, shape))
        rows = "1 row" if num_rows == 1 else f"{num_rows} rows"
        num_read = num_videos - len(broken)
        videos = "1 video" if num_read == 1 else f"{num_read} videos"
        print(f"{rows} of {size} features from {videos}: {options.output}")
