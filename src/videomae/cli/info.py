"""`videomae info`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from tyro.conf import Positional, arg

from videomae.cli.arguments import parse
from videomae.cli.console import EXIT_BAD_INPUT, EXIT_DONE, print_json
from videomae.cli.model_options import UntoldOptions
from videomae.weights.listing import grouped

_MAX_CLASSES = 12
# The commands that load a checkpoint for each task.
_COMMANDS = {"features": "embed", "pretraining": "pretrain", "classification": "finetune"}


@dataclass(frozen=True, kw_only=True)
class InfoOptions(UntoldOptions):
    """Print what a checkpoint is: layout, size, head, classes, clips, what a task drops, checksum."""

    checkpoint: Annotated[Positional[str], arg(metavar="CKPT")]
    """Checkpoint folder, hub name or file of weights."""
    json: bool = False
    """Print one JSON document on stdout."""


def run(arguments: list[str]) -> int:
    """Parse, read, print."""
    options = parse(InfoOptions, arguments, command="info")

    from videomae.api.description import describe_checkpoint

    about = describe_checkpoint(options.checkpoint, **options.told())
    if options.json:
        print_json(about)
    else:
        _print(about)
    return EXIT_BAD_INPUT if about["misfits"] else EXIT_DONE


def _print(about: dict[str, Any]) -> None:
    clip, network, sampling = about["clip"], about["network"], about["sampling"]
    decoder = f"width {network['decoder_width']}, depth {network['decoder_depth']}, {network['decoder_heads']} heads"
    assumed = "" if about["has_processor"] else " (assumed: there is no preprocessor_config.json)"
    patch = "×".join(map(str, network["patch"]))
    rows = {
        "checkpoint": about["checkpoint"],
        "layout": _layout(about),
        "task": about["task"],
        "size": f"{about['size'] or 'other'}, {about['num_parameters']:,} parameters",
        "weights": f"{about['num_tensors']} tensors, {', '.join(about['dtypes'])}",
        "not finite": grouped(about["not_finite"]),
        "encoder": f"width {network['width']}, depth {network['depth']}, {network['heads']} heads, "
        f"MLP {network['mlp_width']}, patch {patch}",
        "decoder": decoder if about["task"] == "pretraining" else "",
        "head": about["head"] or "none",
        "classes": _classes(about["classes"]) if about["classes"] else "",
        "clip": f"{clip['num_frames']} frames, {clip['height']}×{clip['width']} px, {clip['num_channels']} channels",
        "tokens": f"{clip['num_tokens']} = {' × '.join(map(str, clip['grid']))} (time × rows × columns)",
        "positions": _positions(clip["position_grid"]),
        "sampling": f"{sampling['method']}, frame stride {sampling['frame_stride']}{assumed}",
        "mean, std": f"{_numbers(about['image_mean'])}; {_numbers(about['image_std'])}{assumed}",
        "adapted": about["adapted"],
        **{f"to {_COMMANDS[task]}": _use(task, use) for task, use in about["uses"].items()},
        "checksum": about["checksum"],
        "problem": f"it does not open, weights and configuration differ: {about['misfits']}"
        if about["misfits"]
        else "",
    }
    for name, value in rows.items():
        if value:
            print(f"{name:<11} {value}")


def _layout(about: dict[str, Any]) -> str:
    where = f"{about['layout']}, names of {about['names']}, in {about['container']}"
    return where if about["base"] is None else f"{where}, merged into {about['base']}"


def _use(task: str, use: dict[str, list[str]] | None) -> str:
    """What another task makes of the checkpoint."""
    if use is None:
        return "not possible: it has no decoder"
    if not any(use.values()):
        return "as it is" + ("; other classes start a new classifier" if task == "classification" else "")
    return "; ".join(f"{change} {', '.join(parts)}" for change, parts in use.items() if parts)


def _positions(grid: list[int] | None) -> str:
    if grid is None:
        return ""
    return f"interpolated from {'×'.join(map(str, grid))} tokens; transformers computes others: its outputs differ"


def _numbers(values: list[float]) -> str:
    return " ".join(f"{value:.3g}" for value in values)


def _classes(names: list[str]) -> str:
    shown = ", ".join(names[:_MAX_CLASSES])
    return f"{len(names)}: {shown}" + (", …" if len(names) > _MAX_CLASSES else "")
