"""Self-supervised pre-training: a folder of videos becomes an encoder and a decoder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videomae.checkpoint import LoadedCheckpoint, new_processor, open_checkpoint, save_checkpoint
from videomae.core.distributed import joined_processes
from videomae.core.errors import ConfigError
from videomae.core.masks import running_cell_mask
from videomae.core.pixels import IMAGENET_MEAN, IMAGENET_STD
from videomae.core.random_keys import generator_for
from videomae.data.clips import Crop, TrainingClips
from videomae.data.loader import ClipBatch
from videomae.datasets.apart import require_apart
from videomae.datasets.manifest import Manifest, read_manifest
from videomae.inference.reconstruct import MASKS
from videomae.models.config import VideoMAEConfig
from videomae.models.initialization import init_for_pretraining
from videomae.models.modeling import VideoMAEForPreTraining
from videomae.processing.transforms import normalize
from videomae.recipes.pretrain import PretrainRecipe
from videomae.training.loop import Training, run_to_end
from videomae.training.monitor import Monitor
from videomae.training.optimizer import make_optimizer, parameter_groups
from videomae.training.pictures import ProgressPictures, reconstruct_first
from videomae.training.processes import Team
from videomae.training.report import write_pretrain_report
from videomae.training.run_folder import RunFolder, entries_hash
from videomae.training.setup import (
    Prepared,
    average_of,
    clip_sampling,
    described_recipe,
    fit_batch,
    fit_to_checkpoint,
    new_config,
    settle_precision,
    train_as_asked,
)
from videomae.training.shown_inputs import TitledClip, as_pixels, masked_clips
from videomae.training.step import Part
from videomae.training.trackers import check_trackers
from videomae.video.reader import ReadLimits

# Streams of randomness that must not meet: crops are keyed by their epoch in this place, which is never so high.
_MASK_STREAM, _DECODER_MASK_STREAM = 2**32 - 1, 2**32 - 2


@dataclass(frozen=True)
class PretrainResult:
    """How a pre-training run ended.

    Args:
        folder: the checkpoint.
        num_videos: videos trained on.
        num_broken: videos left out because they could not be read.
        steps: optimiser steps taken in all.
        loss: mean training loss over the last logged steps; None where no video of theirs could be read.
        was_finished: True where the folder held the finished run already and nothing was done.
        broken: path → reason, of the videos left out.
        skipped_steps: of `steps`, those that changed nothing because loss or gradient were not finite.
    """

    folder: Path
    num_videos: int
    num_broken: int
    steps: int
    loss: float | None
    was_finished: bool
    broken: dict[str, str] = field(default_factory=dict)
    skipped_steps: int = 0


def pretrain(
    data: str | Path,
    output: str | Path,
    recipe: PretrainRecipe,
    *,
    init: str | None = None,
    video_root: str | Path | None = None,
    resume_anyway: bool = False,
    monitor: Monitor | None = None,
) -> PretrainResult:
    """Pre-train on the videos of `data`; labels are not used. Goes on where an interrupted run in `output` stopped.

    Args:
        data: any form of DATA; of one that names splits, `train` and what is in no split are used.
        output: the run's folder, afterwards a checkpoint.
        recipe: all settings.
        init: a pre-training checkpoint to start from; its network replaces the recipe's size, frames and pixels.
        video_root: where the videos of lists are, as for `read_manifest`.
        resume_anyway: go on with the run in `output` though its recipe or data were others.
        monitor: is told what happens.

    Raises:
        InputError: if data, recipe or folder do not fit.
        TrainingStopped: if the user stopped the run; its state is saved.
    """
    with joined_processes(recipe.device) as processes:
        prepared = prepare_pretraining(
            data,
            output,
            recipe,
            init=init,
            video_root=video_root,
            resume_anyway=resume_anyway,
            monitor=monitor if monitor is not None and processes.is_main else Monitor(),
            team=Team(processes, recipe.sharding),
        )
        was_finished = run_to_end(prepared.training, summary=prepared.summary, write_report=prepared.write_report)
        result: PretrainResult = processes.from_main(_result(prepared, was_finished=was_finished))
    return result


def _result(prepared: Prepared, *, was_finished: bool) -> PretrainResult:
    training = prepared.training
    lines = [record for record in training.folder.read_metrics() if record["split"] == "train"]
    return PretrainResult(
        folder=training.folder.path,
        num_videos=len(prepared.manifest) - len(training.broken),
        num_broken=len(training.broken),
        steps=training.step,
        loss=lines[-1]["loss"] if lines else None,
        was_finished=was_finished,
        broken=training.broken,
        skipped_steps=training.meter.num_skipped,
    )


def prepare_pretraining(
    data: str | Path,
    output: str | Path,
    recipe: PretrainRecipe,
    *,
    init: str | None = None,
    video_root: str | Path | None = None,
    resume_anyway: bool = False,
    monitor: Monitor,
    team: Team | None = None,
) -> Prepared:
    """All that a run needs before its first step; arguments and errors as of `pretrain`.

    `team` shares each step; every process of it must call this.
    """
    team = team or Team()
    recipe.validate()
    check_trackers(recipe.trackers)
    whole = read_manifest(data, root=video_root)
    require_apart(Path(output), whole, option="--output")
    manifest = whole.for_pretraining()
    for notice in manifest.notices:
        monitor.note(notice)
    asked = recipe = fit_batch(recipe, len(manifest), monitor)
    device = team.processes.device(recipe.device)
    recipe, precision = settle_precision(recipe, output, device, team)
    model, recipe = _make_model(recipe, init)
    masks = _Masks(recipe, model.config)
    folder = RunFolder(
        output,
        {
            "command": "pretrain",
            "data": str(data),
            "num_videos": len(manifest),
            "videos": entries_hash(manifest),
            "init": init,
            **described_recipe(recipe, asked),
        },
        resume_anyway=resume_anyway,
        is_main=team.is_main,
    )
    sampling = clip_sampling(recipe)
    checkpoint = LoadedCheckpoint(model.to(device), new_processor(model.config, sampling), sampling)
    training = _make_training(checkpoint, recipe, manifest, folder, masks, monitor, team)
    training.precision = precision

    def write_report() -> None:
        # The weights of the folder: a sharded model computes nothing in one process alone.
        pictures = reconstruct_first(open_checkpoint(folder.path, task="pretraining"), manifest.entries, recipe, device)
        write_pretrain_report(
            folder, recipe, manifest, training.broken, pictures, hidden_share=float(masks.draw(1, 0)[0].float().mean())
        )

    def show(clips: Tensor, batch: ClipBatch, step: int, part: Part) -> list[TitledClip]:
        hidden, not_rebuilt = masks.of(part, step)
        pixels = as_pixels(normalize(clips, IMAGENET_MEAN, IMAGENET_STD), IMAGENET_MEAN, IMAGENET_STD)
        paths = [manifest.entries[index].path for index in batch.indices.tolist() for _ in range(recipe.views)]
        return masked_clips([Path(str(path)).name for path in paths], pixels, hidden, not_rebuilt, model.config.grid)

    summary = _summary(manifest, model, training)
    return Prepared(training, checkpoint, manifest, None, summary, show, lambda: team.processes.on_main(write_report))


class _Masks:
    """The masks of each step, a function of (seed, step)."""

    def __init__(self, recipe: PretrainRecipe, config: VideoMAEConfig) -> None:
        self.recipe = recipe
        self.grid = config.grid.shape
        # A ratio or grid that no mask fits is found before anything is written.
        hidden, _ = self.draw(1, 0)
        if not hidden.any():
            raise ConfigError(
                f"mask_ratio={recipe.mask_ratio} of {hidden.shape[1]} tubelets, which hides none",
                expected="at least one hidden tubelet to rebuild",
                hint="raise --mask-ratio; 0.9 is published",
            )

    def draw(self, batch_size: int, step: int) -> tuple[Tensor, Tensor | None]:
        """Encoder mask, and decoder mask where the recipe has one; on the CPU, which spares a GPU a wait."""
        recipe = self.recipe
        generator = generator_for(recipe.seed, _MASK_STREAM, step)
        hidden = MASKS[recipe.mask](batch_size, self.grid, recipe.mask_ratio, generator=generator)
        if not recipe.decoder_mask_ratio:
            return hidden, None
        generator = generator_for(recipe.seed, _DECODER_MASK_STREAM, step)
        return hidden, running_cell_mask(batch_size, self.grid, recipe.decoder_mask_ratio, generator=generator)

    def of(self, part: Part, step: int) -> tuple[Tensor, Tensor | None]:
        """Those of a part; drawn for the whole batch, so that they depend neither on parts nor on broken videos."""
        hidden, not_rebuilt = self.draw(part.num_rows, step)
        return hidden[part.rows], None if not_rebuilt is None else not_rebuilt[part.rows]


def _make_model(recipe: PretrainRecipe, init: str | None) -> tuple[VideoMAEForPreTraining, PretrainRecipe]:
    """The network, and the recipe with nothing left open."""
    if init is not None:
        opened = open_checkpoint(init, task="pretraining", norm_pix_loss=recipe.norm_pix_loss)
        return opened.model, fit_to_checkpoint(recipe, opened.model.config, opened.sampling)
    recipe = recipe.for_new_network()
    config = new_config(recipe, norm_pix_loss=recipe.norm_pix_loss, use_mean_pooling=False)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        model = VideoMAEForPreTraining(config)
        init_for_pretraining(model)
    return model, recipe


def _make_training(
    checkpoint: LoadedCheckpoint,
    recipe: PretrainRecipe,
    manifest: Manifest,
    folder: RunFolder,
    masks: _Masks,
    monitor: Monitor,
    team: Team,
) -> Training:
    model = checkpoint.model
    dataset = TrainingClips(
        manifest.entries,
        (),
        sampling=checkpoint.sampling,
        crop=Crop(recipe.crop),
        image_size=model.config.image_size,
        seed=recipe.seed,
        num_views=recipe.views,
        limits=ReadLimits(max_seconds=recipe.read_limit_seconds),
    )

    def loss(clips: Tensor, batch: ClipBatch, step: int, part: Part) -> tuple[Tensor, float]:
        hidden, not_rebuilt = masks.of(part, step)
        pixel_values = normalize(clips, IMAGENET_MEAN, IMAGENET_STD)
        counted = hidden if not_rebuilt is None else hidden & ~not_rebuilt
        weight = float(counted.sum()) / hidden.shape[1]  # clips, as far as their tokens count
        return network(pixel_values, hidden, decoder_masked_pos=not_rebuilt).loss * weight, weight

    num_visible = int((~masks.draw(1, 0)[0]).sum())
    train_as_asked(model, recipe, monitor, num_tokens=num_visible)
    network = team.spread(model)
    average = average_of(model, recipe)

    groups = parameter_groups(model.named_parameters(), weight_decay=recipe.weight_decay)
    pictures = ProgressPictures(checkpoint, manifest.entries, recipe, folder.path, monitor, average)
    training = Training(
        model=model,
        optimizer=make_optimizer(groups, betas=(recipe.beta1, recipe.beta2), device=model.device),
        recipe=recipe,
        dataset=dataset,
        folder=folder,
        device=model.device,
        loss=loss,
        end_epoch=lambda epoch: pictures.end_epoch(epoch, writes=training.team.rank == 0),
        save_weights=lambda weights: save_checkpoint(checkpoint, folder.path, weights),
        monitor=monitor,
        title="pre-training",
        team=team,
        data=str(manifest.source),
        average=average,
    )
    return training


def _summary(manifest: Manifest, model: Any, training: Training) -> str:
    weights = f"{model.num_parameters() / 1e6:.1f} M weights"
    splits = f" ({manifest.used})" if manifest.used else ""
    return f"pre-training {weights} on {len(manifest)} videos{splits}; {training.summary()}"
