"""Versions that no test has run on: one line, and the command goes on."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from small_runs import Commands

from videomae.cli.versions import TESTED, untested

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize(
    ("versions", "found"),
    [
        ({"Python": "3.11.0", "torch": "2.11.0+cu130", "av": "18.0.0"}, []),
        ({"Python": "3.13.9", "torch": "3.0.0a0", "av": "19.0.2"}, []),
        ({"Python": "3.10.13", "torch": "2.10.1", "av": "17.1.0"}, ["Python 3.10.13", "torch 2.10.1", "av 17.1.0"]),
        ({"Python": "3.14.0rc1", "av": "20.0rc1"}, ["Python 3.14.0rc1", "av 20.0rc1"]),
    ],
)
def test_what_is_untested(versions: dict[str, str], found: list[str]) -> None:
    assert untested(versions) == found


def test_the_line_comes_before_what_the_command_does(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: {"av": "20.1.0", "torch": "2.14.1"}[name])
    monkeypatch.setattr("platform.python_version", lambda: "3.12.1")
    assert commands("recipes", "show", "v1-pretrain-ucf101-base") == 0
    (line,) = commands.err.splitlines()
    assert line.startswith("videomae: not tested with av 20.1.0; tested: ")


def test_the_range_is_what_the_package_declares() -> None:
    pythons = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["classifiers"]))
    assert PROJECT["requires-python"] == f">={pythons[0]}"
    assert untested({"Python": pythons[0]}) == untested({"Python": pythons[-1]}) == []
    assert TESTED["Python"] == ((3, 11), (3, len(pythons) + 11))
    assert "av>=18,<20" in PROJECT["dependencies"]
    assert "torch>=2.11" in PROJECT["dependencies"]
    assert (TESTED["av"], TESTED["torch"]) == (((18,), (20,)), ((2, 11), None))
