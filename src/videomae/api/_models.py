"""Opening a model for a public function, and the options for views of videos."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from numbers import Integral
from os import PathLike, fspath
from pathlib import Path
from typing import Any, get_args

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from videomae.api._console import can_show_bars, stderr_console
from videomae.checkpoint import Checkpoint, read_config, stored_task
from videomae.core.choices import ImageSize, InferencePrecisionName
from videomae.core.device import choose_device
from videomae.core.errors import ConfigError
from videomae.core.precision import choose_precision
from videomae.inference.embed import EmbedOptions
from videomae.inference.scores import ViewOptions
from videomae.models.inference_copy import inference_copy
from videomae.video.sampling import ClipSampling
from videomae.weights import hub

Model = str | PathLike[str] | Checkpoint


@dataclass(frozen=True, kw_only=True)
class Views:
    """How many clips of a video are taken, how they are read, and how the model computes.

    Raises:
        ConfigError: for values out of range.
    """

    clips: int = 1
    crops: int = 1
    frame_stride: int | None = None
    frame_rate: float | None = None
    num_frames: int | None = None
    image_size: ImageSize | None = None
    precision: InferencePrecisionName = "auto"
    merge_tokens: int = 0
    num_workers: int = -1
    read_limit_seconds: float = 60.0

    def __post_init__(self) -> None:
        require_at_least(1, "--clips", self.clips)
        require_at_least(1, "--crops", self.crops)
        require_at_least(0, "--merge-tokens", self.merge_tokens)
        require_at_least(-1, "--num-workers", self.num_workers)
        if self.frame_stride is not None:
            require_at_least(1, "--frame-stride", self.frame_stride)
            if self.frame_rate is not None:
                raise ConfigError(
                    f"--frame-stride {self.frame_stride} --frame-rate {self.frame_rate}",
                    expected="one of them",
                    hint="leave one out",
                )
        if self.precision not in get_args(InferencePrecisionName):
            raise ConfigError(
                f"--precision {self.precision}",
                expected=" or ".join(get_args(InferencePrecisionName)),
                hint="auto chooses what is fast",
            )
        if not 0 < self.read_limit_seconds < math.inf:
            raise ConfigError(
                f"--read-limit-seconds {self.read_limit_seconds}", expected="more than 0", hint="60 is the default"
            )

    @property
    def text(self) -> str:
        """Such as "15 views"."""
        number = self.clips * self.crops
        return "1 view" if number == 1 else f"{number} views"

    @property
    def shortcuts(self) -> str:
        """What makes the model faster and less exact, such as ", int8, 65 tokens merged in each layer"; "" for none."""
        merged = f", {self.merge_tokens} tokens merged in each layer" if self.merge_tokens else ""
        return (", int8" if self.precision == "int8" else "") + merged

    def options(self) -> ViewOptions:
        """For scoring videos."""
        return ViewOptions(**self._shared())

    def embed_options(self, *, windows: bool = False, overlap: float = 0.0, dense: bool = False) -> EmbedOptions:
        """For embedding videos.

        Raises:
            ConfigError: for `dense` with merged tokens, and what `EmbedOptions` refuses.
        """
        if dense and self.merge_tokens:
            raise ConfigError(
                f"--merge-tokens {self.merge_tokens} with dense features",
                expected="pooled features: merged tokens have one value for several places",
                hint="leave --merge-tokens out",
            )
        return EmbedOptions(**self._shared(), windows=windows, overlap=overlap, dense=dense)

    def _shared(self) -> dict[str, Any]:
        return {
            "num_clips": self.clips,
            "num_crops": self.crops,
            # int8 is a matter of the model, see `open_model`; the rest is as fast as can be.
            "precision": "auto" if self.precision == "int8" else self.precision,
            "num_workers": self.num_workers,
            "read_limit_seconds": self.read_limit_seconds,
        }

    def applied_to(self, sampling: ClipSampling) -> ClipSampling:
        """The checkpoint's sampling, unless another distance of the frames is asked for."""
        if self.frame_stride is not None:
            return replace(sampling, frame_stride=self.frame_stride, frame_rate=None)
        return sampling if self.frame_rate is None else replace(sampling, frame_rate=self.frame_rate)


def require_at_least(least: int, option: str, value: int) -> None:
    """Raise a ConfigError unless `value` is a whole number, `least` or more."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ConfigError(f"{option} {value!r}", expected="a whole number", hint=f"change {option}")
    if value < least:
        raise ConfigError(f"{option} {value}", expected=f"{least} or more", hint="give a larger number")


def model_identity(model: Model) -> dict[str, Any]:
    """What identifies a model, as plain data: its name, and when its files were last changed."""
    require_model(model)
    name = fspath(model) if isinstance(model, str | PathLike) else str(model.folder or model.model.name_or_path)
    folder = Path(name)
    stamps = [file.stat().st_mtime_ns for file in sorted(folder.glob("*.safetensors"))] if folder.is_dir() else []
    return {"model": str(name), "changed": stamps}


def path_of(value: object, name: str) -> str:
    """A path or name as text; also of what has a folder, such as the result of a training."""
    if isinstance(value, str | PathLike):
        return str(fspath(value))
    raise ConfigError(
        f"{name}={_shown(value)}",
        expected="a path as str or Path",
        hint="write the paths of several videos into a text file, one a line" if name == "data" else f"change {name}",
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text else f"a {type(value).__name__}"


def require_model(model: object) -> None:
    """Raise a ConfigError for what is neither a name nor a checkpoint."""
    if not isinstance(model, str | PathLike | Checkpoint):
        raise ConfigError(
            f"model={_shown(model)}",
            expected="a checkpoint folder, a hub name or a videomae.Checkpoint",
            hint="put a loaded model into a Checkpoint, with its processor and sampling",
        )


@hub.one_commit()
def open_model(model: Model, views: Views, device: str, *, for_features: bool = False) -> Checkpoint:
    """The model on its device, with the sampling that is asked for; a faster copy of it where `views` asks for one.

    Args:
        model: a checkpoint folder or hub name, or an opened checkpoint.
        views: may ask for other clips than the checkpoint's.
        device: as for `choose_device`.
        for_features: any checkpoint will do; else it must be a classifier.

    Raises:
        InputError: if there is no such checkpoint, or it cannot do this.
    """
    place = choose_device(device)
    choose_precision(views.options().precision, place)  # raises before anything is loaded
    changes = clip_changes(views.num_frames, views.image_size)
    task = "classification"
    if for_features and isinstance(model, str | PathLike):
        # A classifier's features are what its head reads, so its norm is needed; of others the encoder is enough.
        task = "classification" if stored_task(read_config(fspath(model), **changes)) == task else "features"
    opened = open_checkpoint(model, task, changes)
    if not for_features and not hasattr(opened.model, "classifier"):
        raise ConfigError(
            f"a checkpoint of {type(opened.model).__name__}",
            expected="a classifier",
            hint="give the output of `videomae finetune`",
        )
    network = opened.model.to(place)
    if views.shortcuts:
        network = inference_copy(network, int8=views.precision == "int8", merge_tokens=views.merge_tokens)
    return replace(opened, model=network, sampling=views.applied_to(opened.sampling))


def open_checkpoint(model: Model, task: str, changes: dict[str, Any]) -> Checkpoint:
    """A checkpoint for a task, adapted to other clips; one that is open already cannot be changed.

    Args:
        model: a checkpoint folder or hub name, or an opened checkpoint, which is returned.
        task: as for `Checkpoint.open`.
        changes: as `clip_changes` gives them.

    Raises:
        InputError: if there is no such checkpoint, or it cannot do this.
    """
    require_model(model)
    if not isinstance(model, Checkpoint):
        return Checkpoint.open(fspath(model), task=task, **changes)
    if changes:
        raise ConfigError(
            f"{', '.join(changes)} with an opened Checkpoint",
            expected="its own clips",
            hint="give them to Checkpoint.open",
        )
    return model


def clip_changes(num_frames: int | None, image_size: ImageSize | None) -> dict[str, Any]:
    """Of these options for `Checkpoint.open` those that are given."""
    given = {"num_frames": num_frames, "image_size": image_size}
    return {name: value for name, value in given.items() if value is not None}


def progress_bar(shown: bool) -> Progress:
    """A bar on stderr, in a terminal or a notebook; nothing where it is not wanted."""
    console = stderr_console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    return Progress(*columns, console=console, disable=not shown or not can_show_bars(console))
