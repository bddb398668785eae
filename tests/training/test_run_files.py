"""What a run leaves in its folder beside the checkpoint: weights, log, table, charts."""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small_runs import Recorder, losses, read_metrics, stop_after, tiny_finetune_recipe, tiny_pretrain_recipe

from videomae.checkpoint import Checkpoint
from videomae.training import weight_folders
from videomae.training.finetune import FinetuneResult, finetune
from videomae.training.pretrain import PretrainResult, pretrain
from videomae.training.run_log import LOG_NAME
from videomae.training.states import RunStates
from videomae.training.trainer import TrainingStopped
from videomae.training.weight_folders import share_checkpoint


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def are_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_best_and_last_are_checkpoints_of_their_own(finetuned: FinetuneResult) -> None:
    folder = finetuned.folder
    assert os.path.samefile(folder / "best" / "model.safetensors", folder / "model.safetensors")  # takes no room
    last = RunStates(folder / "state").load()
    assert last is not None
    assert are_equal(weights_of(folder / "last"), last["model"])
    for name in ("best", "last"):
        config = Checkpoint.open(folder / name, task="classification").model.config
        assert tuple(config.id2label.values()) == finetuned.class_names


def test_without_validation_the_last_is_the_folders(pretrained: PretrainResult) -> None:
    assert not (pretrained.folder / "best").exists()
    assert os.path.samefile(pretrained.folder / "last" / "model.safetensors", pretrained.folder / "model.safetensors")


def test_a_stopped_run_has_them_and_the_resumed_run_new_ones(colors: Path, tmp_path: Path) -> None:
    whole = finetune(colors, tmp_path / "whole", tiny_finetune_recipe(), init="scratch")
    run = tmp_path / "run"
    with pytest.raises(TrainingStopped):
        finetune(colors, run, tiny_finetune_recipe(), init="scratch", monitor=stop_after(4))
    state = RunStates(run / "state").load()
    assert state is not None
    assert are_equal(weights_of(run / "last"), state["model"])
    assert are_equal(weights_of(run / "best"), weights_of(run))
    finetune(colors, run, tiny_finetune_recipe(), init="scratch")
    assert losses(run) == losses(whole.folder)
    for name in ("", "best", "last"):
        assert are_equal(weights_of(run / name), weights_of(whole.folder / name))


def test_where_links_cannot_be_had_files_are_copied(
    pretrained: PretrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(weight_folders.os, "link", refuse)
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "model-00001-of-00002.safetensors").write_bytes(b"of another time")
    share_checkpoint(pretrained.folder, tmp_path / "copy")
    share_checkpoint(pretrained.folder, tmp_path / "copy")
    assert not os.path.samefile(tmp_path / "copy" / "model.safetensors", pretrained.folder / "model.safetensors")
    assert are_equal(weights_of(tmp_path / "copy"), weights_of(pretrained.folder))
    names = {path.name for path in (tmp_path / "copy").iterdir()}
    assert names == {"model.safetensors", "config.json", "preprocessor_config.json"}


def test_the_table_has_the_lines_of_the_log_of_metrics(finetuned: FinetuneResult) -> None:
    with (finetuned.folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = read_metrics(finetuned.folder, None)
    assert len(rows) == len(lines)
    for row, line in zip(rows, lines, strict=True):
        assert (row["split"], int(row["step"])) == (line["split"], line["step"])
        assert float(row["loss"]) == line["loss"]
        assert row.get("top1", "") == str(line.get("top1", ""))


def test_charts_as_files(finetuned: FinetuneResult, pretrained: PretrainResult) -> None:
    names = {path.name for path in (finetuned.folder / "charts").iterdir()}
    assert names == {"loss.png", "accuracy.png", "confusion_matrix.png"}
    assert [path.name for path in (pretrained.folder / "charts").iterdir()] == ["loss.png"]
    for name in names:
        with Image.open(finetuned.folder / "charts" / name) as picture:
            assert picture.format == "PNG"
            assert picture.width > 400


def test_the_log_has_what_was_noted_and_why_a_run_ended(colors: Path, tmp_path: Path) -> None:
    recorder = stop_after(4)
    with pytest.raises(TrainingStopped):
        finetune(colors, tmp_path, tiny_finetune_recipe(), init="scratch", monitor=recorder)
    lines = (tmp_path / LOG_NAME).read_text(encoding="utf-8").splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  \S", line) for line in lines)
    texts = [line[21:] for line in lines]
    assert texts[0].startswith("command: ")
    assert "torch" in texts[0]
    for note in recorder.notes:
        assert any(text.removeprefix("warning: ") == note for text in texts), note
    assert any(text.startswith("epoch 1, step 3, loss ") for text in texts)
    assert texts[-1] == "ended by TrainingStopped: stopped at step 4/9"
    number = len(lines)
    finetune(colors, tmp_path, tiny_finetune_recipe(), init="scratch")
    lines = (tmp_path / LOG_NAME).read_text(encoding="utf-8").splitlines()
    assert any("resuming at step 4/9" in line for line in lines[number:])
    finetune(colors, tmp_path, tiny_finetune_recipe(), init="scratch")
    assert (tmp_path / LOG_NAME).read_text(encoding="utf-8").splitlines() == lines  # there was nothing to do


def test_a_log_that_cannot_be_written_ends_no_run(colors: Path, tmp_path: Path) -> None:
    (tmp_path / LOG_NAME).mkdir()
    recorder = Recorder()
    result = pretrain(colors, tmp_path, tiny_pretrain_recipe(epochs=1), monitor=recorder)
    assert result.steps == 3
    assert sum("no more lines in log.txt" in note for note in recorder.notes) == 1
