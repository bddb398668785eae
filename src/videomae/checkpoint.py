"""A checkpoint on disk or on the hub becomes a model that is ready for the task at hand, and what feeds it."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from videomae.core.errors import CheckpointError, ConfigError
from videomae.models.adapt import adapt_weights, adapted_config, channel_means, describe_adaptation
from videomae.models.config import VideoMAEConfig
from videomae.models.loading import LoadingInfo
from videomae.models.modeling import VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel
from videomae.models.pretrained import VideoMAEPreTrainedModel
from videomae.models.stored import (
    PROCESSOR_NAME,
    adapter_settings,
    base_of_adapter,
    read_stored,
    weights_without_config,
)
from videomae.processing.image_processor import VideoMAEImageProcessor
from videomae.video.sampling import ClipSampling
from videomae.weights import hub, listing, names

logger = logging.getLogger("videomae")

TASKS: dict[str, type[VideoMAEPreTrainedModel]] = {
    "features": VideoMAEModel,
    "pretraining": VideoMAEForPreTraining,
    "classification": VideoMAEForVideoClassification,
}
# How the names begin of what a model for another task has beside the encoder.
HEADS = (
    "decoder.",
    "encoder_to_decoder.",
    "mask_token",
    "classifier.",
    "fc_norm.",
    "pooling.",
    "videomae.layernorm.",
    "layernorm.",
)
_REMEDIES = {
    "pretraining": "give the output of `videomae pretrain`; a classifier has no decoder",
    "classification": "give the output of `videomae finetune`, or class_names=[…] for a new head; "
    "a pre-trained encoder has no classifier yet",
}


@dataclass(frozen=True, repr=False)
class Checkpoint:
    """A model with the processor and the sampling that it was trained with.

    Args:
        model: in evaluation mode, on the CPU.
        processor: resizes and normalizes frames for it.
        sampling: which frames of a video make a clip for it.
        folder: that it was opened from; None for another source.
    """

    model: Any
    processor: VideoMAEImageProcessor
    sampling: ClipSampling
    folder: Path | None = None

    @classmethod
    @hub.one_commit()
    def open(
        cls,
        source: str | Path,
        *,
        task: str | None = None,
        class_names: Sequence[str] | None = None,
        dtype: torch.dtype | None = torch.float32,
        **options: Any,
    ) -> Self:
        """A model, its processor and its sampling; arguments and errors as in `load_checkpoint`."""
        model = load_checkpoint(source, task=task, class_names=class_names, dtype=dtype, **options)
        folder = Path(source) if Path(source).is_dir() else None
        return cls(model, *stored_inputs(source, model.config, options), folder)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        device: torch.device = self.model.device
        return device

    def save(self, folder: str | Path, weights: Mapping[str, Tensor] | None = None) -> None:
        """Write model and processor, sampling included, so that `open` gives them back.

        Args:
            folder: made if absent.
            weights: by name, in place of the model's own.
        """
        self.model.save_pretrained(folder, state_dict=weights)
        self.processor.save_pretrained(folder)

    def __repr__(self) -> str:
        millions = self.model.num_parameters() / 1e6
        return f"Checkpoint({type(self.model).__name__}, {millions:.1f} M parameters, {self.sampling})"


@hub.one_commit()
def load_checkpoint(
    source: str | Path,
    *,
    task: str | None = None,
    class_names: Sequence[str] | None = None,
    dtype: torch.dtype | None = torch.float32,
    **options: Any,
) -> Any:
    """Load a model, adapting the checkpoint where task or clips differ from those that it was trained for.

    A pre-trained encoder becomes a classifier by dropping its decoder and its final norm and starting a fresh head on
    the mean of the tokens. Weights of the encoder are never newly initialized: a checkpoint that lacks them is refused.
    For clips of other `num_frames`, `image_size`, `tubelet_size` or `num_channels` among the options, positions are
    interpolated and the weights that read pixels are shared out, see `models.adapt`.

    Args:
        source: a checkpoint folder or hub name, as transformers 4.x and 5.x and we write; or a file of weights
            (.pth, .pt, .bin, .safetensors) of these or of the original code (MCG-NJU/VideoMAE, VideoMAEv2), here or on
            the hub (`owner/name/path/to/file.pth`). What such a file does not hold must be among `options`:
            `num_frames` and `image_size`, unless its `args` have them.
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
    _, overrides = split_options(options)
    found = read_stored(source, options)
    stored, state = found.config, found.state
    config = adapted_config(stored, overrides)
    adapt_weights(state, stored, config)
    adapted = describe_adaptation(stored, config)
    if adapted:
        logger.info("adapting %s: %s", source, adapted)
    task = task or stored_task(config)
    if task not in TASKS:
        raise ConfigError(f"task={task!r}", expected=" or ".join(TASKS), hint="leave it out for the checkpoint's own")
    may_be_new: tuple[str, ...] = ()
    if task == "classification":
        _check_labels(source, config)
        if class_names is not None:
            may_be_new = _start_fresh_head(config, state, class_names)
            if may_be_new and "problem_type" not in overrides:
                config.problem_type = None  # the old head's; the new labels decide
    # Where a configuration names no architecture, any head may be that of another task.
    may_be_dropped = () if config.architectures and task == stored_task(config) else HEADS

    def check(info: LoadingInfo) -> None:
        _require_exact_fit(source, task, info, may_be_new=may_be_new, may_be_dropped=may_be_dropped)

    model, _ = TASKS[task].from_state(config, state, source=str(source), dtype=dtype, check=check)
    model.name_or_path = model.config.name_or_path = str(source)  # what PEFT writes into an adapter
    return model


def _require_exact_fit(
    source: str | Path,
    task: str,
    info: LoadingInfo,
    *,
    may_be_new: tuple[str, ...],
    may_be_dropped: tuple[str, ...],
) -> None:
    """Raise unless each tensor is used and each weight filled but those that may be; these are logged.

    Args:
        source: what to call the checkpoint.
        task: what it is loaded for.
        info: of `from_state`.
        may_be_new: prefixes of the weights that are newly initialized where the file lacks them.
        may_be_dropped: prefixes of the tensors that another task does not use.
    """
    missing = [name for name in info["missing_keys"] if not name.startswith(may_be_new)]
    unexpected = [name for name in info["unexpected_keys"] if not name.startswith(may_be_dropped)]
    misfits = listing.misfits(missing=missing, unexpected=unexpected, mismatched=info["mismatched_keys"])
    if misfits:
        in_encoder = task == "features" or any(name.startswith(names.BASE_PREFIX) for name in missing)
        if in_encoder and missing:
            hint = "part of its encoder is missing; copy or download it again"
        elif missing:
            hint = _REMEDIES[task]
        elif info["mismatched_keys"]:
            hint = "leave the options out that change the network; else its config.json belongs to other weights"
        else:
            hint = "the file holds more than the model, or its config.json belongs to other weights"
        raise CheckpointError(f"{source} ({misfits})", expected=f"all weights for {task} and no others", hint=hint)
    parts = {
        change: [start.rstrip(".") for start in starts if any(name.startswith(start) for name in info[keys])]
        for change, starts, keys in (("drops", may_be_dropped, "unexpected_keys"), ("new", may_be_new, "missing_keys"))
    }
    if any(parts.values()):
        listed = "; ".join(f"{change} {', '.join(found)}" for change, found in parts.items() if found)
        logger.info("%s for %s: %s", source, task, listed)


def read_config(source: str | Path, **options: Any) -> VideoMAEConfig:
    """A checkpoint's own configuration; `options` give what a file of weights lacks. Errors as `load_checkpoint`."""
    hub_options, _ = split_options(options)
    if weights_without_config(source, **hub_options) is None and adapter_settings(source, **hub_options) is None:
        return VideoMAEConfig.from_pretrained(source, **hub_options)
    return read_stored(source, options).config


def split_options(options: Mapping[str, Any]) -> tuple[hub.HubOptions, dict[str, Any]]:
    """Options about files, and those that override the configuration."""
    hub_options, overrides = hub.split_hub_options(options)
    overrides.pop("base_model", None)
    return hub_options, overrides


def _check_labels(source: str | Path, config: VideoMAEConfig) -> None:
    if sorted(config.id2label) != list(range(config.num_labels)):
        raise CheckpointError(
            f"{source} with id2label for {', '.join(map(str, sorted(config.id2label)[:5]))}",
            expected=f"a name for each class from 0 to {config.num_labels - 1}",
            hint="correct id2label in its config.json",
        )


def _start_fresh_head(
    config: VideoMAEConfig, state: dict[str, torch.Tensor], class_names: Sequence[str]
) -> tuple[str, ...]:
    """Name the classes, and take a head for others out of `state`; returns how the names of fresh weights begin."""
    if len(set(class_names)) < len(class_names) or not class_names:
        raise ConfigError(
            f"class_names={list(class_names)[:10]}", expected="one name or more, each once", hint="correct the list"
        )
    head = [name for name in state if name.startswith("classifier.")]
    may_be_new: tuple[str, ...] = ()
    has_pooling = any(name.startswith("pooling.") for name in state)
    if not head:
        config.use_mean_pooling = True
        may_be_new = ("classifier.", "fc_norm.", "pooling.")
    elif has_pooling != (config.classifier_head == "attentive"):
        may_be_new = ("classifier.", "fc_norm.", "pooling.")
        for name in [name for name in state if name.startswith(may_be_new)]:
            del state[name]
    elif list(class_names) != [config.id2label[index] for index in range(config.num_labels)]:
        for name in head:
            del state[name]
        may_be_new = ("classifier.",)
    config.set_labels(dict(enumerate(class_names)))
    return may_be_new


def new_processor(config: VideoMAEConfig, sampling: ClipSampling) -> VideoMAEImageProcessor:
    """The processor for a model of our training: its clip size, mean and deviation of its pixels, its sampling."""
    _, num_channels, height, width = config.grid.clip_shape
    mean, std = config.pixel_statistics or ((0.5,) * num_channels,) * 2  # as transformers, where nothing is known
    return VideoMAEImageProcessor(
        size={"shortest_edge": min(height, width)},
        crop_size={"height": height, "width": width},
        image_mean=list(mean),
        image_std=list(std),
        sampling=sampling.to_dict(),
    )


def stored_task(config: VideoMAEConfig) -> str:
    """The task that a checkpoint was trained for, by its `architectures`; features where it names none."""
    for task, model_class in TASKS.items():
        if model_class.__name__ in (config.architectures or ()):
            return task
    return "features"


def stored_inputs(
    source: str | Path, config: VideoMAEConfig, options: Mapping[str, Any]
) -> tuple[VideoMAEImageProcessor, ClipSampling]:
    """What feeds the model of a checkpoint: its processor and sampling, for the clips of `config`.

    Args:
        source: as for `load_checkpoint`.
        config: of the model.
        options: as for `load_checkpoint`, which made `config` of them.
    """
    _, overrides = split_options(options)
    processor = _stored_processor(source, config, options)
    sampling = _stored_sampling(processor, config)
    if "num_frames" in overrides:
        sampling = dataclasses.replace(sampling, num_frames=config.num_frames)
        processor.sampling = sampling.to_dict()
    if "image_size" in overrides:
        fresh = new_processor(config, sampling)
        processor.size, processor.crop_size = fresh.size, fresh.crop_size
    return processor, _checked(sampling, config)


def processor_place(source: str | Path, options: Mapping[str, Any]) -> tuple[str | Path, hub.HubOptions] | None:
    """Where the processor's file of a checkpoint is, as folder or hub name and options; None where there is none.

    An adapter of PEFT has its base's, unless a trainer wrote one beside it.
    """
    hub_options = hub.split_hub_options({**options, "force_download": False})[0]  # all has just been downloaded
    places: list[tuple[str | Path, hub.HubOptions]] = [(source, hub_options)]
    adapter = adapter_settings(source, **hub_options)
    if adapter is not None:
        places.append(base_of_adapter(source, adapter, options))
    for place, about in places:
        is_file = not Path(place).is_dir() and weights_without_config(place, **about) is not None
        if not is_file and hub.resolve_file(place, PROCESSOR_NAME, **about) is not None:
            return place, about
    return None


def _stored_processor(source: str | Path, config: VideoMAEConfig, options: Mapping[str, Any]) -> VideoMAEImageProcessor:
    """The checkpoint's processor; a checkpoint without one gets the one that all published weights go with."""
    found = processor_place(source, options)
    if found is None:
        return new_processor(config, ClipSampling(num_frames=config.num_frames))
    place, hub_options = found
    return _from_unit_pixels(VideoMAEImageProcessor.from_pretrained(place, **hub_options), config.num_channels)


def _from_unit_pixels(processor: VideoMAEImageProcessor, num_channels: int) -> VideoMAEImageProcessor:
    """The processor with a mean and deviation of 0–1 pixels for each channel, and the same results.

    All that feeds models reads these two alone, whatever else a file may ask for: another rescaling, or none of either.
    """
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else (0.0, 1.0)
    # A pixel of 255 is this many times 1 before it is normalized.
    unit = 255 * processor.rescale_factor if processor.do_rescale else 255.0
    if not 0 < unit < math.inf:
        raise CheckpointError(
            f"rescale_factor={processor.rescale_factor} in {PROCESSOR_NAME}",
            expected="a number above 0",
            hint="1/255 for frames of 8 bits",
        )
    processor.image_mean, processor.image_std = (
        [number / unit for number in (values if len(values) == num_channels else channel_means(values, num_channels))]
        for values in (tuple(np.atleast_1d(given).tolist()) for given in (mean, std))
    )
    processor.do_rescale, processor.rescale_factor, processor.do_normalize = True, 1 / 255, True
    return processor


def _stored_sampling(processor: VideoMAEImageProcessor, config: VideoMAEConfig) -> ClipSampling:
    """The sampling that the processor's file names; dense ones of the model's length where it names none."""
    stored = vars(processor).get("sampling") or {}
    try:
        return ClipSampling(**{"num_frames": config.num_frames, **stored})
    except TypeError as error:
        known = ", ".join(field.name for field in dataclasses.fields(ClipSampling))
        raise CheckpointError(
            f"sampling={stored!r} in {PROCESSOR_NAME}", expected=f"the keys {known}", hint="correct it"
        ) from error


def _checked(sampling: ClipSampling, config: VideoMAEConfig) -> ClipSampling:
    if sampling.num_frames != config.num_frames:
        raise CheckpointError(
            f"{PROCESSOR_NAME} with {sampling.num_frames} frames in a clip",
            expected=f"{config.num_frames}, as config.json says",
            hint="correct the one that is wrong",
        )
    return sampling
