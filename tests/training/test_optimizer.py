"""Parameter groups of both models: each parameter once, with the decay and the share of the rate that it must have."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from videomae.models.config import VideoMAEConfig
from videomae.models.modeling import VideoMAEForPreTraining, VideoMAEForVideoClassification
from videomae.training.optimizer import layer_of, make_optimizer, parameter_groups, set_learning_rate

DEPTH = 4
DECAY = 0.05


def _config(**changes: Any) -> VideoMAEConfig:
    settings: dict[str, Any] = {
        "image_size": 16,
        "patch_size": 8,
        "num_frames": 4,
        "hidden_size": 16,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "decoder_hidden_size": 16,
        "decoder_num_attention_heads": 2,
        "decoder_num_hidden_layers": 2,
        "decoder_intermediate_size": 32,
    }
    return VideoMAEConfig(**{**settings, **changes})


def _settings_by_name(model: nn.Module, **options: Any) -> dict[str, tuple[float, float]]:
    """(weight decay, share of the rate) of each parameter; fails where one is in no group or in two."""
    groups = parameter_groups(model.named_parameters(), weight_decay=DECAY, **options)
    found: dict[int, tuple[float, float]] = {}
    for group in groups:
        for parameter in group["params"]:
            assert id(parameter) not in found
            found[id(parameter)] = (group["weight_decay"], group["scale"])
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert found.keys() == names.keys()
    return {names[key]: value for key, value in found.items()}


def test_pretraining_decays_matrices_only() -> None:
    model = VideoMAEForPreTraining(_config(use_mean_pooling=False))
    settings = _settings_by_name(model)
    assert {scale for _, scale in settings.values()} == {1.0}
    undecayed = {name for name, (decay, _) in settings.items() if decay == 0}
    assert undecayed == {name for name in settings if name.endswith(("bias", "layernorm_before.weight"))} | {
        name for name in settings if "layernorm" in name or ".norm." in name or name == "mask_token"
    }
    for name in ("mask_token", "videomae.encoder.layer.0.attention.attention.q_bias", "videomae.layernorm.weight"):
        assert settings[name][0] == 0
    for name in (
        "videomae.embeddings.patch_embeddings.projection.weight",
        "videomae.encoder.layer.3.attention.attention.key.weight",
        "encoder_to_decoder.weight",
        "decoder.head.weight",
    ):
        assert settings[name][0] == DECAY


def test_layer_decay_by_hand() -> None:
    """Embeddings are layer 0 and the head layer depth + 1: the scale of layer i is decay^(depth + 1 − i)."""
    model = VideoMAEForVideoClassification(_config())
    settings = _settings_by_name(model, layer_decay=0.5, num_layers=DEPTH)
    shares = {"videomae.embeddings.": 1 / 32, "fc_norm.": 1.0, "classifier.": 1.0}
    shares |= {f"videomae.encoder.layer.{i}.": share for i, share in enumerate((1 / 16, 1 / 8, 1 / 4, 1 / 2))}
    for name, (decay, scale) in settings.items():
        expected = [share for start, share in shares.items() if name.startswith(start)]
        assert [scale] == expected, name
        assert (decay == 0) == (name.endswith("bias") or "norm" in name), name


# decay 0.75 and depth 12, as published for base: 0.75^13, 0.75^12 … 0.75, 1.
PUBLISHED_SHARES = (
    *(0.0237573, 0.0316764, 0.0422351, 0.0563135, 0.0750847, 0.1001129, 0.1334839),
    *(0.1779785, 0.2373047, 0.3164063, 0.421875, 0.5625, 0.75, 1.0),
)


def test_the_published_layer_decay_of_base() -> None:
    model = VideoMAEForVideoClassification(_config(num_hidden_layers=12))
    settings = _settings_by_name(model, layer_decay=0.75, num_layers=12)
    for name, (_, scale) in settings.items():
        assert scale == pytest.approx(PUBLISHED_SHARES[layer_of(name, 12)], rel=1e-5), name
    groups = parameter_groups(model.named_parameters(), weight_decay=DECAY, layer_decay=0.75, num_layers=12)
    assert len(groups) == 2 * len(PUBLISHED_SHARES)  # decayed and not, of each layer


def test_weight_decay_by_hand() -> None:
    """Of a whole pre-training model: 15 tensors a layer, of which 6 matrices are decayed."""
    model = VideoMAEForPreTraining(_config(use_mean_pooling=False))
    settings = _settings_by_name(model)
    decayed = {name for name, (decay, _) in settings.items() if decay}
    matrices = ("query.weight", "key.weight", "value.weight", "dense.weight")
    in_layers = {name for name in decayed if ".layer." in name or "decoder_layers." in name}
    assert all(name.endswith(matrices) for name in in_layers)
    assert len(in_layers) == 6 * (DEPTH + 2)
    assert decayed - in_layers == {
        "videomae.embeddings.patch_embeddings.projection.weight",
        "encoder_to_decoder.weight",
        "decoder.head.weight",
    }
    # patch embedding 2, final norm 2, encoder_to_decoder 1, mask token 1, decoder's norm and head 4
    assert len(settings) == 15 * (DEPTH + 2) + 10


def test_layers_beyond_the_depth_are_refused() -> None:
    """A depth left out would let deep layers learn many times faster than the head."""
    model = VideoMAEForVideoClassification(_config())
    with pytest.raises(ValueError, match="is of layer 2, with num_layers=0"):
        parameter_groups(model.named_parameters(), weight_decay=DECAY, layer_decay=0.75)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_wrapped_models_have_the_same_groups(prefix: str) -> None:
    model = VideoMAEForPreTraining(_config(use_mean_pooling=False))
    wrapped = [(prefix + name, parameter) for name, parameter in model.named_parameters()]
    options = {"weight_decay": DECAY, "layer_decay": 0.5, "num_layers": DEPTH}
    found, expected = parameter_groups(wrapped, **options), parameter_groups(model.named_parameters(), **options)
    assert [[id(p) for p in group["params"]] for group in found] == [
        [id(p) for p in group["params"]] for group in expected
    ]
    assert [(g["weight_decay"], g["scale"]) for g in found] == [(g["weight_decay"], g["scale"]) for g in expected]


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("videomae.embeddings.patch_embeddings.projection.weight", 0),
        ("embeddings.patch_embeddings.projection.bias", 0),
        ("videomae.encoder.layer.0.attention.attention.q_bias", 1),
        ("videomae.encoder.layer.11.output.dense.weight", 12),
        ("videomae.layernorm.weight", 13),
        ("decoder.decoder_layers.0.output.dense.weight", 13),
        ("fc_norm.weight", 13),
        ("classifier.bias", 13),
    ],
)
def test_layers_of_names(name: str, layer: int) -> None:
    assert layer_of(name, 12) == layer


def test_frozen_parameters_are_in_no_group() -> None:
    model = VideoMAEForVideoClassification(_config())
    for parameter in model.videomae.parameters():
        parameter.requires_grad_(False)
    groups = parameter_groups(model.named_parameters(), weight_decay=DECAY)
    assert sum(len(group["params"]) for group in groups) == 4  # weight and bias of fc_norm and of the classifier


def test_each_group_gets_its_share_of_the_rate() -> None:
    model = VideoMAEForVideoClassification(_config())
    groups = parameter_groups(model.named_parameters(), weight_decay=DECAY, layer_decay=0.5, num_layers=DEPTH)
    optimizer = make_optimizer(groups, betas=(0.9, 0.999), device=torch.device("cpu"))
    set_learning_rate(optimizer, 0.8)
    assert {group["lr"] for group in optimizer.param_groups} == {0.8 * 0.5**k for k in range(DEPTH + 2)}
    assert all(group["betas"] == (0.9, 0.999) for group in optimizer.param_groups)
