"""`--precision int8` and `--merge-tokens` of the public functions and commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import Commands

import videomae
from videomae.training.finetune import FinetuneResult
from videomae.training.pretrain import PretrainResult

CPU: dict[str, Any] = {"device": "cpu", "num_workers": 0, "progress": False, "clips": 1, "crops": 1}
SHORTCUTS: list[dict[str, Any]] = [{"precision": "int8"}, {"merge_tokens": 2}, {"precision": "int8", "merge_tokens": 2}]


@pytest.mark.parametrize("shortcuts", SHORTCUTS)
def test_a_trained_classifier_answers_nearly_the_same(
    finetuned: FinetuneResult, colors: Path, shortcuts: dict[str, Any]
) -> None:
    model = videomae.Checkpoint.open(finetuned.folder)
    weights = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
    expected = model.predict(colors, precision="fp32", **CPU)
    plain = model.evaluate(colors, precision="fp32", **CPU)

    found = model.predict(colors, **shortcuts, **CPU)
    evaluation = model.evaluate(colors, **shortcuts, **CPU)

    same = [a.label == b.label for a, b in zip(found, expected, strict=True)]
    assert sum(same) >= 0.8 * len(same)
    differences = [abs((a.probability or 0) - (b.probability or 0)) for a, b in zip(found, expected, strict=True)]
    assert 0 < max(differences) < 0.1
    assert abs(evaluation.top1 - plain.top1) <= 0.2
    assert 0 < abs(evaluation.metrics.loss - plain.metrics.loss) < 0.1
    assert model.predict(colors, precision="fp32", **CPU)[0] == expected[0]  # the opened checkpoint is as before
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.model.state_dict().items())


@pytest.mark.parametrize("shortcuts", SHORTCUTS)
def test_features(pretrained: PretrainResult, colors: Path, shortcuts: dict[str, Any]) -> None:
    expected, found = (
        videomae.embed(colors, model=pretrained.folder, **more, **CPU).features
        for more in ({"precision": "fp32"}, shortcuts)
    )

    assert expected is not None
    assert found is not None
    assert found.shape == expected.shape
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert 1e-5 < error < 0.2


def test_probe(pretrained: PretrainResult, colors: Path, tmp_path: Path) -> None:
    more: dict[str, Any] = {"val": colors, "method": "knn", "neighbors": 3, **CPU}
    found = videomae.probe(colors, model=pretrained.folder, precision="int8", merge_tokens=1, **more)

    assert found.top1 == pytest.approx(videomae.probe(colors, model=pretrained.folder, **more).top1, abs=0.35)


def test_the_report_says_so(finetuned: FinetuneResult, colors: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"

    videomae.evaluate(colors, model=finetuned.folder, precision="int8", merge_tokens=2, report=report, **CPU)

    assert "1 view each, int8, 2 tokens merged in each layer" in report.read_text()


def test_commands(commands: Commands, finetuned: FinetuneResult, colors: Path) -> None:
    words = ["--model", finetuned.folder, "--num-workers", "0", "--device", "cpu"]

    exact, found = (
        commands.json("predict", colors, *words, *more)["videos"]
        for more in (["--precision", "fp32"], ["--precision", "int8", "--merge-tokens", "2"])
    )

    assert [video["path"] for video in found] == [video["path"] for video in exact]
    assert found != exact


def test_bad_input(commands: Commands, finetuned: FinetuneResult, pretrained: PretrainResult, colors: Path) -> None:
    words = ["--model", finetuned.folder, "--num-workers", "0"]

    line = commands.refused("evaluate", colors, *words, "--device", "cpu", "--merge-tokens", "-1")
    assert "--merge-tokens -1: expected 0 or more" in line
    line = commands.refused("predict", colors, *words, "--device", "cpu", "--merge-tokens", "5000")
    assert "--merge-tokens 5000: expected 0 to " in line
    line = commands.refused("predict", colors, *words, "--precision", "int4")
    assert "--precision int4: expected auto or bf16 or fp32 or fp16 or int8" in line
    embed = ["embed", colors, "--model", pretrained.folder, "--output", "features.npz", "--merge-tokens", "2"]
    assert "with dense features: expected pooled features" in commands.refused(*embed, "--dense")
    assert "expected auto or bf16 or fp32 or fp16" in commands.refused(
        "reconstruct", colors, "--model", pretrained.folder, "--output", "a.png", "--precision", "int8"
    )
    with pytest.raises(videomae.InputError, match="merge_tokens=5000: expected 0 to"):
        videomae.predict(colors, model=finetuned.folder, merge_tokens=5000, **CPU)
    with pytest.raises(videomae.InputError, match=r'precision="?int8"?'):
        videomae.reconstruct(next(colors.rglob("*.mp4")), model=pretrained.folder, precision="int8", device="cpu")
