"""`videomae reconstruct`."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from videomae.api._console import stderr_console
from videomae.cli.arguments import UsageError, parse
from videomae.cli.console import EXIT_BAD_INPUT, EXIT_DONE, print_json
from videomae.cli.model_options import RunOptions
from videomae.core.choices import MaskName


@dataclass(frozen=True, kw_only=True)
class ReconstructOptions:
    """Picture a clip, what a pre-trained model sees of it, and what it rebuilds."""

    video: Annotated[Positional[str], arg(metavar="VIDEO")]
    """Video file, or folder of numbered frames; its center clip is taken, with --whole all of it."""
    model: Annotated[str, arg(metavar="CKPT")]
    """Pre-training checkpoint: a folder or a hub name."""
    output: Path
    """Picture to write: .png, .jpg or .webp (frames in rows), .gif or .mp4 (moving, at the clip's own speed)."""
    whole: bool = False
    """Rebuild the whole video, clip after clip, at its own speed: into .mp4, or a .gif where it is short."""
    max_seconds: float | None = None
    """With --whole: how much of the video."""
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

    if options.whole:
        return _whole(options)
    if options.max_seconds is not None:
        raise UsageError(f"--max-seconds {options.max_seconds:g} without --whole", expected="both", hint="add --whole")

    from videomae.api.reconstruction import reconstruct

    rebuilt = reconstruct(
        options.video,
        model=options.model,
        output=options.output,
        mask=options.mask,
        mask_ratio=options.mask_ratio,
        seed=options.seed,
        **vars(options.run),
    )
    stderr_console().print(f"{options.output}: {rebuilt.caption}", markup=False)
    _warn_of_neighbor(options)
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


def _whole(options: ReconstructOptions) -> int:
    from videomae.api.reconstruction import reconstruct_whole

    rebuilt = reconstruct_whole(
        options.video,
        model=options.model,
        output=options.output,
        mask=options.mask,
        mask_ratio=options.mask_ratio,
        seed=options.seed,
        max_seconds=options.max_seconds,
        **vars(options.run),
    )
    console = stderr_console()
    console.print(f"{options.output}: {rebuilt.num_clips} clips. {rebuilt.caption}", markup=False)
    if rebuilt.ended is not None:
        console.print(f"ended early: {rebuilt.ended}", markup=False)
    _warn_of_neighbor(options)
    if options.json:
        print_json({"path": options.video, **vars(rebuilt), "output": str(options.output)})
    return EXIT_DONE if rebuilt.ended is None else EXIT_BAD_INPUT


def _warn_of_neighbor(options: ReconstructOptions) -> None:
    from videomae.datasets.entries import has_video_suffix

    folder = os.path.realpath(options.output.parent)
    if has_video_suffix(options.output.name) and folder == os.path.realpath(Path(options.video).parent):
        stderr_console().print(
            f"{options.output} lies beside VIDEO: with this folder as DATA it is one of its videos", markup=False
        )
