"""`videomae finetune`."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from videomae.cli.arguments import UsageError
from videomae.cli.data_options import SplitOptions
from videomae.cli.recipe_options import parse_with_recipe, require_output
from videomae.recipes.finetune import FinetuneRecipe


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions:
    r"""Train a classifier on labelled videos.

    Repeat the command to resume an interrupted run. The output folder is a checkpoint for `predict` and
    `evaluate`; with validation videos it holds the best epoch. Look at its report.html.

        videomae finetune CLIPS --init pretrained --output classifier
        videomae finetune CLIPS --init pretrained --output classifier --recipe finetune-hundreds-gpu --dry-run
        videomae finetune CLIPS --init pretrained --output folds --folds 5 --group '(source\d+)_'
        videomae finetune list.csv --val-share 0.2 --init scratch --output classifier --size tiny --image-size 64
    """

    data: Annotated[Positional[str], arg(metavar="DATA")]
    """Labelled videos: a folder of class folders, train/ and val/ of such folders, or a list (see docs/data.md)."""
    output: Path | None = None
    """Folder of the run, afterwards a checkpoint."""
    init: Annotated[str, arg(metavar="CKPT")]
    """Checkpoint to start from (folder or hub name), or scratch for new weights."""
    val: Annotated[str | None, arg(metavar="DATA")] = None
    """Labelled videos for validation, where DATA has no split val."""
    folds: int = 0
    """Cross-validation: divide the videos into so many folds, train for each on the others, and report mean and
    deviation; 0 trains once."""
    split: OmitArgPrefixes[SplitOptions] = field(default_factory=SplitOptions)
    recipe: OmitArgPrefixes[FinetuneRecipe] = field(default_factory=FinetuneRecipe)
    resume_anyway: bool = False
    """Resume the run in --output although its settings or its data differ."""
    dry_run: bool = False
    """Only report clips, steps, learning rate, time and memory, and draw inputs.png: the model's inputs."""
    json: bool = False
    """Print one JSON document on stdout at the end."""


def run(arguments: list[str]) -> int:
    """Parse, train, print where the result is."""
    options = parse_with_recipe(FinetuneOptions, arguments, kind="finetune")
    if options.folds:
        return _run_folds(options, arguments)
    if options.dry_run:
        return _run_dry(options)
    output = require_output(options.output)

    from videomae.api.training import finetune
    from videomae.cli.training import run_training

    return run_training(
        lambda: finetune(
            options.data,
            output=output,
            recipe=options.recipe,
            init=options.init,
            val=options.val,
            val_share=options.split.val_share,
            group=options.split.group,
            video_root=options.split.video_root,
            resume_anyway=options.resume_anyway,
        ),
        words=["finetune", *arguments],
        next_command=f"videomae predict VIDEO --model {shlex.quote(str(output))}",
        as_json=options.json,
    )


def _run_folds(options: FinetuneOptions, arguments: list[str]) -> int:
    others = {"--val": options.val, "--val-share": options.split.val_share, "--dry-run": options.dry_run or None}
    other = next((name for name, value in others.items() if value is not None), None)
    if other is not None:
        raise UsageError(f"--folds {options.folds} with {other}", expected="one of the two", hint=f"leave {other} out")

    from videomae.api.training import cross_validate
    from videomae.cli.training import run_cross_validation

    return run_cross_validation(
        lambda: cross_validate(
            options.data,
            output=require_output(options.output),
            recipe=options.recipe,
            init=options.init,
            folds=options.folds,
            group=options.split.group,
            video_root=options.split.video_root,
            resume_anyway=options.resume_anyway,
        ),
        words=["finetune", *arguments],
        as_json=options.json,
    )


def _run_dry(options: FinetuneOptions) -> int:
    from videomae.api.training import dry_run_finetune
    from videomae.cli.dry_run import run_dry

    return run_dry(
        lambda progress: dry_run_finetune(
            options.data,
            output=options.output,
            recipe=options.recipe,
            init=options.init,
            val=options.val,
            val_share=options.split.val_share,
            group=options.split.group,
            video_root=options.split.video_root,
            progress=progress,
        ),
        options.recipe,
        as_json=options.json,
    )
