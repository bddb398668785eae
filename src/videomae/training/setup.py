"""What both kinds of training begin with: the network that a recipe describes, the clips that it learns from."""

from __future__ import annotations

from typing import Any

from videomae.models.config import VideoMAEConfig
from videomae.recipes.recipe import TrainingRecipe
from videomae.recipes.sizes import require_size, size_keywords
from videomae.video.sampling import ClipSampling


def new_config(recipe: TrainingRecipe, **more: Any) -> VideoMAEConfig:
    """The configuration of a new network; the recipe leaves nothing open (`TrainingRecipe.for_new_network`)."""
    values = recipe.to_dict()
    clip = {name: values[name] for name in ("image_size", "num_frames")}
    return VideoMAEConfig(**size_keywords(values["size"]), **clip, **more)


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
