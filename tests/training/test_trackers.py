"""Trackers get the numbers of metrics.jsonl and the recipe, stay out of the way, and never end a run."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
from small_runs import Commands, Recorder, read_metrics, run_python, tiny_finetune_recipe, tiny_pretrain_recipe

from videomae.core.errors import ConfigError
from videomae.recipes.stored import find_recipe
from videomae.training import trackers
from videomae.training.finetune import finetune
from videomae.training.pretrain import pretrain
from videomae.training.run_folder import RunFolder
from videomae.training.trackers import Trackers, check_trackers, hyperparameters, start_trackers, tracked


class FakeTracker:
    """Remembers what it is given; talks on stdout as real ones do."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.lines: list[tuple[int, dict[str, Any]]] = []
        self.finished = 0
        self._fails_at = fails_at

    def log(self, values: dict[str, Any], step: int) -> None:
        print("a tracker talks")
        if step == self._fails_at:
            raise RuntimeError("the server\nis gone")
        self.lines.append((step, values))

    def finish(self) -> None:
        self.finished += 1


def begin_with(monkeypatch: pytest.MonkeyPatch, name: str, tracker: Any, notes: str = "curves: there") -> None:
    """Let the tracker `name` be installed, and be this one."""
    monkeypatch.setattr(trackers, "find_spec", lambda package: object())
    monkeypatch.setitem(trackers._BEGIN, name, lambda folder, first_step: (tracker, notes))


def without(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Let only these packages be missing."""
    monkeypatch.setattr(trackers, "find_spec", lambda package: None if package in packages else object())


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    recipe = {"epochs": 3, "learning_rate": 1e-3, "flip": True, "size": None, "trackers": ("auto",)}
    return RunFolder(tmp_path / "my run", {"command": "finetune", "data": "DATA", "val": None, "recipe": recipe})


def test_a_run_tells_its_metrics_and_nothing_else(
    colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker, monitor = FakeTracker(), Recorder()
    begin_with(monkeypatch, "wandb", tracker)

    finetune(colors, tmp_path / "run", tiny_finetune_recipe(trackers=("wandb",)), init="scratch", monitor=monitor)

    lines = read_metrics(tmp_path / "run", None)
    assert [(step, values["epoch"]) for step, values in tracker.lines] == [(r["step"], r["epoch"]) for r in lines]
    for (_, values), record in zip(tracker.lines, lines, strict=True):
        assert values[f"{record['split']}/loss"] == record["loss"]
    assert {"train/learning_rate", "train/clips_per_second", "train/data_wait_share"} <= set(tracker.lines[0][1])
    validated = [values["val/top1"] for _, values in tracker.lines if "val/top1" in values]
    assert validated == [record["top1"] for record in lines if record["split"] == "val"]
    assert tracker.finished == 1
    assert "curves: there" in monitor.notes
    assert "a tracker talks" not in capsys.readouterr().out


def test_a_tracker_that_fails_ends_no_run(colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker, monitor = FakeTracker(fails_at=2), Recorder()
    begin_with(monkeypatch, "trackio", tracker)

    result = pretrain(colors, tmp_path / "run", tiny_pretrain_recipe(trackers=("trackio",)), monitor=monitor)

    assert result.steps == len(read_metrics(tmp_path / "run")) == 6
    assert [step for step, _ in tracker.lines] == [1]
    told = [note for note in monitor.notes if "stops logging" in note]
    assert told == ["trackio stops logging, the run continues: RuntimeError: the server is gone"]


def test_a_tracker_that_does_not_start_ends_no_run(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: RunFolder, first_step: int) -> Any:
        raise OSError("no network")

    monkeypatch.setattr(trackers, "find_spec", lambda package: object())
    monkeypatch.setitem(trackers._BEGIN, "wandb", fail)
    notes: list[str] = []
    assert start_trackers(("wandb",), folder, first_step=0, note=notes.append).names == ()
    assert notes == ["wandb does not start, the run continues without it: OSError: no network"]


def test_of_two_trackers_one_may_fail() -> None:
    bad, good, notes = FakeTracker(fails_at=1), FakeTracker(), []
    both: Any = {"bad": bad, "good": good}
    group = Trackers(both, notes.append)
    for step in (1, 2):
        group.log({"step": step, "epoch": 0, "split": "train", "loss": 0.5, "learning_rate": None})
    assert group.names == ("good",)
    assert good.lines == [(step, {"train/loss": 0.5, "epoch": 0}) for step in (1, 2)]
    assert len(notes) == 1
    group.finish()
    assert (bad.finished, good.finished) == (0, 1)


def test_trackers_are_closed_however_the_run_ends(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = FakeTracker()
    begin_with(monkeypatch, "tensorboard", tracker)

    def end_badly() -> None:
        with tracked(("auto",), folder, first_step=0, note=print) as group:
            assert group.names == ("tensorboard",)
            folder.log({"step": 1, "epoch": 0, "split": "train", "loss": 1.0})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        end_badly()
    assert (len(tracker.lines), tracker.finished, folder.listeners) == (1, 1, [])


def test_missing_packages(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name: refused in one line before anything is done. By default: nothing is said."""
    notes: list[str] = []
    without(monkeypatch, "tensorboard")
    check_trackers(("auto",))
    assert start_trackers(("auto",), folder, first_step=0, note=notes.append).names == ()
    with pytest.raises(ConfigError, match="pip install tensorboard, or leave --trackers out"):
        check_trackers(("tensorboard",))
    assert notes == []
    without(monkeypatch, "wandb")
    with pytest.raises(ConfigError, match="trackers=wandb, which is not installed"):
        check_trackers(("auto", "wandb"))
    check_trackers(("none",))


def test_on_the_command_line(commands: Commands, colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "trackio")
    words = ("pretrain", colors, "--output", tmp_path / "run")
    assert "pip install trackio" in commands.refused(*words, "--trackers", "trackio")
    assert "--trackers" in commands.refused(*words, "--trackers", "tensorbord")
    assert not (tmp_path / "run").exists()


def test_the_recipe_as_hyperparameters(folder: RunFolder) -> None:
    assert hyperparameters(folder.description) == {
        "command": "finetune",
        "data": "DATA",
        "epochs": 3,
        "learning_rate": 1e-3,
        "flip": True,
        "trackers": "('auto',)",
    }


def test_the_field_is_checked_stored_and_free_to_change(colors: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="trackers="):
        dataclasses.replace(tiny_pretrain_recipe(), trackers=("abacus",)).validate()
    recipe = tiny_pretrain_recipe()
    pretrain(colors, tmp_path / "run", recipe)
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["recipe"]["trackers"] == ["none"]
    assert find_recipe(str(tmp_path / "run")).trackers == ("none",)
    again = pretrain(colors, tmp_path / "run", dataclasses.replace(recipe, trackers=()))
    assert again.was_finished


def test_nothing_is_imported_before_a_run_needs_it() -> None:
    code = """if True:
        import sys, videomae.training.trackers as trackers
        trackers.check_trackers(("auto",))
        print([name for name in ("torch.utils.tensorboard", "wandb", "trackio") if name in sys.modules])
    """
    assert run_python(code).stdout == "[]\n"


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="needs tensorboard")
def test_tensorboard_shows_each_step_once_after_a_kill(folder: RunFolder) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def run(first_step: int, last_step: int, add: float) -> None:
        notes: list[str] = []
        note: Callable[[str], None] = notes.append
        with tracked(("auto",), folder, first_step=first_step, note=note):
            for step in range(first_step + 1, last_step + 1):
                folder.log({"step": step, "epoch": 0, "split": "train", "loss": step + add, "learning_rate": None})
            folder.show("reconstructions/1", np.full((8, 12, 3), last_step, np.uint8), last_step)
        assert notes == [f"curves: tensorboard --logdir '{folder.path / 'tensorboard'}'"]

    run(0, 5, 0.0)
    run(3, 6, 0.5)  # killed after its fifth step, saved after its third
    events = EventAccumulator(str(folder.path / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"train/loss", "epoch"}
    found = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert found == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.5), (5, 5.5), (6, 6.5)]
    # The hyperparameters are the run's own: no second run that holds nothing else.
    assert not [path for path in (folder.path / "tensorboard").iterdir() if path.is_dir()]
    assert events.PluginTagToContent("hparams")
    assert [(image.step, image.width, image.height) for image in events.Images("reconstructions/1")] == [(6, 12, 8)]


@pytest.mark.skipif(find_spec("trackio") is None, reason="trackio is not installed")
def test_trackio_leaves_stdout_to_the_command(tmp_path: Path) -> None:
    """At the end of the process too, for which Trackio keeps a line."""
    code = f"""
        from pathlib import Path
        from videomae.training.run_folder import RunFolder
        from videomae.training.trackers import tracked
        description = {{"command": "pretrain", "data": "DATA", "recipe": {{"epochs": 3}}}}
        folder = RunFolder(Path({str(tmp_path / "run")!r}), description)
        with tracked(("trackio",), folder, first_step=0, note=lambda line: None) as group:
            assert group.names == ("trackio",)
            folder.log({{"step": 1, "epoch": 0, "split": "train", "loss": 1.5}})
        print("the result")
    """
    result = run_python(dedent(code))
    assert (result.stdout, result.returncode) == ("the result\n", 0), result.stderr
    database = sqlite3.connect(tmp_path / "run" / "trackio" / "videomae.db")
    [(step, values)] = database.execute("select step, metrics from metrics").fetchall()
    database.close()
    assert (step, json.loads(values)["train/loss"]) == (1, 1.5)


@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")
def test_wandb_keeps_a_resumed_run_one_run(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    identities = []
    for first_step in (0, 2):
        with tracked(("wandb",), folder, first_step=first_step, note=lambda line: None) as group:
            assert group.names == ("wandb",)
            for step in range(first_step + 1, first_step + 3):
                folder.log({"step": step, "epoch": 0, "split": "train", "loss": 1.5})
        identities.append((folder.path / "wandb" / "run_id.txt").read_text())
    assert identities[0] == identities[1]
    assert len(list((folder.path / "wandb").glob("offline-run-*"))) == 2
