"""Which values a configuration may have, in one table. No torch here, so that configurations stay instant."""

from __future__ import annotations

import math
import numbers
import operator
from typing import Any

from videomae.core.errors import ConfigError

# Least values of whole numbers. A decoder may be no more than its head; an encoder has layers.
_LEAST = {
    "num_frames": 1,
    "tubelet_size": 1,
    "num_channels": 1,
    "hidden_size": 0,  # as in transformers' own checks of a configuration; no model takes it
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "intermediate_size": 1,
    "decoder_num_attention_heads": 1,
    "decoder_hidden_size": 1,
    "decoder_num_hidden_layers": 0,
    "decoder_intermediate_size": 1,
}

# Ranges of floats, both ends included.
_RANGES = {
    "hidden_dropout_prob": (0.0, 1.0),
    "attention_probs_dropout_prob": (0.0, 1.0),
    "drop_path_rate": (0.0, 1.0),
    "classifier_dropout": (0.0, 1.0),
    "initializer_range": (0.0, math.inf),
    "layer_norm_eps": (math.nextafter(0.0, 1.0), math.inf),
    "final_norm_eps": (math.nextafter(0.0, 1.0), math.inf),
}


# Many times the largest network that was ever trained: a model of more is only claimed, and never built.
_MOST = {
    "num_hidden_layers": 256,
    "decoder_num_hidden_layers": 256,
    "hidden_size": 1 << 17,
    "decoder_hidden_size": 1 << 17,
    "intermediate_size": 1 << 20,
    "decoder_intermediate_size": 1 << 20,
    "num_channels": 10_000,
}
_MOST_POSITIONS = 1 << 28
MOST_CLASSES = 1_000_000


def check_numbers(config: Any) -> None:
    """Raise a ConfigError that names the first number of `config` that is none, or is out of its range."""
    for name, least in _LEAST.items():
        value = getattr(config, name)
        if not is_whole(value):
            raise ConfigError(
                f"{name}={value!r}", expected=f"a whole number of at least {least}", hint=f"correct {name}"
            )
        if value < least:
            raise ConfigError(f"{name}={value}", expected=f"at least {least}", hint=f"give a larger {name}")
    for name, (low, high) in _RANGES.items():
        value = getattr(config, name)
        if not is_real(value) or not math.isfinite(value) or not low <= value <= high:
            bounds = f"from 0 to {high:g}" if math.isfinite(high) else "above 0" if low else "of 0 or more"
            raise ConfigError(f"{name}={value!r}", expected=f"a number {bounds}", hint=f"correct {name}")


def check_kinds(config: Any) -> None:
    """Raise a ConfigError that names the first value of the wrong kind, or one that describes an impossible network."""
    for name in ("qkv_bias", "use_mean_pooling", "norm_pix_loss"):
        if not isinstance(getattr(config, name), bool):
            _refuse(name, getattr(config, name), "true or false")
    if not isinstance(config.hidden_act, str) and not callable(config.hidden_act):
        _refuse("hidden_act", config.hidden_act, "the name of an activation")
    architectures = config.architectures
    if architectures is not None and not (
        isinstance(architectures, list | tuple) and all(isinstance(name, str) for name in architectures)
    ):
        _refuse("architectures", architectures, "a list of class names")
    for name, most in _MOST.items():
        if getattr(config, name) > most:
            _refuse(name, getattr(config, name), f"at most {most:,}")
    grid = config.grid
    for name in ("hidden_size", "decoder_hidden_size"):
        if grid.num_tokens * getattr(config, name) > _MOST_POSITIONS:
            _refuse(name, f"{getattr(config, name)} for {grid.num_tokens:,} tokens", "a table of positions below 1 GB")


def _refuse(name: str, value: object, expected: str) -> None:
    raise ConfigError(
        f"{name}={value if isinstance(value, str) else repr(value)}", expected=expected, hint=f"correct {name}"
    )


def check_labels(id2label: dict[int, str]) -> None:
    """Raise a ConfigError unless each class from 0 on has its name."""
    if len(id2label) > MOST_CLASSES:
        _refuse("id2label", f"{len(id2label):,} classes", f"at most {MOST_CLASSES:,}")
    wrong = next((label for label in id2label.values() if not isinstance(label, str) or not _is_text(label)), None)
    if wrong is not None:
        _refuse("id2label", f"{{…: {wrong!r}}}", "names of classes, each a text")
    if sorted(id2label) != list(range(len(id2label))):
        raise ConfigError(
            f"a configuration with id2label for {', '.join(map(str, sorted(id2label)[:5]))}",
            expected=f"a name for each class from 0 to {len(id2label) - 1}",
            hint="correct id2label",
        )


def _is_text(label: str) -> bool:
    """Whether it can be printed: JSON may hold halves of a character."""
    return label.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in label)


def check_pruned_heads(pruned: Any, num_layers: int, num_heads: int) -> None:
    """Raise a ConfigError unless `pruned` maps layers to some of their heads, at least one being left in each."""
    if not isinstance(pruned, dict) or not all(isinstance(heads, list | tuple) for heads in pruned.values()):
        _refuse("pruned_heads", repr(pruned), "a dictionary from layers to lists of heads")
    for layer, heads in pruned.items():
        if not is_whole(layer) or not 0 <= layer < num_layers:
            _refuse("pruned_heads", f"{{{layer!r}: …}}", f"layers from 0 to {num_layers - 1}")
        if not all(is_whole(head) and 0 <= head < num_heads for head in heads) or len(set(heads)) >= num_heads:
            _refuse("pruned_heads", f"{{{layer!r}: {heads}}}", f"heads from 0 to {num_heads - 1}, not all of them")


def check_positions(grid: Any, width: int) -> None:
    """Raise a ConfigError unless `grid` is None or three whole numbers of at least 1, whose table fits in memory."""
    is_grid = isinstance(grid, tuple) and len(grid) == 3 and all(is_whole(n) and n >= 1 for n in grid)
    if grid is not None and not (is_grid and math.prod(grid) * width <= _MOST_POSITIONS):
        raise ConfigError(
            f"position_grid={grid!r}", expected="(time, height, width) in tokens", hint="leave it out for none"
        )


def check_statistics(num_channels: int, mean: Any, std: Any) -> None:
    """Raise a ConfigError unless both are None, or have a finite number for each channel, of `std` above 0."""
    if mean is None and std is None:
        return
    for name, values in (("image_mean", mean), ("image_std", std)):
        numbers_ = values if isinstance(values, tuple) else ()
        are_finite = all(is_real(value) and math.isfinite(value) for value in numbers_)
        if len(numbers_) != num_channels or not are_finite or (name == "image_std" and min(numbers_) <= 0):
            raise ConfigError(
                f"{name}={values!r} of {num_channels} channels",
                expected="a number for each channel" + (", above 0" if name == "image_std" else ""),
                hint="give a mean and a deviation for each channel, or leave both out",
            )


def as_tuple(values: Any) -> Any:
    """A list, which is what JSON makes of a tuple, as a tuple; all else as it is."""
    return tuple(values) if isinstance(values, list) else values


def is_real(value: Any) -> bool:
    """Whether `value` is a real number, of Python or NumPy; True and False are none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Whether `value` is a whole number, of Python or NumPy; True and False are none."""
    if isinstance(value, bool):
        return False
    try:
        operator.index(value)
    except TypeError:
        return False
    return True
