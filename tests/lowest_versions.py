"""Constraints for pip: each dependency, extras included, at the lowest version that pyproject.toml allows.

python tests/lowest_versions.py > constraints.txt
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def lowest_versions() -> dict[str, str]:
    """Version by name."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    extras = project.get("optional-dependencies", {}).values()
    versions = {}
    for requirement in [*project["dependencies"], *(word for words in extras for word in words)]:
        found = re.match(r"([\w.-]+)(?:\[[\w,]*\])?>=([\w.]+)", requirement)
        if found is None:
            raise SystemExit(f"{requirement}: expected NAME>=VERSION, so that it can be tried")
        versions[found[1]] = found[2]
    return versions


if __name__ == "__main__":
    print(*(f"{name}=={version}" for name, version in lowest_versions().items()), sep="\n")
