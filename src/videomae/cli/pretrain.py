"""`videomae pretrain`."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from videomae.cli.data_options import ListOptions
from videomae.cli.recipe_options import parse_with_recipe, require_output
from videomae.recipes.pretrain import PretrainRecipe


@dataclass(frozen=True, kw_only=True)
class PretrainOptions:
    """Pre-train on videos without labels.

    Repeat the command to resume an interrupted run. The output folder is a checkpoint for `finetune --init`
    and `reconstruct --model`; look at its report.html.

        videomae pretrain VIDEOS --output pretrained
        videomae pretrain VIDEOS --output pretrained --recipe pretrain-hundreds-gpu --dry-run
        videomae pretrain packed --output pretrained --size tiny --image-size 64 --num-frames 8
    """

    data: Annotated[Positional[str], arg(metavar="DATA")]
    """Videos: a folder at any depth, a CSV or TSV with a column path, or a text file of paths."""
    output: Path | None = None
    """Folder of the run, afterwards a checkpoint."""
    init: Annotated[str | None, arg(metavar="CKPT")] = None
    """Pre-training checkpoint (folder or hub name) to start from; it has its own size."""
    lists: OmitArgPrefixes[ListOptions] = field(default_factory=ListOptions)
    recipe: OmitArgPrefixes[PretrainRecipe] = field(default_factory=PretrainRecipe)
    resume_anyway: bool = False
    """Resume the run in --output although its settings or its data differ."""
    dry_run: bool = False
    """Only report clips, steps, learning rate, time and memory, and draw inputs.png: the model's inputs."""
    json: bool = False
    """Print one JSON document on stdout at the end."""


def run(arguments: list[str]) -> int:
    """Parse, train, print where the result is."""
    options = parse_with_recipe(PretrainOptions, arguments, kind="pretrain")
    if options.dry_run:
        return _run_dry(options)
    output = require_output(options.output)

    from videomae.api.training import pretrain
    from videomae.cli.training import run_training

    return run_training(
        lambda: pretrain(
            options.data,
            output=output,
            recipe=options.recipe,
            init=options.init,
            video_root=options.lists.video_root,
            resume_anyway=options.resume_anyway,
        ),
        words=["pretrain", *arguments],
        next_command=f"videomae finetune LABELLED --init {shlex.quote(str(output))} --output CLASSIFIER",
        as_json=options.json,
    )


def _run_dry(options: PretrainOptions) -> int:
    from videomae.api.training import dry_run_pretrain
    from videomae.cli.dry_run import run_dry

    return run_dry(
        lambda progress: dry_run_pretrain(
            options.data,
            output=options.output,
            recipe=options.recipe,
            init=options.init,
            video_root=options.lists.video_root,
            progress=progress,
        ),
        options.recipe,
        as_json=options.json,
    )
