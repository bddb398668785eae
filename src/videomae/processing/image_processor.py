"""Frames in, a model's `pixel_values` out: resize, center crop, rescale, normalize."""

from __future__ import annotations

import copy
import difflib
import json
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self, overload

import numpy as np
import torch
from PIL import Image

from videomae.core.errors import ConfigError, ShapeError
from videomae.core.files import write_text
from videomae.processing import _steps
from videomae.processing._frames import clips_of, stacks_of
from videomae.processing._process import process
from videomae.processing._settings_file import CONFIG_NAME, plain, read_object, read_settings
from videomae.processing._steps import CHANNELS_FIRST, CHANNELS_LAST, Steps
from videomae.processing.batch_feature import BatchFeature
from videomae.weights import one_commit, split_hub_options, upload_folder

# The default of transformers 4.34.0. The published checkpoints carry ImageNet's mean and standard deviation in their
# files, and the pre-training loss assumes those.
DEFAULT_MEAN = (0.5, 0.5, 0.5)
DEFAULT_STD = (0.5, 0.5, 0.5)


class VideoMAEImageProcessor:
    """Turn the frames of videos into the `pixel_values` of a VideoMAE model.

    The interface, the defaults and the file (`preprocessor_config.json`) are those of transformers 4.34.0, and so are
    the results: at most one gray level off for 99.9 % of the values, two anywhere. All frames of a clip go through
    each step at once.

    Args:
        do_resize: resize the frames to `size`.
        size: `{"shortest_edge": s}` (an int means this), keeping the aspect ratio, or `{"height": h, "width": w}`.
            Default: a short side of 224 pixels.
        resample: Pillow's filter for it, as a number or enumeration; 2 is bilinear.
        do_center_crop: crop the middle, `crop_size`; frames that are smaller are padded with zeros.
        crop_size: `{"height": h, "width": w}`, or an int for both. Default: 224.
        do_rescale: multiply by `rescale_factor`, which takes 0..255 to 0..1.
        rescale_factor: default 1/255.
        do_normalize: subtract `image_mean`, divide by `image_std`.
        image_mean: one number or one per channel. Default 0.5, as in transformers 4.34.0; published checkpoints bring
            ImageNet's.
        image_std: likewise.
        kwargs: further settings, kept as attributes and written with the others.

    Raises:
        ConfigError: a setting that means nothing.
    """

    model_input_names = ("pixel_values",)
    # Where a file has none, as those of transformers: what all published models were pre-trained with.
    sampling: Mapping[str, Any] = MappingProxyType({"method": "dense", "num_frames": 16, "frame_stride": 4})

    def __init__(
        self,
        do_resize: bool = True,
        size: dict[str, int] | int | None = None,
        resample: Image.Resampling | int = Image.Resampling.BILINEAR,
        do_center_crop: bool = True,
        crop_size: dict[str, int] | int | None = None,
        do_rescale: bool = True,
        rescale_factor: float = 1 / 255,
        do_normalize: bool = True,
        image_mean: float | list[float] | None = None,
        image_std: float | list[float] | None = None,
        **kwargs: Any,
    ) -> None:
        for name, value in kwargs.items():
            if name.startswith("__") or callable(getattr(type(self), name, None)):
                raise ConfigError(f"{name}={value!r}", expected="a setting of a processor", hint="remove it")
            setattr(self, name, value)
        self.do_resize = do_resize
        self.size = _steps.size_dict(224 if size is None else size, name="size", square=False)
        self.resample = _steps.resampling(resample)
        self.do_center_crop = do_center_crop
        self.crop_size = _steps.size_dict(224 if crop_size is None else crop_size, name="crop_size", square=True)
        self.do_rescale = do_rescale
        self.rescale_factor = rescale_factor
        self.do_normalize = do_normalize
        self.image_mean = list(DEFAULT_MEAN) if image_mean is None else image_mean
        self.image_std = list(DEFAULT_STD) if image_std is None else image_std
        self._steps_of({})

    def __call__(self, videos: Any, *args: Any, **kwargs: Any) -> BatchFeature:
        """Same as `preprocess`."""
        return self.preprocess(videos, *args, **kwargs)

    def preprocess(
        self,
        videos: Any,
        do_resize: bool | None = None,
        size: dict[str, int] | int | None = None,
        resample: Image.Resampling | int | None = None,
        do_center_crop: bool | None = None,
        crop_size: dict[str, int] | int | None = None,
        do_rescale: bool | None = None,
        rescale_factor: float | None = None,
        do_normalize: bool | None = None,
        image_mean: float | list[float] | None = None,
        image_std: float | list[float] | None = None,
        return_tensors: str | None = None,
        data_format: str | None = CHANNELS_FIRST,
        input_data_format: str | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Preprocess one video or a batch of videos.

        A parameter of the constructor that is given here holds for this call.

        Args:
            videos: one video as a list of frames or a 4-D array (T, H, W, C) or (T, C, H, W); a batch as a list of
                those or a 5-D array; or a single frame. A frame is a PIL image (RGB, or L for one channel) or a 3-D
                NumPy array or torch tensor, its values whole numbers from 0 to 255 or, with `do_rescale=False`,
                fractions from 0 to 1.
            return_tensors: "pt" for a tensor, "np" for an array (B, T, C, H, W); None for lists (videos) of lists
                (frames) of arrays (C, H, W), which may differ in size.
            data_format: "channels_first" or "channels_last", of the result; None: as the frames came.
            input_data_format: the same of the frames; None: found by the dimension that holds 1 or 3 channels.
            kwargs: ignored, for callers that pass on what they were given; a misspelt parameter is an error.

        Returns:
            A `BatchFeature` with `pixel_values`: float32 (B, T, C, H, W), T and B being 1 for a single frame. Without
            rescaling and normalizing, the frames' own type, or after a resize uint8 (float32 for fractions).

        Raises:
            ShapeError: frames that are no frames, or videos that do not stack.
            ConfigError: a parameter that means nothing.
        """
        _check_names(kwargs)
        given = {
            "do_resize": do_resize,
            "size": size,
            "resample": resample,
            "do_center_crop": do_center_crop,
            "crop_size": crop_size,
            "do_rescale": do_rescale,
            "rescale_factor": rescale_factor,
            "do_normalize": do_normalize,
            "image_mean": image_mean,
            "image_std": image_std,
        }
        steps = self._steps_of({name: value for name, value in given.items() if value is not None})
        kind = _steps.choice(return_tensors, name="return_tensors", choices=("pt", "np"))
        layouts = (CHANNELS_FIRST, CHANNELS_LAST)
        data_format = _steps.choice(data_format, name="data_format", choices=layouts)
        input_data_format = _steps.choice(input_data_format, name="input_data_format", choices=layouts)

        clips = []
        for clip in clips_of(videos):
            parts = []
            for stack in stacks_of(clip, input_data_format=input_data_format):
                parts += process(stack, steps, data_format=data_format)
            clips.append(parts)
        return BatchFeature(pixel_values=_listed(clips) if kind is None else _stacked(clips, kind))

    @overload
    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, *, return_unused_kwargs: Literal[False] = ..., **kwargs: Any
    ) -> Self: ...

    @overload
    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, *, return_unused_kwargs: Literal[True], **kwargs: Any
    ) -> tuple[Self, dict[str, Any]]: ...

    @classmethod
    @one_commit()
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, *, return_unused_kwargs: bool = False, **kwargs: Any
    ) -> Self | tuple[Self, dict[str, Any]]:
        """Read the settings that a model was trained with.

        Args:
            pretrained_model_name_or_path: a folder, a settings file, or a repository's name on the hub.
            return_unused_kwargs: return (processor, those of `kwargs` that are no settings).
            kwargs: settings to override, and where to look: see `videomae.weights.hub.HubOptions`.

        Raises:
            CheckpointError: no such folder or repository.
            ConfigError: no settings in it, or not those of a VideoMAE processor.
        """
        options, overrides = split_hub_options(kwargs)
        settings = read_settings(pretrained_model_name_or_path, options)
        processor, unused = cls._from_settings(settings, overrides, allows_unused=return_unused_kwargs)
        return (processor, unused) if return_unused_kwargs else processor

    @overload
    @classmethod
    def from_dict(
        cls, image_processor_dict: Mapping[str, Any], *, return_unused_kwargs: Literal[False] = ..., **kwargs: Any
    ) -> Self: ...

    @overload
    @classmethod
    def from_dict(
        cls, image_processor_dict: Mapping[str, Any], *, return_unused_kwargs: Literal[True], **kwargs: Any
    ) -> tuple[Self, dict[str, Any]]: ...

    @classmethod
    def from_dict(
        cls, image_processor_dict: Mapping[str, Any], *, return_unused_kwargs: bool = False, **kwargs: Any
    ) -> Self | tuple[Self, dict[str, Any]]:
        """Make a processor from a dictionary as `to_dict` returns it; arguments as of `from_pretrained`."""
        processor, unused = cls._from_settings(image_processor_dict, kwargs, allows_unused=return_unused_kwargs)
        return (processor, unused) if return_unused_kwargs else processor

    @classmethod
    def _from_settings(
        cls, image_processor_dict: Mapping[str, Any], kwargs: dict[str, Any], *, allows_unused: bool
    ) -> tuple[Self, dict[str, Any]]:
        known = {*SETTINGS, *image_processor_dict}
        unused = {name: value for name, value in kwargs.items() if allows_unused and name not in known}
        settings = {**copy.deepcopy(dict(image_processor_dict)), **kwargs}
        kind = settings.pop("image_processor_type", settings.pop("video_processor_type", None))
        if kind is not None and not str(kind).startswith("VideoMAE"):
            raise ConfigError(
                f"image_processor_type={kind!r}",
                expected="the settings of a VideoMAE processor",
                hint='check the folder, or pass image_processor_type="VideoMAEImageProcessor" to read them as such',
            )
        return cls(**{name: value for name, value in settings.items() if name not in unused}), unused

    def save_pretrained(self, save_directory: str | Path, push_to_hub: bool = False, **kwargs: Any) -> list[str]:
        """Write `preprocessor_config.json` into a folder, whole or not at all.

        Args:
            save_directory: made if it does not exist.
            push_to_hub: also upload that file; `kwargs` are then `repo_id` (default: the folder's name) and those of
                `push_to_hub`.

        Returns:
            The path of the file, in a list.
        """
        folder = Path(save_directory)
        if folder.is_file():
            raise ConfigError(folder, expected="a folder, not a file", hint="give another name")
        folder.mkdir(parents=True, exist_ok=True)
        self.to_json_file(folder / CONFIG_NAME)
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", folder.resolve().name), **kwargs)
        return [str(folder / CONFIG_NAME)]

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> str:
        """Upload the settings to a repository on the hub; `kwargs` as of `videomae.weights.hub.upload_folder`."""
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return upload_folder(folder, repo_id, **{"commit_message": "Upload image processor", **kwargs})

    def to_dict(self) -> dict[str, Any]:
        """All settings, those kept from `kwargs` too, as plain values."""
        settings = copy.deepcopy(vars(self))
        settings["resample"] = int(settings["resample"])
        # Also of the deprecated alias, so that every reader finds a class of this name.
        settings["image_processor_type"] = VideoMAEImageProcessor.__name__
        return settings

    def to_json_string(self) -> str:
        """The text of `preprocessor_config.json`."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True, default=plain) + "\n"

    def to_json_file(self, json_file_path: str | Path) -> None:
        """Write the settings to a file, whole or not at all."""
        write_text(json_file_path, self.to_json_string())

    @classmethod
    def from_json_file(cls, json_file: str | Path) -> Self:
        """Read a settings file."""
        processor: Self = cls.from_dict(read_object(Path(json_file)))
        return processor

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string()}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VideoMAEImageProcessor) and self.to_json_string() == other.to_json_string()

    __hash__ = None  # type: ignore[assignment]  # settings may be changed

    def _steps_of(self, given: Mapping[str, Any]) -> Steps:
        value = {name: given.get(name, getattr(self, name)) for name in SETTINGS}
        does = {name: _steps.flag(value[name], name=name) for name in SETTINGS if name.startswith("do_")}
        steps = Steps(
            size=_steps.resize_size(value["size"]) if does["do_resize"] else None,
            resample=_steps.resampling(value["resample"]),
            crop_size=_steps.crop_size(value["crop_size"]) if does["do_center_crop"] else None,
            rescale_factor=_steps.number(value["rescale_factor"], name="rescale_factor")
            if does["do_rescale"]
            else None,
            mean=_steps.channel_values(value["image_mean"], name="image_mean") if does["do_normalize"] else None,
            std=_steps.channel_values(value["image_std"], name="image_std") if does["do_normalize"] else None,
        )
        return steps


SETTINGS = (
    "do_resize",
    "size",
    "resample",
    "do_center_crop",
    "crop_size",
    "do_rescale",
    "rescale_factor",
    "do_normalize",
    "image_mean",
    "image_std",
)


class VideoMAEFeatureExtractor(VideoMAEImageProcessor):
    """The former name of `VideoMAEImageProcessor`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        warnings.warn(
            "VideoMAEFeatureExtractor is deprecated; use VideoMAEImageProcessor, which takes the same arguments.",
            FutureWarning,
            stacklevel=2,
        )
        super().__init__(*args, **kwargs)


Parts = list[tuple[tuple[int, ...], torch.Tensor]]


def _listed(clips: list[Parts]) -> list[list[np.ndarray]]:
    return [[frame.numpy() for frame in _in_order(parts)] for parts in clips]


def _stacked(clips: list[Parts], kind: str) -> torch.Tensor | np.ndarray:
    shapes = {tuple(pixels.shape[1:]) for parts in clips for _, pixels in parts}
    if len(shapes) > 1:
        raise ShapeError(
            f"preprocessed frames of shapes {' and '.join(map(str, sorted(shapes)))}",
            expected="one shape",
            hint="keep do_center_crop=True or resize to a fixed height and width; return_tensors=None allows any sizes",
        )
    lengths = {sum(len(positions) for positions, _ in parts) for parts in clips}
    if len(lengths) > 1:
        raise ShapeError(
            f"videos of {' and '.join(map(str, sorted(lengths)))} frames",
            expected="the same number of frames in each video",
            hint="sample as many frames of each, or process the videos one by one",
        )
    videos = [parts[0][1] if len(parts) == 1 else torch.stack(_in_order(parts)) for parts in clips]
    batch = videos[0].unsqueeze(0) if len(videos) == 1 else torch.stack(_of_one_type(videos))
    return batch if kind == "pt" else batch.numpy()


def _in_order(parts: Parts) -> list[torch.Tensor]:
    """The frames of a clip in their order, of one type."""
    tensors = _of_one_type([pixels for _, pixels in parts])
    placed = {
        position: frame
        for (positions, _), pixels in zip(parts, tensors, strict=True)
        for position, frame in zip(positions, pixels, strict=True)
    }
    return [placed[position] for position in sorted(placed)]


def _of_one_type(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    dtype = tensors[0].dtype
    for tensor in tensors[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return [tensor.to(dtype) for tensor in tensors]


def _check_names(names: Mapping[str, Any]) -> None:
    known = (*SETTINGS, "return_tensors", "data_format", "input_data_format")
    for name in names:
        meant = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
        if meant:
            raise ConfigError(f"{name}={names[name]!r}", expected="a parameter of preprocess", hint=f"write {meant[0]}")
