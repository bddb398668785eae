"""`compare`: several training runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from os import PathLike
from pathlib import Path
from typing import Any

from videomae.api._models import path_of
from videomae.api._public import public
from videomae.core.errors import ConfigError
from videomae.training.comparison import ComparedRun, differing_settings, read_runs, write_comparison


@dataclass(frozen=True)
class Comparison:
    """What runs have in common and what not.

    Args:
        runs: in the order in which they were given.
        report: the page; None where none was asked for.
    """

    runs: tuple[ComparedRun, ...]
    report: Path | None

    @property
    def differing_settings(self) -> dict[str, tuple[str, ...]]:
        """Setting → its value in each run, of those that are not alike in all."""
        return {name: tuple(values) for name, values in differing_settings(self.runs)}

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        report = None if self.report is None else str(self.report)
        return {"runs": [run.to_dict() for run in self.runs], "settings": self.differing_settings, "report": report}

    def _repr_html_(self) -> str:
        cells = [(run.name, run.best_text, f"{run.last_loss or float('nan'):.3f}") for run in self.runs]
        rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in cells)
        return f"<table><thead><tr><th>run</th><th>best</th><th>loss</th></tr></thead>{rows}</table>"


@public
def compare(runs: Sequence[str | PathLike[str]], *, output: str | Path | None = None) -> Comparison:
    """Compare training runs, finished or not: curves and results in one page, and the settings in which they differ.

    Args:
        runs: folders of runs (or results of `pretrain` and `finetune`), one or more.
        output: write the page to this HTML file.

    Raises:
        InputError: for a folder that holds no run, or a page that cannot be written.

    Examples:
        >>> videomae.compare(["first", "second"], output="compare.html").runs[0].best
        (0.862, 31)
    """
    if isinstance(runs, str | PathLike) or not runs:
        raise ConfigError(
            f"runs={runs!r}", expected="folders of training runs, one or more", hint="give a list of them"
        )
    found = tuple(read_runs([Path(path_of(run, "runs")) for run in runs]))
    return Comparison(found, None if output is None else write_comparison(output, found))
