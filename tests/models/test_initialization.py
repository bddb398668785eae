"""New weights for fine-tuning: the head alone, or all of them; and the dropout before the head."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from videomae.core.errors import ConfigError
from videomae.models.config import VideoMAEConfig
from videomae.models.initialization import init_classifier, init_for_finetuning
from videomae.models.modeling import VideoMAEForVideoClassification


def classifier(**changes: Any) -> VideoMAEForVideoClassification:
    """A classifier of which no weight has its first value any more."""
    settings: dict[str, Any] = {
        "image_size": 16,
        "patch_size": 8,
        "num_frames": 4,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 128,
        "num_labels": 200,
    }
    torch.manual_seed(0)
    model = VideoMAEForVideoClassification(VideoMAEConfig(**{**settings, **changes}))
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.7)
    return model


def test_a_new_head_is_small_and_the_encoder_stays() -> None:
    model = classifier()
    torch.manual_seed(1)
    init_classifier(model, init_scale=0.001)
    assert model.classifier.weight.std().item() == pytest.approx(2e-5, rel=0.05)
    assert not model.classifier.bias.any()
    assert model.fc_norm is not None
    assert (model.fc_norm.weight == 1).all()
    assert not model.fc_norm.bias.any()
    assert all((parameter == 0.7).all() for parameter in model.videomae.parameters())


def test_the_scale_multiplies_the_head() -> None:
    heads = []
    for scale in (1.0, 0.25):
        model = classifier()
        torch.manual_seed(1)
        init_classifier(model, init_scale=scale)
        heads.append(model.classifier.weight.detach())
    torch.testing.assert_close(heads[1], heads[0] / 4)


def test_from_scratch_every_weight_is_new() -> None:
    model = classifier()
    torch.manual_seed(1)
    init_for_finetuning(model, init_scale=0.5)
    bound = (3 * 2 * 8 * 8) ** -0.5  # PyTorch's default of a convolution: uniform within 1 / sqrt(fan in)
    patches = model.videomae.embeddings.patch_embeddings.projection
    for name, parameter in model.named_parameters():
        assert not (parameter == 0.7).any(), name
        if parameter is patches.weight or parameter is patches.bias:
            assert 0.8 * bound < parameter.abs().max().item() <= bound, name
        elif name == "classifier.weight":
            assert parameter.std().item() == pytest.approx(0.01, rel=0.05)
        elif parameter.ndim == 2:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.05), name
        else:
            assert (parameter == float("norm" in name and name.endswith("weight"))).all(), name


def test_refused_heads() -> None:
    with pytest.raises(ConfigError, match="num_labels=0"):
        init_classifier(classifier(num_labels=0))
    with pytest.raises(ConfigError, match="init_scale=0"):
        init_classifier(classifier(), init_scale=0)


def test_head_dropout_acts_on_the_pooled_features_in_training_alone() -> None:
    model = classifier(classifier_dropout=0.5, num_labels=64)
    for parameter in model.videomae.parameters():
        nn.init.normal_(parameter, std=0.1)
    nn.init.eye_(model.classifier.weight)  # the logits are the features
    clips = torch.randn(32, 4, 3, 16, 16)
    features = model.eval()(clips).logits - 0.7  # less the bias
    dropped = model.train()(clips).logits - 0.7
    gone = dropped.abs() < 1e-6
    assert gone.float().mean().item() == pytest.approx(0.5, abs=0.05)
    torch.testing.assert_close(dropped[~gone], 2 * features[~gone], rtol=1e-4, atol=1e-4)
    model.config.update({"classifier_dropout": 0.0})
    torch.testing.assert_close(model(clips).logits - 0.7, features)
