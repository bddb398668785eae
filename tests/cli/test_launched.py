"""Commands as a launcher starts them, several times at once: what one process would say, said once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_runs import CLIP_WORDS, SPEED_WORDS, Commands, command_environment, losses, read_metrics

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
    colors: Path, finetuned: FinetuneResult, commands: Commands, tmp_path: Path
) -> None:
    words = ("evaluate", colors / "val", "--model", finetuned.folder, "--clips", "2", "--crops", "1")
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


def _pretrain_words(data: Path, output: Path) -> tuple[object, ...]:
    recipe = ("--epochs", "10", "--batch-size", "6", "--mask-ratio", "0.75")
    return ("pretrain", data, "--output", output, *recipe, *CLIP_WORDS, *SPEED_WORDS)


def test_a_stopped_launch_is_ended_by_one_process(colors: Path, commands: Commands, tmp_path: Path) -> None:
    metrics = tmp_path / "two" / "metrics.jsonl"
    with _launched(*_pretrain_words(colors, tmp_path / "two")) as process:
        while process.poll() is None and not (metrics.exists() and metrics.read_text().count("\n") >= 2):
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=_LIMIT_SECONDS)
    assert err.count("To resume, repeat the command:") == 1, err
    _, _, after = err.partition("To resume, repeat the command:\n")
    again = after.splitlines()[0]
    assert "torch.distributed.run --standalone --nproc-per-node 2" in again
    assert err.count("stopped at step") == 1
    num_taken = len(losses(tmp_path / "two"))
    assert 2 <= num_taken < 30

    pasted = subprocess.run(
        again, shell=True, env=command_environment(), capture_output=True, text=True, timeout=_LIMIT_SECONDS
    )
    assert pasted.returncode == 0, pasted.stderr
    assert pasted.stderr.count(f"resuming at step {num_taken}/30") == 1
    assert commands(*_pretrain_words(colors, tmp_path / "one")) == 0, commands.err
    assert [line["step"] for line in read_metrics(tmp_path / "two")] == list(range(1, 31))
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-5)
