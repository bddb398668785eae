"""The folder of a run: what it refuses, and what survives a kill or a full disk."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import read_metrics

from videomae.core.errors import CheckpointError, ConfigError, InputError
from videomae.training.run_folder import METRICS_NAME, RECIPE_NAME, STATE_NAME, RunFolder

DESCRIPTION: dict[str, Any] = {
    "command": "finetune",
    "data": "clips",
    "num_videos": 18,
    "val": None,
    "init": "scratch",
    "recipe": {"seed": 0, "epochs": 3, "num_workers": 2, "device": "auto", "log_every": 10, "max_broken": 0.01},
}


def _changed(**changes: Any) -> dict[str, Any]:
    recipe = {**DESCRIPTION["recipe"], **changes.pop("recipe", {})}
    return {**DESCRIPTION, **changes, "recipe": recipe}


def _saved(folder: Path) -> RunFolder:
    run = RunFolder(folder, DESCRIPTION)
    run.save_state({"step": 3})
    return run


def test_the_description_is_written_and_the_same_run_goes_on(tmp_path: Path) -> None:
    run = _saved(tmp_path / "new" / "run")
    assert json.loads((run.path / RECIPE_NAME).read_text()) == DESCRIPTION
    again = RunFolder(run.path, DESCRIPTION)
    assert again.load_state() == {"step": 3}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"command": "pretrain"}, "command='finetune', not 'pretrain'"),
        ({"data": "others"}, "data='clips', not 'others'"),
        ({"num_videos": 19}, "num_videos=18, not 19"),
        ({"val": "more"}, "val=None, not 'more'"),
        ({"init": "folder"}, "init='scratch', not 'folder'"),
        ({"recipe": {"seed": 1}}, "seed=0, not 1"),
        ({"recipe": {"unheard_of": 5}}, "unheard_of=None, not 5"),
    ],
)
def test_another_run_is_refused_and_the_difference_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    _saved(tmp_path)
    with pytest.raises(ConfigError) as caught:
        RunFolder(tmp_path, _changed(**changes))
    assert said in str(caught.value)
    assert json.loads((tmp_path / RECIPE_NAME).read_text()) == DESCRIPTION


def test_what_changes_no_result_may_change(tmp_path: Path) -> None:
    _saved(tmp_path)
    free = {"num_workers": 0, "device": "cpu", "log_every": 1, "max_broken": 0.5}
    assert RunFolder(tmp_path, _changed(recipe=free)).load_state() == {"step": 3}


def test_a_run_that_saved_nothing_may_begin_anew_with_other_settings(tmp_path: Path) -> None:
    RunFolder(tmp_path, DESCRIPTION)
    run = RunFolder(tmp_path, _changed(data="others"))
    assert run.load_state() is None
    assert json.loads((tmp_path / RECIPE_NAME).read_text())["data"] == "others"


def test_a_folder_with_another_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="another model"):
        RunFolder(tmp_path, DESCRIPTION)
    assert not (tmp_path / RECIPE_NAME).exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_a_damaged_recipe_is_named(tmp_path: Path, text: str) -> None:
    _saved(tmp_path)
    (tmp_path / RECIPE_NAME).write_text(text)
    with pytest.raises(InputError, match="JSON object"):
        RunFolder(tmp_path, DESCRIPTION)


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    run = _saved(tmp_path)
    state = tmp_path / STATE_NAME
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="undamaged run state"):
        run.load_state()


def test_an_output_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="can be written"):
        RunFolder(tmp_path / "file" / "run", DESCRIPTION)
    with pytest.raises(InputError, match="can be written"):
        RunFolder(tmp_path / "file", DESCRIPTION)


# torch's zip writer tells of a full disk by a RuntimeError, Python's files by an OSError.
@pytest.mark.parametrize(
    "fault", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("unexpected pos 704 vs 598")]
)
def test_a_full_disk_leaves_the_older_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    run = _saved(tmp_path)

    def half(state: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise fault

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(InputError, match=r"run_state\.pt"):
        run.save_state({"step": 4})
    monkeypatch.undo()
    assert run.load_state() == {"step": 3}
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["run_state.pt"]


def test_a_kill_while_saving_leaves_the_older_state_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed process cleans nothing up: its half-written file is still there when the run goes on."""
    run = _saved(tmp_path)
    (tmp_path / "state" / ".run_state.x1y2z3.pt").write_bytes(b"half")
    assert run.load_state() == {"step": 3}
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["run_state.pt"]


def test_a_full_disk_while_logging_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _saved(tmp_path)

    def full(*_: object, **__: object) -> object:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(InputError, match=r"metrics\.jsonl \(No space left on device\)"):
        run.log({"step": 1})


def test_metrics_cut_off_by_a_kill_lose_only_the_last_line(tmp_path: Path) -> None:
    run = _saved(tmp_path)
    for step in (1, 2, 3):
        run.log({"step": step, "split": "train"})
    path = tmp_path / METRICS_NAME
    path.write_text(path.read_text() + '{"step": 4, "spl')
    assert [record["step"] for record in run.read_metrics()] == [1, 2, 3]
    run.drop_metrics_after(2)
    run.log({"step": 3, "split": "train"})
    assert [record["step"] for record in read_metrics(tmp_path)] == [1, 2, 3]
