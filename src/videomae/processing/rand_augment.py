"""RandAugment of uint8 clips: the same operations for all frames, in a worker or for a whole batch on a GPU."""

from __future__ import annotations

import functools
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Self, get_args

import torch
from torch import Tensor

from videomae.core.device import send
from videomae.core.errors import ConfigError, ShapeError
from videomae.processing._rand_augment_ops import KINDS, as_kinds, on_cpu, warp

MAX_MAGNITUDE = 10.0
# That go through one operation on a device: of 16 × 224 × 224 pixels each needs some 45 MB meanwhile.
_CLIPS_AT_ONCE = 16
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

# The operations drawn for one clip, in order, each with its argument (0 where it takes none).
DrawnOperations = list[tuple[str, float]]

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
                    f"{name}={getattr(self, name)!r} of RandAugment",
                    expected=expected,
                    hint="change its specification, such as rand-m7-n4-mstd0.5-inc1",
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

    def draw(self, generator: torch.Generator) -> DrawnOperations:
        """The operations for one clip.

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

    def apply(self, clips: Tensor, drawn: Sequence[DrawnOperations]) -> Tensor:
        """Apply to each clip the operations drawn for it.

        On a CPU a clip becomes what it becomes alone, bit for bit, on another device up to rounding. Nothing waits for
        the device.

        Args:
            clips: uint8 (N, T, C, H, W), on a CPU or GPU; they are not changed. For other channels than RGB, gray is
                their mean.
            drawn: for each clip.

        Returns:
            uint8 (N, T, C, H, W); `clips` itself where no operation was drawn.

        Raises:
            ShapeError: for other clips.
        """
        if clips.dtype != torch.uint8 or clips.ndim != 5 or not clips.numel() or len(clips) != len(drawn):
            raise ShapeError(
                f"{clips.dtype} clips of shape {tuple(clips.shape)}, with operations for {len(drawn)}",
                expected="uint8 (N, T, C, H, W)",
                hint="augment clips before they are normalized",
            )
        if not any(drawn):
            return clips
        if on_cpu(clips) and len(clips) > 1:  # its cache holds no more
            return torch.cat([self.apply(clip[None], [given]) for clip, given in zip(clips, drawn, strict=True)])
        height, width = clips.shape[-2:]
        groups = list(_groups([as_kinds(operations, height, width) for operations in drawn]))
        # One transfer for all groups.
        sizes = [part.numel() for _, rows, parameters in groups for part in (rows, parameters)]
        packed = torch.cat([part.flatten() for _, rows, parameters in groups for part in (rows.double(), parameters)])
        parts = iter(send(packed.pin_memory() if clips.is_cuda else packed, clips.device).split(sizes))
        changes: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
            **KINDS,
            "Warp": functools.partial(warp, interpolation=self.interpolation),
        }
        result = clips
        for kind, rows, parameters in groups:
            chosen, given = next(parts).long(), next(parts).view(parameters.shape)
            if len(rows) == len(clips):
                result = changes[kind](result, given)
                continue
            if result is clips:
                result = clips.clone()
            result.index_copy_(0, chosen, changes[kind](result.index_select(0, chosen), given))
        return result

    def __call__(self, clip: Tensor, generator: torch.Generator) -> Tensor:
        """Augment one clip, uint8 (T, C, H, W), as `apply` does many; `generator` is the CPU's."""
        return self.apply(clip[None], [self.draw(generator)])[0]


def can_augment_on(device: torch.device) -> bool:
    """Whether a device has all that the operations need, float64 among it; tried out on two tiny clips."""
    every = [(name, 0.5) for name in OPERATIONS]
    try:
        RandAugment().apply(torch.zeros((2, 1, 3, 4, 4), dtype=torch.uint8, device=device), [every, every[1:]])
    except (RuntimeError, TypeError):  # how torch refuses operations, and types of numbers
        return False
    return True


def _groups(queues: Sequence[Sequence[tuple[str, Tensor]]]) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Kinds with the rows of their clips, int64 (n,) in order, and parameters, float64 (n, …).

    Each clip's operations keep their order. Next is the kind that is due for most clips, those with more to come
    counting more: 32 clips of the published fine-tuning need about 13 groups in place of 63 operations.
    """
    waiting = [deque(queue) for queue in queues]
    while any(waiting):
        due: Counter[str] = Counter()
        for queue in filter(None, waiting):
            due[queue[0][0]] += len(queue)
        kind = due.most_common(1)[0][0]
        rows = [row for row, queue in enumerate(waiting) if queue and queue[0][0] == kind][:_CLIPS_AT_ONCE]
        yield kind, torch.tensor(rows), torch.stack([waiting[row].popleft()[1] for row in rows])
