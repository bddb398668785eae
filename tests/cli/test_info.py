"""`videomae info` of each kind of checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small_runs import Commands

import videomae
from videomae.api.description import describe_checkpoint
from videomae.core.errors import CheckpointError
from videomae.training.finetune import FinetuneResult
from videomae.training.pretrain import PretrainResult
from videomae.weights import original


def _rows(commands: Commands, model: Path, *options: object) -> dict[str, str]:
    assert commands("info", model, *options) == 0, commands.err
    return {line[:12].strip(): line[12:] for line in commands.out.splitlines()}


def test_a_pretrained_model(commands: Commands, pretrained: PretrainResult) -> None:
    rows = _rows(commands, pretrained.folder)
    assert rows["task"] == "pretraining"
    assert rows["encoder"] == "width 128, depth 4, 4 heads, MLP 512, patch 2×8×8"
    assert rows["decoder"] == "width 128, depth 1, 4 heads"
    assert rows["clip"] == "4 frames, 32×32 px, 3 channels"
    assert rows["tokens"] == "32 = 2 × 4 × 4 (time × rows × columns)"
    assert rows["sampling"] == "dense, frame stride 1"
    assert "classes" not in rows
    model = videomae.VideoMAEForPreTraining.from_pretrained(pretrained.folder)
    assert rows["size"] == f"tiny, {model.num_parameters():,} parameters"
    assert rows["weights"] == f"{len(model.state_dict())} tensors, float32"
    assert rows["layout"] == "hf, names of transformers 4.x, in model.safetensors"
    assert rows["head"] == "decoder"
    assert rows["to embed"] == "drops decoder, encoder_to_decoder, mask_token"
    assert rows["to pretrain"] == "as it is"
    assert rows["to finetune"] == "drops decoder, encoder_to_decoder, mask_token, final norm; new fc_norm, classifier"
    assert len(rows["checksum"]) == len("sha256:") + 64
    assert "not finite" not in rows


def test_a_classifier(commands: Commands, finetuned: FinetuneResult) -> None:
    rows = _rows(commands, finetuned.folder)
    assert rows["task"] == "classification"
    assert rows["classes"] == "3: blue, green, red"
    assert "decoder" not in rows
    assert rows["head"] == "linear classifier of 3 classes on the normalized mean of the tokens"
    assert rows["to pretrain"] == "not possible: it has no decoder"
    assert rows["to finetune"] == "as it is; other classes start a new classifier"


def test_a_bare_encoder(commands: Commands, tmp_path: Path) -> None:
    config = videomae.VideoMAEConfig(
        image_size=(32, 64), patch_size=16, num_frames=2, hidden_size=24, num_hidden_layers=1, num_attention_heads=2
    )
    videomae.VideoMAEModel(config).save_pretrained(tmp_path)
    rows = _rows(commands, tmp_path)
    assert rows["task"] == "features"
    assert rows["clip"] == "2 frames, 32×64 px, 3 channels"
    assert "classes" not in rows


def test_a_file_of_the_original_code(commands: Commands, pretrained: PretrainResult, tmp_path: Path) -> None:
    videomae.convert(pretrained.folder, tmp_path / "x.pth", layout="original")
    rows = _rows(commands, tmp_path / "x.pth")
    assert rows["layout"] == "original, names of MCG-NJU/VideoMAE and VideoMAEv2, in x.pth"
    assert rows["checksum"] == _rows(commands, pretrained.folder)["checksum"]
    assert rows["sampling"].endswith("(assumed: there is no preprocessor_config.json)")
    model = videomae.VideoMAEForPreTraining.from_pretrained(pretrained.folder)
    state = {**model.state_dict(), "mask_token": torch.full((1, 1, 128), float("nan"))}
    torch.save(original.to_original(state), tmp_path / "x.pth")
    rows = _rows(commands, tmp_path / "x.pth", "--num-frames", 4, "--image-size", 32)
    assert rows["not finite"] == "mask_token"


def test_what_info_promises_is_what_loading_does(
    pretrained: PretrainResult, finetuned: FinetuneResult, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in (pretrained.folder, finetuned.folder):
        for task, use in describe_checkpoint(folder)["uses"].items():
            names = ["a", "b"] if task == "classification" and use["new"] else None
            if use is None:
                with pytest.raises(CheckpointError):
                    videomae.load_checkpoint(folder, task=task)
                continue
            caplog.clear()
            with caplog.at_level("INFO", logger="videomae"):
                videomae.load_checkpoint(folder, task=task, class_names=names)
            logged = " ".join(caplog.messages)
            assert ("drops" in logged) == bool(use["drops"])
            assert ("new" in logged) == bool(use["new"])
            assert all(part in logged for part in [*use["drops"], *use["new"]] if part != "final norm")


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


def test_what_does_not_open_is_a_problem(tmp_path: Path, commands: Commands) -> None:
    folder = tmp_path / "classifier"
    config = videomae.VideoMAEConfig(
        image_size=32, num_frames=2, hidden_size=24, num_hidden_layers=1, num_attention_heads=2
    )
    videomae.VideoMAEForVideoClassification(config).save_pretrained(folder)
    assert commands("info", folder) == 0
    assert "problem" not in commands.out

    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "num_hidden_layers": 2, "qkv_bias": False}))
    assert commands("info", folder) == 2
    assert "problem     it does not open, weights and configuration differ: missing: " in commands.out
    assert "layer.1." in commands.out
    assert "unexpected: " in commands.out
    assert commands("info", folder, "--json") == 2
    assert json.loads(commands.out)["misfits"].startswith("missing: ")
