"""Runs that are killed at moments nobody chose, in the middle of a save too, end as if nothing had been."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import Recorder, losses, read_metrics, stop_after, tiny_finetune_recipe, tiny_pretrain_recipe

from videomae.core.errors import InputError
from videomae.recipes.pretrain import PretrainRecipe
from videomae.training.finetune import finetune
from videomae.training.pretrain import pretrain
from videomae.training.states import RunStates
from videomae.training.trainer import TrainingStopped
from videomae.weights.files import read_weights

# Lines of several steps, saves after every step, an average, accumulation, and a last batch that is smaller.
RECIPE: dict[str, Any] = {
    "batch_size": 4,
    "accumulation": 2,
    "epochs": 4,
    "log_every": 3,
    "save_minutes": 1e-9,
    "ema_decay": 0.9,
}

_NUM_KILLS = 10


def _assert_equal_runs(first: Path, second: Path) -> None:
    """Each step once, the same losses, and the same weights, to the bit."""
    for split in ("train", "val"):
        assert [(line["step"], line["loss"]) for line in read_metrics(first, split)] == [
            (line["step"], line["loss"]) for line in read_metrics(second, split)
        ]
    before, after = read_weights(first), read_weights(second)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    states = [RunStates(folder / "state").load() for folder in (first, second)]
    assert states[0] is not None
    assert states[1] is not None
    for kind in ("model", "average", "optimizer"):
        torch.testing.assert_close(states[0][kind], states[1][kind], rtol=0, atol=0)


def _pretrain(data: Path, output: Path, recipe: PretrainRecipe) -> None:
    torch.set_num_threads(1)
    pretrain(data, output, recipe)


def test_kills_at_random_moments(colors: Path, tmp_path: Path) -> None:
    """The number of workers changes from one attempt to the next."""
    pretrain(colors, tmp_path / "whole", tiny_pretrain_recipe(**RECIPE))
    metrics = tmp_path / "killed" / "metrics.jsonl"
    draws = random.Random(int.from_bytes(os.urandom(4)))
    context = multiprocessing.get_context("fork")
    num_kills = 0
    for attempt in range(_NUM_KILLS + 1):
        recipe = tiny_pretrain_recipe(**RECIPE, num_workers=attempt % 2)
        process = context.Process(target=_pretrain, args=(colors, tmp_path / "killed", recipe))
        process.start()
        # The first dies before its first step, the others some time after a line more; the last one may finish.
        size = metrics.stat().st_size if metrics.exists() else 0
        while 0 < attempt < _NUM_KILLS and process.is_alive():
            if metrics.exists() and metrics.stat().st_size > size:
                break
            time.sleep(0.001)
        process.join(0.1 * draws.random() if attempt < _NUM_KILLS else None)
        if process.exitcode is None:
            process.kill()
            process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        num_kills += 1
    assert process.exitcode == 0
    assert num_kills
    _assert_equal_runs(tmp_path / "whole", tmp_path / "killed")
    assert len(RunStates(tmp_path / "killed" / "state").paths()) == 2


def _die_at_byte(save: Any, number: int) -> Any:
    """A `torch.save` that dies in the `number`-th call, with half a file written."""
    calls = []

    def dying(state: Any, path: Path) -> None:
        calls.append(path)
        save(state, path)
        if len(calls) == number:
            os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    return dying


@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_kill_in_the_middle_of_a_save(
    colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    recipe = tiny_pretrain_recipe(**{**RECIPE, "epochs": 2})
    pretrain(colors, tmp_path / "whole", recipe)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", _die_at_byte(torch.save, number))
        process = multiprocessing.get_context("fork").Process(
            target=_pretrain, args=(colors, tmp_path / "killed", recipe)
        )
        process.start()
        process.join()
    assert process.exitcode == -signal.SIGKILL
    assert list((tmp_path / "killed" / "state").glob(".step-*.pt"))
    monitor = Recorder()
    pretrain(colors, tmp_path / "killed", recipe, monitor=monitor)
    assert any(note.startswith("resuming at step") for note in monitor.notes) == (number > 1)
    _assert_equal_runs(tmp_path / "whole", tmp_path / "killed")


def test_a_damaged_newest_state_costs_one_save(colors: Path, tmp_path: Path) -> None:
    recipe = tiny_pretrain_recipe(**{**RECIPE, "epochs": 2})
    pretrain(colors, tmp_path / "whole", recipe)
    pretrain(colors, tmp_path / "damaged", recipe)
    newest = RunStates(tmp_path / "damaged" / "state").paths()[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    monitor = Recorder()
    result = pretrain(colors, tmp_path / "damaged", recipe, monitor=monitor)
    assert not result.was_finished
    assert any("is damaged; going on from the state before it" in note for note in monitor.notes)
    _assert_equal_runs(tmp_path / "whole", tmp_path / "damaged")


def test_an_interrupt_while_an_epoch_is_judged_does_not_wait(colors: Path, tmp_path: Path) -> None:
    recipe = tiny_finetune_recipe()
    finetune(colors, tmp_path / "whole", recipe, init="scratch")

    class Impatient(Recorder):
        num_judged = 0

        def advance_part(self) -> None:
            self.num_judged += 1
            if self.num_judged == 8:  # the second video of the second epoch's six
                os.kill(os.getpid(), signal.SIGINT)

    monitor = Impatient()
    with pytest.raises(TrainingStopped) as stopped:
        finetune(colors, tmp_path / "stopped", recipe, init="scratch", monitor=monitor)
    assert (stopped.value.step, monitor.num_judged) == (6, 8)
    assert len(read_metrics(tmp_path / "stopped", "val")) == 1
    finetune(colors, tmp_path / "stopped", recipe, init="scratch")
    assert read_weights(tmp_path / "stopped").keys() == read_weights(tmp_path / "whole").keys()
    for split in ("train", "val"):
        assert losses(tmp_path / "stopped", split) == losses(tmp_path / "whole", split)
    first, second = read_weights(tmp_path / "whole"), read_weights(tmp_path / "stopped")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_second_process_on_the_same_folder_is_refused(colors: Path, tmp_path: Path) -> None:
    recipe = tiny_pretrain_recipe(epochs=200)
    process = multiprocessing.get_context("fork").Process(target=_pretrain, args=(colors, tmp_path, recipe))
    process.start()
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "metrics.jsonl").exists() or not (tmp_path / "metrics.jsonl").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with pytest.raises(InputError, match=f"another process is at work \\(process {process.pid} on"):
            pretrain(colors, tmp_path, recipe)
    finally:
        process.kill()
        process.join()
    assert json.loads((tmp_path / "recipe.json").read_text())["recipe"]["epochs"] == 200


def test_a_state_of_an_older_version_is_resumed(colors: Path, tmp_path: Path) -> None:
    """Its step, epochs, best epoch and unreadable videos had no part of their own."""
    recipe = tiny_finetune_recipe(ema_decay=0.9)
    finetune(colors, tmp_path / "whole", recipe, init="scratch")
    with pytest.raises(TrainingStopped):
        finetune(colors, tmp_path / "old", recipe, init="scratch", monitor=stop_after(4))
    states = RunStates(tmp_path / "old" / "state")
    state = states.load()
    assert state is not None
    progress, best, unreadable = (state.pop(name) for name in ("progress", "best", "unreadable"))
    assert best["best_epoch"] == 1
    old = {"num_judged": progress["num_ended_epochs"], "extra": best}
    states.save({**state, **old, "broken": unreadable["reasons"], "lethal": unreadable["lethal"]})

    monitor = Recorder()
    result = finetune(colors, tmp_path / "old", recipe, init="scratch", monitor=monitor)

    assert monitor.notes[0] == "resuming at step 4/9"
    assert result.best_top1 is not None
    for split in ("train", "val"):
        assert losses(tmp_path / "old", split) == losses(tmp_path / "whole", split)
    first, second = read_weights(tmp_path / "whole"), read_weights(tmp_path / "old")
    assert all(torch.equal(first[name], second[name]) for name in first)
