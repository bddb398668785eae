"""Versions outside the tested range, with installed packages made up of empty folders."""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from pathlib import Path

import pytest
from small_runs import Commands, run_python

from videomae.core import versions
from videomae.core.versions import untested_versions

METADATA = """Metadata-Version: 2.4
Name: videomae
Requires-Python: >=3.11
Classifier: Programming Language :: Python :: 3.11
Classifier: Programming Language :: Python :: 3.13
Requires-Dist: av<20,>=18
Requires-Dist: torch>=2.11
Requires-Dist: huggingface_hub>=0.30
Requires-Dist: absent>=1
Requires-Dist: pyarrow>=17; extra == "parquet"

Requires-Dist: pillow>=999
"""


def _folder(path: Path, *installed: str) -> list[str]:
    (path / "videomae-0.1.0.dist-info").mkdir(parents=True)
    (path / "videomae-0.1.0.dist-info" / "METADATA").write_text(METADATA)
    for name in installed:
        (path / f"{name}.dist-info").mkdir()
    return [str(path)]


@pytest.mark.parametrize(
    ("python", "installed", "found"),
    [
        ((3, 12), ("av-19.0.2", "torch-2.11.0+cu128", "huggingface_hub-1.33.0", "pyarrow-1.0", "pillow-10.1"), []),
        ((3, 11), ("av-18",), []),
        ((3, 14), (), ["Python 3.14 (tested: 3.11 to 3.13)"]),
        ((3, 10), (), ["Python 3.10 (tested: 3.11 to 3.13)"]),
        ((3, 13), ("av-20.0.1",), ["av 20.0.1 (tested: <20,>=18)"]),
        ((3, 13), ("av-20.0.0rc1",), ["av 20.0.0rc1 (tested: <20,>=18)"]),
        ((3, 13), ("av-17.9.9", "torch-2.9.1"), ["av 17.9.9 (tested: <20,>=18)", "torch 2.9.1 (tested: >=2.11)"]),
        ((3, 13), ("Huggingface.Hub-0.29",), ["huggingface_hub 0.29 (tested: >=0.30)"]),
    ],
)
def test_what_is_outside(tmp_path: Path, python: tuple[int, int], installed: tuple[str, ...], found: list[str]) -> None:
    assert untested_versions(python, _folder(tmp_path, *installed)) == found


def test_the_folder_that_python_finds_first_counts(tmp_path: Path) -> None:
    first, second = _folder(tmp_path / "a", "av-19.0"), _folder(tmp_path / "b", "av-17.0")
    assert untested_versions((3, 11), [str(tmp_path / "absent"), *first, *second]) == []
    assert len(untested_versions((3, 11), [*second, *first])) == 1


def test_without_metadata_nothing_is_known(tmp_path: Path) -> None:
    (tmp_path / "av-1.0.dist-info").mkdir()
    assert untested_versions((3, 11), [str(tmp_path)]) == []
    (tmp_path / "videomae-0.1.0.dist-info").mkdir()
    assert untested_versions((3, 11), [str(tmp_path)]) == []


def test_all_versions_of_this_environment_are_found() -> None:
    expected = {}
    for found in reversed(list(importlib.metadata.distributions())):
        if str(getattr(found, "_path", "")).endswith(".dist-info"):
            expected[versions._normalized(found.metadata["Name"])] = found.version
    assert len(expected) > 20
    assert {name: version for name, (version, _) in versions._installed(sys.path)} == expected


def test_it_costs_milliseconds_and_loads_nothing() -> None:
    fastest = float("inf")
    for _ in range(5):
        begin = time.perf_counter()
        untested_versions()
        fastest = min(fastest, time.perf_counter() - begin)
    assert fastest < 0.02
    code = "import sys; before = set(sys.modules); import videomae.core.versions; print(*set(sys.modules) - before)"
    loaded = set(run_python(code).stdout.split())
    assert not {"importlib.metadata", "packaging", "email", "torch", "numpy"} & loaded


@pytest.fixture
def untested(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folders = [*_folder(tmp_path / "site", "av-99.0"), *sys.path]
    monkeypatch.setattr(versions.sys, "path", folders)


@pytest.mark.usefixtures("untested")
def test_a_command_warns_in_one_line_on_stderr(commands: Commands) -> None:
    assert commands("recipes", "--json") == 0
    (line,) = commands.err.splitlines()
    assert line.startswith("videomae: not tested with av 99.0 (tested: <20,>=18)")
    assert json.loads(commands.out)["recipes"]


@pytest.mark.usefixtures("untested")
@pytest.mark.parametrize("words", [["--help"], ["--version"], ["recipes", "--help"]], ids=str)
def test_help_does_not_warn(commands: Commands, words: list[str]) -> None:
    assert commands(*words) == 0
    assert commands.err == ""
