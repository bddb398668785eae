"""Several runs in one page: their curves, their results, and the settings in which they differ."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from videomae.core.environment import command_line, versions
from videomae.core.errors import DataError
from videomae.core.files import read_json_object
from videomae.core.text import duration
from videomae.report.curves import curve_pairs
from videomae.report.html import Report
from videomae.report.svg import Chart, bar_chart, line_chart
from videomae.training.metrics_log import speed_of_run
from videomae.training.run_folder import RECIPE_NAME, read_metrics

# Name in metrics.jsonl: what people call it; by these epochs are compared. Shares, the larger the better.
_SHARES = {"top1": "top-1", "mean_average_precision": "mAP"}
_ERROR = "mae"  # of videos that have a score; the smaller the better


@dataclass(frozen=True)
class ComparedRun:
    """One run of a comparison.

    Args:
        name: that no other one has.
        folder: of the run.
        command: "pretrain" or "finetune".
        settings: data, starting point, recipe.
        records: lines of its metrics.jsonl.
    """

    name: str
    folder: Path
    command: str
    settings: Mapping[str, Any]
    records: Sequence[Mapping[str, Any]]

    @property
    def score_name(self) -> str | None:
        """By what its epochs are compared: "top1", "mean_average_precision" or "mae"; None without validation."""
        return next((name for name in (*_SHARES, _ERROR) if any(name in record for record in self.records)), None)

    @property
    def best(self) -> tuple[float, int] | None:
        """The best score, a fraction of 1 or an error, and its epoch; None without validation."""
        name = self.score_name
        lines = [record for record in self.records if name is not None and record.get(name) is not None]
        if not lines or name is None:
            return None
        # As training chooses it: of equal scores the lower loss, and of equal losses the first.
        sign = -1 if name == _ERROR else 1
        line = max(lines, key=lambda record: (sign * record[name], -(record.get("loss") or 0.0)))
        return float(line[name]), int(line["epoch"])

    @property
    def best_text(self) -> str:
        """The best score for people; "–" without validation."""
        if self.best is None:
            return "–"
        return f"MAE {self.best[0]:.4g}" if self.score_name == _ERROR else f"{self.best[0]:.1%}"

    @property
    def last_loss(self) -> float | None:
        """The last training loss."""
        pairs = curve_pairs(self.records, "train", "loss")
        return pairs[-1][1] if pairs else None

    @property
    def num_steps(self) -> int:
        """Steps done."""
        return max((record["step"] for record in self.records), default=0)

    @property
    def seconds(self) -> float:
        """Wall time of its training steps."""
        return speed_of_run(self.records).seconds

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        score, epoch = self.best or (None, None)
        return {
            "name": self.name,
            "folder": str(self.folder),
            "command": self.command,
            "num_steps": self.num_steps,
            "last_loss": self.last_loss,
            "score": self.score_name,
            "best": score,
            "best_epoch": epoch,
            "training_seconds": self.seconds,
            "clips_per_second": speed_of_run(self.records).clips_per_second,
        }


def read_runs(folders: Sequence[Path]) -> list[ComparedRun]:
    """The runs of these folders, finished or not.

    Raises:
        DataError: for a folder that holds no run.
    """
    found = []
    for folder, name in zip(folders, _names(folders), strict=True):
        path = folder / RECIPE_NAME
        if not path.is_file():
            raise DataError(
                folder, expected=f"the folder of a training run, with {RECIPE_NAME}", hint="give the --output of a run"
            )
        stored = read_json_object(path, error_type=DataError)
        recipe = stored.get("recipe")
        settings = {name: stored.get(name) for name in ("data", "num_videos", "val", "val_share", "init", "precision")}
        settings |= {k: v for k, v in recipe.items() if k != "precision"} if isinstance(recipe, dict) else {}
        found.append(ComparedRun(name, folder, str(stored.get("command", "")), settings, read_metrics(folder)))
    return found


def differing_settings(runs: Sequence[ComparedRun]) -> list[tuple[str, list[str]]]:
    """(setting, its value in each run) of the settings that are not alike in all."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    rows = [
        (name, ["" if run.settings.get(name) is None else str(run.settings[name]) for run in runs]) for name in names
    ]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def write_comparison(path: str | os.PathLike[str], runs: Sequence[ComparedRun]) -> Path:
    """The page.

    Args:
        path: of the HTML file.
        runs: to compare, one or more.

    Raises:
        InputError: if it cannot be written.
    """
    packages = ", ".join(f"{name} {number}" for name, number in versions().items())
    facts = [("command", command_line()), ("date", f"{datetime.now():%Y-%m-%d %H:%M}"), ("versions", packages)]
    report = Report("Comparison", subtitle=f"{len(runs)} runs", facts=facts)
    _add_results(report, runs)
    colors = {run.name: number for number, run in enumerate(runs)}

    def chart(title: str, name: str, split: str = "train", **options: Any) -> Chart:
        """Of the runs that have such values."""
        scale = 100 if name in _SHARES else 1
        curves = {run.name: curve_pairs(run.records, split, name, scale=scale) for run in runs}
        return line_chart(title, {run: pairs for run, pairs in curves.items() if pairs}, colors=colors, **options)

    charts = [chart("Training loss", "loss")]
    if any(run.best is not None for run in runs):
        charts.append(chart("Validation loss", "loss", "val"))
    for name, title in _SHARES.items():
        if any(run.score_name == name for run in runs):
            charts.append(chart(f"{title[0].upper()}{title[1:]} on validation (%)", name, "val", y_range=(0, 100)))
    if any(run.score_name == _ERROR for run in runs):
        charts.append(chart("Mean absolute error on validation", _ERROR, "val", from_zero=True))
    charts.append(chart("Learning rate", "learning_rate", from_zero=True))
    charts.append(chart("Clips per second", "clips_per_second", from_zero=True))
    report.section("Curves").charts(charts)
    report.section("Settings that differ")
    rows = differing_settings(runs)
    if rows:
        report.table(["setting", *(run.name for run in runs)], [[name, *values] for name, values in rows])
    else:
        report.text("None." if len(runs) > 1 else "There is one run only.")
    return report.save(path)


def _add_results(report: Report, runs: Sequence[ComparedRun]) -> None:
    report.section("Results")
    for name, title in _SHARES.items():
        best = {run.name: run.best[0] for run in runs if run.best is not None and run.score_name == name}
        if best:
            colors = [number for number, run in enumerate(runs) if run.name in best]
            title = f"Best {title} on validation (%)"
            report.charts([bar_chart(title, list(best), list(best.values()), colors=colors)])
    rows = []
    for run in runs:
        epoch = "–" if run.best is None else str(run.best[1])
        loss = "–" if run.last_loss is None else f"{run.last_loss:.3f}"
        speed = f"{speed_of_run(run.records).clips_per_second:.1f}"
        rows.append(
            [run.name, run.command, run.best_text, epoch, loss, run.num_steps, duration(round(run.seconds)), speed]
        )
    header = ["run", "command", "best", "epoch", "last training loss", "steps", "training steps took", "clips/s"]
    report.table(header, rows)


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' own names, with as much of the path before them as tells them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for number in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(words[-number:]) for words in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{'/'.join(words)} ({place})" for place, words in enumerate(parts, start=1)]
