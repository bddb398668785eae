"""`evaluate` and `probe`: how good a classifier, or the features of an encoder, are on labelled videos."""

from __future__ import annotations

from collections.abc import Sequence
from os import fspath
from pathlib import Path
from typing import Literal

from videomae.api._models import Model, Views, open_model, path_of, progress_bar
from videomae.api._public import logger, public
from videomae.checkpoint import Checkpoint
from videomae.core.choices import ImageSize, InferencePrecisionName
from videomae.core.distributed import joined_process_group
from videomae.core.errors import ConfigError
from videomae.core.files import require_writable
from videomae.datasets.manifest import Manifest, evaluated_split, read_manifest, used_splits
from videomae.evaluation.probe_data import ProbeResult, probe_checkpoint
from videomae.evaluation.probes import ProbeOptions
from videomae.evaluation.report import write_evaluation_report, write_predictions
from videomae.evaluation.results import Evaluation
from videomae.evaluation.validate import evaluate_classifier


@public
def evaluate(
    data: str | Path,
    *,
    model: Model,
    clips: int = 5,
    crops: int = 3,
    count_broken_as_wrong: bool = False,
    report: str | Path | None = None,
    predictions: str | Path | None = None,
    scores: bool = False,
    frame_stride: int | None = None,
    frame_rate: float | None = None,
    num_frames: int | None = None,
    image_size: ImageSize | None = None,
    video_root: str | Path | None = None,
    device: str = "auto",
    precision: InferencePrecisionName = "auto",
    merge_tokens: int = 0,
    num_workers: int = -1,
    read_limit_seconds: float = 60.0,
    progress: bool = True,
) -> Evaluation:
    """Evaluate a classifier on labelled videos; each counts exactly once, classes are matched by name.

    Args:
        data: labelled videos; of DATA with splits `test` is taken, else `val`.
        model: classifier: a checkpoint folder, a hub name, or an opened `Checkpoint`.
        clips: clips in time, whose probabilities are averaged.
        crops: crops of each clip along the longer side, averaged too.
        count_broken_as_wrong: count an unreadable video as wrong instead of stopping.
        report: write an HTML file with confusion matrix, classes and the worst mistakes.
        predictions: write a CSV file with a row for each video.
        scores: add the score of every class to the rows of `predictions`.
        frame_stride: distance between the frames of a clip; by default the checkpoint's.
        frame_rate: frames of a clip per second, in place of a stride.
        num_frames: frames in a clip; by default the checkpoint's, which is adapted to others.
        image_size: height and width of a clip in pixels, a number or a pair; by default the checkpoint's.
        video_root: of lists: the folder that their paths are relative to.
        device: "auto" (CUDA, else MPS, else the CPU) or any device of torch.
        precision: of the matrix products; "auto" is what the hardware multiplies fast. "int8" (on a CPU) computes those
            of the encoder's Linear layers in 8-bit integers: faster, and nearly the same.
        merge_tokens: how many similar tokens each layer merges (ToMe), 0 for none: faster, and nearly the same.
        num_workers: processes that decode; -1 chooses, 0 decodes in this process.
        read_limit_seconds: for opening one video and for reading its clips; one that takes longer is unreadable.
        progress: show a bar.

    Returns:
        Metrics (`top1`, `top5`, `mean_class_accuracy`, fractions of 1; of a multi-label classifier
        `mean_average_precision`), and the result of each video. Under a launcher all processes share the videos and
        have the same result.

    Raises:
        InputError: if data, checkpoint or options do not fit.
        VideoError: for an unreadable video, unless it counts as wrong.

    Examples:
        >>> videomae.evaluate("clips", model="classifier").top1
        0.953
    """
    # Longer than 60 lines by its documented keywords, which callers and editors need to see here.
    if scores and predictions is None:
        raise ConfigError("--scores without --predictions", expected="a file for them", hint="add --predictions FILE")
    views = Views(
        clips=clips,
        crops=crops,
        frame_stride=frame_stride,
        frame_rate=frame_rate,
        num_frames=num_frames,
        image_size=image_size,
        precision=precision,
        merge_tokens=merge_tokens,
        num_workers=num_workers,
        read_limit_seconds=read_limit_seconds,
    )
    with joined_process_group(device) as processes:
        for file in (report, predictions):
            if file is not None:
                require_writable(Path(file))
        whole = read_manifest(path_of(data, "data"), root=video_root)
        manifest = whole.take_split("test", "val")
        checkpoint = open_model(model, views, str(processes.device(device)))
        for notice in filter(None, (*manifest.notices, evaluated_split(whole, manifest))):
            logger.info("%s", notice)
        processes.barrier()  # nothing is evaluated where one of them cannot read its data
        with progress_bar(progress) as bar:
            task = bar.add_task("evaluating", total=len(manifest))
            evaluation = evaluate_classifier(
                checkpoint,
                manifest,
                options=views.options(),
                device=checkpoint.device,
                count_broken_as_wrong=count_broken_as_wrong,
                on_video=lambda: bar.advance(task),
                processes=processes,
            )
        if processes.is_main:
            for _, error in evaluation.broken:
                logger.warning("unreadable video, counted as wrong: %s", error)
            if predictions is not None:
                file = write_predictions(Path(predictions), evaluation, with_scores=scores)
                logger.info("predictions: %s", file)
            if report is not None:
                name = "an opened checkpoint" if isinstance(model, Checkpoint) else fspath(model)
                file = write_evaluation_report(
                    Path(report),
                    evaluation,
                    data=str(data),
                    model=name,
                    views=f"{views.text} each{views.shortcuts}",
                )
                logger.info("report: %s", file)
    return evaluation


@public
def probe(
    data: str | Path,
    *,
    model: Model,
    method: Literal["knn", "linear", "attentive"] = "linear",
    val: str | Path | None = None,
    per_class: int | None = None,
    seeds: int = 1,
    seed: int = 0,
    neighbors: int = 20,
    learning_rates: Sequence[float] = (),
    epochs: int = 100,
    count_broken_as_wrong: bool = False,
    clips: int = 1,
    crops: int = 1,
    frame_stride: int | None = None,
    frame_rate: float | None = None,
    num_frames: int | None = None,
    image_size: ImageSize | None = None,
    video_root: str | Path | None = None,
    device: str = "auto",
    precision: InferencePrecisionName = "auto",
    merge_tokens: int = 0,
    num_workers: int = -1,
    read_limit_seconds: float = 60.0,
    progress: bool = True,
) -> ProbeResult:
    """Evaluate the features of a frozen encoder: train a small classifier on them, and score held-out videos with it.

    Learning rates are chosen on training videos that are held out, never on the test videos.

    Args:
        data: labelled videos with the splits train and test (or val), or training videos beside `val`.
        model: any checkpoint: a folder, a hub name, or an opened `Checkpoint`.
        method: "knn" (nearest training clips vote), "linear" (one layer on pooled features) or "attentive" (a query
            over all tokens).
        val: labelled test videos, where `data` has no split for them.
        per_class: few-shot: training videos of each class, another draw for each seed; None for all.
        seeds: probes to train.
        seed: the first seed.
        neighbors: of "knn".
        learning_rates: to try, all at once; empty for a range that suits the method.
        epochs: passes over the features.
        count_broken_as_wrong: count an unreadable test video as wrong instead of stopping.
        clips: clips in time, whose probabilities are averaged.
        crops: crops of each clip along the longer side, averaged too.
        frame_stride: distance between the frames of a clip; by default the checkpoint's.
        frame_rate: frames of a clip per second, in place of a stride.
        num_frames: frames in a clip; by default the checkpoint's, which is adapted to others.
        image_size: height and width of a clip in pixels, a number or a pair; by default the checkpoint's.
        video_root: of lists: the folder that their paths are relative to.
        device: "auto" (CUDA, else MPS, else the CPU) or any device of torch.
        precision: of the matrix products; "auto" is what the hardware multiplies fast. "int8" (on a CPU) computes those
            of the encoder's Linear layers in 8-bit integers: faster, and nearly the same.
        merge_tokens: how many similar tokens each layer merges (ToMe), 0 for none: faster, and nearly the same.
        num_workers: processes that decode; -1 chooses, 0 decodes in this process.
        read_limit_seconds: for opening one video and for reading its clips; one that takes longer is unreadable.
        progress: show a bar.

    Returns:
        Mean and deviation of the accuracy over the seeds, and each probe's metrics.

    Raises:
        InputError: if data, checkpoint or options do not fit.
    """
    # Long by its documented keywords, as `evaluate` is.
    views = Views(
        clips=clips,
        crops=crops,
        frame_stride=frame_stride,
        frame_rate=frame_rate,
        num_frames=num_frames,
        image_size=image_size,
        precision=precision,
        merge_tokens=merge_tokens,
        num_workers=num_workers,
        read_limit_seconds=read_limit_seconds,
    )
    options = ProbeOptions(
        method=method, num_neighbors=neighbors, learning_rates=tuple(learning_rates), epochs=epochs, seed=seed
    )
    embedding = views.embed_options(dense=method == "attentive")
    train, test = _train_and_test(data, val, video_root)
    checkpoint = open_model(model, views, device, for_features=True)
    with progress_bar(progress) as bar:
        task = bar.add_task("embedding", total=len(train) + len(test))
        result = probe_checkpoint(
            checkpoint,
            train,
            test,
            options=options,
            embed=embedding,
            device=checkpoint.device,
            per_class=per_class,
            num_seeds=seeds,
            count_broken_as_wrong=count_broken_as_wrong,
            on_video=lambda: bar.advance(task),
        )
    for _, error in result.broken:
        logger.warning("unreadable video: %s", error)
    return result


def _train_and_test(
    data: str | Path, val: str | Path | None, video_root: str | Path | None
) -> tuple[Manifest, Manifest]:
    whole = read_manifest(path_of(data, "data"), root=video_root)
    other = whole if val is None else read_manifest(path_of(val, "val"), root=video_root)
    if val is None and not {"test", "val"} & set(whole.splits):
        raise ConfigError(
            f"{data} without a split to test on",
            expected="a split named test or val",
            hint="give --val DATA, or put the videos into train/ and val/",
        )
    train, test = whole.take_split("train"), other.take_split("test", "val")
    for notice in dict.fromkeys((*whole.notices, *other.notices, used_splits(whole, train, test, purpose="test"))):
        logger.info("%s", notice)
    return train, test
