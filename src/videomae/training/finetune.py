"""Fine-tuning: a pre-trained encoder, or none, becomes a classifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from videomae.core.errors import VideoError
from videomae.data.clips import Crop, TrainingClips
from videomae.data.known import known_packets
from videomae.data.loader import ClipBatch
from videomae.data.manifest import Manifest
from videomae.data.splitting import read_train_and_val
from videomae.evaluation.validate import Evaluation, evaluate_classifier
from videomae.inference.device import choose_device
from videomae.inference.scores import ViewOptions
from videomae.loading.checkpoint import LoadedCheckpoint, new_processor, open_checkpoint, save_checkpoint
from videomae.models.modeling import VideoMAEForVideoClassification
from videomae.processing.transforms import normalize
from videomae.recipes.finetune import FinetuneRecipe
from videomae.training.loop import Training, run_to_end
from videomae.training.monitor import Monitor
from videomae.training.optimizer import make_optimizer, parameter_groups
from videomae.training.report import write_finetune_report
from videomae.training.run_folder import RunFolder
from videomae.training.setup import clip_sampling, fit_to_checkpoint, new_config
from videomae.training.step import Part
from videomae.training.trackers import check_trackers
from videomae.video.reader import ReadLimits

BETAS = (0.9, 0.999)
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
        best_top1: its top-1 accuracy on validation; None without.
        num_broken_validation: validation videos that could not be read; they count as wrong.
        was_finished: True where the folder held the finished run already and nothing was done.
        broken: path → reason, of the videos left out.
        broken_validation: path → reason, of the validation videos that count as wrong.
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
    monitor: Monitor | None = None,
) -> FinetuneResult:
    """Train a classifier on labelled videos. Goes on where an interrupted run in `output` stopped.

    Args:
        data: any form of DATA with classes; of one that names splits, `train` is learnt and `val` judges.
        output: the run's folder, afterwards a checkpoint.
        recipe: all settings.
        init: a checkpoint to start from, or "scratch" for new weights.
        val: labelled videos that judge each epoch, where `data` names no split `val`.
        val_share: share of the videos of `data` that judge instead, chosen by the recipe's seed.
        group: what stays on one side of that split, as for `read_manifest`.
        video_root: where the videos of lists are, as for `read_manifest`.
        monitor: is told what happens.

    Raises:
        InputError: if data, checkpoint, recipe or folder do not fit.
        TrainingStopped: if the user stopped the run; its state is saved.
    """
    monitor = monitor or Monitor()
    recipe.validate()
    check_trackers(recipe.trackers)
    manifest, validation = read_train_and_val(
        data, val=val, val_share=val_share, group=group, root=video_root, seed=recipe.seed
    )
    for notice in manifest.notices:
        monitor.note(notice)
    device = choose_device(recipe.device)
    checkpoint, recipe = _make_checkpoint(recipe, init, manifest.class_names)
    checkpoint.model.to(device)
    folder = RunFolder(
        output,
        {
            "command": "finetune",
            "data": str(data),
            "num_videos": len(manifest),
            "val": None if val is None else str(val),
            "val_share": val_share,
            "group": group,
            "init": init,
            "recipe": recipe.to_dict(),
        },
    )
    training = _make_training(checkpoint, recipe, manifest, validation, folder, monitor)

    def write_report() -> None:
        best = _judge_best(folder.path, validation, recipe, device) if validation is not None else None
        broken = {**training.broken, **training.extra.get("broken_validation", {})}
        write_finetune_report(folder, recipe, manifest, broken, training.extra, best, init)

    was_finished = run_to_end(
        training,
        summary=_summary(manifest, validation, checkpoint.model, training, init),
        write_report=write_report,
    )
    broken_validation = training.extra.get("broken_validation", {})
    return FinetuneResult(
        folder=folder.path,
        class_names=manifest.class_names,
        num_videos=len(manifest) - len(training.broken),
        num_broken=len(training.broken),
        steps=training.step,
        best_epoch=training.extra.get("best_epoch"),
        best_top1=training.extra.get("best_top1"),
        num_broken_validation=len(broken_validation),
        was_finished=was_finished,
        broken=training.broken,
        broken_validation=broken_validation,
    )


def _make_checkpoint(
    recipe: FinetuneRecipe, init: str, class_names: tuple[str, ...]
) -> tuple[LoadedCheckpoint, FinetuneRecipe]:
    """The model with its new head, and the recipe with the frames and pixels that the model has."""
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        if init == SCRATCH:
            recipe = recipe.for_new_network()
            config = new_config(recipe, id2label=dict(enumerate(class_names)))
            model: Any = VideoMAEForVideoClassification(config)
            processor = None
        else:
            opened = open_checkpoint(init, task="classification", class_names=class_names)
            model, processor = opened.model, opened.processor
            recipe = fit_to_checkpoint(recipe, model.config, opened.sampling)
    sampling = clip_sampling(recipe)
    fresh = new_processor(model.config, sampling)
    if processor is not None:  # the frames must look to the encoder as they did in pre-training
        fresh.image_mean, fresh.image_std = processor.image_mean, processor.image_std
    return LoadedCheckpoint(model, fresh, sampling), recipe


def _make_training(
    checkpoint: LoadedCheckpoint,
    recipe: FinetuneRecipe,
    manifest: Manifest,
    validation: Manifest | None,
    folder: RunFolder,
    monitor: Monitor,
) -> Training:
    model, processor = checkpoint.model, checkpoint.processor
    kind = "center" if recipe.min_crop_area == 1 else "resized"
    dataset = TrainingClips(
        manifest.entries,
        manifest.class_names,
        sampling=checkpoint.sampling,
        crop=Crop(kind, min_area=recipe.min_crop_area, flip=recipe.flip),
        image_size=model.config.image_size,
        seed=recipe.seed,
        num_views=recipe.views,
        catalog=known_packets(manifest),
        limits=ReadLimits(max_seconds=recipe.read_limit_seconds),
        backend=recipe.decoder,
    )

    def loss(clips: Tensor, batch: ClipBatch, step: int, part: Part) -> tuple[Tensor, float]:
        logits = model(normalize(clips, processor.image_mean, processor.image_std)).logits
        labels = batch.labels.repeat_interleave(recipe.views).to(clips.device, non_blocking=True)
        smoothing = recipe.label_smoothing
        return F.cross_entropy(logits.float(), labels, label_smoothing=smoothing, reduction="sum"), len(labels)

    groups = parameter_groups(
        model.named_parameters(),
        weight_decay=recipe.weight_decay,
        layer_decay=recipe.layer_decay,
        num_layers=model.config.num_hidden_layers,
    )

    def save_weights() -> None:
        # With validation the folder keeps the best epoch's weights; until one was judged, the last ones.
        if "best_epoch" not in training.extra:
            save_checkpoint(checkpoint, folder.path)

    judge = None if validation is None else _Validation(checkpoint, validation, recipe, folder, monitor)
    training = Training(
        model=model,
        optimizer=make_optimizer(groups, betas=BETAS, device=model.device),
        recipe=recipe,
        dataset=dataset,
        folder=folder,
        device=model.device,
        loss=loss,
        end_epoch=lambda epoch: judge.end_epoch(training, epoch) if judge is not None else None,
        save_weights=save_weights,
        monitor=monitor,
        title="fine-tuning",
        data=str(manifest.source),
    )
    return training


@dataclass(frozen=True)
class _Validation:
    """Judges epochs, and keeps the weights of the best one."""

    checkpoint: LoadedCheckpoint
    manifest: Manifest
    recipe: FinetuneRecipe
    folder: RunFolder
    monitor: Monitor
    excluded: dict[int, VideoError] = field(default_factory=dict)

    def end_epoch(self, training: Training, epoch: int) -> None:
        """Judge the epoch if it is due, log, and save the weights if none was better."""
        if (epoch + 1) % self.recipe.val_every and epoch + 1 != self.recipe.epochs:
            return
        self.monitor.start_part("validating", total=len(self.manifest))
        result = _judge(self.checkpoint, self.manifest, self.recipe, self.monitor.advance_part, excluded=self.excluded)
        metrics, best = result.metrics, training.extra
        named = best.setdefault("broken_validation", {})
        for path, error in result.broken:
            if str(path) not in named:
                named[str(path)] = str(error)
                self.monitor.note(f"counts as wrong, cannot be read: {error}")
        numbers = {name: getattr(metrics, name) for name in ("loss", "top1", "top5", "mean_class_accuracy")}
        unmeasured = dict.fromkeys(("learning_rate", "clips_per_second", "data_wait_share"))
        self.folder.log({"step": training.step, "epoch": epoch, "split": "val", **numbers, **unmeasured})
        # Of two epochs that judge alike, the lower loss decides.
        if "best_epoch" not in best or (metrics.top1, -metrics.loss) > (best["best_top1"], -best["best_loss"]):
            save_checkpoint(self.checkpoint, self.folder.path)
            best.update(best_epoch=epoch + 1, best_top1=metrics.top1, best_loss=metrics.loss)
        self.monitor.note(
            f"epoch {epoch + 1}: validation top-1 {metrics.top1:.1%}, loss {metrics.loss:.3f} "
            f"(best {best['best_top1']:.1%}, epoch {best['best_epoch']})"
        )


def _judge(
    checkpoint: LoadedCheckpoint,
    validation: Manifest,
    recipe: FinetuneRecipe,
    on_video: Callable[[], None] | None = None,
    excluded: dict[int, VideoError] | None = None,
) -> Evaluation:
    return evaluate_classifier(
        checkpoint,
        validation,
        options=ViewOptions(
            precision=recipe.precision,
            num_workers=recipe.num_workers,
            read_limit_seconds=recipe.read_limit_seconds,
        ),
        device=checkpoint.model.device,
        # A broken file must not end a run of hours; it counts as wrong, and is named.
        count_broken_as_wrong=True,
        on_video=on_video,
        excluded=excluded,
    )


def _judge_best(folder: Path, validation: Manifest, recipe: FinetuneRecipe, device: torch.device) -> Evaluation:
    """What the saved weights score: read back from the folder, as any user of it will."""
    checkpoint = open_checkpoint(folder, task="classification")
    checkpoint.model.to(device)
    return _judge(checkpoint, validation, recipe)


def _summary(manifest: Manifest, validation: Manifest | None, model: Any, training: Training, init: str) -> str:
    counts = ", ".join(f"{name} {count}" for name, count in list(manifest.class_counts().items())[:10])
    start = "new weights" if init == SCRATCH else f"the encoder of {init}"
    judged = f"{len(validation)} videos judge each epoch" if validation is not None else "no validation videos"
    return (
        f"fine-tuning {start} on {len(manifest)} videos of {len(manifest.class_names)} classes ({counts}); {judged}; "
        f"{training.summary()}"
    )
