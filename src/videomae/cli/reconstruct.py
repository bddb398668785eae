"""`videomae reconstruct`."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from videomae.cli.arguments import UsageError, parse, require_at_least
from videomae.cli.console import EXIT_DONE, print_json, stderr_console
from videomae.cli.model_options import RunOptions
from videomae.core.files import write_atomically

if TYPE_CHECKING:
    from videomae.inference.reconstruct import Reconstruction

FORMATS = (".png", ".gif", ".mp4")
# Slower than life, so that an eye can compare.
_FRAMES_PER_SECOND = 4


@dataclass(frozen=True, kw_only=True)
class ReconstructOptions:
    """Picture a clip, what a pre-trained model sees of it, and what it rebuilds."""

    video: Annotated[Positional[Path], arg(metavar="VIDEO")]
    """Video file; its centre clip is taken."""
    model: str
    """Pre-training checkpoint: a folder or a hub name."""
    output: Path
    """Picture to write: .png (frames in rows), .gif or .mp4 (moving)."""
    mask_ratio: float = 0.9
    """Share of the tubelets to hide."""
    mask: Literal["tube", "random"] = "tube"
    """tube hides the same places in every frame, random any tubelet."""
    seed: int = 0
    """Of the mask."""
    run: OmitArgPrefixes[RunOptions] = field(default_factory=RunOptions)
    json: bool = False
    """Print one JSON document on stdout."""


def run(arguments: list[str]) -> int:
    """Parse, rebuild, draw."""
    options = parse(ReconstructOptions, arguments, command="reconstruct")
    if options.output.suffix.lower() not in FORMATS:
        raise UsageError(
            f"--output {options.output}", expected=" or ".join(FORMATS), hint="change the ending of its name"
        )
    if not 0 < options.mask_ratio < 1:
        raise UsageError(f"--mask-ratio {options.mask_ratio}", expected="a share between 0 and 1", hint="try 0.9")
    require_at_least(0, "--seed", options.seed)
    if os.path.realpath(options.output) == os.path.realpath(options.video):
        raise UsageError(
            f"--output {options.output}, which is VIDEO", expected="another file", hint="the video would be replaced"
        )

    from videomae.checkpoint import open_checkpoint
    from videomae.core.device import choose_device
    from videomae.core.random_keys import generator_for
    from videomae.datasets.entries import has_video_suffix
    from videomae.inference.reconstruct import reconstruct_video

    rebuilt = reconstruct_video(
        open_checkpoint(options.model, task="pretraining"),
        options.video,
        mask=options.mask,
        mask_ratio=options.mask_ratio,
        generator=generator_for(options.seed),
        device=choose_device(options.run.device),
        precision=options.run.precision,
    )
    _draw(rebuilt, options.output)
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


def _draw(rebuilt: Reconstruction, output: Path) -> None:
    from videomae.report.pictures import reconstruction_animation, reconstruction_sheet, save_gif, save_png
    from videomae.video.writer import write_video

    rows = (rebuilt.original, rebuilt.masked, rebuilt.rebuilt)
    about: dict[str, Any] = {"caption": rebuilt.caption, "frame_numbers": rebuilt.frame_indices}
    if output.suffix.lower() == ".png":
        save_png(output, reconstruction_sheet(*rows, **about))
        return
    frames = reconstruction_animation(*rows, **about)
    if output.suffix.lower() == ".gif":
        save_gif(output, frames, frames_per_second=_FRAMES_PER_SECOND)
    else:  # the writer itself makes no folder
        write_atomically(output, lambda aside: write_video(aside, frames, frames_per_second=_FRAMES_PER_SECOND))
