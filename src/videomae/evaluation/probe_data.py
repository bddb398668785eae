"""Probes on a data set: features of its training and test videos, then the probe, for one or several few-shot draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from videomae.checkpoint import Checkpoint
from videomae.core.errors import ConfigError, DataError, VideoError
from videomae.core.machine import total_memory_bytes
from videomae.data.clips import label_indices
from videomae.datasets.manifest import Manifest
from videomae.evaluation.metrics import SingleLabelMetrics, classification_metrics
from videomae.evaluation.probes import Features, ProbeOptions, ProbeScores, few_shot_indices, probe
from videomae.inference.embed import EmbedOptions, embed_videos
from videomae.video.source import VideoSource

# Of the machine's memory, so much may be taken by the tokens of all clips.
_MEMORY_SHARE = 0.5


@dataclass(frozen=True)
class ProbeRun:
    """One probe.

    Args:
        seed: of the few-shot draw, the held-out clips and the probe's training.
        num_train: clips it was trained on.
        metrics: on the test videos.
        scores: what it was computed from.
    """

    seed: int
    num_train: int
    metrics: SingleLabelMetrics
    scores: ProbeScores


@dataclass(frozen=True, repr=False)
class ProbeResult:
    """The results of all probes of a checkpoint.

    Args:
        runs: one for each seed.
        class_names: names of the classes.
        broken: (path, reason) of each video that could not be read: skipped in training, counted as wrong in the test.
    """

    runs: tuple[ProbeRun, ...]
    class_names: tuple[str, ...]
    broken: tuple[tuple[VideoSource, VideoError], ...]

    @property
    def top1(self) -> tuple[float, float]:
        """Mean and standard deviation (of the sample) of the top-1 accuracy over the runs."""
        values = [run.metrics.top1 for run in self.runs]
        return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0

    def __repr__(self) -> str:
        mean, deviation = self.top1
        several = f" ± {deviation:.1%} over {len(self.runs)} probes" if len(self.runs) > 1 else ""
        return f"ProbeResult(top-1 {mean:.1%}{several}, {self.runs[0].metrics.num_videos} test videos)"


@dataclass(frozen=True)
class _Side:
    """Features of the videos of one side that could be read, and the classes of those that could not."""

    features: Features
    broken_labels: np.ndarray
    broken: tuple[tuple[VideoSource, VideoError], ...]


def probe_checkpoint(
    checkpoint: Checkpoint,
    train: Manifest,
    test: Manifest,
    *,
    options: ProbeOptions,
    embed: EmbedOptions,
    device: torch.device,
    per_class: int | None = None,
    num_seeds: int = 1,
    count_broken_as_wrong: bool = False,
    on_video: Callable[[], None] | None = None,
) -> ProbeResult:
    """Embed all videos once, then train a probe for each seed.

    Args:
        checkpoint: any; its encoder stays as it is. It is moved to `device` and put in evaluation mode.
        train: labelled training videos.
        test: labelled test videos; their classes must be among those of `train`.
        options: the probe; its seed is the first one.
        embed: how videos are embedded; "attentive" always takes every token.
        device: where the encoder runs; the probe runs on the CPU.
        per_class: few-shot: so many training videos of each class, drawn anew for each seed; None takes all.
        num_seeds: number of probes to train, one for each seed.
        count_broken_as_wrong: count test videos that cannot be read as wrong instead of raising. Training videos that
            cannot be read are skipped and reported.
        on_video: called after each video.

    Raises:
        DataError: if a class or a side is missing, or a class has fewer videos than asked for.
        VideoError: if a test video cannot be read.
        ConfigError: if the tokens of all clips do not fit into memory.
    """
    if num_seeds < 1:
        raise ConfigError(f"num_seeds={num_seeds}", expected="at least 1", hint="give a larger --seeds")
    class_names = train.require_classes().class_names
    test.require_classes(class_names)
    _require_enough(train, test, per_class)  # before the work of embedding
    checkpoint.model.to(device).eval()
    embed = replace(embed, dense=options.method == "attentive")
    if embed.dense:
        _check_memory(checkpoint, len(train) + len(test))
    sides = []
    for manifest, must_be_whole in ((train, False), (test, not count_broken_as_wrong)):
        sides.append(_embed(checkpoint, manifest, class_names, embed, device, must_be_whole, on_video))
    training, tested = sides
    runs = []
    for seed in range(options.seed, options.seed + num_seeds):
        chosen = training.features
        if per_class is not None:
            generator = torch.Generator().manual_seed(seed)
            chosen = chosen.take(few_shot_indices(chosen.labels, per_class, generator=generator))
        scores = probe(chosen, tested.features, num_classes=len(class_names), options=replace(options, seed=seed))
        metrics = classification_metrics(
            scores.probabilities, tested.features.labels.numpy(), broken_labels=tested.broken_labels
        )
        runs.append(ProbeRun(seed, len(chosen), metrics, scores))
    return ProbeResult(tuple(runs), class_names, training.broken + tested.broken)


def _require_enough(train: Manifest, test: Manifest, per_class: int | None) -> None:
    """Refuse test videos of a class without training videos, and more videos of each class than the smallest has."""
    counts = {name: count for name, count in train.class_counts().items() if count}
    tested = (name for name, count in test.class_counts().items() if count)
    unknown = next((name for name in tested if name not in counts), None)
    if unknown is not None:
        raise DataError(
            f"{test.source} with test videos of the class {unknown!r}, of which there is no training video",
            expected=f"training videos of it besides those of {', '.join(list(counts)[:5])}",
            hint="add some, or leave the class out",
        )
    smallest = min(counts, key=lambda name: counts[name])
    if per_class is not None and not 1 <= per_class <= counts[smallest]:
        raise DataError(
            f"--per-class {per_class} of {train.source}, where class {smallest!r} has {counts[smallest]} videos",
            expected=f"from 1 to {counts[smallest]}",
            hint="lower --per-class" if per_class > 0 else "leave --per-class out to take all",
        )


def _embed(
    checkpoint: Checkpoint,
    manifest: Manifest,
    class_names: tuple[str, ...],
    options: EmbedOptions,
    device: torch.device,
    must_be_whole: bool,
    on_video: Callable[[], None] | None,
) -> _Side:
    labels = np.array(label_indices(manifest.entries, class_names), dtype=np.int64)
    values: dict[int, torch.Tensor] = {}
    broken: dict[int, VideoError] = {}
    for row in embed_videos(checkpoint, manifest.entries, options=options, device=device):
        if row.values is not None:
            # Tokens in half the memory; an attentive probe reads them back in float32.
            values[row.index] = row.values.flatten(0, -2).half() if options.dense else row.values
        elif row.error is not None:
            if must_be_whole:
                raise row.error
            broken[row.index] = row.error
        if on_video is not None:
            on_video()
    if not values:
        raise DataError(
            f"{manifest.source} with {len(broken)} videos, none of which can be read",
            expected="videos that can be read",
            hint=f"the first one: {next(iter(broken.values()))}",
        )
    order = sorted(values)
    return _Side(
        Features(torch.stack([values[index] for index in order]), torch.from_numpy(labels[order])),
        labels[sorted(broken)] if broken else np.zeros(0, dtype=np.int64),
        tuple((manifest.entries[index].path, broken[index]) for index in sorted(broken)),
    )


def _check_memory(checkpoint: Checkpoint, num_videos: int) -> None:
    config = checkpoint.model.config
    needed = 2 * num_videos * config.grid.num_tokens * config.hidden_size
    there = total_memory_bytes()
    if needed > _MEMORY_SHARE * there:
        raise ConfigError(
            f"the tokens of {num_videos} videos ({needed / 2**30:.0f} GiB)",
            expected=f"at most {_MEMORY_SHARE * there / 2**30:.0f} GiB, half of this machine's memory",
            hint="take --method linear, or fewer videos with --per-class on a smaller list",
        )
