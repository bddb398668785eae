"""Whether the interpreter and the libraries are of versions that the package is tested with, in a few milliseconds.

What is tested stands in the package's own metadata: its classifiers and the ranges of its dependencies. All versions
stand in the names of the installed `.dist-info` folders; importlib.metadata, which opens each, takes 50 times as long.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_PACKAGE = "videomae"
_MARKER = re.compile(r"\s*;")
_BOUND = re.compile(r"(>=|<)\s*([0-9][0-9.]*)")


def untested_versions(
    python: tuple[int, ...] = tuple(sys.version_info[:2]), folders: Sequence[str] | None = None
) -> list[str]:
    """What is outside the tested range, such as `av 20.0.1 (tested: >=18,<20)`; nothing where the range is not known.

    Args:
        python: the interpreter's version, of which two numbers count.
        folders: where packages are installed, by default `sys.path`.
    """
    installed = dict(_installed(sys.path if folders is None else folders))
    if _PACKAGE not in installed:
        return []
    try:
        metadata = (installed[_PACKAGE][1] / "METADATA").read_text(encoding="utf-8").partition("\n\n")[0]
    except OSError:  # a package in a form that has none
        return []
    return [*_untested_python(metadata, python), *_untested_libraries(metadata, installed)]


def warning_line() -> str:
    """One line about all that is outside the tested range; empty where nothing is."""
    found = untested_versions()
    return f"not tested with {', '.join(found)}: if something fails, try a tested version" if found else ""


def _untested_python(metadata: str, python: tuple[int, ...]) -> Iterator[str]:
    named = re.findall(r"^Classifier: Programming Language :: Python :: (\d+\.\d+)$", metadata, re.MULTILINE)
    tested = sorted(map(_numbers, named))
    if tested and not tested[0] <= python[:2] <= tested[-1]:
        first, last = (".".join(map(str, numbers)) for numbers in (tested[0], tested[-1]))
        yield f"Python {python[0]}.{python[1]} (tested: {first if first == last else f'{first} to {last}'})"


def _untested_libraries(metadata: str, installed: Mapping[str, tuple[str, Path]]) -> Iterator[str]:
    for requirement in re.findall(r"^Requires-Dist: (.+)$", metadata, re.MULTILINE):
        needed, *markers = _MARKER.split(requirement, maxsplit=1)
        match = re.match(r"[\w.-]+", needed)
        name = _normalized(match[0]) if match else ""
        if markers or name not in installed:  # of an extra, or a library that another name stands for
            continue
        version = installed[name][0]
        bounds = _BOUND.findall(needed)
        if any((_numbers(version) < _numbers(bound)) == (sign == ">=") for sign, bound in bounds):
            yield f"{name} {version} (tested: {','.join(sign + bound for sign, bound in bounds)})"


def _installed(folders: Sequence[str]) -> Iterator[tuple[str, tuple[str, Path]]]:
    """Name, version and folder of what is installed; the last of one name is what Python finds first."""
    for folder in reversed(folders):
        try:
            names = os.listdir(folder or ".")
        except OSError:  # a zip file, or nothing
            continue
        for entry in names:
            if entry.endswith(".dist-info"):
                name, _, version = entry.removesuffix(".dist-info").partition("-")
                yield _normalized(name), (version, Path(folder or ".") / entry)


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers of a release without zeros at its end: `2.11.0+cu128` is (2, 11)."""
    match = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()
