"""Judge a classifier on a data set: one implementation for training and for the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from videomae.checkpoint import LoadedCheckpoint
from videomae.core.distributed import Processes
from videomae.core.errors import ConfigError, DataError, VideoError
from videomae.core.precision import choose_precision
from videomae.data.clips import label_indices
from videomae.datasets.manifest import Manifest, VideoEntry
from videomae.evaluation.metrics import Metrics, classification_metrics, worst_mistakes
from videomae.inference.scores import ViewOptions, score_videos
from videomae.video.source import VideoSource

# Broken videos that an error names.
_MOST_NAMED = 20


@dataclass(frozen=True)
class Verdict:
    """What the model says about one video.

    Args:
        entry: the video.
        true: index of its class.
        scores: (classes,) float32, the mean of its views' probabilities; None where it could not be read.
        error: why it could not be read.
    """

    entry: VideoEntry
    true: int
    scores: np.ndarray | None
    error: VideoError | None = None

    @property
    def said(self) -> int | None:
        """Index of the class that the model names; None without scores."""
        return None if self.scores is None else int(self.scores.argmax())

    @property
    def probability(self) -> float | None:
        """The probability that it gives to the class that it names."""
        return None if self.scores is None else float(self.scores.max())


@dataclass(frozen=True)
class Evaluation:
    """Metrics, and what they were computed from.

    Args:
        metrics: the numbers.
        class_names: names of the confusion matrix' rows and columns.
        broken: (path, reason) of each video that could not be read.
        verdicts: what was said about each video, in the order of the data set.
    """

    metrics: Metrics
    class_names: tuple[str, ...]
    broken: tuple[tuple[VideoSource, VideoError], ...]
    verdicts: tuple[Verdict, ...] = ()

    @property
    def top1(self) -> float:
        """Share of the videos whose most probable class is right."""
        return self.metrics.top1

    @property
    def top5(self) -> float:
        """Share of the videos whose class is among the five most probable."""
        return self.metrics.top5

    @property
    def mean_class_accuracy(self) -> float:
        """Mean over the classes of the share that is right."""
        return self.metrics.mean_class_accuracy

    def worst_mistakes(self, max_count: int) -> list[Verdict]:
        """The most confident wrong answers, the worst first."""
        readable = [verdict for verdict in self.verdicts if verdict.scores is not None]
        if not readable:
            return []
        scores = np.stack([verdict.scores for verdict in readable if verdict.scores is not None])
        labels = np.array([verdict.true for verdict in readable])
        return [readable[row] for row in worst_mistakes(scores, labels, max_count=max_count)]


@dataclass(frozen=True)
class ScoredVideos:
    """Scores by a video's place in the data set, so that those of several processes can be put together.

    Args:
        scores: place → (classes,) float32.
        broken: place → why it could not be read.
    """

    scores: dict[int, np.ndarray] = field(default_factory=dict)
    broken: dict[int, VideoError] = field(default_factory=dict)

    def merged(self, others: Iterable[ScoredVideos]) -> ScoredVideos:
        """With the videos of others; one that several processes have judged counts once."""
        scores, broken = dict(self.scores), dict(self.broken)
        for other in others:
            scores |= other.scores
            broken |= other.broken
        return ScoredVideos(scores, {place: error for place, error in broken.items() if place not in scores})

    def broken_of(self, manifest: Manifest) -> tuple[tuple[VideoSource, VideoError], ...]:
        """(path, reason) of each video of the manifest that could not be read."""
        return tuple((manifest.entries[place].path, self.broken[place]) for place in sorted(self.broken))


def evaluate_classifier(
    checkpoint: LoadedCheckpoint,
    manifest: Manifest,
    *,
    options: ViewOptions,
    device: torch.device,
    count_broken_as_wrong: bool = False,
    on_video: Callable[[], object] | None = None,
    excluded: dict[int, VideoError] | None = None,
    processes: Processes | None = None,
) -> Evaluation:
    """Judge each video exactly once; classes are matched by name.

    Args:
        checkpoint: a classifier; it is moved to `device`, and put in evaluation mode for the time being.
        manifest: labelled videos; every class must be one of the model's.
        options: views and precision.
        device: where to compute.
        count_broken_as_wrong: count videos that cannot be read as wrong instead of raising.
        on_video: called after each video.
        excluded: index → why, of videos that are not opened but broken; those that end a worker are added, so that
            the next evaluation need not meet them again.
        processes: share the videos among them, all of which must call this; each has the result.

    Raises:
        ConfigError: if the model gives no single class.
        DataError: if a video has no class or the model does not know it.
        VideoError: if a video cannot be read.
    """
    class_names = _class_names(checkpoint)
    manifest = manifest.require_classes(class_names)
    scored = score_manifest(
        checkpoint,
        manifest,
        options=options,
        device=device,
        count_broken_as_wrong=count_broken_as_wrong,
        on_video=on_video,
        excluded=excluded,
        processes=processes,
    )
    return judge(scored, manifest, class_names)


def score_manifest(
    checkpoint: LoadedCheckpoint,
    manifest: Manifest,
    *,
    options: ViewOptions,
    device: torch.device,
    count_broken_as_wrong: bool = False,
    on_video: Callable[[], object] | None = None,
    excluded: dict[int, VideoError] | None = None,
    processes: Processes | None = None,
) -> ScoredVideos:
    """The scores of each video; arguments and errors are those of `evaluate_classifier`."""
    processes = processes or Processes()
    precision = processes.from_main(processes.on_main(lambda: choose_precision(options.precision, device).name))
    options = replace(options, precision=precision)
    model = checkpoint.model.to(device)
    was_training = model.training
    model.eval()
    own = ScoredVideos()
    try:
        scored = score_videos(
            checkpoint,
            manifest.entries,
            options=options,
            device=device,
            excluded=excluded,
            rank=processes.rank,
            world_size=processes.world_size,
        )
        for scores in scored:
            if scores.error is not None:
                # Where it is an error, the others are still read: one that needs repair is seldom alone.
                own.broken[scores.index] = scores.error
            elif scores.probabilities is not None:
                own.scores[scores.index] = scores.probabilities.numpy()
            if on_video is not None:
                on_video()
    finally:
        model.train(was_training)
    result = ScoredVideos().merged(processes.gather(own))
    if result.broken and not count_broken_as_wrong:
        raise _all_broken(result.broken, manifest)
    if on_video is not None:
        for _ in range(len(manifest) - len(own.scores) - len(own.broken)):
            on_video()  # those that other processes judged
    return result


def _all_broken(broken: dict[int, VideoError], manifest: Manifest) -> VideoError:
    """One error that names every video that cannot be read."""
    errors = [broken[place] for place in sorted(broken)]
    remedy = "--count-broken-as-wrong counts such videos as wrong"
    if len(errors) == 1:
        return VideoError(errors[0].value, expected=errors[0].expected, hint=f"{errors[0].hint} ({remedy})")
    named = "; ".join(str(error.value) for error in errors[:_MOST_NAMED])
    more = f"; and {len(errors) - _MOST_NAMED} more" if len(errors) > _MOST_NAMED else ""
    return VideoError(
        f"{len(errors)} of {len(manifest)} videos: {named}{more}",
        expected="videos that can be read",
        hint=f"repair or remove them; `videomae scan` says what is wrong with each ({remedy})",
    )


def judge(scored: ScoredVideos, manifest: Manifest, class_names: tuple[str, ...]) -> Evaluation:
    """Metrics of scores.

    Args:
        scored: of every video of the manifest.
        manifest: labelled videos.
        class_names: of the scores.

    Raises:
        DataError: if no video could be read.
        RuntimeError: if a video has neither scores nor an error: a fault of whoever collected them.
    """
    broken = scored.broken
    require_all_scored(scored, manifest)
    labels = np.array(label_indices(manifest.entries, class_names))
    places = sorted(scored.scores)
    metrics = classification_metrics(
        np.stack([scored.scores[place] for place in places]),
        labels[places],
        broken_labels=labels[sorted(broken)] if broken else np.zeros(0, dtype=np.int64),
    )
    verdicts = tuple(
        Verdict(manifest.entries[place], int(labels[place]), scored.scores.get(place), broken.get(place))
        for place in sorted({*places, *broken})
    )
    return Evaluation(metrics, class_names, scored.broken_of(manifest), verdicts)


def require_all_scored(scored: ScoredVideos, manifest: Manifest) -> None:
    """Refuse scores that do not speak of every video, or speak of none; errors are those of `judge`."""
    broken = scored.broken
    if not scored.scores:
        raise DataError(
            f"{manifest.source} with {len(broken)} videos, none of which can be read",
            expected="videos that can be read",
            hint=f"the first one: {next(iter(broken.values()))}",
        )
    missing = set(range(len(manifest))) - set(scored.scores) - set(broken)
    if missing:  # never judge fewer videos than there are without a word
        raise RuntimeError(f"{len(missing)} of {len(manifest)} videos have no scores, the first at {min(missing)}")


def _class_names(checkpoint: LoadedCheckpoint) -> tuple[str, ...]:
    config = checkpoint.model.config
    if config.problem_type not in (None, "single_label_classification"):
        raise ConfigError(
            f"a model with problem_type={config.problem_type!r}",
            expected="a classifier that gives each video one class",
            hint="evaluate_multi_label judges one of several labels; the scores of others are to be had with predict",
        )
    return tuple(config.id2label[index] for index in range(config.num_labels))
