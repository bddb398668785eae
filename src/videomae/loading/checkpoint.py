"""A checkpoint on disk or on the hub becomes a model that is ready for the task at hand, and what feeds it."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from videomae.core.errors import CheckpointError, ConfigError
from videomae.core.pixels import IMAGENET_MEAN, IMAGENET_STD
from videomae.models.config import VideoMAEConfig
from videomae.models.modeling import VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel
from videomae.models.pretrained import VideoMAEPreTrainedModel
from videomae.processing.image_processor import VideoMAEImageProcessor
from videomae.video.sampling import ClipSampling
from videomae.weights import files, hub

logger = logging.getLogger("videomae")

PROCESSOR_NAME = "preprocessor_config.json"
TASKS: dict[str, type[VideoMAEPreTrainedModel]] = {
    "features": VideoMAEModel,
    "pretraining": VideoMAEForPreTraining,
    "classification": VideoMAEForVideoClassification,
}
_REMEDIES = {
    "features": "give a folder that save_pretrained or a training command wrote",
    "pretraining": "give the output of `videomae pretrain`; a classifier has no decoder",
    "classification": "give the output of `videomae finetune`; a pre-trained encoder has no classifier yet",
}


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A model with the settings that it was trained with.

    Args:
        model: in evaluation mode, on the CPU.
        processor: resizes and normalises frames for it.
        sampling: which frames of a video make a clip for it.
    """

    model: Any
    processor: VideoMAEImageProcessor
    sampling: ClipSampling


def load_checkpoint(
    source: str | Path,
    *,
    task: str | None = None,
    class_names: Sequence[str] | None = None,
    dtype: torch.dtype | None = torch.float32,
    **options: Any,
) -> Any:
    """Load a model for a task, adapting the checkpoint where the task differs from the one it was trained for.

    A pre-trained encoder becomes a classifier by dropping its decoder and its final norm and starting a fresh head on
    the mean of the tokens. Weights of the encoder are never drawn anew: a checkpoint that lacks them is refused.

    Args:
        source: a checkpoint folder or hub name, as transformers 4.x and 5.x and we write.
        task: "features", "pretraining" or "classification"; None takes the checkpoint's own.
        class_names: for "classification": the classes to learn. None keeps the checkpoint's head, which must exist;
            other names than the checkpoint's, or another order, start a fresh head.
        dtype: type of the weights; None keeps the file's.
        **options: hub options (`revision`, `token`, …); all others override the configuration.

    Returns:
        A `VideoMAEModel`, `VideoMAEForPreTraining` or `VideoMAEForVideoClassification` in evaluation mode.

    Raises:
        CheckpointError: if it is missing, damaged, or lacks weights that the task needs.
        ConfigError: if there is no such task.
    """
    hub_options, overrides = hub.split_hub_options(options)
    config = VideoMAEConfig.from_pretrained(source, **hub_options, **overrides)
    task = task or stored_task(config)
    if task not in TASKS:
        raise ConfigError(f"task={task!r}", expected=" or ".join(TASKS), hint="leave it out for the checkpoint's own")
    state = files.read_weights(source, **hub_options)
    may_be_new: tuple[str, ...] = ()
    if task == "classification" and class_names is not None:
        has_head = any(name.startswith("classifier.") for name in state)
        if not has_head:
            config.use_mean_pooling = True
            may_be_new = ("classifier.", "fc_norm.")
        elif list(class_names) != [config.id2label[index] for index in sorted(config.id2label)]:
            state = {name: tensor for name, tensor in state.items() if not name.startswith("classifier.")}
            may_be_new = ("classifier.",)
        config.set_labels(dict(enumerate(class_names)))
    model, info = TASKS[task].from_state(config, state, source=str(source), dtype=dtype)
    lacking = [name for name in info["missing_keys"] if not name.startswith(may_be_new or ("no name",))]
    if lacking:
        raise CheckpointError(
            f"{source} without {lacking[0]}" + (f" and {len(lacking) - 1} more tensors" if len(lacking) > 1 else ""),
            expected=f"all weights for {task}",
            hint=_REMEDIES[task],
        )
    if info["unexpected_keys"]:
        parts = sorted({name.split(".")[0] for name in info["unexpected_keys"]})
        logger.info("%s: not used for %s: %s", source, task, ", ".join(parts))
    return model


def open_checkpoint(source: str | Path, **arguments: Any) -> LoadedCheckpoint:
    """A model, its processor and its sampling; arguments and errors as in `load_checkpoint`."""
    model = load_checkpoint(source, **arguments)
    hub_options, _ = hub.split_hub_options(arguments)
    processor = _stored_processor(source, model.config, **hub_options)
    return LoadedCheckpoint(model, processor, _stored_sampling(processor, model.config))


def new_processor(config: VideoMAEConfig, sampling: ClipSampling) -> VideoMAEImageProcessor:
    """The processor for a model of our training: its clip size, ImageNet's mean and deviation, its sampling."""
    _, _, height, width = config.grid.clip_shape
    return VideoMAEImageProcessor(
        size={"shortest_edge": min(height, width)},
        crop_size={"height": height, "width": width},
        image_mean=list(IMAGENET_MEAN),
        image_std=list(IMAGENET_STD),
        sampling=dataclasses.asdict(sampling),
    )


def stored_task(config: VideoMAEConfig) -> str:
    """The task that a checkpoint was trained for, by its `architectures`; features where it names none."""
    for task, model_class in TASKS.items():
        if model_class.__name__ in (config.architectures or ()):
            return task
    return "features"


def describe_checkpoint(source: str | Path, **hub_options: Any) -> dict[str, Any]:
    """What a checkpoint is, as plain data: task, network, clip, sampling, classes, weights.

    Raises:
        CheckpointError: if it is missing or damaged.
    """
    config = VideoMAEConfig.from_pretrained(source, **hub_options)
    state = files.read_weights(source, **hub_options)
    processor = _stored_processor(source, config, **hub_options)
    num_frames, num_channels, height, width = config.grid.clip_shape
    task = stored_task(config)
    return {
        "checkpoint": str(source),
        "task": task,
        "num_parameters": sum(tensor.numel() for tensor in state.values()),
        "num_tensors": len(state),
        "dtypes": sorted({str(tensor.dtype).removeprefix("torch.") for tensor in state.values()}),
        "network": {
            "width": config.hidden_size,
            "depth": config.num_hidden_layers,
            "heads": config.num_attention_heads,
            "decoder_width": config.decoder_hidden_size,
            "decoder_depth": config.decoder_num_hidden_layers,
            "decoder_heads": config.decoder_num_attention_heads,
        },
        "clip": {
            "num_frames": num_frames,
            "num_channels": num_channels,
            "height": height,
            "width": width,
            "grid": list(config.grid.shape),
            "num_tokens": config.grid.num_tokens,
        },
        "sampling": dataclasses.asdict(_stored_sampling(processor, config)),
        "image_mean": processor.image_mean,
        "image_std": processor.image_std,
        # Every configuration has label names, but only a classifier's mean anything.
        "classes": [config.id2label[index] for index in sorted(config.id2label)] if task == "classification" else [],
    }


def _stored_processor(source: str | Path, config: VideoMAEConfig, **hub_options: Any) -> VideoMAEImageProcessor:
    """The checkpoint's processor; a checkpoint without one gets the one that all published weights go with."""
    if hub.resolve_file(source, PROCESSOR_NAME, **hub_options) is None:
        return new_processor(config, ClipSampling(num_frames=config.num_frames))
    return VideoMAEImageProcessor.from_pretrained(source, **hub_options)


def _stored_sampling(processor: VideoMAEImageProcessor, config: VideoMAEConfig) -> ClipSampling:
    stored = getattr(processor, "sampling", None) or {}
    known = {field.name for field in dataclasses.fields(ClipSampling)}
    try:
        sampling = ClipSampling(**{"num_frames": config.num_frames, **stored})
    except TypeError as error:
        raise CheckpointError(
            f"sampling={stored!r} in {PROCESSOR_NAME}",
            expected=f"the keys {', '.join(sorted(known))}",
            hint="correct it",
        ) from error
    if sampling.num_frames != config.num_frames:
        raise CheckpointError(
            f"{PROCESSOR_NAME} with {sampling.num_frames} frames in a clip",
            expected=f"{config.num_frames}, as config.json says",
            hint="correct the one that is wrong",
        )
    return sampling
