"""`videomae convert`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from videomae.cli.arguments import parse
from videomae.cli.console import EXIT_DONE, print_json


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """Write a checkpoint in another layout; no number changes.

    hf is a folder, as videomae and transformers read it; original a .pth file for MCG-NJU/VideoMAE and VideoMAEv2.
    """

    source: Annotated[Positional[str], arg(metavar="SRC")]
    """Checkpoint folder, hub name, or file of weights (.pth, .pt, .bin, .safetensors) of either code base."""
    destination: Annotated[Positional[Path], arg(metavar="DST")]
    """A folder for hf, a file that ends in .pth for original."""
    layout: Literal["hf", "original"] = "hf"
    """What is written."""
    num_frames: int | None = None
    """Frames in a clip, where a file of weights does not tell; the published models have 16."""
    image_size: int | None = None
    """Pixels, where a file of weights does not tell; the published models have 224."""
    num_attention_heads: int | None = None
    """Heads of an encoder of an unusual width."""
    decoder_num_attention_heads: int | None = None
    """Heads of a decoder of an unusual width."""
    json: bool = False
    """Print one JSON document on stdout."""


def run(arguments: list[str]) -> int:
    """Parse, convert."""
    options = parse(ConvertOptions, arguments, command="convert")

    from videomae.api.checkpoint import convert

    names = ("num_frames", "image_size", "num_attention_heads", "decoder_num_attention_heads")
    given: dict[str, Any] = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    convert(options.source, options.destination, layout=options.layout, **given)
    if options.json:
        print_json({"destination": str(options.destination), "layout": options.layout})
    else:
        print(f"written: {options.destination}")
    return EXIT_DONE
