"""The layout of the original code bases: names, fused matrices, and what they compute."""

from __future__ import annotations

import pytest
import torch

import videomae
from videomae.core.errors import CheckpointError
from videomae.weights import original

TINY = {
    "image_size": 32,
    "patch_size": 8,
    "num_frames": 4,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "decoder_hidden_size": 16,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 32,
}


def filled(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(tensor.shape, generator=generator) for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize(
    ("kind", "config", "expected"),
    [
        (
            videomae.VideoMAEForPreTraining,
            {"use_mean_pooling": False},
            {"encoder.patch_embed.proj.weight", "encoder.norm.bias", "decoder.norm.weight", "decoder.head.bias"}
            | {"encoder_to_decoder.weight", "mask_token", "decoder.blocks.0.mlp.fc2.bias"}
            | {"encoder.blocks.1.attn.qkv.weight", "encoder.blocks.1.attn.q_bias", "encoder.blocks.0.norm1.weight"},
        ),
        (
            videomae.VideoMAEForVideoClassification,
            {"num_labels": 3},
            {"patch_embed.proj.bias", "fc_norm.weight", "head.weight", "blocks.1.attn.v_bias", "blocks.0.norm2.bias"}
            | {"blocks.0.attn.proj.weight", "blocks.1.mlp.fc1.weight"},
        ),
    ],
)
def test_names_travel_both_ways_bit_for_bit(kind: type, config: dict[str, object], expected: set[str]) -> None:
    state = filled(kind(videomae.VideoMAEConfig(**TINY, **config)))
    theirs = original.to_original(state)
    assert expected <= theirs.keys()
    assert original.is_original(theirs)
    assert not original.is_original(state)
    back = original.to_current(theirs)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())
    assert sum(map(torch.numel, theirs.values())) == sum(map(torch.numel, state.values()))
    again = original.to_original(back)
    assert all(torch.equal(again[name], tensor) for name, tensor in theirs.items())


def test_queries_come_first_in_the_fused_matrix() -> None:
    fused = torch.arange(48.0).reshape(12, 4)
    ours = original.to_current({"blocks.0.attn.qkv.weight": fused})
    for part, first in (("query", 0), ("key", 16), ("value", 32)):
        assert ours[f"videomae.encoder.layer.0.attention.attention.{part}.weight"].flatten()[0] == first


def test_prefixes_of_wrappers() -> None:
    names = {"blocks.0.norm1.weight": 1, "head.bias": 2}
    for prefixes in (("module.",), ("backbone.", "module."), ("module.", "_orig_mod.")):
        wrapped = names
        for prefix in prefixes:
            wrapped = {prefix + name: value for name, value in wrapped.items()}
        assert original.without_prefixes(wrapped) == names
    assert original.without_prefixes({}) == {}


def test_other_tensors_keep_their_names() -> None:
    ours = original.to_current({"blocks.0.norm1.weight": torch.ones(1), "pos_embed": torch.ones(1), "x": torch.ones(1)})
    assert ours.keys() == {"videomae.encoder.layer.0.layernorm_before.weight", "pos_embed", "x"}


def test_a_matrix_that_is_not_three() -> None:
    with pytest.raises(CheckpointError, match=r"qkv.weight of shape \(10, 4\): expected \(3 · width, width\)"):
        original.to_current({"blocks.0.attn.qkv.weight": torch.zeros(10, 4)})


def test_pruned_heads_cannot_go_there() -> None:
    model = videomae.VideoMAEForVideoClassification(videomae.VideoMAEConfig(**TINY, pruned_heads={1: [0]}))

    with pytest.raises(CheckpointError, match=r"blocks\.1\.attn\.qkv\.weight without some heads: expected all heads"):
        original.to_original(model.state_dict())
