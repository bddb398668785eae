"""Launchers: which commands may be started several times, and how a stopped run is started again."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import pytest
from small_runs import Commands

from videomae.cli.launcher import as_typed, how_to_resume, refuse_wrong_launch
from videomae.cli.main import COMMANDS

TWO = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "1"}
# As `accelerate launch --cpu --num_processes 2` leaves it to the one process that it starts.
LONE = {"ACCELERATE_USE_CPU": "True", "ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1"}


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"pretrain", "finetune", "evaluate"}))
def test_a_command_that_cannot_share_its_work_is_refused_at_once(
    command: str, commands: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in TWO.items():
        monkeypatch.setenv(name, value)
    said = commands.refused(command)
    assert said.startswith(f"videomae: {command} in 2 processes: expected one process; pretrain, finetune and evaluate")
    assert said.endswith(f"run it without a launcher: videomae {command} …")
    assert list(tmp_path.iterdir()) == []


def test_training_and_evaluation_are_shared_but_no_dry_run(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in ("pretrain", "finetune", "evaluate"):
        refuse_wrong_launch(command, [], TWO)
    for name, value in TWO.items():
        monkeypatch.setenv(name, value)
    assert "pretrain --dry-run in 2 processes" in commands.refused("pretrain", "DATA", "--dry-run")


def test_one_process_where_several_were_asked_for_is_refused(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in LONE.items():
        monkeypatch.setenv(name, value)
    refuse_wrong_launch("pretrain", [])  # one was asked for
    monkeypatch.setenv("MASTER_PORT", "29500")
    said = commands.refused("pretrain", "DATA", "--output", "OUT")
    assert "accelerate launch that started one process of several" in said
    assert "accelerate launch --multi_gpu --num_processes N" in said
    refuse_wrong_launch("pretrain", [], {**LONE, **TWO, "MASTER_PORT": "29500"})


def test_how_a_stopped_run_is_started_again() -> None:
    words = ["pretrain", "my clips", "--output", "run"]
    assert how_to_resume(words, {}) == "To resume, repeat the command:\n  videomae pretrain 'my clips' --output run"
    # Whatever started the tests did not start these words.
    again = how_to_resume(words, TWO).splitlines()[-1]
    launcher = ["torchrun", "--standalone", "--nproc-per-node", "2", "--no-python", "videomae"]
    assert shlex.split(again) == [*launcher, *words]
    said = how_to_resume(words, {"WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8", "GROUP_WORLD_SIZE": "2"})
    assert said.startswith("To resume, start the command again in 16 processes")


def test_a_command_is_told_as_it_is_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "launch"
    script.write_text("#!/usr/bin/env python\n")
    rest = ["--nproc-per-node", "2", "-m", "job"]
    assert as_typed([sys.executable, str(script), *rest]) == [sys.executable, str(script), *rest]  # not to be executed
    script.chmod(0o755)
    assert as_typed([sys.executable, str(script), *rest]) == [str(script), *rest]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("launch") == str(script)
    assert as_typed([sys.executable, str(script), *rest]) == ["launch", *rest]
    assert as_typed([sys.executable, "-m", "torch.distributed.run", *rest])[1:3] == ["-m", "torch.distributed.run"]
    assert as_typed(["mpirun", *rest]) == ["mpirun", *rest]
