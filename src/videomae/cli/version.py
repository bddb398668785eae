"""`videomae version`."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from videomae import __version__
from videomae.cli.arguments import parse
from videomae.cli.console import EXIT_DONE, print_json


@dataclass(frozen=True, kw_only=True)
class VersionOptions:
    """Print the version; with --all also those of the libraries, and the machine: what a bug report needs."""

    all: bool = False
    """Also Python, libraries, FFmpeg, processor, GPUs."""
    json: bool = False
    """Print one JSON document on stdout."""


def run(arguments: list[str]) -> int:
    """Parse, look, print."""
    options = parse(VersionOptions, arguments, command="version")
    about = {"videomae": __version__, **(_everything() if options.all else {})}
    if options.json:
        print_json(about)
    elif not options.all:
        print(f"videomae {__version__}")
    else:
        width = max(map(len, about))
        for name, value in about.items():
            print(f"{name:<{width}}  {value}")
    return EXIT_DONE


def _everything() -> dict[str, str]:
    from videomae.core.environment import accelerators, instructions, processor, versions
    from videomae.core.versions import warning_line

    found = versions(with_all=True)
    found |= {
        "system": platform.platform(),
        "processor": " ".join(filter(None, [processor(), f"({instructions()})" if instructions() else ""])),
        "GPU": "; ".join(accelerators()) or "none that torch can use",
    }
    return {**found, **({"notice": warning_line()} if warning_line() else {})}
