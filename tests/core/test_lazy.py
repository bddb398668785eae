"""Packages name what they offer, and import it on first use."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import videomae

ROOT = Path(videomae.__file__).parent
PACKAGES = sorted(
    ".".join(path.parent.relative_to(ROOT).parts)
    for path in ROOT.rglob("__init__.py")
    if "lazy_names(" in path.read_text() and path.parent != ROOT
)


def test_packages_were_found() -> None:
    assert {"video", "models", "datasets"} <= set(PACKAGES)


@pytest.mark.parametrize("name", PACKAGES)
def test_every_name_exists_and_types_agree(name: str) -> None:
    package = import_module(f"videomae.{name}")
    tree = ast.parse(Path(package.__file__ or "").read_text())
    typed = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    }
    offered = ast.literal_eval(next(node for node in ast.walk(tree) if isinstance(node, ast.Dict)))
    assert typed == {name: module for module, names in offered.items() for name in names}
    assert set(typed) <= set(dir(package))
    for attribute, module in typed.items():
        assert getattr(package, attribute) is getattr(import_module(f"{package.__name__}.{module}"), attribute)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'videomae\.video' has no attribute 'nothing'"):
        import_module("videomae.video").nothing  # noqa: B018


def test_importing_the_packages_is_light() -> None:
    code = (
        f"import sys, importlib; [importlib.import_module('videomae.' + name) for name in {PACKAGES}]\n"
        "sys.exit(', '.join({'torch', 'numpy', 'av', 'PIL', 'matplotlib'} & set(sys.modules)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
