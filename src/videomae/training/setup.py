"""What a recipe becomes on these data and this machine: batch size, precision, network, clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from videomae.core.distributed import ProcessGroup
from videomae.core.errors import CheckpointError, ConfigError
from videomae.core.precision import ChosenPrecision, choose_precision
from videomae.models.config import VideoMAEConfig
from videomae.recipes.recipe import TrainingRecipe
from videomae.recipes.sizes import require_size, size_keywords
from videomae.training.run_folder import precision_begun
from videomae.video.sampling import ClipSampling
from videomae.weights import listing
from videomae.weights.finite import not_finite

AnyRecipe = TypeVar("AnyRecipe", bound=TrainingRecipe)


def fit_batch_size(recipe: AnyRecipe, num_clips: int, note: Callable[[str], object]) -> AnyRecipe:
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
    recipe: AnyRecipe, output: str | Path, device: torch.device, processes: ProcessGroup
) -> tuple[AnyRecipe, ChosenPrecision]:
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
    """The configuration of a new network; the recipe is fully resolved (`TrainingRecipe.for_new_network`)."""
    assert recipe.size is not None
    return VideoMAEConfig(**{**size_keywords(recipe.size), **recipe.clip_changes, **more})


def fit_to_checkpoint(recipe: AnyRecipe, config: VideoMAEConfig, sampling: ClipSampling) -> AnyRecipe:
    """The recipe with what it leaves open as the checkpoint has it; refuses another size of network."""
    require_size(recipe.size, config)
    return recipe.fitted_to_checkpoint(
        num_frames=config.num_frames,
        image_size=config.image_size,
        tubelet_size=config.tubelet_size,
        num_channels=config.num_channels,
        sampling=sampling.method,
        frame_stride=sampling.frame_stride if sampling.frame_rate is None else None,
        frame_rate=sampling.frame_rate,
    )


def require_finite_start(model: torch.nn.Module, init: str) -> None:
    """Raise a CheckpointError for weights with NaN or infinity: every step would be skipped."""
    broken = not_finite(model.state_dict())
    if broken:
        raise CheckpointError(
            f"{init} with NaN or infinity in {listing.grouped(sorted(broken))}",
            expected="numbers",
            hint="start from another checkpoint: nothing is learned from these",
        )


def clip_sampling(recipe: TrainingRecipe) -> ClipSampling:
    """Which frames make a clip, of a fully resolved recipe."""
    assert recipe.sampling is not None
    assert recipe.num_frames is not None
    stride = {} if recipe.frame_stride is None else {"frame_stride": recipe.frame_stride}
    return ClipSampling(recipe.sampling, recipe.num_frames, frame_rate=recipe.frame_rate, **stride)


def require_even_micro_batches(recipe: TrainingRecipe, num_videos: int, world_size: int) -> None:
    """Make sure that all micro-batches have equally many clips; only an epoch's last batch may be smaller.

    Args:
        recipe: fully resolved.
        num_videos: of the data set.
        world_size: number of processes.

    Raises:
        ConfigError: if they have not.
    """
    # A batch of the whole data set is each epoch's last one too; their number is not for the user to choose.
    if recipe.batch_size % (recipe.accumulation * world_size) == 0 or recipe.batch_size == num_videos:
        return
    share = recipe.batch_size // world_size
    fitting = [str(n) for n in range(1, share + 1) if recipe.batch_size % (n * world_size) == 0]
    among = f" and {world_size} processes" if world_size > 1 else ""
    raise ConfigError(
        f"accumulation={recipe.accumulation} with batch_size={recipe.batch_size}{among}",
        expected=f"--accumulation {', '.join(fitting[:12])}" if fitting else f"a batch that {world_size} divides",
        hint=f"or a --batch-size that {recipe.accumulation * world_size} divides",
    )
