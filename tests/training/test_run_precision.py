"""The precision of a run: what was asked for, what it became, and that it stays."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from several_processes import run_in_processes
from small_runs import tiny_finetune_recipe, tiny_pretrain_recipe

from videomae.core import precision
from videomae.core.errors import ConfigError
from videomae.core.precision import CpuFacts
from videomae.training.pretrain import PretrainResult
from videomae.training.run import prepare, summary
from videomae.training.run_folder import precision_begun
from videomae.training.setup import settle_precision
from videomae.training.tasks.classification import ClassificationTask
from videomae.training.tasks.pretraining import PretrainingTask
from videomae.training.trainer import Trainer

Imitate = Callable[[bool], None]


@pytest.fixture
def imitate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Imitate]:
    """Makes this machine one with or without bf16 instructions."""

    def be(has_instructions: bool) -> None:
        monkeypatch.setattr(precision, "cpu_facts", lambda: CpuFacts(has_instructions, True, "", is_certain=True))
        precision.automatic_precision.cache_clear()

    yield be
    precision.automatic_precision.cache_clear()


@pytest.fixture
def begun(pretrained: PretrainResult, tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """A run's folder whose recipe.json says this of the precision."""

    def make(said: dict[str, Any]) -> Path:
        folder = shutil.copytree(pretrained.folder, tmp_path / "begun")
        stored = json.loads((folder / "recipe.json").read_text())
        del stored["precision"]
        stored["recipe"]["precision"] = said["asked"]
        stored |= {"precision": said["became"]} if "became" in said else {}
        (folder / "recipe.json").write_text(json.dumps(stored))
        return folder

    return make


def prepared(data: Path, output: Path, asked: str, **more: Any) -> Trainer:
    return prepare(PretrainingTask(data, tiny_pretrain_recipe(precision=asked)), output, **more)


@pytest.mark.parametrize(
    ("has_instructions", "name", "text"),
    [
        (False, "fp32", "on cpu in fp32: this CPU has no bf16 instructions; learning rate"),
        (True, "bf16", "on cpu in bf16: this CPU has bf16 instructions; learning rate"),
    ],
)
def test_auto_is_what_the_machine_multiplies(
    colors: Path, tmp_path: Path, imitate: Imitate, has_instructions: bool, name: str, text: str
) -> None:
    imitate(has_instructions)
    task = ClassificationTask(colors, tiny_finetune_recipe(precision="auto"), init="scratch")
    finetuning = prepare(task, tmp_path / "b")
    for run in (prepared(colors, tmp_path / "a", "auto"), finetuning):
        assert run.recipe.precision == name
        assert text in summary(run)
        description = run.folder.description
        assert (description["recipe"]["precision"], description["precision"]) == ("auto", name)


def test_what_is_asked_for_is_obeyed(colors: Path, tmp_path: Path, imitate: Imitate) -> None:
    imitate(True)
    run = prepared(colors, tmp_path, "fp32")
    assert "in fp32: as asked;" in summary(run)
    assert run.folder.description["precision"] == "fp32"


@pytest.mark.parametrize("said", [{"asked": "bf16"}, {"asked": "auto", "became": "bf16"}])
def test_a_run_is_resumed_in_the_precision_that_it_began_with(
    colors: Path, begun: Callable[[dict[str, Any]], Path], imitate: Imitate, said: dict[str, Any]
) -> None:
    """Also one of an older version, which kept only what was asked for."""
    imitate(False)
    folder = begun(said)
    run = prepared(colors, folder, "auto")
    assert run.recipe.precision == "bf16"
    assert "in bf16: as this run began;" in summary(run)
    with pytest.raises(ConfigError, match="precision='bf16', not 'fp32'"):
        prepared(colors, folder, "fp32")
    changed = prepared(colors, folder, "fp32", resume_anyway=True)
    assert changed.recipe.precision == "fp32"


def test_asking_for_what_auto_became_is_the_same_run(
    colors: Path, begun: Callable[[dict[str, Any]], Path], imitate: Imitate
) -> None:
    imitate(True)
    run = prepared(colors, begun({"asked": "auto", "became": "fp32"}), "fp32")
    assert run.folder.differences == []
    assert run.recipe.precision == "fp32"


@pytest.mark.parametrize("text", ["", "[]", '{"recipe": 3}', '{"precision": 3}'])
def test_a_damaged_recipe_has_begun_in_no_precision(tmp_path: Path, text: str) -> None:
    assert precision_begun(tmp_path) is None
    (tmp_path / "config.json").write_text("{}")
    assert precision_begun(tmp_path) is None
    (tmp_path / "recipe.json").write_text(text)
    assert precision_begun(tmp_path) is None


def _settled(folder: str) -> str:
    """What a process settles on, of which the main one alone multiplies bf16."""
    from videomae.core.distributed import joined_process_group

    precision.automatic_precision.cache_clear()
    with joined_process_group("cpu") as processes:
        precision.cpu_facts = lambda: CpuFacts(processes.is_main, True, "", is_certain=True)
        recipe, found = settle_precision(tiny_pretrain_recipe(precision="auto"), folder, torch.device("cpu"), processes)
        assert recipe.precision == found.name
        return str(found)


def test_all_processes_take_the_precision_of_the_main_one(tmp_path: Path) -> None:
    assert run_in_processes(_settled, str(tmp_path)) == ["bf16: this CPU has bf16 instructions"] * 2
