"""What `--dry-run` prints."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from videomae.cli.console import EXIT_DONE, print_json, stderr_console
from videomae.cli.progress import ProgressMonitor
from videomae.recipes.recipe import TrainingRecipe
from videomae.training.dry_run import DryRun, dry_run
from videomae.training.setup import Prepared

_MAX_CLASSES = 10


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
        output: of the run, for the picture; None for the current folder.
        recipe: as the user gave it.
        as_json: print the result on stdout.
    """
    console = stderr_console()
    monitor = ProgressMonitor(console)
    found = dry_run(lambda folder: prepare(folder, monitor), Path() if output is None else output)
    if as_json:
        values = {**dataclasses.asdict(found), "total_bytes": found.total_bytes, "picture": str(found.picture)}
        print_json(values)
        return EXIT_DONE
    for name, text in _lines(found, recipe):
        console.print(f"{name:<15} {text}", markup=False)
    return EXIT_DONE


def _lines(run: DryRun, recipe: TrainingRecipe) -> list[tuple[str, str]]:
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
            f"about {_duration(run.total_seconds)} on {run.device}: {run.step_seconds:.3g} s a step and "
            f"{run.decode_seconds:.3g} s for reading a clip, measured with {run.num_measured} clips",
        ),
        (
            "memory",
            f"about {_size(run.total_bytes)}: {memory} (activations measured with one and two clips, and scaled; "
            "intermediate results come on top)",
        ),
        ("inputs", str(run.picture)),
    ]
    return [line for line in lines if counts or line[0] != "classes"]


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.3g} s"


def _size(num_bytes: int) -> str:
    for unit, length in (("GiB", 2**30), ("MiB", 2**20)):
        if num_bytes >= length:
            return f"{num_bytes / length:.1f} {unit}"
    return f"{num_bytes / 1024:.1f} KiB"
