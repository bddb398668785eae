"""`videomae predict`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional, UseAppendAction, arg

from videomae.cli.arguments import UsageError, parse
from videomae.cli.console import EXIT_BAD_INPUT, EXIT_DONE, describe_error, print_columns, print_json
from videomae.cli.data_options import ListOptions
from videomae.cli.model_options import ViewRunOptions

if TYPE_CHECKING:
    from videomae.api.timeline import Timelines
    from videomae.inference.predict import VideoPrediction

# Outputs that only a timeline has.
_TIMELINE_SUFFIXES = (".json", ".srt", ".vtt", ".png", ".svg")


@dataclass(frozen=True, kw_only=True)
class TimelineOptions:
    """What happens when: options of long videos and streams."""

    window: float | None = None
    """Timeline: score windows of so many seconds over the whole video, and print its segments."""
    hop: float | None = None
    """Timeline: seconds from one window to the next; by default the window's length."""
    threshold: float = 0.5
    """Timeline: least score of a label throughout a segment."""
    smooth: float = 0.0
    """Timeline: seconds over which scores are averaged."""
    min_seconds: float = 0.0
    """Timeline: leave out shorter segments."""
    max_gap: float = 0.0
    """Timeline: segments of a label that are no further apart, in seconds, become one."""
    max_seconds: float | None = None
    """Timeline: look at so much of a video, or of a stream."""
    annotate: Path | None = None
    """Timeline: also write the video with its labels drawn in, as .mp4."""
    annotations: Path | None = None
    """Timeline: evaluate it against a CSV of true segments: [path,]start,end,label."""


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Classify videos: print the most probable labels of each; with --window, what happens when in long videos and
    streams.
    """

    videos: Annotated[Positional[tuple[str, ...]], arg(metavar="VIDEO")]
    """Video files, folders of them, or any DATA: a folder of class folders, a CSV, a text file of paths. For a timeline
    also a stream: a URL (http, rtsp, …), a camera such as /dev/video0, a named pipe."""
    model: Annotated[str, arg(metavar="CKPT")]
    """Classifier: a checkpoint folder or a hub name."""
    output: Annotated[tuple[Path, ...], UseAppendAction] = ()
    """File to write, once or several times: .csv or .jsonl, with a row as soon as it is known: the same command
    continues after a stop. Of a timeline also .json, .srt, .vtt (subtitles), .png or .svg (chart)."""
    top_k: int = 5
    """Labels for each video."""
    timeline: OmitArgPrefixes[TimelineOptions] = field(default_factory=TimelineOptions)
    lists: OmitArgPrefixes[ListOptions] = field(default_factory=ListOptions)
    run: OmitArgPrefixes[ViewRunOptions] = field(default_factory=ViewRunOptions)
    json: bool = False
    """Print one JSON document on stdout."""


def run(arguments: list[str]) -> int:
    """Parse, predict, print."""
    options = parse(PredictOptions, arguments, command="predict")
    if not options.videos:
        raise UsageError("no video", expected="one video or more", hint="name files or folders after `predict`")
    changed = [f.name for f in fields(TimelineOptions) if getattr(options.timeline, f.name) != f.default]
    if changed or any(path.suffix.lower() in _TIMELINE_SUFFIXES for path in options.output):
        return _timeline(options)

    from videomae.api.inference import predict

    results = predict(
        options.videos,
        model=options.model,
        top_k=options.top_k,
        output=options.output or None,
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
    elif options.output:
        _print_written(options.output)
    elif len(results) == 1:
        _print_one(results[0])
    elif good:
        _print_table(good)
    if results.errors:
        print(f"videomae: {len(results.errors)} of {len(results)} videos cannot be read", file=sys.stderr)
    return EXIT_BAD_INPUT if results.errors else EXIT_DONE


def _timeline(options: PredictOptions) -> int:
    from videomae.api.timeline import evaluate_timelines, timeline
    from videomae.datasets.temporal import read_temporal

    chosen = dict(vars(options.timeline))
    annotations = chosen.pop("annotations")
    if annotations is not None:  # a mistake in it must not come out after hours
        read_temporal(annotations)
    run_options = {name: value for name, value in vars(options.run).items() if name != "num_workers"}
    found = timeline(
        options.videos,
        model=options.model,
        output=options.output or None,
        top_k=options.top_k,
        video_root=options.lists.video_root,
        **chosen,
        **run_options,
    )
    metrics = None if annotations is None else evaluate_timelines(found, annotations)
    if options.json:
        document: dict[str, Any] = {"videos": [one.to_dict(top_k=options.top_k) for one in found]}
        if metrics is not None:
            document["metrics"] = metrics.to_dict()
        if found.errors:
            document["error"] = describe_error(found.errors[0])
            document["broken"] = [{"reason": str(error)} for error in found.errors]
        print_json(document)
    else:
        _print_segments(found)
        if metrics is not None:
            print("\n".join(metrics.summary_lines()))
        _print_written([*options.output, *([chosen["annotate"]] if chosen["annotate"] else [])])
    if found.errors:
        print(
            f"videomae: {len(found.errors)} of {len(found) + len(found.errors)} videos cannot be read", file=sys.stderr
        )
    return EXIT_BAD_INPUT if found.errors or any(one.ended for one in found) else EXIT_DONE


def _print_segments(found: Timelines) -> None:
    from videomae.core.text import clock

    for one in found:
        windows = "1 window" if one.num_windows == 1 else f"{one.num_windows} windows"
        about = f"{windows} of {one.window_seconds:g} s, one each {one.hop_seconds:g} s"
        if one.num_windows == 1:
            about = "no longer than a window: 1 window"
        print(f"{one.path}  {clock(one.duration_seconds)}, {about}")
        rows = [
            (
                f"  {clock(part.start_seconds, tenths=True)}",
                f"{clock(part.end_seconds, tenths=True)}",
                part.label,
                f"{part.probability:.1%}",
            )
            for part in one.segments
        ]
        if rows:
            print_columns(rows, right=(0, 1, 3))
        else:
            highest = max(range(one.num_windows), key=lambda number: one.scores[number].max())
            best = one.predictions(highest, 1)[0]
            print(
                f"  no label reaches --threshold {one.options.threshold:g}; "
                f"the highest score of a window is {best.probability:.1%} ({best.label})"
            )


def _print_written(paths: Any) -> None:
    for path in paths:
        print(path)


def _as_json(result: VideoPrediction) -> dict[str, object]:
    return {
        "path": str(result.path),
        "num_views": result.num_views,
        "predictions": [vars(prediction) for prediction in result.predictions],
        **({} if result.score is None else {"score": result.score}),
    }


def _print_one(result: VideoPrediction) -> None:
    if result.score is not None:
        print(f"{result.path}\n  score  {result.score:.4g}")
        return
    width = max(len(prediction.label) for prediction in result.predictions)
    print(f"{result.path}")
    for prediction in result.predictions:
        bar = "█" * round(30 * prediction.probability)
        print(f"  {prediction.label:<{width}}  {prediction.probability:6.1%}  {bar}")


def _print_table(results: list[VideoPrediction]) -> None:
    """A line for each video."""
    if results[0].score is not None:
        print_columns(
            [("video", "score"), *((str(result.path), f"{result.score:.4g}") for result in results)], right=(1,)
        )
        return
    lines = [("video", "label", "probability", "others")]
    for result in results:
        best, *rest = result.predictions
        others = ", ".join(f"{prediction.label} {prediction.probability:.1%}" for prediction in rest[:2])
        lines.append((str(result.path), best.label, f"{best.probability:11.1%}", others))
    print_columns(lines)
