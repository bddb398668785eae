"""`videomae convert`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from videomae.cli.arguments import parse
from videomae.cli.console import EXIT_DONE, print_json
from videomae.cli.model_options import UntoldOptions


@dataclass(frozen=True, kw_only=True)
class ConvertOptions(UntoldOptions):
    """Write a checkpoint in another layout; no number changes.

    hf is a folder, as videomae and transformers read it; original a .pth file for MCG-NJU/VideoMAE and VideoMAEv2.
    """

    source: Annotated[Positional[str], arg(metavar="SRC")]
    """Checkpoint folder, hub name, or file of weights (.pth, .pt, .bin, .safetensors) of either code base."""
    destination: Annotated[Positional[Path], arg(metavar="DST")]
    """A folder for hf, a file that ends in .pth for original."""
    layout: Literal["hf", "original"] = "hf"
    """What is written."""
    overwrite: bool = False
    """Replace a checkpoint that is there; a training run never is."""
    json: bool = False
    """Print one JSON document on stdout."""


def run(arguments: list[str]) -> int:
    """Parse, convert."""
    options = parse(ConvertOptions, arguments, command="convert")

    from videomae.api.checkpoint import convert

    convert(options.source, options.destination, layout=options.layout, overwrite=options.overwrite, **options.told())
    if options.json:
        print_json({"destination": str(options.destination), "layout": options.layout})
    else:
        print(f"written: {options.destination}")
    return EXIT_DONE
