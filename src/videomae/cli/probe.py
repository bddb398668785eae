"""`videomae probe`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from videomae.cli.arguments import parse
from videomae.cli.console import EXIT_DONE, print_json
from videomae.cli.data_options import ListOptions
from videomae.cli.model_options import ViewRunOptions

if TYPE_CHECKING:
    from videomae.evaluation.probe_data import ProbeResult


@dataclass(frozen=True, kw_only=True)
class ProbeCommandOptions:
    """Evaluate the features of a frozen encoder: train a small classifier on them, and score held-out videos with it.

    Learning rates are chosen on training videos that are held out, never on the test videos.
    """

    data: Annotated[Positional[str], arg(metavar="DATA")]
    """Labelled videos with the splits train and test (or val), or training videos beside --val."""
    model: Annotated[str, arg(metavar="CKPT")]
    """Checkpoint of any kind: a folder or a hub name."""
    method: Literal["knn", "linear", "attentive"] = "linear"
    """knn: nearest training clips vote; linear: one layer on pooled features; attentive: a query over all tokens."""
    val: Annotated[str | None, arg(metavar="DATA")] = None
    """Labelled test videos, where DATA has no split for them."""
    per_class: int | None = None
    """Few-shot: so many training videos of each class, drawn anew for each seed; by default all."""
    seeds: int = 1
    """Probes to train; mean and deviation are printed."""
    seed: int = 0
    """The first seed."""
    neighbors: int = 20
    """Number of neighbors of knn."""
    learning_rates: tuple[float, ...] = ()
    """To try, all at once; by default a range that suits the method."""
    epochs: int = 100
    """Passes over the features."""
    count_broken_as_wrong: bool = False
    """Count a test video that cannot be read as wrong, and name it, instead of stopping."""
    lists: OmitArgPrefixes[ListOptions] = field(default_factory=ListOptions)
    run: OmitArgPrefixes[ViewRunOptions] = field(default_factory=ViewRunOptions)
    json: bool = False
    """Print one JSON document on stdout."""


def run(arguments: list[str]) -> int:
    """Parse, probe, print."""
    options = parse(ProbeCommandOptions, arguments, command="probe")

    from videomae.api.evaluation import probe

    result = probe(
        options.data,
        model=options.model,
        method=options.method,
        val=options.val,
        per_class=options.per_class,
        seeds=options.seeds,
        seed=options.seed,
        neighbors=options.neighbors,
        learning_rates=options.learning_rates,
        epochs=options.epochs,
        count_broken_as_wrong=options.count_broken_as_wrong,
        video_root=options.lists.video_root,
        **vars(options.run),
    )
    if options.json:
        print_json(_as_json(result, options))
    else:
        _print(result, options)
    return EXIT_DONE


def _as_json(result: ProbeResult, options: ProbeCommandOptions) -> dict[str, object]:
    mean, deviation = result.top1
    runs = [
        {
            "seed": run.seed,
            "num_train": run.num_train,
            "learning_rate": run.scores.learning_rate,
            **{name: getattr(run.metrics, name) for name in ("num_videos", "top1", "top5", "mean_class_accuracy")},
        }
        for run in result.runs
    ]
    return {
        "method": options.method,
        "top1": mean,
        "top1_deviation": deviation,
        "runs": runs,
        "broken": [{"path": str(path), "reason": str(error)} for path, error in result.broken],
    }


def _print(result: ProbeResult, options: ProbeCommandOptions) -> None:
    first = result.runs[0]
    print(
        f"{options.method} probe of {options.model}: {first.num_train} training videos, "
        f"{first.metrics.num_videos} test videos, {len(result.class_names)} classes"
    )
    for run in result.runs:
        rate = "" if run.scores.learning_rate is None else f"  learning rate {run.scores.learning_rate:g}"
        seed = f"seed {run.seed}  " if len(result.runs) > 1 else ""
        print(f"{seed}top-1 {run.metrics.top1:6.1%}  mean class accuracy {run.metrics.mean_class_accuracy:6.1%}{rate}")
    if len(result.runs) > 1:
        mean, deviation = result.top1
        print(f"top-1 {mean:.1%} ± {deviation:.1%} over {len(result.runs)} seeds")
