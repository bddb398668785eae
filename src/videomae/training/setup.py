"""What a recipe becomes on these data and this machine: batch size, precision, network, clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from videomae.core.distributed import ProcessGroup
from videomae.core.precision import ChosenPrecision, choose_precision
from videomae.models.config import VideoMAEConfig
from videomae.recipes.recipe import TrainingRecipe
from videomae.recipes.sizes import require_size, size_keywords
from videomae.training.run_folder import precision_begun
from videomae.video.sampling import ClipSampling


def fit_batch_size(recipe: Any, num_clips: int, note: Callable[[str], object]) -> Any:
    """The recipe with a batch of all clips where it asks for more than there are; learning rates follow."""
    if recipe.batch_size <= num_clips:
        return recipe
    note(
        f"batch size {recipe.batch_size} exceeds the {num_clips} clips: using {num_clips}, "
        f"with the learning rate for {num_clips}"
    )
    fitted = replace(recipe, batch_size=num_clips)
    fitted.validate()
    return fitted


def settle_precision(
    recipe: Any, output: str | Path, device: torch.device, processes: ProcessGroup
) -> tuple[Any, ChosenPrecision]:
    """The recipe with the precision that its "auto" becomes, and why; all processes have that of the main one.

    A run that is resumed continues in the precision in which it began, on whatever machine.

    Args:
        recipe: any.
        output: the run's folder.
        device: where the main process computes.
        processes: of the run; every one of them must call this.

    Raises:
        ConfigError: if the device lacks the precision.
    """

    def settle() -> ChosenPrecision:
        begun = precision_begun(output)
        requested = begun if begun and recipe.precision == "auto" else recipe.precision
        found = choose_precision(requested, device, sharded=recipe.sharding == "full")
        return replace(found, reason="as this run began") if found.name == begun else found

    found = processes.from_main(processes.on_main(settle))
    return replace(recipe, precision=found.name), found


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
