"""Memory that runs out in training is one line, and the run resumes with less; the largest batch that fits is found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from several_processes import run_in_processes
from small_runs import CLIP_WORDS, SPEED_WORDS, Recorder, losses, tiny_finetune_recipe, tiny_pretrain_recipe

from videomae.core.errors import ConfigError, InputError
from videomae.core.memory import OutOfMemory
from videomae.training import memory
from videomae.training.finetune import finetune
from videomae.training.memory import largest_worthwhile_batch
from videomae.training.pretrain import pretrain
from videomae.training.tasks.pretraining import PretrainingTask

CUDA = "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 139.80 GiB"


def limit_clips(patch: pytest.MonkeyPatch, most: int, *, from_step: int = 0) -> None:
    """Let memory run out for more clips at once, from a step on."""
    loss = PretrainingTask.loss

    def limited(self: PretrainingTask, network: Any, micro_batch: Any) -> Any:
        if len(micro_batch.clips) > most and micro_batch.step >= from_step:
            raise torch.OutOfMemoryError(CUDA)
        return loss(self, network, micro_batch)

    patch.setattr(PretrainingTask, "loss", limited)


def test_a_run_out_of_memory_resumes_in_smaller_micro_batches(
    colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pretrain(colors, tmp_path / "whole", tiny_pretrain_recipe())

    with monkeypatch.context() as patch:
        limit_clips(patch, 3, from_step=4)
        with pytest.raises(OutOfMemory) as caught:
            pretrain(colors, tmp_path / "run", tiny_pretrain_recipe())
    assert caught.value.value.startswith(
        "a micro-batch of 6 clips (--batch-size 6), out of memory (2.50 GiB more asked"
    )
    assert caught.value.hint.startswith("--accumulation 2 takes the same steps in micro-batches of 3 clips")
    assert "--gradient-checkpointing" in caught.value.hint

    with monkeypatch.context() as patch:
        limit_clips(patch, 3, from_step=4)
        recipe, recorder = tiny_pretrain_recipe(accumulation=2, gradient_checkpointing=True), Recorder()
        pretrain(colors, tmp_path / "run", recipe, monitor=recorder)
    assert "resuming at step 3/6" in recorder.notes
    assert losses(tmp_path / "run") == pytest.approx(losses(whole.folder), rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "micro_batch", "hint"),
    [
        (
            {"batch_size": 6, "accumulation": 2},
            "3 clips",
            "--accumulation 6 takes the same steps in micro-batches of 1 clip",
        ),
        ({"batch_size": 6, "views": 2}, "6 clips × 2 views", "--accumulation 2 takes"),
        ({"batch_size": 1}, "1 clip", "--gradient-checkpointing needs"),
        ({"batch_size": 1, "gradient_checkpointing": True}, "1 clip", "lower --batch-size, or take smaller clips"),
    ],
)
def test_the_hint_is_one_that_works(
    changes: dict[str, Any],
    micro_batch: str,
    hint: str,
    colors: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit_clips(monkeypatch, 0)
    with pytest.raises(OutOfMemory) as caught:
        pretrain(colors, tmp_path / "run", tiny_pretrain_recipe(**changes))
    assert caught.value.value.startswith(f"a micro-batch of {micro_batch} (")
    assert caught.value.hint.startswith(hint)


def _pretrain_with_a_full_process(*arguments: Any) -> Any:
    if int(os.environ.get("RANK", "0")) or torch.distributed.get_rank():
        limit_clips(pytest.MonkeyPatch(), 0, from_step=1)
    return pretrain(*arguments, tiny_pretrain_recipe())


def test_no_process_waits_for_one_that_has_no_memory(colors: Path, tmp_path: Path) -> None:
    first, second = run_in_processes(_pretrain_with_a_full_process, colors, tmp_path / "run", limit_seconds=200)
    assert isinstance(second, OutOfMemory)
    assert second.value.startswith("a micro-batch of 3 clips")
    assert isinstance(first, InputError)
    assert first.value.startswith("process 1 of 2: a micro-batch of 3 clips")


# --- the largest batch -------------------------------------------------------------------------------------------


def test_no_batch_is_larger_than_an_epoch_of_some_steps_allows() -> None:
    found = {number: largest_worthwhile_batch(number) for number in (1, 5, 18, 100, 300, 1000, 4096, 10**6)}
    assert found == {1: 1, 5: 4, 18: 8, 100: 8, 300: 16, 1000: 32, 4096: 256, 10**6: 256}


def test_an_automatic_run_is_the_run_with_that_number(
    colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    found = pretrain(colors, tmp_path / "auto", tiny_pretrain_recipe(batch_size="auto"), monitor=recorder)
    given = pretrain(colors, tmp_path / "given", tiny_pretrain_recipe(batch_size=8))

    (note,) = [note for note in recorder.notes if note.startswith("batch size auto: ")]
    assert note.startswith("batch size auto: 8 clips (more is not taken for an epoch of 18 clips")
    assert losses(found.folder) == losses(given.folder)
    recipes = [json.loads((run.folder / "recipe.json").read_text()) for run in (found, given)]
    assert recipes[0]["recipe"] == recipes[1]["recipe"]
    assert recipes[0]["recipe"]["batch_size"] == 8

    # Resumed, it keeps its number, whatever is free.
    monkeypatch.setattr(memory, "available_bytes", lambda _: 0)
    again = pretrain(colors, tmp_path / "auto", tiny_pretrain_recipe(batch_size=-1))
    assert again.was_finished


def test_little_memory_makes_a_small_batch(colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda _: 0)
    recorder = Recorder()
    recipe = tiny_finetune_recipe(batch_size="auto", accumulation=2, epochs=1)
    finetune(colors, tmp_path / "run", recipe, init="scratch", monitor=recorder)
    (note,) = [note for note in recorder.notes if note.startswith("batch size auto: ")]
    assert note.startswith("batch size auto: 2 clips (the most that fits: each clip takes ")
    assert json.loads((tmp_path / "run/recipe.json").read_text())["recipe"]["batch_size"] == 2


def test_batches_that_are_sharded_are_not_tried(colors: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--batch-size auto with --sharding full"):
        pretrain(colors, tmp_path / "run", tiny_pretrain_recipe(batch_size="auto", sharding="full"))
    assert not (tmp_path / "run/recipe.json").exists()


@pytest.mark.parametrize(("per_clip", "free", "expected"), [(1.0, 40, 32), (1.0, 30, 16), (2.0, 30, 8), (9.0, 8, 1)])
def test_on_a_gpu_steps_grow_until_one_does_not_fit(
    per_clip: float, free: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU that has `free` GiB, of which a step takes so many for each clip; a tenth is left."""
    taken = 0.0
    tried = []

    def step(num_clips: int) -> None:
        nonlocal taken
        tried.append(num_clips)
        taken = per_clip * num_clips
        if taken > free and num_clips > 1:
            raise torch.OutOfMemoryError(CUDA)

    for name in ("empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 2**30)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda _: int(taken * 2**30))
    monkeypatch.setattr(memory, "available_bytes", lambda _: (free - 1) * 2**30)
    trial = object.__new__(memory._Trial)
    optimizer = SimpleNamespace(zero_grad=lambda **_: None)
    trial.trainer = SimpleNamespace(device=torch.device("cuda", 0), optimizer=optimizer)  # type: ignore[assignment]
    trial._exchange_bytes = 0
    monkeypatch.setattr(trial, "step", step)

    found, why = trial.on_cuda(256)

    assert found == expected
    assert tried == [2**n for n in range(len(tried))]
    assert f"{per_clip * expected:.1f} GiB of {free}.0 GiB" in why


_LIMITED = """
import resource, sys
from videomae.cli.main import main
import psutil, videomae.api.training
limit = psutil.Process().memory_info().vms + 150 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_AS holds on Linux")
def test_memory_that_really_runs_out_is_one_line(colors: Path, tmp_path: Path) -> None:
    words = ["pretrain", str(colors), "--output", str(tmp_path / "run"), *CLIP_WORDS, *SPEED_WORDS]
    words += ["--image-size", "64", "--epochs", "1", "--batch-size", "16", "--views", "16", "--mask-ratio", "0.5"]
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [text for text in done.stderr.splitlines() if text.startswith("videomae:")]
    assert "a micro-batch of 16 clips × 16 views (--batch-size 16), out of memory (" in line
    assert "--accumulation 2 takes the same steps" in line
