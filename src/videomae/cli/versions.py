"""One line at the start where Python or a library is a version that no test has run on."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Mapping
from importlib import metadata

from videomae.cli.console import is_main_process

# The first version that is tested, and the first one after those that are; None for an open end.
TESTED: dict[str, tuple[tuple[int, ...], tuple[int, ...] | None]] = {
    "Python": ((3, 11), (3, 14)),
    "torch": ((2, 11), None),
    "av": ((18,), (20,)),
}


def untested(versions: Mapping[str, str]) -> list[str]:
    """Names with the versions that lie outside of `TESTED`."""
    found = []
    for name, version in versions.items():
        numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
        first, end = TESTED[name]
        if numbers < first or (end is not None and numbers >= end):
            found.append(f"{name} {version}")
    return found


def warn_of_untested() -> None:
    """Print the line on stderr if there is something to it."""
    versions = {"Python": platform.python_version()}
    for name in TESTED.keys() - {"Python"}:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # what needs it says so
            continue
    names = untested(versions)
    if names and is_main_process():
        print(
            f"videomae: not tested with {', '.join(names)}; tested: Python 3.11 to 3.13, torch 2.11 and newer, "
            "av (PyAV) 18 and 19",
            file=sys.stderr,
        )
