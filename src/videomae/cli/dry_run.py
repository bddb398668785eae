"""What `--dry-run` prints."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from videomae.api._console import can_show_bars, stderr_console
from videomae.cli.console import EXIT_DONE, print_json
from videomae.core.text import duration
from videomae.recipes.recipe import TrainingRecipe
from videomae.training.dry_run import NUM_STAGES, DryRun

_MAX_CLASSES = 10
# A run without a GPU that takes longer was hardly meant to.
_LONG_SECONDS = 2 * 3600.0


def run_dry(measure: Callable[[Callable[[str], object]], DryRun], recipe: TrainingRecipe, *, as_json: bool) -> int:
    """Print what the run would be.

    Args:
        measure: the dry run, which reports what it is doing to its argument.
        recipe: as the user gave it.
        as_json: print the result on stdout.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = stderr_console()
    columns = (TextColumn("dry run"), BarColumn(bar_width=24), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not can_show_bars(console)) as bar:
        task = bar.add_task("", total=NUM_STAGES)
        found = measure(lambda text: bar.update(task, advance=1, description=text))
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
    epochs = "1 epoch" if run.epochs == 1 else f"{run.epochs} epochs"
    lines = [
        ("clips", f"{run.num_videos} for training, {run.num_validation} for validation"),
        ("classes", f"{len(counts)}: {', '.join(counts[:_MAX_CLASSES])}{more}"),
        ("steps", f"{run.total_steps} = {epochs} × {run.steps_per_epoch}, of {run.batch_size} clips"),
        ("learning rate", rate),
        (
            "time",
            f"about {duration(run.total_seconds)} on {run.device}: {run.step_seconds:.3g} s a step and "
            f"{run.decode_seconds:.3g} s for reading a clip, measured in steps of up to {_clips(run.num_measured)}",
        ),
        ("memory", _memory(run)),
        ("inputs", str(run.picture)),
    ]
    if run.device == "cpu" and run.total_seconds > _LONG_SECONDS:
        kind = "finetune" if counts else "pretrain"
        number = "hundreds" if run.num_videos < 1000 else "thousands"
        quicker = f"--recipe {kind}-{number}-cpu, fewer --epochs, a smaller --size or --image-size, or a GPU"
        lines.append(("to be quicker", quicker))
    return [line for line in lines if counts or line[0] != "classes"]


def _memory(run: DryRun) -> str:
    """Peaks of the process, the GPU and the workers, and what is known of their parts."""
    parts = (
        ("weights", run.weight_bytes),
        ("gradients", run.gradient_bytes),
        ("optimizer", run.optimizer_bytes),
        ("activations", run.activation_bytes),
    )
    how = f"measured in steps of {_clips(run.num_measured)}"
    if run.num_measured < run.micro_batch_size:
        how += f", estimated for {run.micro_batch_size}"
    peaks = [] if run.device_bytes is None else [f"about {_size(run.device_bytes)} on the GPU"]
    if run.process_bytes is not None:
        peaks.append(f"about {_size(run.process_bytes)} in the training process")
    if run.num_workers:
        each = "" if run.worker_bytes is None else f" of {_size(run.worker_bytes)} each"
        peaks.append(f"{run.num_workers} decode worker{'s' if run.num_workers > 1 else ''}{each}")
    return f"{', '.join(peaks)} ({how}; {', '.join(f'{name} {_size(number)}' for name, number in parts)})"


def _clips(number: int) -> str:
    return "1 clip" if number == 1 else f"{number} clips"


def _size(num_bytes: int) -> str:
    for unit, length in (("GiB", 2**30), ("MiB", 2**20)):
        if num_bytes >= length:
            return f"{num_bytes / length:.1f} {unit}"
    return f"{num_bytes / 1024:.1f} KiB"
