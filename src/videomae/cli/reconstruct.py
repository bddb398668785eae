"""`videomae reconstruct`."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from videomae.api._console import stderr_console
from videomae.cli.arguments import parse
from videomae.cli.console import EXIT_DONE, print_json
from videomae.cli.model_options import RunOptions
from videomae.core.choices import MaskName


@dataclass(frozen=True, kw_only=True)
class ReconstructOptions:
    """Picture a clip, what a pre-trained model sees of it, and what it rebuilds."""

    video: Annotated[Positional[Path], arg(metavar="VIDEO")]
    """Video file, or folder of numbered frames; its center clip is taken."""
    model: Annotated[str, arg(metavar="CKPT")]
    """Pre-training checkpoint: a folder or a hub name."""
    output: Path
    """Picture to write: .png (frames in rows), .gif or .mp4 (moving)."""
    mask_ratio: float = 0.9
    """Share of the tubelets to hide."""
    mask: MaskName = "tube"
    """tube hides the same places in every frame, random any tubelet."""
    seed: int = 0
    """Seed of the mask."""
    run: OmitArgPrefixes[RunOptions] = field(default_factory=RunOptions)
    json: bool = False
    """Print one JSON document on stdout."""


def run(arguments: list[str]) -> int:
    """Parse, rebuild, draw."""
    options = parse(ReconstructOptions, arguments, command="reconstruct")

    from videomae.api.inference import reconstruct
    from videomae.datasets.entries import has_video_suffix

    rebuilt = reconstruct(
        options.video,
        model=options.model,
        output=options.output,
        mask=options.mask,
        mask_ratio=options.mask_ratio,
        seed=options.seed,
        **vars(options.run),
    )
    console = stderr_console()
    console.print(f"{options.output}: {rebuilt.caption}", markup=False)
    folder = os.path.realpath(options.output.parent)
    if has_video_suffix(options.output.name) and folder == os.path.realpath(options.video.parent):
        console.print(
            f"{options.output} lies beside VIDEO: with this folder as DATA it is one of its videos", markup=False
        )
    if options.json:
        print_json(
            {
                "path": str(options.video),
                "output": str(options.output),
                "loss": rebuilt.loss,
                "mask_ratio": rebuilt.mask_ratio,
                "frame_indices": [int(index) for index in rebuilt.frame_indices],
                "caption": rebuilt.caption,
            }
        )
    return EXIT_DONE
