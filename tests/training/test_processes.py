"""Training by several processes is the training by one: same losses, same files, whoever goes on with it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from several_processes import run_in_processes
from small_runs import (
    CLASSES,
    Recorder,
    losses,
    read_metrics,
    tiny_finetune_recipe,
    tiny_pretrain_recipe,
    write_clip,
    write_data_set,
)

from videomae.checkpoint import load_checkpoint
from videomae.core.errors import ConfigError
from videomae.training.finetune import finetune
from videomae.training.pretrain import pretrain
from videomae.training.trainer import TrainingStopped
from videomae.weights.files import read_weights

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """11 clips, of which one is broken: with batches of 4 the last one has 3, with batches of 10 a single one."""
    folder = tmp_path_factory.mktemp("uneven")
    write_data_set(folder, per_class=5, classes=("blue", "green"))
    (folder / "green" / "broken.mp4").write_text("no video")
    return folder


def _pretrain(*arguments: Any, **changes: Any) -> Any:
    return pretrain(*arguments, tiny_pretrain_recipe(max_broken=0.2, **changes))


@pytest.fixture(scope="module")
def alone(uneven: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process."""
    return _pretrain(uneven, tmp_path_factory.mktemp("alone"), batch_size=4).folder


def _finetune(data: Path, output: Path, init: str, **changes: Any) -> Any:
    return finetune(data, output, tiny_finetune_recipe(max_broken=0.2, **changes), init=init)


def _call(function: Callable[..., Any], arguments: tuple[Any, ...], changes: dict[str, Any]) -> Any:
    return function(*arguments, **changes)


def _in_two(function: Callable[..., Any], *arguments: Any, **changes: Any) -> list[Any]:
    return run_in_processes(_call, function, arguments, changes)


def _assert_alike(first: Path, second: Path, *, tolerance: float = TOLERANCE) -> None:
    """Same lines of metrics but for the time, same weights, within float error."""
    lines, others = read_metrics(first, None), read_metrics(second, None)
    assert [(line["step"], line["split"]) for line in lines] == [(line["step"], line["split"]) for line in others]
    for line, other in zip(lines, others, strict=True):
        for name in ("loss", "learning_rate", "top1"):
            assert other.get(name) == pytest.approx(line.get(name), abs=tolerance, nan_ok=True), (line, other)
        assert bool(other["clips_per_second"]) == bool(line["clips_per_second"])  # of all processes
    before, after = read_weights(first), read_weights(second)
    assert before.keys() == after.keys()
    for name in before:
        # AdamW divides by what a gradient usually is: where it is all but zero, its rounding error steps along.
        assert (after[name] - before[name]).abs().max() <= 1e-4, name


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 10, "epochs": 1, "views": 2, "decoder_mask_ratio": 0.5, "num_workers": 1},
        {"batch_size": 40},  # more than there are: all 11 clips in each step, 5 and 6 of them
        {"batch_size": 4, "epochs": 1, "accumulation": 2, "mask": "random", "clip_grad": 0.02},
    ],
)
def test_pretraining_by_two_is_pretraining_by_one(uneven: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    alone = _pretrain(uneven, tmp_path / "one", **{**changes, "accumulation": 1})
    for result in _in_two(_pretrain, uneven, tmp_path / "two", **changes):
        assert (result.steps, result.num_videos, result.num_broken) == (alone.steps, 10, 1)
        assert result.loss == pytest.approx(alone.loss, abs=TOLERANCE)
        assert list(result.broken) == list(alone.broken)
    _assert_alike(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two" / "report.html").exists()


@pytest.mark.parametrize(
    "changes",
    [{"batch_size": 4, "rand_augment": "rand-m7-n4-mstd0.5-inc1", "augment_on": "device"}, {"batch_size": 10}],
)
def test_finetuning_by_two_is_finetuning_by_one(uneven: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    changes = {"epochs": 2, "learning_rate": 1e-2, **changes}
    data = tmp_path / "data"
    data.mkdir()
    (data / "train").symlink_to(uneven)
    (data / "val").mkdir()
    write_data_set(data / "val", per_class=2, classes=("blue", "green"))
    write_clip(data / "val" / "blue" / "one_more.mp4", CLASSES["blue"], phase=9.0)
    alone = _finetune(data, tmp_path / "one", "scratch", **changes)
    for result in _in_two(_finetune, data, tmp_path / "two", "scratch", **changes):
        assert (result.best_epoch, result.best_top1) == (alone.best_epoch, alone.best_top1)
        assert result.num_broken == 1
    _assert_alike(tmp_path / "one", tmp_path / "two")
    assert len(read_metrics(tmp_path / "two", "val")) == 2


@pytest.mark.parametrize("changes", [{"clip_grad": 0.02}, {"accumulation": 2, "gradient_checkpointing": True}])
def test_sharded_training_is_training_by_one(uneven: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    changes = {"batch_size": 4, "epochs": 1, "ema_decay": 0.5, **changes}
    _pretrain(uneven, tmp_path / "one", **{**changes, "accumulation": 1})
    _in_two(_pretrain, uneven, tmp_path / "sharded", sharding="full", **changes)
    _assert_alike(tmp_path / "one", tmp_path / "sharded")
    # Anyone can load it, under the class' own name.
    assert type(load_checkpoint(tmp_path / "sharded")).__name__ == "VideoMAEForPreTraining"


def test_sharded_finetuning_judges_uneven_shares(uneven: Path, colors: Path, tmp_path: Path) -> None:
    alone = _finetune(colors, tmp_path / "one", "scratch", epochs=1)
    for result in _in_two(_finetune, colors, tmp_path / "two", "scratch", epochs=1, sharding="full"):
        assert result.best_top1 == alone.best_top1
    _assert_alike(tmp_path / "one", tmp_path / "two")


class _StopAt(Recorder):
    """Sends this process a signal after a step, as a cluster would that wants its machine back."""

    def __init__(self, step: int) -> None:
        super().__init__(lambda report: os.kill(os.getpid(), signal.SIGTERM) if report.step == step else None)


def _stop_after_two(data: Path, output: Path, sharding: str, **changes: Any) -> Any:
    recipe = tiny_pretrain_recipe(max_broken=0.2, batch_size=4, sharding=sharding, **changes)
    try:
        pretrain(data, output, recipe, monitor=_StopAt(2))
    except TrainingStopped as stopped:
        return stopped.step
    return None


@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2)])
@pytest.mark.parametrize("sharding", ["none", "full"])
def test_a_run_goes_on_with_another_number_of_processes(
    uneven: Path, alone: Path, tmp_path: Path, first: int, then: int, sharding: str
) -> None:
    # Only the main process is told to stop: the other one stops at the same step.
    arguments = (uneven, tmp_path / "other", sharding)
    stopped = run_in_processes(_stop_after_two, *arguments) if first == 2 else [_stop_after_two(*arguments)]
    assert stopped == [2] * first
    assert [line["step"] for line in read_metrics(tmp_path / "other")] == [1, 2]
    arguments, changes = (uneven, tmp_path / "other"), {"batch_size": 4, "sharding": sharding}
    _in_two(_pretrain, *arguments, **changes) if then == 2 else _pretrain(*arguments, **changes)
    assert len(losses(tmp_path / "other")) == 6
    _assert_alike(alone, tmp_path / "other")


@pytest.mark.parametrize(("first", "then"), [("none", "full"), ("full", "none")])
def test_a_run_goes_on_with_another_sharding(uneven: Path, tmp_path: Path, first: str, then: str) -> None:
    changes = {"epochs": 1, "ema_decay": 0.5}
    _pretrain(uneven, tmp_path / "one", batch_size=4, **changes)
    changes["accumulation"] = 2
    assert _in_two(_stop_after_two, uneven, tmp_path / "other", first, **changes) == [2, 2]
    _in_two(_pretrain, uneven, tmp_path / "other", batch_size=4, sharding=then, **changes)
    assert len(losses(tmp_path / "other")) == 3
    _assert_alike(tmp_path / "one", tmp_path / "other")


def test_a_batch_that_the_processes_cannot_share_evenly_is_refused_by_all(uneven: Path, tmp_path: Path) -> None:
    for error in _in_two(_pretrain, uneven, tmp_path / "run", batch_size=5):
        assert isinstance(error, ConfigError)
        assert "batch_size=5 and 2 processes" in str(error)


def test_sharding_with_fp16_is_refused(uneven: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sharding=.full.: expected none with --precision fp16"):
        _pretrain(uneven, tmp_path / "run", sharding="full", precision="fp16")
