"""The front door: help, speed of loading, unknown words, and every way a command can end."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from small_runs import Commands, command_environment, run_python

from videomae.cli.arguments import options_of
from videomae.cli.main import COMMANDS

HEAVY = ("torch", "torchvision", "accelerate", "transformers", "matplotlib", "av", "PIL", "numpy", "safetensors")


def _loaded_by(code: str) -> set[str]:
    """Which heavy packages some code loads in a fresh process; they are what makes a start slow."""
    report = f"import sys; print('LOADED', *(name for name in {HEAVY!r} if name in sys.modules))"
    done = run_python(f"{code}\n{report}")
    assert done.returncode == 0, done.stderr
    *_, loaded = done.stdout.strip().splitlines()
    assert loaded.startswith("LOADED")
    return set(loaded.split()[1:])


@pytest.mark.parametrize("words", [["--help"], [], ["--version"], *([name, "--help"] for name in COMMANDS)], ids=str)
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    assert _loaded_by(f"from videomae.cli.main import main; assert main({words!r}) == 0") == set()


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert _loaded_by("import videomae; assert videomae.__version__; dir(videomae)") == set()


def test_mistakes_are_told_without_loading_anything_heavy() -> None:
    words = ["pretrain", "data", "--output", "run", "--epochs", "0"]
    assert _loaded_by(f"from videomae.cli.main import main; assert main({words!r}) == 2") == set()


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"], []], ids=str)
def test_help_names_every_command(commands: Commands, words: list[str]) -> None:
    assert commands(*words) == 0
    assert commands.err == ""
    for name in COMMANDS:
        assert f"\n  {name} " in commands.out
    for word in ("DATA", "--json", "130"):
        assert word in commands.out


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_its_options(commands: Commands, name: str) -> None:
    assert commands(name, "--help") == 0
    assert commands.err == ""
    assert f"usage: videomae {name}" in commands.out
    for option in ("--json", "--help"):
        assert option in commands.out
    assert "None" not in commands.out


@pytest.mark.parametrize("name", ["pretrain", "finetune"])
def test_help_of_training_shows_what_people_need_and_help_all_the_rest(commands: Commands, name: str) -> None:
    assert commands(name, "--help") == 0
    shown = commands.out
    assert commands(name, "--help-all") == 0
    for heading in ("data: ", "model: ", "optimization: ", "run time: ", "output: "):
        assert f"\n{heading}" in shown
    listed = set(re.findall(r"^  (--[a-z0-9-]+)", shown, flags=re.MULTILINE))
    listed_in_all = set(re.findall(r"^  (--[a-z0-9-]+)", commands.out, flags=re.MULTILINE))
    assert listed < listed_in_all
    assert listed_in_all == {option for option in options_of(name) if not option.startswith("--no-")}
    assert 15 <= len(listed) <= 26
    assert f"{len(listed_in_all) - len(listed)} more options: videomae {name} --help-all" in shown
    # Each line explains its option, and says its default where there is one.
    assert "--beta1 X" in commands.out
    assert "AdamW β1. (default: 0.9)" in commands.out


def test_the_version(commands: Commands) -> None:
    assert commands("--version") == 0
    assert commands.out.startswith("videomae ")


@pytest.mark.parametrize(
    ("word", "hint"),
    [("pretrian", "did you mean pretrain?"), ("zzz", "see videomae --help"), ("", "see videomae --help")],
)
def test_an_unknown_command(commands: Commands, word: str, hint: str) -> None:
    line = commands.refused(word)
    assert f"unknown command {word!r}: expected demo or pretrain" in line
    assert line.endswith(hint)


@pytest.mark.parametrize(
    ("words", "hint"),
    [(["--seed", "3", "demo"], "videomae demo … --seed"), (["--nonsense"], "videomae COMMAND … --nonsense")],
)
def test_an_option_before_the_command(commands: Commands, words: list[str], hint: str) -> None:
    line = commands.refused(*words)
    assert f"{words[0]} before a command: expected a command first, then its options" in line
    assert line.endswith(f"write {hint}")


def test_json_before_the_command(commands: Commands) -> None:
    assert commands("--json", "info", "x") == 2
    assert commands.err == ""
    assert json.loads(commands.out)["error"]["hint"] == "write videomae info … --json"


def test_with_json_an_error_is_the_one_document(commands: Commands) -> None:
    assert commands("pretrian", "--json") == 2
    assert commands.err == ""
    error = json.loads(commands.out)["error"]
    assert set(error) == {"value", "expected", "hint"}
    assert error["hint"] == "did you mean pretrain?"


def test_an_error_is_one_line_whatever_the_name(commands: Commands) -> None:
    assert commands("info", "two\nlines\x1b[31m") == 2
    assert commands.err.count("\n") == 1
    assert commands.err.startswith("videomae: two\\nlines\\x1b[31m")


# --- the ways to end ---------------------------------------------------------------------------------------------


@pytest.fixture
def info() -> ModuleType:
    return import_module("videomae.cli.info")


def _raising(error: BaseException) -> Any:
    def run(_: list[str]) -> int:
        raise error

    return run


def test_a_fault_of_ours_says_so(commands: Commands, info: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "run", _raising(ZeroDivisionError("by nothing")))
    assert commands("info", "x") == 1
    assert commands.out == ""
    lines = commands.err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1] == (
        "videomae: this is a bug in videomae (ZeroDivisionError: by nothing); please report it with the lines above"
    )


def test_a_fault_of_ours_is_one_document_too(
    commands: Commands, info: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(info, "run", _raising(ZeroDivisionError("by nothing")))
    assert commands("info", "x", "--json") == 1
    assert set(json.loads(commands.out)["error"]) == {"value", "expected", "hint"}


def test_an_interrupt_outside_training(commands: Commands, info: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "run", _raising(KeyboardInterrupt()))
    assert commands("info", "x") == 130
    assert (commands.out, commands.err) == ("", "videomae: interrupted\n")


def test_a_file_that_may_not_be_read(commands: Commands, info: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "run", _raising(PermissionError(errno.EACCES, "Permission denied", "secret/config.json")))
    assert "secret/config.json (Permission denied)" in commands.refused("info", "x")


@pytest.mark.parametrize("is_shared", [False, True], ids=["stdout", "stdout and stderr"])
@pytest.mark.parametrize("words", [["--help"], ["pretrain", "--help"], ["info", "."]], ids=str)
def test_a_reader_that_leaves_is_no_fault(words: list[str], is_shared: bool) -> None:
    """As `videomae … | head -0`: the pipe is closed before anything is written."""
    code = f"import sys, time; time.sleep(0.2); from videomae.cli.main import main; sys.exit(main({words!r}))"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=command_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if is_shared else subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        said = process.stderr.read() if process.stderr is not None else b""
        status = process.wait(timeout=60)
    if words[0] == "info" and not is_shared:
        assert status == 2  # its line went to stderr, which was read
        assert said.count(b"\n") == 1
    else:
        assert (status, said) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
@pytest.mark.parametrize("words", [["recipes"], ["recipes", "--json"]], ids=str)
def test_a_full_disk_is_no_fault_of_ours(words: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "videomae.cli.main", *words],
            env=command_environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "(No space left on device): expected room on the disk" in done.stderr


@pytest.mark.parametrize("name", ["videomae", "videomae.cli.main"])
def test_the_module_runs_as_a_program(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", name, "nonsense"],
        env=command_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_every_listed_command_exists() -> None:
    for name in COMMANDS:
        module = import_module(f"videomae.cli.{name.replace('-', '_')}")
        assert callable(module.run)
        assert Path(module.__file__ or "").stem == name.replace("-", "_")
