"""`videomae search`."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from videomae.cli.arguments import UsageError, parse
from videomae.cli.console import EXIT_DONE, print_json
from videomae.core.choices import InferencePrecisionName


@dataclass(frozen=True, kw_only=True)
class SearchCommandOptions:
    """Find videos and moments of an index that are similar to a video, or to a moment of it.

    A similarity of 1 means equal features, 0 as far apart as two moments of the collection usually are.

        videomae search INDEX holiday.mp4                 videos like this one
        videomae search INDEX holiday.mp4 --at 12.5       moments like the one at 12.5 seconds
        videomae search INDEX --duplicates                videos of nearly the same content
        videomae search INDEX --suggest-labels --output labels.csv    labels of the nearest labeled videos
        videomae search INDEX --map map.html              all videos on one page, similar ones close together
    """

    index: Annotated[Positional[Path], arg(metavar="INDEX")]
    """Folder that `videomae index` wrote."""
    video: Annotated[Positional[Path | None], arg(metavar="VIDEO")] = None
    """Video to search with; one of the index is not read again."""
    at: float | None = None
    """Moment of VIDEO, in seconds; by default all of it."""
    top_k: int = 10
    """Moments to list."""
    per_video: int = 1
    """Moments of one video at most; 0 for any number."""
    duplicates: bool = False
    """List pairs of videos that are nearly the same."""
    threshold: float = 0.95
    """Of --duplicates: similarity from which on two windows count as the same."""
    suggest_labels: bool = False
    """List labels for the videos without one, by the nearest videos that have one; the surest first."""
    neighbors: int = 20
    """Of --suggest-labels: windows that vote."""
    map: Path | None = None
    """HTML file to write: the collection as a map, with thumbnails."""
    output: Path | None = None
    """CSV file for the list, instead of printing it."""
    model: Annotated[str | None, arg(metavar="CKPT")] = None
    """The model of the index, where it is no longer where it was."""
    device: str = "auto"
    """Where to compute: auto (CUDA, else MPS, else the CPU) or any device of torch, such as cpu, cuda:1 or mps."""
    precision: InferencePrecisionName = "auto"
    """Precision of matrix products; auto is what the hardware multiplies fast."""
    json: bool = False
    """Print one JSON document on stdout."""


def run(arguments: list[str]) -> int:
    """Parse, search, print or write what was found."""
    options = parse(SearchCommandOptions, arguments, command="search")
    asked = {
        "VIDEO": options.video is not None,
        "--duplicates": options.duplicates,
        "--suggest-labels": options.suggest_labels,
        "--map": options.map is not None,
    }
    given = [name for name, is_given in asked.items() if is_given]
    if len(given) != 1:
        raise UsageError(
            " and ".join(given) or "nothing to search for",
            expected=f"one of {', '.join(asked)}",
            hint="see videomae search --help",
        )
    if options.output is not None and options.output.suffix.lower() != ".csv":
        raise UsageError(f"--output {options.output}", expected="a file name ending in .csv", hint="rename it")
    if options.map is not None:
        return _map(options, options.map)
    found = _found(options)
    if options.output is not None:
        from videomae.core.files import write_text

        file = io.StringIO()
        writer = csv.DictWriter(file, found[0] if found else ["path"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
        write_text(options.output, file.getvalue())
    if options.json:
        print_json({"found": found})
    elif options.output is not None:
        print(f"{len(found)} rows: {options.output}")
    else:
        _print(found)
    return EXIT_DONE


def _found(options: SearchCommandOptions) -> list[dict[str, Any]]:
    """A row for each thing that was found, of plain values."""
    from videomae.api import search as api

    if options.duplicates:
        return [asdict(pair) for pair in api.near_duplicates(options.index, threshold=options.threshold)]
    if options.suggest_labels:
        return [asdict(label) for label in api.suggest_labels(options.index, neighbors=options.neighbors)]
    assert options.video is not None
    matches = api.search(
        options.index,
        options.video,
        at=options.at,
        top_k=options.top_k,
        per_video=options.per_video,
        model=options.model,
        device=options.device,
        precision=options.precision,
    )
    return [{"similarity": match.similarity, **asdict(match.window)} for match in matches]


def _map(options: SearchCommandOptions, path: Path) -> int:
    from videomae.api.search import map_index
    from videomae.core.files import require_writable

    if path.suffix.lower() != ".html":
        raise UsageError(f"--map {path}", expected="a file name ending in .html", hint="rename it")
    require_writable(path)
    found = map_index(options.index, output=path)
    if options.json:
        print_json({"output": str(path), "num_points": len(found.windows)})
    else:
        print(f"{len(found.windows)} points: {path}")
    return EXIT_DONE


def _print(found: list[dict[str, Any]]) -> None:
    if not found:
        print("nothing found")
    for row in found:
        if "second" in row:
            later = row["offset_seconds"]
            shifted = f", {abs(later):.1f} s {'later' if later > 0 else 'earlier'} in the first" if later else ""
            windows = f"{row['num_matched']} of {row['num_windows']} windows{shifted}"
            print(f"{row['similarity']:6.3f}  {_short(row['first'])}  {_short(row['second'])}  ({windows})")
        elif "confidence" in row:
            print(f"{row['confidence']:6.1%}  {row['label']}  {_short(row['path'])}")
        else:
            from videomae.retrieval.index import Window

            window = Window(**{name: row[name] for name in ("path", "start_seconds", "end_seconds", "label")})
            print(
                "  ".join(
                    filter(None, [f"{row['similarity']:6.3f}", _short(window.path), window.time_text, window.label])
                )
            )


def _short(path: str) -> str:
    """Relative to this folder, where the video lies in it."""
    here = os.getcwd() + os.sep
    return path.removeprefix(here)
