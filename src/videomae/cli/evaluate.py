"""`videomae evaluate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from videomae.cli.arguments import parse
from videomae.cli.console import EXIT_DONE, print_bold, print_columns, print_json
from videomae.cli.data_options import ListOptions
from videomae.cli.model_options import ViewRunOptions
from videomae.core.machine import is_main_process

if TYPE_CHECKING:
    from videomae.evaluation.results import ClassTable, Evaluation


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Evaluate a classifier on labelled videos; each counts exactly once, classes are matched by name.

    A multi-label model is evaluated by mAP, the mean of its classes' average precision.
    """

    data: Annotated[Positional[str], arg(metavar="DATA")]
    """Labelled videos, as for finetune; of DATA that names splits, test is taken, else val."""
    model: Annotated[str, arg(metavar="CKPT")]
    """Classifier: a checkpoint folder or a hub name."""
    count_broken_as_wrong: bool = False
    """Count a video that cannot be read as wrong, and name it, instead of stopping."""
    lists: OmitArgPrefixes[ListOptions] = field(default_factory=ListOptions)
    run: OmitArgPrefixes[ViewRunOptions] = field(default_factory=lambda: ViewRunOptions(clips=5, crops=3))
    report: Path | None = None
    """Write an HTML file with confusion matrix, classes and the worst mistakes."""
    predictions: Path | None = None
    """Write a CSV file with a row for each video: path, label, prediction, probability, error."""
    scores: bool = False
    """Add the score of every class to the file of --predictions."""
    json: bool = False
    """Print one JSON document on stdout."""


def run(arguments: list[str]) -> int:
    """Parse, evaluate, print."""
    options = parse(EvaluateOptions, arguments, command="evaluate")

    from videomae.api.evaluation import evaluate

    evaluation = evaluate(
        options.data,
        model=options.model,
        count_broken_as_wrong=options.count_broken_as_wrong,
        report=options.report,
        predictions=options.predictions,
        scores=options.scores,
        video_root=options.lists.video_root,
        **vars(options.run),
    )
    if is_main_process():
        _print_all(options, evaluation)
    return EXIT_DONE


def _print_all(options: EvaluateOptions, evaluation: Evaluation) -> None:
    if options.json:
        print_json(evaluation.to_dict())
        return
    metrics = evaluation.metrics
    broken = f", {metrics.num_broken} broken" if metrics.num_broken else ""
    num_views = options.run.clips * options.run.crops
    views = "1 view" if num_views == 1 else f"{num_views} views"
    print(f"{metrics.num_videos} videos × {views}{broken}")
    print_bold("\n".join(evaluation.summary_lines()))
    print()
    _print_classes(evaluation.class_table())


def _print_classes(table: ClassTable) -> None:
    """The classes that have videos; of very many the worst."""
    from videomae.evaluation.report import MAX_CLASSES_SHOWN, NUM_WORST_CLASSES

    rows = [(name, str(num_videos), *more) for name, num_videos, *more in table.rows]
    shown = [row for row in rows if row[1] != "0"]
    num_known = len(shown)
    if num_known > MAX_CLASSES_SHOWN:
        shown = [rows[index] for index in table.worst(NUM_WORST_CLASSES)]
    print_columns([table.header, *shown], right=(1, 2))
    if num_known > len(shown):
        print(f"the worst {len(shown)} of {num_known} classes; --report FILE.html and --json have all")
    num_without = len(rows) - num_known
    if num_without:
        print(f"{num_without} of the model's {len(rows)} classes have no videos here")
