"""Frozen layers: nothing is computed or kept for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import Commands, losses, stop_after, tiny_finetune_recipe
from tiny_models import make, run

from videomae.core.errors import ConfigError
from videomae.models.modeling import VideoMAEForVideoClassification
from videomae.models.network import Layer
from videomae.training.finetune import finetune
from videomae.training.optimizer import freeze_layers
from videomae.training.pretrain import PretrainResult
from videomae.training.run import prepare
from videomae.training.states import RunStates
from videomae.training.tasks.classification import ClassificationTask
from videomae.training.trainer import TrainingStopped
from videomae.weights.files import read_weights


def _is_trained(name: str, freeze: int) -> bool:
    """Of the tiny networks here, which have four layers and no final norm."""
    if ".embeddings." in name:
        return False
    if ".layer." in name:
        return 0 <= freeze <= int(name.split(".layer.")[1].split(".")[0])
    return True


@pytest.mark.parametrize("freeze", [1, 4, -1])
def test_frozen_weights_stay_bit_for_bit_and_the_others_are_trained(
    colors: Path, pretrained: PretrainResult, tmp_path: Path, freeze: int
) -> None:
    finetune(colors, tmp_path, tiny_finetune_recipe(epochs=1, freeze=freeze), init=str(pretrained.folder))
    before, after = read_weights(pretrained.folder), read_weights(tmp_path)
    for name, weight in after.items():
        if name in before:
            assert torch.equal(weight, before[name]) != _is_trained(name, freeze), name


def test_the_optimizer_has_no_state_of_frozen_weights(colors: Path, pretrained: PretrainResult, tmp_path: Path) -> None:
    recipe = tiny_finetune_recipe(epochs=1, freeze="all", ema_decay=0.9)
    finetune(colors, tmp_path, recipe, init=str(pretrained.folder))
    state = RunStates(tmp_path / "state").load()
    assert state is not None
    names = {"fc_norm.weight", "fc_norm.bias", "classifier.weight", "classifier.bias"}
    assert set(state["average"]["shadow"]) == names
    kept = [value.shape for values in state["optimizer"]["state"].values() for value in values.values() if value.ndim]
    assert sorted(kept) == sorted([state["model"][name].shape for name in names] * 2)


def _saved_bytes(model: Any) -> int:
    """What a forward pass in training keeps for its backward pass, weights not counted."""
    weights = {parameter.data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run(model.train()).logits.sum().backward()
    return sum(kept.values())


def test_frozen_layers_keep_nothing_for_the_backward_pass() -> None:
    whole, half, head = (make(VideoMAEForVideoClassification, num_hidden_layers=4) for _ in range(3))
    freeze_layers(half, 2)
    freeze_layers(head, -1)
    whole_bytes, half_bytes, head_bytes = map(_saved_bytes, (whole, half, head))
    assert half_bytes < 0.6 * whole_bytes
    assert head_bytes < 0.1 * whole_bytes
    assert all(parameter.grad is None for parameter in half.videomae.embeddings.parameters())
    assert all(parameter.grad is None for parameter in head.videomae.parameters())
    third = half.videomae.encoder.layer[2].layernorm_before.weight
    assert torch.equal(third.grad, whole.videomae.encoder.layer[2].layernorm_before.weight.grad)


def test_frozen_layers_drop_no_paths() -> None:
    """At a rate near 1, nearly all that layers add is dropped; what frozen ones add stays."""
    model = make(VideoMAEForVideoClassification, drop_path_rate=0.999)
    expected = run(model).logits
    freeze_layers(model, -1)
    assert torch.equal(run(model.train()).logits, expected)
    for layer in model.modules():
        if isinstance(layer, Layer):
            layer.is_frozen = False
    torch.manual_seed(0)
    assert not torch.allclose(run(model).logits, expected)


def test_a_frozen_run_resumes(colors: Path, pretrained: PretrainResult, tmp_path: Path) -> None:
    recipe, init = tiny_finetune_recipe(epochs=2, freeze=2, drop_path=0.3), str(pretrained.folder)
    finetune(colors, tmp_path / "whole", recipe, init=init)
    with pytest.raises(TrainingStopped):
        finetune(colors, tmp_path / "parts", recipe, init=init, monitor=stop_after(2))
    finetune(colors, tmp_path / "parts", recipe, init=init)
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")


def test_gradient_checkpointing_of_frozen_layers(colors: Path, pretrained: PretrainResult, tmp_path: Path) -> None:
    for name, recompute in (("plain", False), ("recomputed", True)):
        recipe = tiny_finetune_recipe(epochs=1, freeze=2, gradient_checkpointing=recompute)
        finetune(colors, tmp_path / name, recipe, init=str(pretrained.folder))
    assert losses(tmp_path / "plain") == pytest.approx(losses(tmp_path / "recomputed"), rel=1e-5)


def test_more_layers_than_there_are(colors: Path, pretrained: PretrainResult, tmp_path: Path) -> None:
    task = ClassificationTask(colors, tiny_finetune_recipe(freeze=5), init=str(pretrained.folder))
    with pytest.raises(ConfigError, match="freeze=5 of 4 layers: expected 0 to 4, or all"):
        prepare(task, tmp_path / "run")


@pytest.mark.parametrize("words", [["--freeze", "all"], ["--freeze=all"], ["--freeze", "-1"]])
def test_all_on_the_command_line(commands: Commands, colors: Path, tmp_path: Path, words: list[str]) -> None:
    options = ["--init", "scratch", "--size", "tiny", "--num-frames", 4, "--image-size", 32, "--frame-stride", 1]
    speed = ["--batch-size", 6, "--num-workers", 0, "--device", "cpu"]
    assert commands("finetune", colors, *options, *speed, *words, "--output", tmp_path / "x", "--dry-run") == 0
    assert "--freeze" in commands.refused("finetune", colors, *options, "--output", tmp_path / "x", "--freeze", "-2")
