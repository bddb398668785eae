"""`videomae info` of each kind of checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import Commands

import videomae
from videomae.training.finetune import FinetuneResult
from videomae.training.pretrain import PretrainResult


def _rows(commands: Commands, model: Path) -> dict[str, str]:
    assert commands("info", model) == 0, commands.err
    return {line[:12].strip(): line[12:] for line in commands.out.splitlines()}


def test_a_pretrained_model(commands: Commands, pretrained: PretrainResult) -> None:
    rows = _rows(commands, pretrained.folder)
    assert rows["task"] == "pretraining"
    assert rows["encoder"] == "width 128, depth 4, 4 heads"
    assert rows["decoder"] == "width 128, depth 1, 4 heads"
    assert rows["clip"] == "4 frames, 32×32 px, 3 channels"
    assert rows["tokens"] == "32 = 2 × 4 × 4 (time × rows × columns)"
    assert rows["sampling"] == "dense, frame stride 1"
    assert "classes" not in rows
    model = videomae.VideoMAEForPreTraining.from_pretrained(pretrained.folder)
    assert rows["weights"].startswith(f"{model.num_parameters():,} in ")


def test_a_classifier(commands: Commands, finetuned: FinetuneResult) -> None:
    rows = _rows(commands, finetuned.folder)
    assert rows["task"] == "classification"
    assert rows["classes"] == "3: blue, green, red"
    assert "decoder" not in rows


def test_a_bare_encoder(commands: Commands, tmp_path: Path) -> None:
    config = videomae.VideoMAEConfig(
        image_size=(32, 64), patch_size=16, num_frames=2, hidden_size=24, num_hidden_layers=1, num_attention_heads=2
    )
    videomae.VideoMAEModel(config).save_pretrained(tmp_path)
    rows = _rows(commands, tmp_path)
    assert rows["task"] == "features"
    assert rows["clip"] == "2 frames, 32×64 px, 3 channels"
    assert "classes" not in rows


def test_json(commands: Commands, pretrained: PretrainResult, finetuned: FinetuneResult) -> None:
    document = commands.json("info", pretrained.folder)
    assert document["task"] == "pretraining"
    assert document["classes"] == []
    assert document["sampling"] == {"method": "dense", "num_frames": 4, "frame_stride": 1}
    assert commands.json("info", finetuned.folder)["classes"] == ["blue", "green", "red"]


@pytest.mark.parametrize("json", [[], ["--json"]])
def test_what_is_no_checkpoint(commands: Commands, tmp_path: Path, json: list[str]) -> None:
    (tmp_path / "file").touch()
    for model in (tmp_path, tmp_path / "missing", tmp_path / "file"):
        assert commands("info", model, *json) == 2
        assert str(model) in (commands.out if json else commands.err)
