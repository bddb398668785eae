"""`videomae evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from videomae.cli.arguments import parse
from videomae.cli.console import EXIT_DONE, print_columns, print_json
from videomae.cli.data_options import ListOptions
from videomae.cli.model_options import ViewRunOptions
from videomae.core.machine import is_main_process

if TYPE_CHECKING:
    from videomae.evaluation.multi_label import MultiLabelEvaluation
    from videomae.evaluation.validate import Evaluation


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Judge a classifier on labelled videos; each counts exactly once, classes are matched by name.

    A model of several labels is judged by mAP, the mean of its classes' average precision.
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
    """Write a CSV file with a row for each video: path, true, said, probability, error."""
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


def _print_all(options: EvaluateOptions, evaluation: Evaluation | MultiLabelEvaluation) -> None:
    from videomae.evaluation.multi_label import MultiLabelEvaluation

    if options.json:
        print_json(_as_json(evaluation))
        return
    metrics = evaluation.metrics
    broken = f", {metrics.num_broken} broken" if metrics.num_broken else ""
    num_views = options.run.clips * options.run.crops
    views = "1 view" if num_views == 1 else f"{num_views} views"
    print(f"{metrics.num_videos} videos × {views}{broken}")
    if isinstance(evaluation, MultiLabelEvaluation):
        _print_multi_label(evaluation)
    else:
        _print(evaluation)


def _as_json(evaluation: Evaluation | MultiLabelEvaluation) -> dict[str, object]:
    from videomae.evaluation.multi_label import MultiLabelEvaluation

    metrics = evaluation.metrics
    classes: dict[str, object]
    if isinstance(evaluation, MultiLabelEvaluation):
        names = ["num_videos", "num_broken", "mean_average_precision", "loss"]
        numbers = zip(
            evaluation.class_names, evaluation.metrics.num_positives, evaluation.metrics.average_precision, strict=True
        )
        classes = {
            name: {"num_positives": int(count), "average_precision": float(precision) if count else None}
            for name, count, precision in numbers
        }
    else:
        names = ["num_videos", "num_broken", "top1", "top5", "mean_class_accuracy", "top1_interval"]
        names += ["loss", "calibration_error"]
        classes = _classes_as_json(evaluation)
    document: dict[str, object] = {name: getattr(metrics, name) for name in names}
    document["classes"] = classes
    document["broken"] = [{"path": str(path), "reason": str(error)} for path, error in evaluation.broken]
    return document


def _classes_as_json(evaluation: Evaluation) -> dict[str, object]:
    """How each class fared, and the row of the confusion matrix without what is right or nought."""
    names = evaluation.class_names
    taken_for: dict[int, dict[str, int]] = {index: {} for index in range(len(names))}
    for true, said, count in evaluation.metrics.confusions():
        taken_for[true][names[said]] = count
    return {
        names[result.index]: {
            "num_videos": result.num_videos,
            "num_right": result.num_right,
            "taken_for": taken_for[result.index],
        }
        for result in evaluation.metrics.per_class()
    }


def _print_multi_label(evaluation: MultiLabelEvaluation) -> None:
    from videomae.evaluation.report import precision_rows

    print(f"mAP   {evaluation.metrics.mean_average_precision:6.1%}")
    print(f"loss  {evaluation.metrics.loss:6.3f}\n")
    rows = [(name, str(num_videos), precision) for name, num_videos, precision in precision_rows(evaluation)]
    _print_classes(("class", "videos", "average precision"), rows, evaluation)


def _print(evaluation: Evaluation) -> None:
    from videomae.evaluation.report import class_rows, interval_text

    metrics = evaluation.metrics
    print(f"top-1                {metrics.top1:6.1%}   (95 % interval {interval_text(evaluation)})")
    if len(evaluation.class_names) > 5:  # else every answer is among the five
        print(f"top-5                {metrics.top5:6.1%}")
    print(f"mean class accuracy  {metrics.mean_class_accuracy:6.1%}")
    commonest = max(metrics.per_class(), key=lambda result: result.num_videos)
    share = commonest.num_videos / metrics.num_videos
    print(f"always the same      {share:6.1%}   top-1 of saying {evaluation.class_names[commonest.index]} each time\n")
    rows = [(name, str(num_videos), right, taken_for) for name, num_videos, right, taken_for in class_rows(evaluation)]
    _print_classes(("class", "videos", "right", "most often taken for"), rows, evaluation)


def _print_classes(
    header: tuple[str, ...], rows: Sequence[tuple[str, ...]], evaluation: Evaluation | MultiLabelEvaluation
) -> None:
    """The classes that have videos; of very many the worst."""
    from videomae.evaluation.report import MAX_CLASSES_SHOWN, worst_classes

    shown = [row for row in rows if row[1] != "0"]
    num_known = len(shown)
    if num_known > MAX_CLASSES_SHOWN:
        shown = [rows[index] for index in worst_classes(evaluation)]
    print_columns([header, *shown], right=(1, 2))
    if num_known > len(shown):
        print(f"the worst {len(shown)} of {num_known} classes; --report FILE.html and --json have all")
    left_out = len(rows) - num_known
    if left_out:
        print(f"{left_out} of the model's {len(rows)} classes have no videos here")
