"""`videomae evaluate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from videomae.cli.arguments import parse
from videomae.cli.console import EXIT_DONE, print_json, stderr_console
from videomae.cli.data_options import ListOptions
from videomae.cli.model_options import ViewRunOptions

if TYPE_CHECKING:
    from videomae.evaluation.validate import Evaluation


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Judge a classifier on labelled videos; each counts exactly once, classes are matched by name."""

    data: Annotated[Positional[str], arg(metavar="DATA")]
    """Labelled videos, as for finetune; of DATA that names splits, test is taken, else val."""
    model: str
    """Classifier: a checkpoint folder or a hub name."""
    count_broken_as_wrong: bool = False
    """Count a video that cannot be read as wrong, and name it, instead of stopping."""
    lists: OmitArgPrefixes[ListOptions] = field(default_factory=ListOptions)
    run: OmitArgPrefixes[ViewRunOptions] = field(default_factory=lambda: ViewRunOptions(clips=5, crops=3))
    json: bool = False
    """Print one JSON document on stdout."""


def run(arguments: list[str]) -> int:
    """Parse, evaluate, print."""
    options = parse(EvaluateOptions, arguments, command="evaluate")

    from rich.progress import Progress

    from videomae.cli.models import open_for_views
    from videomae.data.manifest import read_manifest
    from videomae.evaluation.validate import evaluate_classifier

    manifest = read_manifest(options.data, root=options.lists.video_root).take_split("test", "val")
    checkpoint, views, device = open_for_views(options.model, options.run)
    console = stderr_console()
    for notice in manifest.notices:
        console.print(notice, markup=False)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("evaluating", total=len(manifest))
        evaluation = evaluate_classifier(
            checkpoint,
            manifest,
            options=views,
            device=device,
            count_broken_as_wrong=options.count_broken_as_wrong,
            on_video=lambda: progress.advance(task),
        )
    for _, error in evaluation.broken:
        console.print(f"counted as wrong: {error}", markup=False)
    metrics = evaluation.metrics
    if options.json:
        names = ("num_videos", "num_broken", "top1", "top5", "mean_class_accuracy")
        print_json({name: getattr(metrics, name) for name in names})
    else:
        _print(evaluation, options.run.clips * options.run.crops)
    return EXIT_DONE


def _print(evaluation: Evaluation, num_views: int) -> None:
    metrics = evaluation.metrics
    broken = f", {metrics.num_broken} broken" if metrics.num_broken else ""
    views = "1 view" if num_views == 1 else f"{num_views} views"
    print(f"{metrics.num_videos} videos × {views}{broken}")
    print(f"top-1                {metrics.top1:6.1%}")
    if len(evaluation.class_names) > 5:  # else every answer is among the five
        print(f"top-5                {metrics.top5:6.1%}")
    print(f"mean class accuracy  {metrics.mean_class_accuracy:6.1%}")
    width = max(len(name) for name in evaluation.class_names)
    for index, name in enumerate(evaluation.class_names):
        total = int(metrics.confusion[index].sum())
        if total:
            right = int(metrics.confusion[index, index])
            print(f"  {name:<{width}}  {right / total:6.1%}  {right} of {total}")
