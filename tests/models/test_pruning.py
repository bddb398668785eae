"""Heads that are gone: as if they were silenced by a mask, fewer weights, and a folder that remembers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import MODELS, TINY, make, run

from videomae.core.errors import CheckpointError, ConfigError
from videomae.models.config import VideoMAEConfig
from videomae.models.modeling import VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel

PRUNED = {0: [1, 2], 1: [3]}
MASK = torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 0.0]])


def assert_same(found: Any, expected: Any) -> None:
    assert found.keys() == expected.keys()
    for name in found:
        left, right = found[name], expected[name]
        for a, b in zip(left, right, strict=True) if isinstance(left, tuple) else [(left, right)]:
            assert torch.allclose(a, b, atol=1e-5), name


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("qkv_bias", [True, False])
@pytest.mark.parametrize("model_class", MODELS)
def test_a_pruned_head_is_a_silent_one(model_class: Any, qkv_bias: bool, attention: str) -> None:
    model = make(model_class, qkv_bias=qkv_bias, attn_implementation=attention)
    expected, whole = run(model, head_mask=MASK, output_hidden_states=True), model.num_parameters()

    model.prune_heads(PRUNED)

    assert not torch.allclose(expected[-2], run(make(model_class, qkv_bias=qkv_bias))[-1], atol=1e-2)
    assert_same(run(model, output_hidden_states=True), expected)
    # Of each head the rows of three matrices, the columns of one, and two biases.
    assert whole - model.num_parameters() == 3 * (4 * 16 * 4 + (2 * 4 if qkv_bias else 0))
    assert model.config.pruned_heads == PRUNED
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_attentions_and_masks_of_pruned_layers() -> None:
    model = make(VideoMAEModel)
    silent = torch.tensor([0.0, 1.0, 0.0, 1.0])
    expected = run(model, head_mask=MASK * silent).last_hidden_state
    whole = run(model, output_attentions=True).attentions[0]

    model.prune_heads(PRUNED)
    output = run(model, head_mask=silent, output_attentions=True)

    assert torch.allclose(output.last_hidden_state, expected, atol=1e-5)
    assert [tuple(weights.shape) for weights in output.attentions] == [(2, 2, 8, 8), (2, 3, 8, 8)]
    kept = run(model, output_attentions=True).attentions[0]
    assert torch.allclose(kept, whole[:, [0, 3]], atol=1e-6)


def test_pruning_again_counts_heads_as_before() -> None:
    one, two = make(VideoMAEModel), make(VideoMAEModel)

    one.prune_heads({0: [1, 2], 1: [3]})
    two.prune_heads({0: [2]})
    two.prune_heads({0: {2, 1}, 1: (3,)})
    two.prune_heads({0: [], 1: [3]})

    assert two.config.pruned_heads == one.config.pruned_heads == PRUNED
    assert_same(run(two), run(one))


@pytest.mark.parametrize("model_class", MODELS)
def test_a_folder_remembers(model_class: Any, tmp_path: Path) -> None:
    model = make(model_class)
    model.prune_heads(PRUNED)
    model.save_pretrained(tmp_path)

    loaded, info = model_class.from_pretrained(tmp_path, output_loading_info=True)

    assert json.loads((tmp_path / "config.json").read_text())["pruned_heads"] == {"0": [1, 2], "1": [3]}
    assert not any(info.values())
    assert loaded.config.pruned_heads == PRUNED
    assert_same(run(loaded), run(model))
    loaded.prune_heads({1: [0]})
    assert not torch.allclose(run(loaded)[-1], run(model)[-1], atol=1e-2)
    with pytest.raises(CheckpointError, match=r"q_bias.* of shape \(8,\) instead of \(16,\)"):
        model_class.from_pretrained(tmp_path, pruned_heads={})


def test_pruned_weights_train(tmp_path: Path) -> None:
    model = make(VideoMAEForVideoClassification, pruned_heads={"1": [0]}).train()

    run(model, labels=torch.tensor([0, 1])).loss.backward()

    assert model.videomae.encoder.layer[1].attention.attention.query.weight.shape == (12, 16)
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_frozen_weights_stay_frozen() -> None:
    model = make(VideoMAEModel).requires_grad_(False)

    model.prune_heads(PRUNED)

    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ({2: [0]}, r"pruned_heads={2: …}: expected layers from 0 to 1"),
        ({-1: [0]}, "{-1: …}"),
        ({0: [4]}, r"pruned_heads={0: \[4\]}: expected heads from 0 to 3, not all of them"),
        ({0: [-1]}, "heads from 0 to 3"),
        ({0: [0, 1, 2, 3]}, "not all of them"),
        ({True: [0]}, "{True: …}"),
    ],
)
def test_heads_that_cannot_be_pruned(heads: Any, message: str) -> None:
    model = make(VideoMAEForPreTraining)
    expected = run(model)

    with pytest.raises(ConfigError, match=message):
        model.prune_heads(heads)

    assert model.config.pruned_heads == {}
    assert_same(run(model), expected)


@pytest.mark.parametrize("pruned", [[1, 2], {"one": [0]}, {0: 3}, {0: [0.5]}, {7: [0]}, {0: [0, 1, 2, 3]}, "all"])
def test_a_configuration_with_wrong_heads(pruned: Any) -> None:
    with pytest.raises(ConfigError, match="pruned_heads") as caught:
        VideoMAEModel(VideoMAEConfig(**TINY, pruned_heads=pruned))
    assert "\n" not in str(caught.value)
