"""What `--dry-run` prints."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from videomae.cli.console import EXIT_DONE, duration, print_json, stderr_console
from videomae.cli.progress import ProgressMonitor
from videomae.recipes.recipe import TrainingRecipe
from videomae.training.dry_run import DryRun, dry_run
from videomae.training.setup import Prepared

_MAX_CLASSES = 10
# A run without a GPU that takes longer was hardly meant to.
_LONG_SECONDS = 2 * 3600.0


def run_dry(
    prepare: Callable[[Path, ProgressMonitor], Prepared],
    output: Path | None,
    recipe: TrainingRecipe,
    *,
    as_json: bool,
) -> int:
    """Tell what the run would be.

    Args:
        prepare: gives the run, kept in a folder, and telling a monitor.
        output: of the run, for the picture; None for the current folder, or where that is DATA a temporary one.
        recipe: as the user gave it.
        as_json: print the result on stdout.
    """
    console = stderr_console()
    monitor = ProgressMonitor(console)
    found = dry_run(lambda folder: prepare(folder, monitor), output)
    if as_json:
        values = {**dataclasses.asdict(found), "total_bytes": found.total_bytes, "picture": str(found.picture)}
        print_json(values)
        return EXIT_DONE
    for name, text in lines_of(found, recipe):
        console.print(f"{name:<15} {text}", markup=False)
    return EXIT_DONE


def lines_of(run: DryRun, recipe: TrainingRecipe) -> list[tuple[str, str]]:
    """What a dry run has found, as names and texts for people."""
    counts = [f"{name} {count}" for name, count in run.class_counts.items()]
    more = "" if len(counts) <= _MAX_CLASSES else ", …"
    rate = f"{recipe.learning_rate:g} × {run.batch_size} / 256 = {run.learning_rate:.3g}"
    memory = ", ".join(
        f"{name} {_size(number)}"
        for name, number in (
            ("weights", run.weight_bytes),
            ("gradients", run.gradient_bytes),
            ("optimiser", run.optimizer_bytes),
            ("activations", run.activation_bytes),
        )
    )
    epochs = "1 epoch" if run.epochs == 1 else f"{run.epochs} epochs"
    lines = [
        ("clips", f"{run.num_videos} to learn from, {run.num_validation} that judge"),
        ("classes", f"{len(counts)}: {', '.join(counts[:_MAX_CLASSES])}{more}"),
        ("steps", f"{run.total_steps} = {epochs} × {run.steps_per_epoch}, of {run.batch_size} clips"),
        ("learning rate", rate),
        (
            "time",
            f"about {duration(run.total_seconds)} on {run.device}: {run.step_seconds:.3g} s a step and "
            f"{run.decode_seconds:.3g} s for reading a clip, measured with {run.num_measured} clips",
        ),
        (
            "memory",
            f"about {_size(run.total_bytes)}: {memory} (activations measured with one and two clips, and scaled; "
            "intermediate results come on top)",
        ),
        ("inputs", str(run.picture)),
    ]
    if run.device == "cpu" and run.total_seconds > _LONG_SECONDS:
        kind = "finetune" if counts else "pretrain"
        number = "hundreds" if run.num_videos < 1000 else "thousands"
        quicker = f"--recipe {kind}-{number}-cpu, fewer --epochs, a smaller --size or --image-size, or a GPU"
        lines.append(("to be quicker", quicker))
    return [line for line in lines if counts or line[0] != "classes"]


def _size(num_bytes: int) -> str:
    for unit, length in (("GiB", 2**30), ("MiB", 2**20)):
        if num_bytes >= length:
            return f"{num_bytes / length:.1f} {unit}"
    return f"{num_bytes / 1024:.1f} KiB"
