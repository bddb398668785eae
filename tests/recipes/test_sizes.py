"""The network sizes build, with as many weights as were published."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from videomae.core.errors import ConfigError
from videomae.models.config import VideoMAEConfig
from videomae.models.modeling import VideoMAEForPreTraining, VideoMAEForVideoClassification
from videomae.recipes.sizes import SIZES, size_keywords

# Encoder with a Kinetics-400 head, in millions: VideoMAE (Tong et al. 2022, table 6; S is in the model zoo), and for
# giant VideoMAE V2 (Wang et al. 2023, table 1), which counts 1011 M without a head.
PUBLISHED_MILLIONS = {"small": 22, "base": 87, "large": 305, "huge": 633, "giant": 1013}
# (decoder width, heads, depth, MLP), facts of both code bases.
DECODERS = {
    "small": (192, 3, 4, 768),
    "base": (384, 6, 4, 1536),
    "large": (512, 8, 12, 2048),
    "huge": (640, 8, 12, 2560),
    "giant": (512, 8, 4, 2234),
}
ENCODERS = {
    "small": (384, 12, 6, 1536, 16),
    "base": (768, 12, 12, 3072, 16),
    "large": (1024, 24, 16, 4096, 16),
    "huge": (1280, 32, 16, 5120, 16),
    "giant": (1408, 40, 16, 6144, 14),
}


def config_of(size: str, **changes: Any) -> VideoMAEConfig:
    return VideoMAEConfig(**size_keywords(size), **changes)


def by_formula(config: VideoMAEConfig, num_labels: int) -> int:
    """Weights of a classifier, counted on paper."""
    width, mlp = config.hidden_size, config.intermediate_size
    norms = 2 * 2 * width
    attention = 3 * width * width + 2 * width + width * width + width
    block = norms + attention + width * mlp + mlp + mlp * width + width
    embedding = width * (config.num_channels * config.tubelet_size * config.patch_size**2 + 1)
    return embedding + config.num_hidden_layers * block + 2 * width + num_labels * (width + 1)


@pytest.mark.parametrize("size", PUBLISHED_MILLIONS)
def test_classifiers_have_the_published_number_of_weights(size: str) -> None:
    config = config_of(size, num_labels=400)
    with torch.device("meta"):
        model = VideoMAEForVideoClassification(config)

    assert model.num_parameters() == by_formula(config, 400)
    assert model.num_parameters() / 1e6 == pytest.approx(PUBLISHED_MILLIONS[size], abs=1)


@pytest.mark.parametrize("size", SIZES)
def test_every_size_pre_trains(size: str) -> None:
    with torch.device("meta"):
        model = VideoMAEForPreTraining(config_of(size, use_mean_pooling=False))

    assert model.num_parameters() > model.videomae.num_parameters()


@pytest.mark.parametrize("size", DECODERS)
def test_shapes_are_those_of_the_published_networks(size: str) -> None:
    config = config_of(size)

    assert DECODERS[size] == (
        config.decoder_hidden_size,
        config.decoder_num_attention_heads,
        config.decoder_num_hidden_layers,
        config.decoder_intermediate_size,
    )
    assert ENCODERS[size] == (
        config.hidden_size,
        config.num_hidden_layers,
        config.num_attention_heads,
        config.intermediate_size,
        config.patch_size,
    )


def test_base_is_the_default_of_the_configuration() -> None:
    assert config_of("base") == VideoMAEConfig()


def test_an_unknown_size() -> None:
    with pytest.raises(ConfigError, match="size 'tall': expected tiny or small or base or large or huge or giant"):
        size_keywords("tall")


def test_the_table_cannot_be_changed_through_its_copy() -> None:
    size_keywords("tiny")["hidden_size"] = 1

    assert size_keywords("tiny")["hidden_size"] == 128
