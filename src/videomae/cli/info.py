"""`videomae info`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from tyro.conf import Positional, arg

from videomae.cli.arguments import parse
from videomae.cli.console import EXIT_DONE, print_json

_MAX_CLASSES = 12


@dataclass(frozen=True, kw_only=True)
class InfoOptions:
    """Print what a checkpoint is: task, network, clips, classes, weights."""

    checkpoint: Annotated[Positional[str], arg(metavar="CKPT")]
    """Checkpoint folder, hub name or file of weights."""
    num_frames: int | None = None
    """Frames in a clip, where a file of weights does not tell."""
    image_size: int | None = None
    """Pixels, where a file of weights does not tell."""
    json: bool = False
    """Print one JSON document on stdout."""


def run(arguments: list[str]) -> int:
    """Parse, read, print."""
    options = parse(InfoOptions, arguments, command="info")

    from videomae.api.description import describe_checkpoint

    given = {name: getattr(options, name) for name in ("num_frames", "image_size")}
    about = describe_checkpoint(
        options.checkpoint, **{name: value for name, value in given.items() if value is not None}
    )
    if options.json:
        print_json(about)
    else:
        _print(about)
    return EXIT_DONE


def _print(about: dict[str, Any]) -> None:
    clip, network, sampling = about["clip"], about["network"], about["sampling"]
    rows = {
        "checkpoint": about["checkpoint"],
        "layout": about["layout"],
        "task": about["task"],
        "weights": f"{about['num_parameters']:,} in {about['num_tensors']} tensors ({', '.join(about['dtypes'])})",
        "encoder": f"width {network['width']}, depth {network['depth']}, {network['heads']} heads",
        "decoder": None
        if about["task"] != "pretraining"
        else f"width {network['decoder_width']}, depth {network['decoder_depth']}, {network['decoder_heads']} heads",
        "clip": f"{clip['num_frames']} frames, {clip['height']}×{clip['width']} px, {clip['num_channels']} channels",
        "tokens": f"{clip['num_tokens']} = {' × '.join(map(str, clip['grid']))} (time × rows × columns)",
        "sampling": f"{sampling['method']}, frame stride {sampling['frame_stride']}",
        "mean, std": f"{about['image_mean']}, {about['image_std']}",
        "classes": None if about["task"] != "classification" else _classes(about["classes"]),
    }
    for name, value in rows.items():
        if value is not None:
            print(f"{name:<11} {value}")


def _classes(names: list[str]) -> str:
    shown = ", ".join(names[:_MAX_CLASSES])
    return f"{len(names)}: {shown}" + (", …" if len(names) > _MAX_CLASSES else "")
