"""`videomae predict`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from videomae.cli.arguments import UsageError, parse
from videomae.cli.console import EXIT_BAD_INPUT, EXIT_DONE, describe_error, print_columns, print_json
from videomae.cli.data_options import ListOptions
from videomae.cli.model_options import ViewRunOptions

if TYPE_CHECKING:
    from videomae.inference.predict import VideoPrediction


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Classify videos: print the most probable labels of each."""

    videos: Annotated[Positional[tuple[Path, ...]], arg(metavar="VIDEO")]
    """Video files, folders of them, or any DATA: a folder of class folders, a CSV, a text file of paths."""
    model: Annotated[str, arg(metavar="CKPT")]
    """Classifier: a checkpoint folder or a hub name."""
    top_k: int = 5
    """Labels for each video."""
    lists: OmitArgPrefixes[ListOptions] = field(default_factory=ListOptions)
    run: OmitArgPrefixes[ViewRunOptions] = field(default_factory=ViewRunOptions)
    json: bool = False
    """Print one JSON document on stdout."""


def run(arguments: list[str]) -> int:
    """Parse, predict, print."""
    options = parse(PredictOptions, arguments, command="predict")
    if not options.videos:
        raise UsageError("no video", expected="one video or more", hint="name files or folders after `predict`")

    from videomae.api.inference import predict

    results = predict(
        options.videos,
        model=options.model,
        top_k=options.top_k,
        video_root=options.lists.video_root,
        **vars(options.run),
    )
    good = [result for result in results if result.error is None]
    if options.json:
        document: dict[str, object] = {"videos": [_as_json(result) for result in good]}
        if results.errors:
            document["error"] = describe_error(results.errors[0])
            broken = [result for result in results if result.error is not None]
            document["broken"] = [{"path": str(result.path), "reason": str(result.error)} for result in broken]
        print_json(document)
    elif len(results) == 1:
        _print_one(results[0])
    elif good:
        _print_table(good)
    if results.errors:
        print(f"videomae: {len(results.errors)} of {len(results)} videos cannot be read", file=sys.stderr)
    return EXIT_BAD_INPUT if results.errors else EXIT_DONE


def _as_json(result: VideoPrediction) -> dict[str, object]:
    return {
        "path": str(result.path),
        "num_views": result.num_views,
        "predictions": [vars(prediction) for prediction in result.predictions],
    }


def _print_one(result: VideoPrediction) -> None:
    width = max(len(prediction.label) for prediction in result.predictions)
    print(f"{result.path}")
    for prediction in result.predictions:
        bar = "█" * round(30 * prediction.probability)
        print(f"  {prediction.label:<{width}}  {prediction.probability:6.1%}  {bar}")


def _print_table(results: list[VideoPrediction]) -> None:
    """A line for each video."""
    rows = [("video", "label", "probability", "others")]
    for result in results:
        best, *rest = result.predictions
        others = ", ".join(f"{prediction.label} {prediction.probability:.1%}" for prediction in rest[:2])
        rows.append((str(result.path), best.label, f"{best.probability:11.1%}", others))
    print_columns(rows)
