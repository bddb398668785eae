"""The steps of the image processor as checked values: what to resize to, crop, scale and subtract."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from PIL import Image

from videomae.core.errors import ConfigError

SIZE_KEYS = ({"height", "width"}, {"shortest_edge"}, {"shortest_edge", "longest_edge"}, {"longest_edge"})
CHANNELS_FIRST = "channels_first"
CHANNELS_LAST = "channels_last"


@dataclass(frozen=True)
class Steps:
    """What happens to each frame, in this order; None leaves a step out.

    Attributes:
        size: `{"shortest_edge": s}` or `{"height": h, "width": w}` to resize to.
        resample: Pillow's filter for it.
        crop_size: (height, width) of the center crop.
        rescale_factor: what the pixel values are multiplied by.
        mean, std: subtracted and divided by, one value for all channels or one per channel.
    """

    size: dict[str, int] | None
    resample: Image.Resampling
    crop_size: tuple[int, int] | None
    rescale_factor: float | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that a frame is resized to; fractions are cut off on the longer side."""
        if self.size is None:
            return height, width
        if "height" in self.size:
            return self.size["height"], self.size["width"]
        short = self.size["shortest_edge"]
        long = int(short * max(height, width) / min(height, width))
        return (long, short) if width <= height else (short, long)


def size_dict(value: Any, *, name: str, square: bool) -> dict[str, int]:
    """A size as a dictionary: an int is the short side (or both, with `square`), a pair is (height, width).

    Raises:
        ConfigError: other keys than those of a size, or a length that is no positive whole number.
    """
    if isinstance(value, Integral) and not isinstance(value, bool):
        value = {"height": value, "width": value} if square else {"shortest_edge": value}
    elif isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2:
        value = {"height": value[0], "width": value[1]}
    if isinstance(value, Mapping):
        value = {key: length for key, length in value.items() if length is not None}
    expected = 'a whole number, (height, width), or {"height": h, "width": w}'
    if not square:
        expected += ' or {"shortest_edge": s}'
    if not isinstance(value, Mapping) or set(value) not in SIZE_KEYS:
        raise ConfigError(f"{name}={value!r}", expected=expected, hint=f"change {name}")
    for length in value.values():
        if not isinstance(length, Integral) or isinstance(length, bool) or length < 1:
            raise ConfigError(f"{name}={value!r}", expected="positive whole numbers", hint=f"change {name}")
    return {key: int(length) for key, length in value.items()}


def resize_size(value: Any) -> dict[str, int]:
    """A size that frames can be resized to: one with a short side, or with height and width."""
    size = size_dict(value, name="size", square=False)
    if set(size) == {"longest_edge"}:
        raise ConfigError(
            f"size={size}",
            expected='{"shortest_edge": s} or {"height": h, "width": w}',
            hint="a longest edge alone does not define the size of a frame",
        )
    return size


def crop_size(value: Any) -> tuple[int, int]:
    """The (height, width) of a crop."""
    size = size_dict(value, name="crop_size", square=True)
    if "height" not in size:
        raise ConfigError(
            f"crop_size={size}", expected='{"height": h, "width": w}', hint="a crop needs both of its sides"
        )
    return size["height"], size["width"]


def resampling(value: Any) -> Image.Resampling:
    """Pillow's filter of a number or of Pillow's own enumeration."""
    try:
        return Image.Resampling(value)
    except ValueError as error:
        choices = ", ".join(f"{choice.value} {choice.name.lower()}" for choice in sorted(Image.Resampling))
        raise ConfigError(f"resample={value!r}", expected=f"one of {choices}", hint="give the number") from error


def channel_values(value: Any, *, name: str) -> tuple[float, ...]:
    """One number for all channels (a tuple of one), or one number per channel."""
    values: Any = (value,) if isinstance(value, Real) else value
    if hasattr(values, "tolist"):
        values = values.tolist()
    if isinstance(values, list | tuple) and values and all(isinstance(number, Real) for number in values):
        return tuple(float(number) for number in values)
    raise ConfigError(
        f"{name}={value!r}", expected="a number, or a list with one number per channel", hint=f"set {name}"
    )


def number(value: Any, *, name: str) -> float:
    """A number that is not a truth value."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise ConfigError(f"{name}={value!r}", expected="a number", hint=f"set {name}, for 8-bit frames to 1/255")
    return float(value)


def flag(value: Any, *, name: str) -> bool:
    """True or False, also from a NumPy value or 0 and 1."""
    if value not in (True, False):
        raise ConfigError(f"{name}={value!r}", expected="True or False", hint=f"set {name}")
    return bool(value)


def choice(value: Any, *, name: str, choices: tuple[str, ...]) -> str | None:
    """One of the names, or None; a member of an enumeration counts as its value."""
    plain = value.value if isinstance(value, enum.Enum) else value
    if plain is None or plain in choices:
        return plain
    raise ConfigError(f"{name}={plain!r}", expected=f"one of {', '.join(choices)}, or None", hint=f"change {name}")
