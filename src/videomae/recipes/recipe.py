"""What a training run is made of: frozen dataclasses, standard library only, so that `--help` is instant."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from videomae.core.choices import ImageSize, PrecisionName, TrackerName
from videomae.core.errors import ConfigError
from videomae.core.text import seconds_of

# Of `batch_size`: what fits into memory decides.
AUTOMATIC = -1

# Of a new network, where the recipe does not say otherwise: those of the published runs.
_NEW_NETWORK: dict[str, Any] = {
    "size": "small",
    "num_frames": 16,
    "image_size": 224,
    "sampling": "dense",
    "frame_stride": 4,
    "tubelet_size": 2,
    "num_channels": 3,
}

# Types of fields, what else fits them (also NumPy's numbers), and what errors call them.
_SCALARS: tuple[tuple[type, type, str], ...] = (
    (int, Integral, "a whole number"),
    (float, Real, "a number"),
    (bool, bool, "True or False"),
    (str, str, "text"),
)


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """What pre-training and fine-tuning share."""

    recipe: str = ""
    """Settings that the other options change: a name that `videomae recipes` lists, or a run's recipe.json."""
    epochs: int = 100
    """Passes over the data."""
    time_budget: str = ""
    """Length of the run, such as 30m or 1.5h: steps are timed, and as many epochs taken as fit; --epochs then does not
    count. '' takes the epochs."""
    batch_size: int = 32
    """Clips per optimizer step, over all devices; auto (-1) tries steps, and takes the largest power of two that fits
    into memory (at most 256, and 16 steps an epoch). The learning rate follows the batch size."""
    views: int = 1
    """Augmented views of each decoded clip, each a sample (repeated augmentation); the batch size counts clips."""
    learning_rate: float = 1e-3
    """Peak learning rate for a batch of 256 clips; the run uses this × batch size / 256."""
    min_learning_rate: float = 1e-5
    """Learning rate at the end of the cosine schedule, for a batch of 256 clips."""
    start_learning_rate: float = 1e-6
    """Learning rate at the start of the warm-up, for a batch of 256 clips."""
    warmup_epochs: float = 5.0
    """Epochs of linear warm-up."""
    beta1: float = 0.9
    """AdamW β1."""
    beta2: float = 0.999
    """AdamW β2."""
    weight_decay: float = 0.05
    """AdamW weight decay; not applied to biases, norms and tokens."""
    clip_grad: float = 0.0
    """Maximum gradient norm; 0 disables clipping."""
    ema_decay: float = 0.0
    """Decay of an exponential moving average of the weights, which is validated and saved in their place; 0 disables
    it."""
    sharding: Literal["none", "full"] = "none"
    """On several GPUs: none replicates the model on each (DDP), full shards weights, gradients and optimizer state
    (FSDP2), for models that do not fit otherwise."""
    accumulation: int = 1
    """Micro-batches per optimizer step (gradient accumulation), for batches that do not fit into memory."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: much less memory, about a third more time."""
    compile: bool = False
    """Compile the network with torch.compile: on one GPU whole, with CUDA graphs, else layer by layer."""
    seed: int = 0
    """Seed of data order, crops, masks and new weights."""
    precision: PrecisionName = "auto"
    """Precision of matrix products; weights stay in fp32. auto is bf16 where the hardware multiplies it, on older GPUs
    fp16, else fp32."""
    device: str = "auto"
    """Where to train: auto (CUDA, else MPS, else the CPU) or any device of torch, such as cpu, cuda:1 or mps."""
    num_workers: int = -1
    """Processes that decode; -1 takes one per core, at most 8; 0 decodes in the training process."""
    size: Literal["tiny", "small", "base", "large", "huge", "giant"] | None = None
    """Size of a new model, by default small; a checkpoint has its own."""
    sampling: Literal["dense", "uniform", "linspace"] | None = None
    """Sampling of a clip's frames: dense (exact stride), uniform (one from each equal segment) or linspace (as the
    original code); by default the checkpoint's, or dense for a new model."""
    frame_stride: int | None = None
    """Distance between the frames of a clip; by default the checkpoint's, or 4 for a new model."""
    frame_rate: float | None = None
    """Frames of a clip per second, in place of a stride: clips of files of any rate last equally long; by default the
    checkpoint's, or none."""
    num_frames: int | None = None
    """Frames in a clip; by default the checkpoint's, which is adapted to others, or 16 for a new model."""
    image_size: ImageSize | None = None
    """Height and width of a clip in pixels, such as 224 or 192x320; by default the checkpoint's, which is adapted to
    others, or 224 for a new model."""
    tubelet_size: int | None = None
    """Frames in a tubelet; by default the checkpoint's, which is adapted to others, or 2 for a new model."""
    num_channels: int | None = None
    """Channels of a frame, where they come from folders of frames: 1 for gray, 4, 12, …; by default the checkpoint's,
    which is adapted to others, or 3 for a new model."""
    read_limit_seconds: float = 60.0
    """Time limit for opening one video and for reading its clip; a video that takes longer is unreadable."""
    max_broken: float = 0.01
    """Share of the videos, but at least one, that may be unreadable (they are skipped and listed); 0 allows none."""
    max_skipped_in_a_row: int = 20
    """Steps whose loss or gradient is not finite are skipped; this many in a row end the run."""
    save_minutes: float = 10.0
    """Minutes between saves of the run state within an epoch; it is also saved at the end of each epoch."""
    keep_states: int = 2
    """Number of the latest run states to keep."""
    log_every: int = 10
    """Steps between lines of metrics.jsonl."""
    trackers: tuple[TrackerName, ...] = ("auto",)
    """Where else the metrics of metrics.jsonl are logged; auto is tensorboard where it is installed."""

    def __post_init__(self) -> None:
        names = (self.trackers,) if isinstance(self.trackers, str) else tuple(self.trackers)  # a list in JSON
        object.__setattr__(self, "trackers", names)
        if isinstance(self.image_size, list):
            object.__setattr__(self, "image_size", tuple(self.image_size))
        if str(self.batch_size) == "auto":  # an editor knows only numbers
            object.__setattr__(self, "batch_size", AUTOMATIC)

    def validate(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: names all fields that are of the wrong type or out of range.
        """
        faults = list(self._type_faults()) or list(self.faults())
        if len(faults) > 1:
            raise ConfigError(
                ", ".join(fault.value for fault in faults),
                expected=", ".join(f"{fault.value.partition('=')[0]} {fault.expected}" for fault in faults),
                hint=", ".join(fault.hint for fault in faults),
            )
        if faults:
            raise faults[0]

    def _type_faults(self) -> Iterator[ConfigError]:
        """Every field whose value cannot be compared with its range."""
        for name, kind in get_type_hints(type(self)).items():
            # The type of what a tuple holds is for its own check.
            kinds, value = {kind, *(() if get_origin(kind) is tuple else get_args(kind))}, getattr(self, name)
            if value is None and type(None) in kinds:
                continue
            if name == "image_size" and isinstance(value, tuple):
                are_whole = len(value) == 2 and all(isinstance(n, Integral) and not isinstance(n, bool) for n in value)
                yield from out_of_range(self, name, are_whole, "a whole number, or a height and a width")
                continue
            for type_, abstract, expected in _SCALARS:
                if type_ in kinds:
                    is_bool = isinstance(value, bool)
                    fits = isinstance(value, abstract) and is_bool == (type_ is bool)
                    yield from out_of_range(self, name, fits, expected)

    def faults(self) -> Iterator[ConfigError]:
        """Every field that is out of range."""
        fits = self.batch_size >= 1 or self.batch_size == AUTOMATIC
        yield from out_of_range(self, "batch_size", fits, "at least 1, or auto")
        counts = ("epochs", "views", "accumulation", "log_every", "max_skipped_in_a_row", "keep_states")
        for name in counts:
            yield from out_of_range(self, name, getattr(self, name) >= 1, "at least 1")
        rates = ("learning_rate", "min_learning_rate", "start_learning_rate")
        for name in (*rates, "weight_decay", "clip_grad", "warmup_epochs"):
            yield from out_of_range(self, name, 0 <= getattr(self, name) < math.inf, "0 or more")
        for name in ("beta1", "beta2", "ema_decay"):
            yield from out_of_range(self, name, 0 <= getattr(self, name) < 1, "a share from 0 to below 1")
        yield from out_of_range(
            self,
            "accumulation",
            self.accumulation < 1 or self.batch_size < 1 or self.batch_size % self.accumulation == 0,
            f"a number that divides the batch of {self.batch_size} clips",
        )
        fits = not self.time_budget or seconds_of(self.time_budget) is not None
        yield from out_of_range(self, "time_budget", fits, "a time such as 90s, 30m, 1.5h or 1h30m")
        yield from out_of_range(self, "save_minutes", self.save_minutes > 0, "a number above 0")
        yield from out_of_range(self, "num_workers", self.num_workers >= -1, "-1 (automatic) or more")
        for name in ("num_frames", "image_size", "frame_stride", "tubelet_size", "num_channels"):
            value = getattr(self, name)
            least = min(value) if isinstance(value, tuple) else value
            yield from out_of_range(self, name, least is None or least >= 1, "at least 1")
        rate = self.frame_rate
        yield from out_of_range(self, "frame_rate", rate is None or 0 < rate < math.inf, "a number above 0")
        if rate is not None and self.frame_stride is not None:
            yield ConfigError(
                f"frame_stride={self.frame_stride} and frame_rate={rate}",
                expected="one of them",
                hint="leave --frame-stride or --frame-rate out",
            )
        if rate is not None and self.sampling not in (None, "dense"):
            yield ConfigError(
                f"frame_rate={rate} with sampling={self.sampling!r}",
                expected="dense sampling, the one that has a rate",
                hint="leave --sampling or --frame-rate out",
            )
        # Each process would decide by itself whether the scale of the loss is too large.
        fits = self.sharding == "none" or self.precision != "fp16"
        yield from out_of_range(self, "sharding", fits, "none with --precision fp16, or --precision bf16")
        yield from out_of_range(self, "read_limit_seconds", 0 < self.read_limit_seconds < math.inf, "a number above 0")
        yield from out_of_range(self, "max_broken", 0 <= self.max_broken <= 1, "a share from 0 to 1")
        yield from out_of_range(self, "seed", 0 <= self.seed < 2**32, "a number from 0 to 2³² − 1")
        for name, kind in get_type_hints(type(self)).items():
            choices = [
                choice for part in (kind, *get_args(kind)) if get_origin(part) is Literal for choice in get_args(part)
            ]
            if get_origin(kind) is tuple and choices:
                yield from out_of_range(
                    self, name, set(getattr(self, name)) <= set(choices), "one or more of " + ", ".join(choices)
                )
            elif choices:
                may_be_left_out = type(None) in get_args(kind)
                fits = getattr(self, name) in choices or (may_be_left_out and getattr(self, name) is None)
                yield from out_of_range(self, name, fits, " or ".join(choices))

    def scaled(self, rate_for_256: float) -> float:
        """A learning rate given for 256 clips, for this batch (linear scaling rule, Goyal et al. 2017)."""
        return rate_for_256 * self.batch_size / 256

    def for_new_network(self) -> Self:
        """This recipe with what it leaves open as the published runs had it."""
        return dataclasses.replace(self, **_filled(self, _NEW_NETWORK))

    @property
    def clip_changes(self) -> dict[str, Any]:
        """What the recipe demands of clips: keys of a configuration, which a checkpoint is adapted to."""
        names = ("num_frames", "image_size", "tubelet_size", "num_channels")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def fitted_to_checkpoint(self, **found: Any) -> Self:
        """This recipe with what it leaves open as a checkpoint has it.

        Args:
            **found: the checkpoint's values, by field.
        """
        return dataclasses.replace(self, **_filled(self, found))

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain data, as JSON has them."""
        values = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _filled(recipe: object, values: dict[str, Any]) -> dict[str, Any]:
    """Of `values` those that the recipe leaves open; a stride leaves no rate open, and a rate no stride."""
    taken = {"frame_rate": "frame_stride", "frame_stride": "frame_rate"}
    return {
        name: value
        for name, value in values.items()
        if getattr(recipe, name) is None and (name not in taken or getattr(recipe, taken[name]) is None)
    }


def out_of_range(recipe: object, name: str, fits: bool, expected: str) -> Iterator[ConfigError]:
    """A ConfigError that shows the field's value unless it fits."""
    if not fits:
        option = "--" + name.replace("_", "-")
        yield ConfigError(f"{name}={getattr(recipe, name)!r}", expected=expected, hint=f"change {option}")
