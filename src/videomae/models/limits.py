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
    "hidden_size": 1,
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
        real = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not real or not math.isfinite(value) or not low <= value <= high:
            bounds = f"from 0 to {high:g}" if math.isfinite(high) else "above 0" if low else "of 0 or more"
            raise ConfigError(f"{name}={value!r}", expected=f"a number {bounds}", hint=f"correct {name}")


def check_labels(id2label: dict[int, str]) -> None:
    """Raise a ConfigError unless each class from 0 on has its name."""
    if sorted(id2label) != list(range(len(id2label))):
        raise ConfigError(
            f"a configuration with id2label for {', '.join(map(str, sorted(id2label)[:5]))}",
            expected=f"a name for each class from 0 to {len(id2label) - 1}",
            hint="correct id2label",
        )


def is_whole(value: Any) -> bool:
    """Whether `value` is a whole number, of Python or NumPy; True and False are none."""
    if isinstance(value, bool):
        return False
    try:
        operator.index(value)
    except TypeError:
        return False
    return True
