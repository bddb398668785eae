"""The folder of a run: what it refuses, and what survives a kill or a full disk."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from small_runs import read_metrics

from videomae.core.errors import ConfigError, InputError
from videomae.datasets.entries import VideoEntry
from videomae.datasets.manifest import Manifest
from videomae.training.run_folder import METRICS_NAME, RECIPE_NAME, RunFolder, entries_hash

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
    with run.opened():
        run.states.save({"step": 3})
    return run


def test_the_description_is_written_and_the_same_run_goes_on(tmp_path: Path) -> None:
    run = _saved(tmp_path / "new" / "run")
    assert json.loads((run.path / RECIPE_NAME).read_text()) == DESCRIPTION
    again = RunFolder(run.path, DESCRIPTION)
    assert again.states.load() == {"step": 3}
    assert again.differences == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"command": "pretrain"}, "command='finetune', not 'pretrain'"),
        ({"videos": "ab12"}, "a run with other videos: their names, classes or order have changed"),
        ({"num_videos": 19}, "num_videos=18, not 19"),
        ({"val_videos": "cd34"}, "a run with other validation videos: their names"),
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
    assert "--resume-anyway" in str(caught.value)
    assert json.loads((tmp_path / RECIPE_NAME).read_text()) == DESCRIPTION


def test_a_field_that_is_newer_than_the_run_had_its_default(tmp_path: Path) -> None:
    _saved(tmp_path)
    assert RunFolder(tmp_path, _changed(recipe={"mixup": 0.0})).differences == []
    with pytest.raises(ConfigError, match=r"mixup=0\.0, not 0\.8"):
        RunFolder(tmp_path, _changed(recipe={"mixup": 0.8}))


def test_another_run_goes_on_where_the_user_says_so(tmp_path: Path) -> None:
    _saved(tmp_path)
    run = RunFolder(tmp_path, _changed(num_videos=19, recipe={"seed": 1}), resume_anyway=True)
    assert run.differences == ["num_videos=18, not 19", "seed=0, not 1"]
    with run.opened():
        assert run.states.load() == {"step": 3}
    assert json.loads((tmp_path / RECIPE_NAME).read_text())["num_videos"] == 19


def test_what_changes_no_result_may_change(tmp_path: Path) -> None:
    _saved(tmp_path)
    free = {"num_workers": 0, "device": "cpu", "log_every": 1, "max_broken": 0.5, "accumulation": 2}
    assert RunFolder(tmp_path, _changed(recipe=free)).states.load() == {"step": 3}


def test_a_run_with_the_removed_decoder_resumes_with_one_notice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for decoder, num_notices in (("pyav", 0), ("torchcodec", 1)):
        run = RunFolder(tmp_path / decoder, _changed(recipe={"decoder": decoder}))
        with run.opened():
            run.states.save({"step": 3})
        caplog.clear()
        assert RunFolder(run.path, DESCRIPTION).differences == []
        assert len(caplog.messages) == num_notices


def test_the_same_videos_may_lie_elsewhere(tmp_path: Path) -> None:
    _saved(tmp_path)
    assert RunFolder(tmp_path, _changed(data="./moved/clips", val="elsewhere")).differences == []


def test_a_run_that_saved_nothing_may_begin_anew_with_other_settings(tmp_path: Path) -> None:
    with RunFolder(tmp_path, DESCRIPTION).opened():
        pass
    run = RunFolder(tmp_path, _changed(data="others"))
    with run.opened():
        assert run.states.load() is None
    assert json.loads((tmp_path / RECIPE_NAME).read_text())["data"] == "others"


def test_a_folder_with_another_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="another model"):
        RunFolder(tmp_path, DESCRIPTION)
    assert not (tmp_path / RECIPE_NAME).exists()


@pytest.mark.parametrize("name", ["model.safetensors", METRICS_NAME, "report.html", "state/step-00000007.pt"])
def test_files_that_are_not_the_runs_own_are_not_written_over(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("dear to somebody")
    with pytest.raises(InputError, match=f"holds {name} of another model or program"):
        RunFolder(tmp_path, DESCRIPTION)
    assert path.read_text() == "dear to somebody"
    assert not (tmp_path / RECIPE_NAME).exists()


def test_files_that_no_run_writes_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("dear to somebody")
    with RunFolder(tmp_path, DESCRIPTION).opened():
        pass
    assert (tmp_path / "notes.txt").read_text() == "dear to somebody"


def test_more_epochs_say_how(tmp_path: Path) -> None:
    _saved(tmp_path)
    longer = _changed(recipe={"epochs": 5})
    with pytest.raises(ConfigError, match="add --resume-anyway to take that run to 5 epochs"):
        RunFolder(tmp_path, longer)
    assert RunFolder(tmp_path, longer, resume_anyway=True).differences == ["epochs=3, not 5"]
    with pytest.raises(ConfigError, match="repeat the first command"):
        RunFolder(tmp_path, _changed(recipe={"epochs": 5, "seed": 1}))


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_a_damaged_recipe_costs_no_state(tmp_path: Path, text: str) -> None:
    _saved(tmp_path)
    (tmp_path / RECIPE_NAME).write_text(text)
    with pytest.raises(ConfigError, match=r"damaged recipe\.json, not a JSON object.*--resume-anyway"):
        RunFolder(tmp_path, DESCRIPTION)
    run = RunFolder(tmp_path, DESCRIPTION, resume_anyway=True)
    with run.opened():
        assert run.states.load() == {"step": 3}
    assert json.loads((tmp_path / RECIPE_NAME).read_text()) == DESCRIPTION


def test_an_output_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="can be written"):
        RunFolder(tmp_path / "file" / "run", DESCRIPTION).opened().__enter__()
    with pytest.raises(InputError, match="can be written"):
        RunFolder(tmp_path / "file", DESCRIPTION).opened().__enter__()


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


def test_half_written_lines_are_mended_wherever_they_are(tmp_path: Path) -> None:
    run = _saved(tmp_path)
    path = tmp_path / METRICS_NAME
    path.write_bytes(
        b'{"step": 1, "split": "train"}\n{"step": 2, "sp{"step": 2}\n7\n\xff\n{"step": 3, "split": "train"}\n'
    )
    run.drop_metrics_after(3)
    assert path.read_text() == '{"step": 1, "split": "train"}\n{"step": 3, "split": "train"}\n'


def test_a_judgement_that_will_be_repeated_is_dropped(tmp_path: Path) -> None:
    run = _saved(tmp_path)
    for step, split in ((2, "train"), (2, "val"), (4, "train"), (4, "val")):
        run.log({"step": step, "split": split})
    run.drop_metrics_after(4)
    assert len(run.read_metrics()) == 4
    run.drop_metrics_after(4, with_validation=False)
    assert [(line["step"], line["split"]) for line in run.read_metrics()] == [(2, "train"), (2, "val"), (4, "train")]


def test_a_process_that_is_not_the_main_one_writes_nothing(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, DESCRIPTION, is_main=False)
    with run.opened():
        run.log({"step": 1})
        run.drop_metrics_after(0)
    assert list(tmp_path.iterdir()) == []


def test_the_identity_of_a_data_set(tmp_path: Path) -> None:
    def manifest(source: str, *names: str, label: str = "a") -> Manifest:
        return Manifest(Path(source), tuple(VideoEntry(Path(source, name), label) for name in names), ())

    first = entries_hash(manifest("/data", "x.mp4", "y.mp4"))
    assert first == entries_hash(manifest("/moved", "x.mp4", "y.mp4"))
    others = [("/data", "y.mp4", "x.mp4"), ("/data", "x.mp4"), ("/data", "x.mp4", "z.mp4")]
    assert len({first, *(entries_hash(manifest(*other)) for other in others)}) == 4
    assert entries_hash(manifest("/data", "x.mp4", "y.mp4", label="b")) != first
