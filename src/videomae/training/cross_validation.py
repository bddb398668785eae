"""Cross-validation: a fine-tuning run for each fold, and one report."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from videomae.core.distributed import joined_process_group
from videomae.core.errors import ConfigError, InputError
from videomae.core.files import write_text
from videomae.core.text import seconds_of
from videomae.recipes.finetune import FinetuneRecipe
from videomae.report.html import KeyFigure, Report
from videomae.training.finetune import FinetuneResult, finetune
from videomae.training.monitor import Monitor
from videomae.training.run_folder import RECIPE_NAME, REPORT_NAME, read_metrics

FOLDS_NAME = "folds.json"
# Title, and how a value is written.
_METRICS = {
    "top1": ("top-1", ".1%"),
    "top5": ("top-5", ".1%"),
    "mean_class_accuracy": ("mean class accuracy", ".1%"),
    "mean_average_precision": ("mAP", ".1%"),
    "mae": ("MAE", ".4g"),
    "rmse": ("RMSE", ".4g"),
    "pearson": ("Pearson", ".3f"),
    "spearman": ("Spearman", ".3f"),
    "loss": ("loss", ".3f"),
}

METRIC_TITLES = {name: title for name, (title, _) in _METRICS.items()}


@dataclass(frozen=True)
class CrossValidation:
    """The results of all folds.

    Args:
        folder: holds a checkpoint for each fold, `report.html` and `folds.json`.
        folds: the run of each fold.
        scores: of each metric its values in the best epochs of the folds, in their order.
    """

    folder: Path
    folds: tuple[FinetuneResult, ...]
    scores: dict[str, tuple[float, ...]]

    def mean(self, metric: str) -> float:
        """Over the folds."""
        return statistics.fmean(self.scores[metric])

    def deviation(self, metric: str) -> float:
        """Standard deviation of the sample, over the folds."""
        return statistics.stdev(self.scores[metric])

    def text(self, metric: str) -> str:
        """Mean and deviation for people, such as `81.2% ± 2.3%`."""
        style = _METRICS[metric][1]
        return f"{format(self.mean(metric), style)} ± {format(self.deviation(metric), style)}"

    @property
    def main(self) -> str:
        """The metric by which the best epochs were chosen."""
        return next(iter(self.scores))

    @property
    def main_title(self) -> str:
        """What people call it."""
        return _METRICS[self.main][0]

    def __repr__(self) -> str:
        return f"CrossValidation({self.main_title} {self.text(self.main)} over {len(self.folds)} folds)"


def cross_validate(
    data: str | Path,
    output: str | Path,
    recipe: FinetuneRecipe,
    *,
    init: str,
    folds: int,
    group: str | None = None,
    video_root: str | Path | None = None,
    resume_anyway: bool = False,
    monitor: Monitor | None = None,
) -> CrossValidation:
    """Train a classifier for each fold, validated on the videos of the fold; the same call resumes.

    Args:
        data: any form of DATA with classes or scores; the videos of a split test are left alone.
        output: the folder; the run of fold 1 is in `fold-1`, and so on.
        recipe: all settings; a time budget is that of all folds together.
        init: a checkpoint to start from, or "scratch" for new weights.
        folds: how many, 2 or more.
        group: what stays in one fold, as for `read_manifest`.
        video_root: where the videos of lists are, as for `read_manifest`.
        resume_anyway: resume the runs in `output` though their recipe or data differ.
        monitor: receives the events of all runs.

    Raises:
        InputError: if data, checkpoint, recipe or folder do not fit.
        TrainingStopped: if the user stopped a run; its state is saved.
    """
    folder = Path(output)
    if folds < 2:
        raise ConfigError(f"--folds {folds}", expected="2 or more", hint="5 is common")
    if (folder / RECIPE_NAME).exists():
        raise InputError(
            f"{folder}, which holds a run", expected="a folder for several runs", hint="choose another --output"
        )
    if seconds := seconds_of(recipe.time_budget):
        recipe = replace(recipe, time_budget=f"{seconds / folds:.0f}s")
    with joined_process_group(recipe.device) as processes:
        results = [
            finetune(
                data,
                folder / f"fold-{number}",
                recipe,
                init=init,
                group=group,
                video_root=video_root,
                fold=(number, folds),
                resume_anyway=resume_anyway,
                monitor=monitor,
            )
            for number in range(1, folds + 1)
        ]
        found: CrossValidation = processes.from_main(
            processes.on_main(lambda: CrossValidation(folder, tuple(results), _scores(results)))
        )
        processes.on_main(lambda: _write(found, data=data, init=init))
    return found


def _scores(results: Sequence[FinetuneResult]) -> dict[str, tuple[float, ...]]:
    """The metrics of each fold's best epoch."""
    lines: list[dict[str, Any]] = []
    for result in results:
        records = read_metrics(result.folder)
        lines.append(next(r for r in records if r["split"] == "val" and r["epoch"] == result.best_epoch))
    found = {}
    for name in _METRICS:
        if name == "top5" and len(results[0].class_names) <= 5:  # as reports do
            continue
        values = tuple(line[name] for line in lines if isinstance(line.get(name), float))
        if len(values) == len(lines) and all(map(math.isfinite, values)):
            found[name] = values
    return found


def _write(found: CrossValidation, *, data: str | Path, init: str) -> None:
    numbers = {
        name: {"mean": found.mean(name), "deviation": found.deviation(name), "folds": list(values)}
        for name, values in found.scores.items()
    }
    write_text(found.folder / FOLDS_NAME, json.dumps(numbers, indent=2) + "\n")
    report = Report("Cross-validation", subtitle=f"{len(found.folds)} folds of {data}, from {init}")
    report.key_figures(
        [
            KeyFigure(_METRICS[name][0], found.text(name), "mean ± standard deviation over the folds")
            for name in found.scores
        ]
    )
    report.text(
        "Each fold was validated on videos that its training did not see. Its best epoch was chosen on these videos: "
        "expect a little less on others."
    )
    report.section("Folds")
    rows = [
        [
            str(number),
            result.num_videos,
            str(result.best_epoch),
            *(format(values[number - 1], _METRICS[name][1]) for name, values in found.scores.items()),
        ]
        for number, result in enumerate(found.folds, start=1)
    ]
    titles = [_METRICS[name][0] for name in found.scores]
    report.table(["fold", "training videos", "best epoch", *titles], rows)
    report.text(f"The folders fold-1, fold-2, … are checkpoints, each with a {REPORT_NAME} of its own.")
    report.save(found.folder / REPORT_NAME)
