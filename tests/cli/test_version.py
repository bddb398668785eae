"""`videomae version`, `videomae help`, `videomae completion`."""

from __future__ import annotations

import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
from small_runs import Commands

from videomae.cli.arguments import options_of
from videomae.cli.main import COMMANDS
from videomae.core import environment


def test_what_a_bug_report_needs(commands: Commands) -> None:
    assert commands("version") == 0
    short = commands.out
    assert commands("version", "--all") == 0
    lines = dict(line.split(maxsplit=1) for line in commands.out.splitlines())
    assert short == f"videomae {lines['videomae']}\n"
    assert lines["torch"] == version("torch")
    assert "core" in lines["processor"]
    assert {"Python", "av", "FFmpeg", "GPU", "system"} <= lines.keys()
    assert commands.json("version", "--all")["numpy"] == version("numpy")


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["/usr/bin/videomae", "finetune", "my clips"], "videomae finetune 'my clips'"),
        (["/x/site-packages/videomae/__main__.py", "info", "a"], "videomae info a"),
        (["train.py", "--fast"], "train.py --fast"),
        (["-c"], "-c"),
        ([""], "python"),
    ],
)
def test_the_command_line_as_it_was_typed(words: list[str], shown: str) -> None:
    assert environment.command_line(words) == shown


def test_help_of_a_command(commands: Commands) -> None:
    assert commands("finetune", "--help") == 0
    explained = commands.out
    assert commands("help", "finetune") == 0
    assert commands.out == explained
    assert "did you mean finetune?" in commands.refused("help", "finetun")


def completed(script: str, words: list[str]) -> list[str]:
    """What bash offers for the last of the words."""
    line = " ".join(f"'{word}'" for word in words)
    code = (
        f"{script}\nCOMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _videomae; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_options_and_choices(commands: Commands) -> None:
    assert commands("completion", "bash") == 0
    script = commands.out
    assert set(completed(script, ["videomae", ""])) == {*COMMANDS, "help"}
    assert completed(script, ["videomae", "fine"]) == ["finetune"]
    assert completed(script, ["videomae", "help", "reco"]) == ["reconstruct"]
    assert completed(script, ["videomae", "finetune", "clips", "--batch"]) == ["--batch-size"]
    assert completed(script, ["videomae", "finetune", "--precision", "b"]) == ["bf16"]
    assert completed(script, ["videomae", "finetune", "clips", "x"]) == []  # files, which bash adds itself
    for name in COMMANDS:
        offered = set(completed(script, ["videomae", name, "--"]))
        assert {option for option in options_of(name) if not option.startswith("--no-")} <= offered, name


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_scripts_of_other_shells(commands: Commands, shell: str, tmp_path: Path) -> None:
    assert commands("completion", shell) == 0
    for word in ("finetune", "batch-size", "bf16"):
        assert word in commands.out
    program = shutil.which(shell)
    if program is not None:
        (tmp_path / "script").write_text(commands.out)
        subprocess.run([program, "-n", str(tmp_path / "script")], check=True)


def test_a_shell_that_is_not_known(commands: Commands) -> None:
    assert "bash or zsh or fish" in commands.refused("completion", "cmd")
