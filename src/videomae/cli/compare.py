"""`videomae compare`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from videomae.cli.arguments import parse
from videomae.cli.console import EXIT_DONE, print_columns, print_json
from videomae.core.text import duration


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """Compare training runs, finished or not: curves, results and differing settings in one page.

    videomae compare first second third --output compare.html
    """

    runs: Annotated[Positional[tuple[str, ...]], arg(metavar="RUN")]
    """Folders of runs: what --output named when they were trained."""
    output: Path = Path("compare.html")
    """Page to write."""
    json: bool = False
    """Print one JSON document on stdout."""


def run(arguments: list[str]) -> int:
    """Parse, compare, print."""
    options = parse(CompareOptions, arguments, command="compare")

    from videomae.api.comparison import compare

    found = compare(options.runs, output=options.output)
    if options.json:
        print_json(found.to_dict())
        return EXIT_DONE
    rows = []
    for one in found.runs:
        best = (one.best_text, "–" if one.best is None else str(one.best[1]))
        loss = "–" if one.last_loss is None else f"{one.last_loss:.3f}"
        rows.append((one.name, *best, loss, str(one.num_steps), duration(round(one.seconds))))
    print_columns([("run", "best", "epoch", "last loss", "steps", "training took"), *rows], right=(1, 2, 3, 4))
    differing = found.differing_settings
    if differing:
        print()
        print_columns(
            [("differs in", *(one.name for one in found.runs)), *((name, *v) for name, v in differing.items())]
        )
    print(f"\nreport: {found.report}")
    return EXIT_DONE
