"""RandAugment of uint8 clips: the same operations for all frames."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self, get_args

import torch
from torch import Tensor

from videomae.core.errors import ConfigError, ShapeError
from videomae.processing._rand_augment_ops import COLOR_OPS, WARPS

MAX_MAGNITUDE = 10.0
FILL = 128
# A clip goes through in parts whose intermediate results stay in the processor's cache: about a third faster.
_FRAMES_AT_ONCE = 8
Interpolation = Literal["bicubic", "bilinear"]

OPERATIONS = (
    *("AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "SolarizeAdd", "Color"),
    *("Contrast", "Brightness", "Sharpness", "ShearX", "ShearY", "TranslateX", "TranslateY"),
)

# The parameter of an operation at `level`, the magnitude as a fraction of the largest one, with `sign` +1 or -1.
_ARGUMENTS: dict[str, Callable[[float, int], float]] = {
    "Rotate": lambda level, sign: sign * level * 30.0,  # degrees
    "Posterize": lambda level, sign: int(level * 4),  # bits that are kept
    "Solarize": lambda level, sign: int(level * 256),  # threshold
    "SolarizeAdd": lambda level, sign: int(level * 110),
    **dict.fromkeys(("Color", "Contrast", "Brightness", "Sharpness"), lambda level, sign: 0.1 + level * 1.8),
    **dict.fromkeys(("ShearX", "ShearY"), lambda level, sign: sign * level * 0.3),
    **dict.fromkeys(("TranslateX", "TranslateY"), lambda level, sign: sign * level * 0.45),  # share of the side
}
# The "increasing" set: more magnitude is always more change.
_INCREASING: dict[str, Callable[[float, int], float]] = {
    **_ARGUMENTS,
    "Posterize": lambda level, sign: 4 - int(level * 4),
    "Solarize": lambda level, sign: 256 - int(level * 256),
    **dict.fromkeys(("Color", "Contrast", "Brightness", "Sharpness"), lambda level, sign: 1.0 + sign * level * 0.9),
}

# Sections of timm's notation: what each sets, and how its number is read.
_SECTIONS: dict[str, tuple[str, Callable[[str], float]]] = {
    "m": ("magnitude", float),
    "n": ("num_ops", int),
    "mstd": ("magnitude_std", float),
    "inc": ("increasing", lambda text: bool(int(text))),
    "p": ("probability", float),
}


@dataclass(frozen=True)
class RandAugment:
    """RandAugment (Cubuk et al. 2020) in the variant of timm that the published fine-tuning used.

    `num_ops` of the 15 `OPERATIONS` are drawn with replacement; each is applied with `probability`, at a magnitude
    drawn from N(`magnitude`, `magnitude_std`) and cut to 0–10. All frames of a clip get the same operations and
    magnitudes; what an operation measures (histograms, the mean gray) it measures in each frame.

    Args:
        magnitude: strength, 0–10.
        num_ops: how many operations are drawn.
        magnitude_std: deviation of the strength.
        increasing: the set whose effect grows with the magnitude in every operation.
        probability: with which a drawn operation is applied.
        interpolation: of rotation, shear and translation; published: bicubic.

    Raises:
        ConfigError: for numbers out of range.
    """

    magnitude: float = 7.0
    num_ops: int = 4
    magnitude_std: float = 0.5
    increasing: bool = True
    probability: float = 0.5
    interpolation: Interpolation = "bicubic"

    def __post_init__(self) -> None:
        for name, fits, expected in (
            ("magnitude", 0 <= self.magnitude <= MAX_MAGNITUDE, f"0 to {MAX_MAGNITUDE:g}"),
            ("num_ops", self.num_ops >= 1, "1 or more"),
            ("magnitude_std", 0 <= self.magnitude_std < float("inf"), "0 or more"),
            ("probability", 0 <= self.probability <= 1, "0 to 1"),
            ("interpolation", self.interpolation in get_args(Interpolation), "bicubic or bilinear"),
        ):
            if not fits:
                raise ConfigError(
                    f"{name}={getattr(self, name)!r} of RandAugment", expected=expected, hint=f"change {name}"
                )

    @classmethod
    def parse(cls, spec: str, *, interpolation: Interpolation = "bicubic") -> Self:
        """Read timm's notation, `rand-m7-n4-mstd0.5-inc1` in the published fine-tuning.

        Sections, in any order: m magnitude (by default 10), n number of operations (2), mstd deviation of the magnitude
        (0), inc 1 for the increasing set (0), p probability of each operation (0.5).

        Raises:
            ConfigError: names the section that is not understood.
        """
        first, *sections = spec.split("-")
        if first != "rand":
            raise ConfigError(
                f"RandAugment {spec!r}",
                expected="sections joined by dashes, the first one rand",
                hint="write rand-m7-n4-mstd0.5-inc1 for the published one",
            )
        values: dict[str, float] = {"magnitude": 10.0, "num_ops": 2, "magnitude_std": 0.0, "increasing": False}
        seen = set()
        for section in sections:
            match = re.fullmatch(r"([a-z]+)(\d+(?:\.\d+)?)", section)
            known = _SECTIONS.get(match[1]) if match else None
            if match is None or known is None or known in seen or (known[1] is not float and "." in match[2]):
                raise ConfigError(
                    f"section {section!r} of RandAugment {spec!r}",
                    expected="each of m, n, mstd, inc and p at most once, with its number; whole numbers for n and inc",
                    hint="write rand-m7-n4-mstd0.5-inc1 for the published one",
                )
            seen.add(known)
            name, number_of = known
            values[name] = number_of(match[2])
        return cls(**values, interpolation=interpolation)  # type: ignore[arg-type]

    def draw(self, generator: torch.Generator) -> list[tuple[str, float]]:
        """The operations for one clip, in order, each with its argument (0 where it takes none).

        Always draws the same number of random values, so that later draws do not depend on the outcome.
        """
        chosen = torch.randint(len(OPERATIONS), (self.num_ops,), generator=generator).tolist()
        applied = torch.rand(self.num_ops, generator=generator).lt(self.probability).tolist()
        noise = torch.randn(self.num_ops, generator=generator, dtype=torch.float64).tolist()
        signs = torch.randint(2, (self.num_ops,), generator=generator).tolist()
        arguments = _INCREASING if self.increasing else _ARGUMENTS
        drawn = []
        for index in range(self.num_ops):
            name = OPERATIONS[chosen[index]]
            if applied[index]:
                magnitude = min(max(self.magnitude + self.magnitude_std * noise[index], 0.0), MAX_MAGNITUDE)
                argument = arguments.get(name)
                sign = 1 if signs[index] else -1
                drawn.append((name, 0.0 if argument is None else argument(magnitude / MAX_MAGNITUDE, sign)))
        return drawn

    def apply(self, clip: Tensor, operations: list[tuple[str, float]]) -> Tensor:
        """Apply drawn operations to a clip; errors as `__call__`."""
        if clip.dtype != torch.uint8 or clip.ndim != 4 or not clip.numel():
            raise ShapeError(
                f"{clip.dtype} clip of shape {tuple(clip.shape)}",
                expected="uint8 (T, C, H, W)",
                hint="augment clips before they are normalized",
            )
        if not operations:
            return clip
        return torch.cat([self._apply(frames, operations) for frames in clip.split(_FRAMES_AT_ONCE)])

    def _apply(self, frames: Tensor, operations: list[tuple[str, float]]) -> Tensor:
        for name, argument in operations:
            if name in WARPS:
                frames = WARPS[name](frames, argument, self.interpolation, FILL)
            else:
                frames = COLOR_OPS[name](frames, argument)
        return frames

    def __call__(self, clip: Tensor, generator: torch.Generator) -> Tensor:
        """Augment a clip.

        Args:
            clip: uint8 (T, C, H, W), on any device; it is not changed. For other channels than RGB, gray is their mean.
            generator: of the CPU.

        Returns:
            uint8 (T, C, H, W); the clip itself where no operation was drawn.

        Raises:
            ShapeError: for another clip.
        """
        return self.apply(clip, self.draw(generator))
