"""The loop: order, interruption, going on, broken videos, losses that are no numbers."""

from __future__ import annotations

import copy
import dataclasses
import errno
import os
import signal
import time
from collections.abc import Container
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import (
    CLASSES,
    CLIP_WORDS,
    SPEED_WORDS,
    Commands,
    Recorder,
    losses,
    read_metrics,
    start_command,
    stop_after,
    tiny_finetune_recipe,
    tiny_pretrain_recipe,
    write_clip,
    write_data_set,
)

from videomae.core.errors import ConfigError, InputError, VideoError
from videomae.training.finetune import finetune
from videomae.training.pretrain import PretrainResult, pretrain
from videomae.training.run_folder import RunFolder
from videomae.training.states import RunStates
from videomae.training.trainer import Trainer, TrainingStopped
from videomae.weights.files import read_weights

CONTRACT = ("step", "epoch", "split", "loss", "learning_rate", "clips_per_second", "data_wait_share")
FIELDS = (*CONTRACT, "seconds", "skipped_steps", "memory_gib")


def _assert_equal_runs(first: Path, second: Path) -> None:
    """Same losses at the same steps, and the same weights, to the bit."""
    assert losses(first) == losses(second)
    assert [line["step"] for line in read_metrics(first)] == [line["step"] for line in read_metrics(second)]
    before, after = read_weights(first), read_weights(second)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_metrics_have_the_fields_of_the_contract(pretrained: PretrainResult) -> None:
    lines = read_metrics(pretrained.folder)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert [line["epoch"] for line in lines] == [1, 1, 1, 2, 2, 2]
    for line in lines:
        assert tuple(sorted(line)) == tuple(sorted(FIELDS))
        assert line["clips_per_second"] > 0
        assert 0 <= line["data_wait_share"] <= 1
    peak = 1.5e-3 * 6 / 256  # of the recipe, for 256 clips
    # The warm-up of half an epoch of three steps, rounded to two, starts at the original code's 1e-6 for 256 clips.
    assert lines[0]["learning_rate"] == pytest.approx(1e-6 * 6 / 256)
    assert lines[2]["learning_rate"] == pytest.approx(peak)
    assert lines[3]["learning_rate"] < peak


def test_the_same_seed_gives_the_same_losses(colors: Path, pretrained: PretrainResult, tmp_path: Path) -> None:
    pretrain(colors, tmp_path / "again", tiny_pretrain_recipe())
    _assert_equal_runs(pretrained.folder, tmp_path / "again")


def test_the_number_of_workers_changes_nothing(colors: Path, pretrained: PretrainResult, tmp_path: Path) -> None:
    pretrain(colors, tmp_path / "workers", tiny_pretrain_recipe(num_workers=2))
    _assert_equal_runs(pretrained.folder, tmp_path / "workers")


def test_another_seed_gives_other_losses(colors: Path, pretrained: PretrainResult, tmp_path: Path) -> None:
    pretrain(colors, tmp_path / "other", tiny_pretrain_recipe(seed=1))
    assert losses(tmp_path / "other") != losses(pretrained.folder)


# Steps 1 and 2 are before the first save of an epoch, 3 is an epoch's end, 5 is in the middle of the second.
@pytest.mark.parametrize(
    ("step", "number"), [(1, signal.SIGINT), (3, signal.SIGINT), (5, signal.SIGINT), (2, signal.SIGTERM)]
)
def test_a_stopped_run_goes_on_as_if_nothing_had_been(
    colors: Path, pretrained: PretrainResult, tmp_path: Path, step: int, number: signal.Signals
) -> None:
    before = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)}
    monitor = stop_after(step, number)
    with pytest.raises(TrainingStopped) as stopped:
        pretrain(colors, tmp_path, tiny_pretrain_recipe(), monitor=monitor)
    assert (stopped.value.step, stopped.value.total_steps, stopped.value.folder) == (step, 6, tmp_path)
    assert len(monitor.reports) == step
    assert monitor.finished  # however often
    assert {kind: signal.getsignal(kind) for kind in before} == before

    monitor = Recorder()
    result = pretrain(colors, tmp_path, tiny_pretrain_recipe(), monitor=monitor)
    assert monitor.reports[0].step == step + 1
    assert f"resuming at step {step}/6" in monitor.notes
    assert (result.steps, result.was_finished) == (6, False)
    _assert_equal_runs(pretrained.folder, tmp_path)


def test_a_second_interrupt_acts_at_once(colors: Path, tmp_path: Path) -> None:
    def interrupt_twice(_: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        pretrain(colors, tmp_path, tiny_pretrain_recipe(), monitor=Recorder(interrupt_twice))


def test_an_interrupt_in_the_last_step_lets_the_run_finish(colors: Path, tmp_path: Path) -> None:
    result = pretrain(colors, tmp_path, tiny_pretrain_recipe(), monitor=stop_after(6))
    assert result.steps == 6
    assert (tmp_path / "report.html").exists()


def test_a_finished_run_repeats_as_a_no_op(colors: Path, tmp_path: Path) -> None:
    pretrain(colors, tmp_path, tiny_pretrain_recipe())
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.suffix in (".safetensors", ".pt")}
    before = losses(tmp_path)
    monitor = Recorder()
    result = pretrain(colors, tmp_path, tiny_pretrain_recipe(), monitor=monitor)
    assert (result.was_finished, result.steps, result.num_videos) == (True, 6, 18)
    assert result.loss == before[-1]
    assert monitor.reports == []
    assert losses(tmp_path) == before
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_a_run_killed_before_its_report_gets_it_when_repeated(colors: Path, tmp_path: Path) -> None:
    pretrain(colors, tmp_path, tiny_pretrain_recipe())
    (tmp_path / "report.html").unlink()
    assert pretrain(colors, tmp_path, tiny_pretrain_recipe()).was_finished
    assert (tmp_path / "report.html").exists()


def test_a_full_disk_at_a_save_loses_nothing_that_was_saved(
    colors: Path, pretrained: PretrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = torch.save, []

    def full_at_second(state: Any, path: Path) -> None:
        calls.append(path)
        if len(calls) == 2:
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        real(state, path)

    monkeypatch.setattr(torch, "save", full_at_second)
    with pytest.raises(InputError, match="No space left on device"):
        pretrain(colors, tmp_path, tiny_pretrain_recipe())
    state = RunFolder(tmp_path, _description(tmp_path)).states.load()
    assert state is not None
    assert state["step"] == 3
    pretrain(colors, tmp_path, tiny_pretrain_recipe())
    _assert_equal_runs(pretrained.folder, tmp_path)


def _description(folder: Path) -> dict[str, Any]:
    import json

    description: dict[str, Any] = json.loads((folder / "recipe.json").read_text())
    return description


# --- losses ------------------------------------------------------------------------------------------------------


def _spoil(monkeypatch: pytest.MonkeyPatch, steps: Container[int], value: float, *, gradient: bool = False) -> None:
    """Let the loss of these steps (from 0), or only its gradient, not be finite."""
    real = Trainer.forward_backward

    def spoilt(trainer: Trainer, *arguments: Any) -> Any:
        total, weight = real(trainer, *arguments)
        if trainer.step in steps:
            if not gradient:
                return torch.full_like(total, value), weight
            parameter = next(p for p in trainer.model.parameters() if p.grad is not None)
            parameter.grad.flatten()[0] = value
        return total, weight

    monkeypatch.setattr(Trainer, "forward_backward", spoilt)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("gradient", [False, True])
def test_a_step_that_is_not_finite_is_skipped_and_counted(
    colors: Path,
    pretrained: PretrainResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    value: float,
    gradient: bool,
) -> None:
    _spoil(monkeypatch, {1, 5}, value, gradient=gradient)
    monitor = Recorder()
    result = pretrain(colors, tmp_path, tiny_pretrain_recipe(), monitor=monitor)
    lines, others = read_metrics(tmp_path), read_metrics(pretrained.folder)
    assert [line["skipped_steps"] for line in lines] == [0, 1, 1, 1, 1, 2]
    assert [line["loss"] is None for line in lines] == [False, True, False, False, False, True]
    assert lines[0]["loss"] == others[0]["loss"]
    assert lines[2]["loss"] != others[2]["loss"]
    assert (result.steps, result.skipped_steps) == (6, 2)
    assert "steps whose loss or gradient was not finite" in (tmp_path / "report.html").read_text()
    notes = [note for note in monitor.notes if note.startswith("skipped step")]
    assert [note.split(":")[0] for note in notes] == ["skipped step 2", "skipped step 6"]
    assert notes[0].count(".mp4") == 6
    assert all(tensor.isfinite().all() for tensor in read_weights(tmp_path).values())


def test_a_skipped_step_changes_nothing(colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[Any] = []
    real = Trainer.take_step

    def take_step(trainer: Trainer, *arguments: Any) -> Any:
        outcome = real(trainer, *arguments)
        states.append(copy.deepcopy([trainer.model.state_dict(), trainer.optimizer.state_dict()["state"]]))
        return outcome

    monkeypatch.setattr(Trainer, "take_step", take_step)
    _spoil(monkeypatch, {2}, float("nan"), gradient=True)
    pretrain(colors, tmp_path, tiny_pretrain_recipe(epochs=2))
    torch.testing.assert_close(states[2], states[1], rtol=0, atol=0)
    assert not torch.equal(states[3][0]["mask_token"], states[2][0]["mask_token"])


def test_many_skipped_steps_in_a_row_stop_the_run_in_one_line(
    colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _spoil(monkeypatch, {1, 3, 4, 5}, float("nan"))
    with pytest.raises(ConfigError) as caught:
        pretrain(colors, tmp_path, tiny_pretrain_recipe(max_skipped_in_a_row=3, epochs=3))
    said = str(caught.value)
    assert said.startswith("3 steps in a row up to step 6 with a loss or gradient that is not finite, the last of ")
    assert said.count(".mp4") == 6
    assert "lower --learning-rate" in said
    state = RunFolder(tmp_path, _description(tmp_path)).states.load()
    assert state is not None
    assert state["step"] == 3
    assert state["meter"]["skipped"] == 1


def test_a_run_that_diverges_ends_in_one_line(colors: Path, tmp_path: Path) -> None:
    recipe = tiny_pretrain_recipe(
        learning_rate=1e30, epochs=4, warmup_epochs=0.0, weight_decay=0.0, max_skipped_in_a_row=4
    )
    with pytest.raises(ConfigError, match="4 steps in a row"):
        pretrain(colors, tmp_path, recipe)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_other_precisions_train(colors: Path, tmp_path: Path, precision: str) -> None:
    result = pretrain(colors, tmp_path, tiny_pretrain_recipe(precision=precision, epochs=1))
    assert result.loss is not None
    assert all(tensor.dtype == torch.float32 for tensor in read_weights(tmp_path).values())


@pytest.mark.parametrize("accumulation", [2, 6])
@pytest.mark.parametrize("changes", [{}, {"decoder_mask_ratio": 0.5}, {"views": 2, "clip_grad": 0.5}])
def test_accumulation_equals_the_whole_batch(
    colors: Path, tmp_path: Path, accumulation: int, changes: dict[str, Any]
) -> None:
    # 18 clips in batches of 12: the last batch of an epoch has 6.
    recipe = tiny_pretrain_recipe(batch_size=12, epochs=2, **changes)
    pretrain(colors, tmp_path / "whole", recipe)
    pretrain(colors, tmp_path / "parts", dataclasses.replace(recipe, accumulation=accumulation))
    _assert_close_runs(tmp_path / "whole", tmp_path / "parts")


def test_accumulation_with_broken_videos_and_uneven_parts(tmp_path: Path) -> None:
    data = _with_broken(tmp_path / "data", num_whole=9, num_broken=3)
    recipe = tiny_pretrain_recipe(batch_size=8, epochs=3, decoder_mask_ratio=0.5, max_broken=0.5)
    pretrain(data, tmp_path / "whole", recipe)
    pretrain(data, tmp_path / "parts", dataclasses.replace(recipe, accumulation=4))
    _assert_close_runs(tmp_path / "whole", tmp_path / "parts")


def test_accumulation_of_a_classifier_equals_the_whole_batch(colors: Path, tmp_path: Path) -> None:
    recipe = tiny_finetune_recipe(batch_size=4, epochs=2, views=2, label_smoothing=0.1)
    finetune(colors, tmp_path / "whole", recipe, init="scratch")
    finetune(colors, tmp_path / "parts", dataclasses.replace(recipe, accumulation=2), init="scratch")
    _assert_close_runs(tmp_path / "whole", tmp_path / "parts")


def test_an_accumulation_that_does_not_divide_is_refused(colors: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="accumulation=4"):
        pretrain(colors, tmp_path, tiny_pretrain_recipe(accumulation=4))


def _assert_close_runs(first: Path, second: Path) -> None:
    """Same losses and weights, up to the order in which numbers are summed."""
    assert losses(second) == pytest.approx(losses(first), rel=1e-5)
    before, after = read_weights(first), read_weights(second)
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=1e-3, atol=2e-5, msg=name)


# --- broken videos -----------------------------------------------------------------------------------------------


def _with_broken(folder: Path, *, num_whole: int, num_broken: int) -> Path:
    folder.mkdir()
    for number in range(num_whole):
        write_clip(folder / f"whole_{number}.mp4", CLASSES["red"], phase=number)
    for number in range(num_broken):
        (folder / f"broken_{number}.mp4").write_text("no video")
    return folder


def test_broken_videos_are_named_once_and_left_out(tmp_path: Path) -> None:
    data = _with_broken(tmp_path / "data", num_whole=4, num_broken=1)
    monitor = Recorder()
    result = pretrain(data, tmp_path / "run", tiny_pretrain_recipe(batch_size=2, epochs=3), monitor=monitor)
    assert (result.num_videos, result.num_broken) == (4, 1)
    named = [note for note in monitor.notes if "broken_0.mp4" in note]
    assert len(named) == 1
    assert named[0].startswith("skipping unreadable video: ")
    assert "broken_0.mp4" in (tmp_path / "run" / "report.html").read_text()


def test_a_batch_of_broken_videos_alone_is_a_step_without_loss(tmp_path: Path) -> None:
    data = _with_broken(tmp_path / "data", num_whole=2, num_broken=1)
    result = pretrain(data, tmp_path / "run", tiny_pretrain_recipe(batch_size=1, epochs=2))
    lines = read_metrics(tmp_path / "run")
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert sum(line["loss"] is None for line in lines) == 2
    assert result.num_broken == 1
    assert (tmp_path / "run" / "report.html").exists()


def test_more_broken_videos_than_allowed_stop_the_run(tmp_path: Path) -> None:
    data = _with_broken(tmp_path / "data", num_whole=7, num_broken=3)
    monitor = Recorder()
    with pytest.raises(VideoError) as caught:
        pretrain(data, tmp_path / "run", tiny_pretrain_recipe(max_broken=0.2), monitor=monitor)
    assert "3 of 10 videos cannot be read" in str(caught.value)
    assert "at most 2 (max_broken=0.2)" in str(caught.value)
    assert sum("broken_" in note for note in monitor.notes) == 3


def test_no_broken_video_is_allowed_where_the_share_is_zero(tmp_path: Path) -> None:
    data = _with_broken(tmp_path / "data", num_whole=4, num_broken=1)
    with pytest.raises(VideoError, match=r"at most 0 \(max_broken=0"):
        pretrain(data, tmp_path / "run", tiny_pretrain_recipe(max_broken=0.0))


def test_videos_that_are_all_broken_stop_the_run_whatever_is_allowed(tmp_path: Path) -> None:
    data = _with_broken(tmp_path / "data", num_whole=0, num_broken=2)
    with pytest.raises(VideoError, match="2 of 2 videos cannot be read"):
        pretrain(data, tmp_path / "run", tiny_pretrain_recipe(max_broken=1.0))


def test_broken_videos_are_remembered_over_an_interruption(tmp_path: Path) -> None:
    data = _with_broken(tmp_path / "data", num_whole=4, num_broken=1)
    recipe = tiny_pretrain_recipe(batch_size=1, epochs=2)
    with pytest.raises(TrainingStopped):
        pretrain(data, tmp_path / "run", recipe, monitor=stop_after(5))
    monitor = Recorder()
    assert pretrain(data, tmp_path / "run", recipe, monitor=monitor).num_broken == 1
    assert not any("broken_0" in note for note in monitor.notes)


# --- real processes ----------------------------------------------------------------------------------------------


def _saved_step(folder: Path) -> int:
    state = RunStates(folder / "state").load()
    return 0 if state is None else int(state["step"])


def _wait_for_lines(folder: Path, number: int, process: Any) -> None:
    """Until metrics.jsonl has `number` lines."""
    deadline = time.monotonic() + 120
    path = folder / "metrics.jsonl"
    while not path.exists() or len(path.read_text().splitlines()) < number:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_real_processes_that_are_stopped_and_killed(tmp_path: Path, commands: Commands) -> None:
    """Ctrl-C, SIGTERM and SIGKILL at moments that nobody chose; then the command runs to its end, in this process."""
    data = write_data_set(tmp_path / "data", per_class=4)
    settings = [*CLIP_WORDS, *SPEED_WORDS, "--epochs", "30", "--batch-size", "4", "--warmup-epochs", "2"]
    output = tmp_path / "run"
    words = ["pretrain", data, "--output", output, *settings]
    saved = 0
    # Both signals go to the whole group, workers included: so does a terminal's Ctrl-C, so does a scheduler's SIGTERM.
    for number in (signal.SIGINT, signal.SIGTERM):
        process = start_command(*words, "--num-workers", "2")
        _wait_for_lines(output, saved + 4, process)
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        assert out == ""
        assert "Traceback" not in err
        assert saved == 0 or f"resuming at step {saved}/90" in err
        saved = _saved_step(output)
        assert f"stopped at step {saved}/90; its state is saved in {output}." in err
        assert f"To resume, repeat the command:\n  videomae pretrain {data} --output {output} " in err

    process = start_command(*words)
    _wait_for_lines(output, saved + 5, process)
    time.sleep(0.05 * torch.rand(()).item())
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL

    assert commands(*words) == 0
    assert [line["step"] for line in read_metrics(output)] == list(range(1, 91))
    assert commands("pretrain", data, "--output", tmp_path / "whole", *settings) == 0
    _assert_equal_runs(output, tmp_path / "whole")
