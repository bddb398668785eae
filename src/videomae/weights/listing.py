"""Names of many tensors in few words: numbers of layers as ranges, tensors of one module together."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

Shape = tuple[int, ...]

_NUMBERED = re.compile(r"(.*?)\.(\d{1,9})\.(.+)")
# More names than this of one module or stack of layers are listed as `module.*`.
_MAX_NAMES = 3
_MAX_GROUPS = 6
_MAX_LENGTH = 120


def misfits(
    *, missing: Iterable[str], unexpected: Iterable[str], mismatched: Iterable[tuple[str, Shape, Shape]]
) -> str:
    """What does not fit between a file and a model, each kind only if there are any; "" if all fits.

    Args:
        missing: names that the model has and the file lacks.
        unexpected: names that the file has and the model lacks.
        mismatched: (name, shape in the file, shape in the model).
    """
    by_shapes: dict[tuple[Shape, Shape], list[str]] = defaultdict(list)
    for name, found, expected in mismatched:
        by_shapes[found, expected].append(name)
    shapes = [f"{grouped(n)} of shape {found} instead of {right}" for (found, right), n in by_shapes.items()]
    kinds = {"missing": grouped(missing), "unexpected": grouped(unexpected), "misshaped": _shortened(shapes)}
    return "; ".join(f"{kind}: {text}" for kind, text in kinds.items() if text)


def grouped(names: Iterable[str]) -> str:
    """`encoder.layer.{3-5}.output.dense.weight (3), decoder.* (14)`: a number in brackets counts the tensors."""
    layers: dict[tuple[str, str], set[int]] = defaultdict(set)
    plain: dict[str, list[str]] = defaultdict(list)
    for name in map(_printable, names):
        numbered = _NUMBERED.fullmatch(name)
        if numbered is None:
            module, _, last = name.rpartition(".")
            plain[module].append(last)
        else:
            layers[numbered[1], numbered[3]].add(int(numbered[2]))
    stacks: dict[tuple[str, frozenset[int]], list[str]] = defaultdict(list)
    for (stack, rest), numbers in layers.items():
        stacks[stack, frozenset(numbers)].append(rest)
    groups: list[str] = []
    for (stack, which), rests in stacks.items():
        layer = f"{stack}.{_ranges(which)}"
        together = [f"{layer}.*"], len(which) * len(rests)
        apart = [f"{layer}.{rest}" for rest in rests], len(which)
        found, count = together if len(rests) > _MAX_NAMES else apart
        groups += [name + (f" ({count})" if count > 1 else "") for name in found]
    for module, members in plain.items():
        listed = [f"{module}.{last}" if module else last for last in members]
        groups += listed if len(listed) <= _MAX_NAMES or not module else [f"{module}.* ({len(listed)})"]
    return _shortened(groups)


def _printable(name: str) -> str:
    """A name from a file may hold anything; an error is one line."""
    return (name if name.isprintable() else ascii(name))[:_MAX_LENGTH]


def _ranges(numbers: Iterable[int]) -> str:
    """`3`, or `{0-2,5}` for several."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    text = ",".join("-".join(map(str, run)) for run in runs)
    return text if text.isdigit() else f"{{{text}}}"


def _shortened(groups: Sequence[str]) -> str:
    more = len(groups) - _MAX_GROUPS
    return ", ".join(groups[:_MAX_GROUPS]) + (f", … and {more} more" if more > 0 else "")
