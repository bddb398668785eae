"""Evaluate a classifier on a data set: one implementation for training and for the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from videomae.checkpoint import Checkpoint
from videomae.core.distributed import ProcessGroup
from videomae.core.errors import ConfigError, VideoError
from videomae.core.precision import choose_precision
from videomae.datasets.manifest import Manifest
from videomae.evaluation.multi_label import evaluate_multi_label
from videomae.evaluation.regression import evaluate_regression
from videomae.evaluation.results import Evaluation, ScoredVideos
from videomae.evaluation.single_label import evaluate_single_label
from videomae.inference.scores import ViewOptions, score_videos

MULTI_LABEL = "multi_label_classification"
REGRESSION = "regression"
# Broken videos that an error lists.
_MAX_LISTED = 20


def evaluate_classifier(
    checkpoint: Checkpoint,
    manifest: Manifest,
    *,
    options: ViewOptions,
    device: torch.device,
    count_broken_as_wrong: bool = False,
    on_video: Callable[[], object] | None = None,
    excluded: dict[int, VideoError] | None = None,
    processes: ProcessGroup | None = None,
) -> Evaluation:
    """Evaluate a classifier of one label or several labels per video; each video counts once, classes match by name.

    Of one label: accuracies and the confusion matrix; of several: average precisions and their mean; of a model of
    scores: errors and correlations.

    Args:
        checkpoint: a classifier; it is moved to `device`, and put in evaluation mode for the time being.
        manifest: labeled videos; every class must be one of the model's.
        options: views and precision.
        device: where to compute.
        count_broken_as_wrong: count videos that cannot be read as wrong instead of raising.
        on_video: called after each video.
        excluded: index → why, of videos that are not opened but broken; those that end a worker are added, so that
            the next evaluation does not open them.
        processes: share the videos among them, all of which must call this; each has the result.

    Raises:
        ConfigError: if the model is no classifier.
        DataError: if a video has no class or the model does not know it, or no video can be read.
        VideoError: if a video cannot be read.
    """
    config = checkpoint.model.config
    is_multi_label = config.problem_type == MULTI_LABEL
    is_regression = config.problem_type == REGRESSION and config.num_labels == 1
    if not is_multi_label and not is_regression and config.problem_type not in (None, "single_label_classification"):
        raise ConfigError(
            f"a model with problem_type={config.problem_type!r}",
            expected="a classifier of one label or several labels per video, or a model of one score",
            hint="use predict for the scores of other models",
        )
    class_names = tuple(config.id2label[index] for index in range(config.num_labels))
    if is_regression:
        manifest = manifest.require_scores()
    else:
        manifest = manifest.require_classes(class_names, multi_label=is_multi_label)
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
    if is_regression:
        return evaluate_regression(scored, manifest, class_names)
    if is_multi_label:
        return evaluate_multi_label(scored, manifest, class_names)
    return evaluate_single_label(scored, manifest, class_names)


def score_manifest(
    checkpoint: Checkpoint,
    manifest: Manifest,
    *,
    options: ViewOptions,
    device: torch.device,
    count_broken_as_wrong: bool = False,
    on_video: Callable[[], object] | None = None,
    excluded: dict[int, VideoError] | None = None,
    processes: ProcessGroup | None = None,
) -> ScoredVideos:
    """The scores of each video; arguments and errors are those of `evaluate_classifier`."""
    processes = processes or ProcessGroup()
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
            on_video()  # those of other processes
    return result


def _all_broken(broken: dict[int, VideoError], manifest: Manifest) -> VideoError:
    """One error for all videos that cannot be read."""
    errors = [broken[place] for place in sorted(broken)]
    remedy = "--count-broken-as-wrong counts such videos as wrong"
    if len(errors) == 1:
        return VideoError(errors[0].value, expected=errors[0].expected, hint=f"{errors[0].hint} ({remedy})")
    named = "; ".join(str(error.value) for error in errors[:_MAX_LISTED])
    more = f"; and {len(errors) - _MAX_LISTED} more" if len(errors) > _MAX_LISTED else ""
    return VideoError(
        f"{len(errors)} of {len(manifest)} videos: {named}{more}",
        expected="videos that can be read",
        hint=f"repair or remove them; `videomae scan` shows what is wrong with each ({remedy})",
    )
