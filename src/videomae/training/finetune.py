"""Fine-tuning: a pre-trained encoder, or none, becomes a classifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videomae.checkpoint import (
    LoadedCheckpoint,
    new_processor,
    open_checkpoint,
    save_checkpoint,
    stored_task,
)
from videomae.core.distributed import joined_processes
from videomae.core.errors import ConfigError
from videomae.data.augmentation import Augmentation
from videomae.data.clips import Crop, TrainingClips, multi_hot
from videomae.data.loader import ClipBatch
from videomae.data.order import balanced_order
from videomae.datasets.apart import require_apart
from videomae.datasets.manifest import Manifest
from videomae.datasets.splitting import read_train_and_val
from videomae.evaluation.multi_label import PROBLEM_TYPE
from videomae.models.config import VideoMAEConfig
from videomae.models.initialization import init_classifier, init_for_finetuning
from videomae.models.modeling import VideoMAEForVideoClassification
from videomae.processing.augment import RandAugment
from videomae.recipes.finetune import FinetuneRecipe
from videomae.training.loop import Training, run_to_end
from videomae.training.losses import ClassifierInputs, ClassifierLoss
from videomae.training.monitor import Monitor
from videomae.training.optimizer import make_optimizer, parameter_groups
from videomae.training.processes import Team
from videomae.training.report import write_finetune_report
from videomae.training.run_folder import RunFolder, entries_hash
from videomae.training.setup import (
    Prepared,
    average_of,
    clip_sampling,
    described_recipe,
    fit_batch,
    fit_to_checkpoint,
    new_config,
    note_classes_not_learnt,
    require_no_empty_val,
    settle_precision,
    train_as_asked,
)
from videomae.training.shown_inputs import TitledClip, as_pixels, labelled_clips
from videomae.training.step import Part
from videomae.training.trackers import check_trackers
from videomae.training.validation import Validation, judge_best
from videomae.video.reader import ReadLimits

SCRATCH = "scratch"


@dataclass(frozen=True)
class FinetuneResult:
    """How a fine-tuning run ended.

    Args:
        folder: the checkpoint: the best epoch on validation, without validation the last.
        class_names: what it tells apart.
        num_videos: videos trained on.
        num_broken: videos left out because they could not be read.
        steps: optimiser steps taken in all.
        best_epoch: the epoch (from 1) whose weights were kept; None without validation.
        best_top1: its top-1 accuracy on validation; None without, and where videos may have several classes.
        best_mean_average_precision: where they may, its mAP on validation.
        num_broken_validation: validation videos that could not be read; they count as wrong.
        was_finished: True where the folder held the finished run already and nothing was done.
        broken: path → reason, of the videos left out.
        broken_validation: path → reason, of the validation videos that count as wrong.
        skipped_steps: of `steps`, those that changed nothing because loss or gradient were not finite.
    """

    folder: Path
    class_names: tuple[str, ...]
    num_videos: int
    num_broken: int
    steps: int
    best_epoch: int | None
    best_top1: float | None
    num_broken_validation: int
    was_finished: bool
    broken: dict[str, str] = field(default_factory=dict)
    broken_validation: dict[str, str] = field(default_factory=dict)
    best_mean_average_precision: float | None = None
    skipped_steps: int = 0


def finetune(
    data: str | Path,
    output: str | Path,
    recipe: FinetuneRecipe,
    *,
    init: str,
    val: str | Path | None = None,
    val_share: float | None = None,
    group: str | None = None,
    video_root: str | Path | None = None,
    resume_anyway: bool = False,
    monitor: Monitor | None = None,
) -> FinetuneResult:
    """Train a classifier on labelled videos. Goes on where an interrupted run in `output` stopped.

    Where videos may have several classes (the column `labels`), each class has a score of its own: the loss is the mean
    of their binary cross entropies, and the best epoch is that of the highest mAP.

    Args:
        data: any form of DATA with classes; of one that names splits, `train` is learnt and `val` judges.
        output: the run's folder, afterwards a checkpoint.
        recipe: all settings.
        init: a checkpoint to start from, or "scratch" for new weights.
        val: labelled videos that judge each epoch, where `data` names no split `val`.
        val_share: share of the videos of `data` that judge instead, chosen by the recipe's seed.
        group: what stays on one side of that split, as for `read_manifest`.
        video_root: where the videos of lists are, as for `read_manifest`.
        resume_anyway: go on with the run in `output` though its recipe or data were others.
        monitor: is told what happens.

    Raises:
        InputError: if data, checkpoint, recipe or folder do not fit.
        TrainingStopped: if the user stopped the run; its state is saved.
    """
    with joined_processes(recipe.device) as processes:
        prepared = prepare_finetuning(
            data,
            output,
            recipe,
            init=init,
            val=val,
            val_share=val_share,
            group=group,
            video_root=video_root,
            resume_anyway=resume_anyway,
            monitor=monitor if monitor is not None and processes.is_main else Monitor(),
            team=Team(processes, recipe.sharding),
        )
        was_finished = run_to_end(prepared.training, summary=prepared.summary, write_report=prepared.write_report)
        result: FinetuneResult = processes.from_main(_result(prepared, was_finished=was_finished))
    return result


def _result(prepared: Prepared, *, was_finished: bool) -> FinetuneResult:
    training = prepared.training
    broken_validation = training.extra.get("broken_validation", {})
    return FinetuneResult(
        folder=training.folder.path,
        class_names=prepared.manifest.class_names,
        num_videos=len(prepared.manifest) - len(training.broken),
        num_broken=len(training.broken),
        steps=training.step,
        best_epoch=training.extra.get("best_epoch"),
        best_top1=training.extra.get("best_top1"),
        num_broken_validation=len(broken_validation),
        was_finished=was_finished,
        broken=training.broken,
        broken_validation=broken_validation,
        best_mean_average_precision=training.extra.get("best_mean_average_precision"),
        skipped_steps=training.meter.num_skipped,
    )


def _description(data: str | Path, manifest: Manifest, described: dict[str, Any]) -> dict[str, Any]:
    """What defines the run: these must be equal for it to go on."""
    videos = {"data": str(data), "num_videos": len(manifest), "videos": entries_hash(manifest)}
    return {"command": "finetune", **videos, **described}


def prepare_finetuning(
    data: str | Path,
    output: str | Path,
    recipe: FinetuneRecipe,
    *,
    init: str,
    val: str | Path | None = None,
    val_share: float | None = None,
    group: str | None = None,
    video_root: str | Path | None = None,
    resume_anyway: bool = False,
    monitor: Monitor,
    team: Team | None = None,
) -> Prepared:
    """All that a run needs before its first step; arguments and errors as of `finetune`.

    `team` shares each step; every process of it must call this.
    """
    team = team or Team()
    recipe.validate()
    check_trackers(recipe.trackers)
    augmentation = _augmentation(recipe)
    manifest, validation = read_train_and_val(
        data, val=val, val_share=val_share, group=group, root=video_root, seed=recipe.seed
    )
    for read in filter(None, (manifest, validation)):
        require_apart(Path(output), read, option="--output")
    if validation is None:
        require_no_empty_val(data)
    else:
        note_classes_not_learnt(manifest, validation, monitor)
    _refuse_balance(recipe, manifest)
    for notice in manifest.notices:
        monitor.note(notice)
    asked = recipe = fit_batch(recipe, len(manifest), monitor)
    device = team.processes.device(recipe.device)
    recipe, precision = settle_precision(recipe, output, device, team)
    names, several_labels = manifest.class_names, manifest.is_multi_label
    checkpoint, recipe = _make_checkpoint(recipe, init, names, monitor, several_labels=several_labels)
    checkpoint.model.to(device)
    described = {"val": None if val is None else str(val), "val_share": val_share, "group": group, "init": init}
    described["val_videos"] = None if validation is None else entries_hash(validation)
    description = _description(data, manifest, {**described, **described_recipe(recipe, asked)})
    folder = RunFolder(output, description, resume_anyway=resume_anyway, is_main=team.is_main)
    dataset = _make_dataset(checkpoint, recipe, manifest, augmentation)
    inputs = ClassifierInputs(recipe, checkpoint.processor, len(names), _labels_of(manifest))
    training = _make_training(checkpoint, recipe, dataset, inputs, folder, monitor, str(manifest.source), team)
    training.precision = precision
    if validation is not None:
        judge = Validation(checkpoint, validation, recipe, folder, monitor)
        training.end_epoch = lambda epoch: judge.end_epoch(training, epoch)

    def write_report() -> None:
        best = None
        if validation is not None:
            best = judge_best(folder.path, validation, recipe, device, processes=team.processes)
        broken = {**training.broken, **training.extra.get("broken_validation", {})}
        team.processes.on_main(
            lambda: write_finetune_report(folder, recipe, manifest, broken, training.extra, best, init)
        )

    def show(clips: Tensor, batch: ClipBatch, step: int, part: Part) -> list[TitledClip]:
        pixel_values, targets = inputs(clips, batch, step, part)
        pixels = as_pixels(pixel_values, checkpoint.processor.image_mean, checkpoint.processor.image_std)
        return labelled_clips(names, pixels, targets, recipe.label_smoothing)

    summary = _summary(manifest, validation, training, init)
    return Prepared(training, checkpoint, manifest, validation, summary, show, write_report)


def _augmentation(recipe: FinetuneRecipe) -> Augmentation | None:
    if not recipe.rand_augment:
        return None
    return Augmentation(RandAugment.parse(recipe.rand_augment), before_crop=recipe.augment_before_crop)


def _refuse_balance(recipe: FinetuneRecipe, manifest: Manifest) -> None:
    if manifest.is_multi_label and recipe.class_balance:
        raise ConfigError(
            f"class_balance={recipe.class_balance} for videos with several labels",
            expected="0",
            hint="leave it out; no order takes classes equally often that come together",
        )


def _labels_of(manifest: Manifest) -> Callable[[Tensor], Tensor] | None:
    if not manifest.is_multi_label:
        return None
    return lambda indices: multi_hot([manifest.entries[index] for index in indices.tolist()], manifest.class_names)


def _make_checkpoint(
    recipe: FinetuneRecipe,
    init: str,
    class_names: tuple[str, ...],
    monitor: Monitor,
    *,
    several_labels: bool = False,
) -> tuple[LoadedCheckpoint, FinetuneRecipe]:
    """The model with its new head, and the recipe with the frames and pixels that the model has."""
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        if init == SCRATCH:
            recipe = recipe.for_new_network()
            config = new_config(recipe, id2label=dict(enumerate(class_names)))
            model: Any = VideoMAEForVideoClassification(config)
            init_for_finetuning(model, init_scale=recipe.init_scale)
            processor = None
        else:
            opened = open_checkpoint(init, task="classification", class_names=class_names)
            model, processor = opened.model, opened.processor
            recipe = fit_to_checkpoint(recipe, model.config, opened.sampling)
            if not _keeps_head(init, class_names, monitor, several_labels=several_labels):
                init_classifier(model, init_scale=recipe.init_scale)
    if several_labels or model.config.problem_type == PROBLEM_TYPE:
        model.config.problem_type = PROBLEM_TYPE if several_labels else None
    model.config.drop_path_rate = recipe.drop_path
    model.config.classifier_dropout = recipe.head_dropout
    sampling = clip_sampling(recipe)
    fresh = new_processor(model.config, sampling)
    if processor is not None:  # the frames must look to the encoder as they did in pre-training
        fresh.image_mean, fresh.image_std = processor.image_mean, processor.image_std
    return LoadedCheckpoint(model, fresh, sampling), recipe


def _keeps_head(init: str, class_names: tuple[str, ...], monitor: Monitor, *, several_labels: bool) -> bool:
    """Whether the checkpoint is a classifier of these very classes; says where it is one of others."""
    config = VideoMAEConfig.from_pretrained(init)
    if stored_task(config) != "classification":
        return False
    known = tuple(config.id2label[index] for index in range(config.num_labels))
    had_several = config.problem_type == PROBLEM_TYPE
    if had_several != several_labels:
        before, now = ("several labels", "one class") if had_several else ("one class", "several labels")
        monitor.note(f"{init} gives a video {before}, the data {now}: its encoder is taken, and a new head")
        return False
    if known == class_names:
        return True
    monitor.note(
        f"{init} tells {len(known)} other classes apart ({', '.join(known[:3])} …): "
        f"its encoder is taken, and a new head for the {len(class_names)} classes of the data"
    )
    return False


def _make_dataset(
    checkpoint: LoadedCheckpoint, recipe: FinetuneRecipe, manifest: Manifest, augmentation: Augmentation | None
) -> TrainingClips:
    kind = "center" if recipe.min_crop_area == 1 else "resized"
    return TrainingClips(
        manifest.entries,
        manifest.class_names,
        sampling=checkpoint.sampling,
        crop=Crop(kind, min_area=recipe.min_crop_area, max_ratio=recipe.max_crop_ratio, flip=recipe.flip),
        image_size=checkpoint.model.config.image_size,
        seed=recipe.seed,
        num_views=recipe.views,
        augmentation=augmentation,
        limits=ReadLimits(max_seconds=recipe.read_limit_seconds),
    )


def _make_training(
    checkpoint: LoadedCheckpoint,
    recipe: FinetuneRecipe,
    dataset: TrainingClips,
    inputs: ClassifierInputs,
    folder: RunFolder,
    monitor: Monitor,
    source: str,
    team: Team,
) -> Training:
    model = checkpoint.model
    train_as_asked(model, recipe, monitor, num_tokens=model.config.grid.num_tokens)
    network = team.spread(model)
    groups = parameter_groups(
        model.named_parameters(),
        weight_decay=recipe.weight_decay,
        layer_decay=recipe.layer_decay,
        num_layers=model.config.num_hidden_layers,
    )
    average = average_of(model, recipe)

    def order_of(epoch: int) -> np.ndarray:
        return balanced_order(dataset.labels, seed=recipe.seed, epoch=epoch, power=recipe.class_balance)

    training = Training(
        model=model,
        optimizer=make_optimizer(groups, betas=(recipe.beta1, recipe.beta2), device=model.device),
        recipe=recipe,
        dataset=dataset,
        folder=folder,
        device=model.device,
        loss=ClassifierLoss(network, inputs),
        end_epoch=lambda epoch: None,
        save_weights=lambda weights: save_checkpoint(checkpoint, folder.path, weights),
        monitor=monitor,
        title="fine-tuning",
        team=team,
        data=source,
        order_of=order_of,
        average=average,
    )
    return training


def _summary(manifest: Manifest, validation: Manifest | None, training: Training, init: str) -> str:
    counts = ", ".join(f"{name} {count}" for name, count in list(manifest.class_counts().items())[:10])
    start = "new weights" if init == SCRATCH else f"the encoder of {init}"
    judged = f"{len(validation)} videos judge each epoch" if validation is not None else "no validation videos"
    judged += f" ({manifest.used})" if manifest.used else ""
    return (
        f"fine-tuning {start} on {len(manifest)} videos of {len(manifest.class_names)} classes ({counts}); {judged}; "
        f"{training.summary()}"
    )
