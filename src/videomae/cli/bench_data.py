"""`videomae bench-data`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional, arg

from videomae.api._console import stderr_console
from videomae.cli.arguments import UsageError, parse, require_at_least
from videomae.cli.console import EXIT_BAD_INPUT, EXIT_DONE, one_line, print_json
from videomae.cli.data_options import ListOptions

if TYPE_CHECKING:
    from rich.console import Console

    from videomae.curation.bench import BenchReport

_BAR_WIDTH = 32
_MAX_BROKEN = 10


@dataclass(frozen=True, kw_only=True)
class BenchDataOptions:
    """Measure how many clips per second a data set gives on this machine, and recommend settings.

    Clips are cropped as for pre-training. Nothing is written.
    """

    data: Annotated[Positional[str], arg(metavar="DATA")]
    """Videos, with classes and splits or without, as for training."""
    seconds: float = 20.0
    """Approximate time for everything."""
    num_frames: int = 16
    """Frames in a clip."""
    frame_stride: int = 4
    """Distance between the frames of a clip."""
    image_size: int = 224
    """Height and width of a clip in pixels."""
    seed: int = 0
    """Seed of the choice of videos and clips."""
    lists: OmitArgPrefixes[ListOptions] = field(default_factory=ListOptions)
    json: bool = False
    """Print one JSON document on stdout."""


def run(arguments: list[str]) -> int:
    """Parse, measure, print."""
    options = parse(BenchDataOptions, arguments, command="bench-data")
    for name in ("num_frames", "frame_stride", "image_size"):
        require_at_least(1, f"--{name.replace('_', '-')}", getattr(options, name))
    if not 0 < options.seconds < 1e6:
        raise UsageError(f"--seconds {options.seconds:g}", expected="more than 0", hint="leave it out for 20")
    from videomae.curation.bench import bench_data
    from videomae.datasets.manifest import read_manifest
    from videomae.video.sampling import ClipSampling

    console = stderr_console()
    manifest = read_manifest(options.data, root=options.lists.video_root)
    with _Progress(console) as progress:
        report = bench_data(
            manifest.entries,
            sampling=ClipSampling(num_frames=options.num_frames, frame_stride=options.frame_stride),
            image_size=options.image_size,
            seconds=options.seconds,
            seed=options.seed,
            advance=progress.advance,
        )
    if options.json:
        print_json(as_document(report))
    else:
        _print(report, console)
    return EXIT_DONE if report.costs else EXIT_BAD_INPUT


class _Progress:
    """A progress bar over the time, with what is being measured."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        columns = (
            TextColumn("measuring"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[text]}"),
        )
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._progress.add_task("measuring", total=1.0, text="")

    def __enter__(self) -> _Progress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self, title: str, share: float) -> None:
        """Show that `title` is being measured after the fraction `share` of the time."""
        self._progress.update(self._task, completed=share, text=title)


def as_document(report: BenchReport) -> dict[str, Any]:
    """The report for programs."""
    from videomae.curation.bench import recommend

    best = report.best
    return {
        "num_videos": report.num_videos,
        "num_videos_tried": len(report.costs),
        "num_cores": report.num_cores,
        "loader": [
            {
                "num_workers": speed.num_workers,
                "num_views": speed.num_views,
                "clips_per_second": round(speed.clips_per_second, 2),
                "num_clips": speed.num_clips,
            }
            for speed in report.speeds
        ],
        "packets_decoded_per_frame": report.packets_per_frame,
        "broken": [{"path": str(video.entry.path), "reason": video.reason} for video in report.broken],
        "recommended": {
            "num_workers": best.num_workers if best is not None else None,
            "pack": report.should_pack,
            "lines": recommend(report),
        },
    }


def _print(report: BenchReport, console: Console) -> None:
    from videomae.curation.bench import recommend

    cores = f"{report.num_cores} core{'' if report.num_cores == 1 else 's'}"
    print(f"{_videos(report.num_videos)}, {cores}; clips cropped as for pre-training")
    fastest = max((speed.clips_per_second for speed in report.speeds), default=0.0)
    for speed in report.speeds:
        length = round(_BAR_WIDTH * speed.clips_per_second / fastest) if fastest else 0
        name = f"{speed.num_workers} worker{' ' if speed.num_workers == 1 else 's'}"
        views = f"{speed.num_views} view{' ' if speed.num_views == 1 else 's'}"
        mark = " best" if speed.clips_per_second == fastest else ""
        print(f"  {name:>11}, {views}  {speed.clips_per_second:8.1f} clips/s  {'█' * length}{mark}")
    if report.broken:
        console.print(f"{_unreadable(len(report.broken))} (`videomae scan` lists all):", markup=False)
        for video in report.broken[:_MAX_BROKEN]:
            console.print(one_line(f"  {video.entry.path}: {video.reason}"), markup=False)
    print("\nrecommended")
    for line in recommend(report):
        print(f"  {line}")


def _videos(count: int) -> str:
    return "1 video" if count == 1 else f"{count} videos"


def _unreadable(count: int) -> str:
    return "1 unreadable video" if count == 1 else f"{count} unreadable videos"
