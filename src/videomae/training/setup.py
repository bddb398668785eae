"""What both kinds of training begin with: the network that a recipe describes, the clips that it learns from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videomae.checkpoint import LoadedCheckpoint
from videomae.core.errors import DataError
from videomae.core.precision import Precision, choose_precision
from videomae.data.loader import ClipBatch
from videomae.datasets.layout import split_folder
from videomae.datasets.manifest import Manifest
from videomae.models.config import VideoMAEConfig
from videomae.recipes.recipe import TrainingRecipe
from videomae.recipes.sizes import require_size, size_keywords
from videomae.training.compiling import compile_layers
from videomae.training.ema import WeightAverage
from videomae.training.loop import Training
from videomae.training.monitor import Monitor
from videomae.training.processes import Team
from videomae.training.run_folder import precision_begun
from videomae.training.step import Part
from videomae.video.sampling import ClipSampling


@dataclass(frozen=True)
class Prepared:
    """A run that could begin.

    Args:
        training: the loop's.
        checkpoint: model and processor.
        manifest: what is learnt.
        validation: what judges; None for none.
        summary: a line about the run.
        show: (clips uint8 on the device, the batch, the step, the part) to titled clips uint8 (T, H, W, 3), as the
            model gets them.
        write_report: called at the end.
    """

    training: Training
    checkpoint: LoadedCheckpoint
    manifest: Manifest
    validation: Manifest | None
    summary: str
    show: Callable[[Tensor, ClipBatch, int, Part], list[tuple[str, np.ndarray]]]
    write_report: Callable[[], object]

    @property
    def is_labelled(self) -> bool:
        """Whether classes are learnt."""
        return all(label >= 0 for label in self.training.dataset.labels)


def new_config(recipe: TrainingRecipe, **more: Any) -> VideoMAEConfig:
    """The configuration of a new network; the recipe leaves nothing open (`TrainingRecipe.for_new_network`)."""
    values = recipe.to_dict()
    clip = {name: values[name] for name in ("image_size", "num_frames")}
    network = {**size_keywords(values["size"]), **clip}
    if values.get("decoder_depth") is not None:
        network["decoder_num_hidden_layers"] = values["decoder_depth"]
    if values.get("decoder_width") is not None:
        network["decoder_hidden_size"] = values["decoder_width"]
        network["decoder_intermediate_size"] = 4 * values["decoder_width"]
    return VideoMAEConfig(**network, **more)


def require_no_empty_val(data: str | Path) -> None:
    """Raise a DataError for a folder whose val/ has no videos: a run must not go on unjudged without a word."""
    for folder in Path(data).iterdir() if Path(data).is_dir() else ():
        is_val = folder.is_dir() and split_folder(folder.name) == "val"
        if is_val and not any(path.is_file() for path in folder.rglob("*")):
            raise DataError(
                f"{folder} without videos",
                expected="videos that judge each epoch",
                hint="fill the folder, or remove it to train without validation or with --val-share",
            )


def note_classes_not_learnt(manifest: Manifest, validation: Manifest, monitor: Monitor) -> None:
    """Say which classes videos judge, though none of them is there to learn from."""
    judged = validation.class_counts()
    lacking = [name for name, count in manifest.class_counts().items() if not count and judged.get(name)]
    if lacking:
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        monitor.note(
            f"no training videos of {', '.join(lacking[:5])}{more}; the validation has "
            f"{sum(judged[name] for name in lacking)} of these, which cannot be recognised"
        )


def fit_batch(recipe: Any, num_clips: int, monitor: Monitor) -> Any:
    """The recipe with a batch of all clips where it asks for more than there are; learning rates go with it."""
    if recipe.batch_size <= num_clips:
        return recipe
    monitor.note(
        f"a batch of {recipe.batch_size} clips, of which there are {num_clips}: each step takes all of them, "
        f"and the learning rate is for {num_clips}"
    )
    fitted = replace(recipe, batch_size=num_clips)
    fitted.validate()
    return fitted


def train_as_asked(model: Any, recipe: TrainingRecipe, monitor: Monitor, *, num_tokens: int) -> None:
    """Switch on what trains a network faster or in less memory; it is on its device.

    Args:
        model: a pre-training model or a classifier.
        recipe: says what.
        monitor: is told what cannot be had.
        num_tokens: that the encoder's layers see of a clip.
    """
    if recipe.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    if recipe.compile:
        num_clips = recipe.batch_size // recipe.accumulation * recipe.views
        compile_layers(model, (num_clips, num_tokens), precision=recipe.precision, note=monitor.note)


def settle_precision(recipe: Any, output: str | Path, device: torch.device, team: Team) -> tuple[Any, Precision]:
    """The recipe with the precision that its "auto" becomes, and why; all processes have that of the main one.

    A run that is resumed goes on in the precision in which it began, on whatever machine.

    Args:
        recipe: any.
        output: the run's folder.
        device: where the main process computes.
        team: of the run; every process of it must call this.

    Raises:
        ConfigError: if the device lacks the precision.
    """

    def settle() -> Precision:
        begun = precision_begun(output)
        asked = begun if begun and recipe.precision == "auto" else recipe.precision
        found = choose_precision(asked, device, sharded=recipe.sharding == "full")
        return replace(found, reason="as this run began") if found.name == begun else found

    found = team.processes.from_main(team.processes.on_main(settle))
    return replace(recipe, precision=found.name), found


def described_recipe(recipe: TrainingRecipe, asked: TrainingRecipe) -> dict[str, Any]:
    """Of a run's description: the precision, and the recipe with what was asked for in its place."""
    return {"precision": recipe.precision, "recipe": {**recipe.to_dict(), "precision": asked.precision}}


def average_of(model: Any, recipe: TrainingRecipe) -> WeightAverage | None:
    """The average of the weights that the recipe asks for."""
    return WeightAverage(model, decay=recipe.ema_decay) if recipe.ema_decay else None


def fit_to_checkpoint(recipe: Any, config: VideoMAEConfig, sampling: ClipSampling) -> Any:
    """The recipe with what it leaves open as the checkpoint has it; refuses another size or other clips."""
    require_size(recipe.size, config)
    return recipe.fitted_to_checkpoint(
        num_frames=config.num_frames,
        image_size=config.image_size,
        sampling=sampling.method,
        frame_stride=sampling.frame_stride if sampling.frame_rate is None else None,
        frame_rate=sampling.frame_rate,
    )


def clip_sampling(recipe: TrainingRecipe) -> ClipSampling:
    """Which frames make a clip, of a recipe that leaves nothing open."""
    values = recipe.to_dict()
    stride = {} if values["frame_stride"] is None else {"frame_stride": values["frame_stride"]}
    return ClipSampling(values["sampling"], values["num_frames"], frame_rate=values["frame_rate"], **stride)
