"""`videomae embed`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from videomae.cli.arguments import UsageError, parse
from videomae.cli.console import EXIT_BAD_INPUT, EXIT_DONE, describe_error, print_json
from videomae.cli.data_options import ListOptions
from videomae.cli.model_options import ViewRunOptions


@dataclass(frozen=True, kw_only=True)
class EmbedCommandOptions:
    """Write the features of videos from a checkpoint's encoder, nothing masked: one row per video, or per window.

    Rows hold path, label (where DATA has labels), start_seconds, end_seconds and features. In Python:
    numpy.load("features.npz")["features"], or pandas.read_parquet("features.parquet").
    """

    videos: Annotated[Positional[tuple[Path, ...]], arg(metavar="VIDEO")]
    """Video files, folders of them, or any DATA: a folder of class folders, a CSV, a text file of paths."""
    model: Annotated[str, arg(metavar="CKPT")]
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
    """Parse, embed, print what was written."""
    options = parse(EmbedCommandOptions, arguments, command="embed")
    if not options.videos:
        raise UsageError("no video", expected="one video or more", hint="name files or folders after `embed`")

    from videomae.api.inference import embed

    features = embed(
        options.videos,
        model=options.model,
        output=options.output,
        windows=options.windows,
        overlap=options.overlap,
        dense=options.dense,
        video_root=options.lists.video_root,
        **vars(options.run),
    )
    if options.json:
        document: dict[str, object] = {
            "output": str(options.output),
            "num_videos": features.num_videos,
            "num_broken": len(features.errors),
            "num_rows": features.num_rows,
            "feature_shape": list(features.feature_shape),
        }
        if features.errors:
            document["error"] = describe_error(features.errors[0])
            document["broken"] = [{"reason": str(error)} for error in features.errors]
        print_json(document)
    else:
        size = " × ".join(map(str, features.feature_shape))
        rows = "1 row" if features.num_rows == 1 else f"{features.num_rows} rows"
        videos = "1 video" if features.num_videos == 1 else f"{features.num_videos} videos"
        print(f"{rows} of {size} features from {videos}: {options.output}")
    if features.errors:
        num_broken = len(features.errors)
        print(f"videomae: {num_broken} of {features.num_videos + num_broken} videos cannot be read", file=sys.stderr)
    return EXIT_BAD_INPUT if features.errors else EXIT_DONE
