"""What the training commands share: the bar, the end, the interruption."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from videomae.api._console import stderr_console
from videomae.cli.console import EXIT_DONE, EXIT_INTERRUPTED, print_json
from videomae.cli.launcher import how_to_resume
from videomae.core.text import duration
from videomae.training.cross_validation import METRIC_TITLES, CrossValidation
from videomae.training.run_folder import REPORT_NAME
from videomae.training.trainer import TrainingStopped

_MAX_LISTED = 10


def run_training(train: Callable[[], Any], *, words: Sequence[str], next_command: str, as_json: bool) -> int:
    """Run `train`, then say what came out and what to do with it.

    Args:
        train: the run.
        words: what stands after `videomae` on the command line.
        next_command: what to do with the result.
        as_json: print the result on stdout.
    """
    console = stderr_console()

    def command() -> int:
        begin = time.monotonic()
        result = train()
        _print_broken(result, console)
        if result.skipped_steps:
            about = f"{result.skipped_steps} of {result.steps} steps skipped: loss or gradient was not finite"
            console.print(about, markup=False, style="yellow")
        took = "" if result.was_finished else f", {duration(round(time.monotonic() - begin))}"
        console.print(f"{result.summary}{took}", markup=False, style="bold")
        lines = f"checkpoint: {result.folder}\nreport:     {result.folder / REPORT_NAME}\nnext:       {next_command}"
        console.print(lines, markup=False, soft_wrap=True)  # to be copied, so without line breaks in them
        if as_json:
            values = dataclasses.asdict(result)
            print_json({key: str(value) if isinstance(value, Path) else value for key, value in values.items()})
        return EXIT_DONE

    return interruptible(command, console, words=words)


def run_cross_validation(train: Callable[[], CrossValidation], *, words: Sequence[str], as_json: bool) -> int:
    """Run `train`, then print mean and deviation of each metric; arguments as for `run_training`."""
    console = stderr_console()

    def command() -> int:
        found = train()
        for number, result in enumerate(found.folds, start=1):
            if result.broken or result.broken_validation:
                console.print(f"fold {number}:", markup=False)
                _print_broken(result, console)
        lines = [f"{METRIC_TITLES[name]:<20} {found.text(name)}" for name in found.scores]
        lines.append(f"folds: {found.folder}/fold-1 to fold-{len(found.folds)}\nreport: {found.folder / REPORT_NAME}")
        console.print(lines[0], markup=False, style="bold")
        console.print("\n".join(lines[1:]), markup=False, soft_wrap=True)
        if as_json:
            scores = {
                name: {"mean": found.mean(name), "deviation": found.deviation(name), "folds": values}
                for name, values in found.scores.items()
            }
            print_json({"folder": str(found.folder), "folds": [str(fold.folder) for fold in found.folds], **scores})
        return EXIT_DONE

    return interruptible(command, console, words=words)


def _print_broken(result: Any, console: Console) -> None:
    """How many videos could not be read, and the first of them."""
    for broken, total, title in (
        (result.broken, result.num_videos + result.num_broken, "skipped unreadable videos"),
        (getattr(result, "broken_validation", {}), None, "unreadable validation videos, counted as wrong"),
    ):
        if not broken:
            continue
        of_all = "" if total is None else f" of {total} videos"
        about = f"{title}: {len(broken)}{of_all}; {REPORT_NAME} lists the reasons"
        console.print(about, markup=False, style="yellow")
        for path in list(broken)[:_MAX_LISTED]:
            console.print(f"  {path}", markup=False, soft_wrap=True)
        if len(broken) > _MAX_LISTED:
            console.print(f"  and {len(broken) - _MAX_LISTED} more")


def interruptible(command: Callable[[], int], console: Console, *, words: Sequence[str]) -> int:
    """Run `command`, whose command line is `videomae` and `words`; where the user stops it, print how to resume."""
    try:
        return command()
    except TrainingStopped as stopped:
        outcome = f"{stopped}; its state is saved in {stopped.folder}"
    except KeyboardInterrupt:  # before or after the steps, or the second Ctrl-C
        outcome = "interrupted; what was saved before is intact"
    # The command is to be copied, so without line breaks in it.
    console.print(f"{outcome}. {how_to_resume(words)}", markup=False, soft_wrap=True)
    return EXIT_INTERRUPTED
