"""Commands as a launcher starts them, several times at once: what one process would say, said once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_runs import Commands, command_environment

from videomae.training.finetune import FinetuneResult

_LIMIT_SECONDS = 240


@contextmanager
def _launched(*words: object) -> Iterator[subprocess.Popen[str]]:
    """`videomae WORDS…` twice under torchrun, which finds a free port by itself; whatever is left is ended."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = subprocess.Popen(
        [*launcher, "-m", "videomae.cli.main", *map(str, words)],
        env=command_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)  # torchrun ends its processes
            try:
                process.wait(40)
            finally:
                process.kill()
        process.communicate()


def test_evaluate_says_once_what_one_process_says(
    colours: Path, finetuned: FinetuneResult, commands: Commands, tmp_path: Path
) -> None:
    words = ("evaluate", colours / "val", "--model", finetuned.folder, "--clips", "2", "--crops", "1")
    words = (*words, "--device", "cpu", "--precision", "fp32", "--num-workers", "0")
    alone = commands.json(*words, "--predictions", tmp_path / "alone.csv")
    with _launched(*words, "--predictions", tmp_path / "two.csv", "--json") as process:
        out, err = process.communicate(timeout=_LIMIT_SECONDS)
    assert process.returncode == 0, err
    assert json.loads(out) == alone
    assert (tmp_path / "two.csv").read_text() == (tmp_path / "alone.csv").read_text()
    assert err.count("predictions: ") == 1


def test_an_error_of_all_processes_is_told_once(tmp_path: Path) -> None:
    with _launched("evaluate", tmp_path / "nothing", "--model", tmp_path) as process:
        out, err = process.communicate(timeout=_LIMIT_SECONDS)
    assert process.returncode != 0
    assert out == ""
    said = [line for line in err.splitlines() if line.startswith("videomae: ")]
    assert len(said) == 1, err
    assert f"{tmp_path / 'nothing'}" in said[0]
