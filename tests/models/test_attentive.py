"""Attentive heads: what they compute, and how they are stored."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from tiny_models import make, run
from torch.nn import functional as F

from videomae.checkpoint import Checkpoint, load_checkpoint
from videomae.core.errors import ConfigError
from videomae.models.attentive import AttentivePooling
from videomae.models.config import VideoMAEConfig
from videomae.models.modeling import VideoMAEForVideoClassification, VideoMAEModel


def test_the_query_attends_by_hand() -> None:
    pooling = AttentivePooling(8)
    tokens = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    normed = F.layer_norm(tokens, (8,))
    query, key, value = (
        part + bias
        for part, bias in zip(
            (
                pooling.query.expand(2, -1, -1) @ pooling.attention.in_proj_weight[:8].T,
                normed @ pooling.attention.in_proj_weight[8:16].T,
                normed @ pooling.attention.in_proj_weight[16:].T,
            ),
            pooling.attention.in_proj_bias.chunk(3),
            strict=True,
        )
    )
    heads = [states.unflatten(-1, (8, 1)).transpose(1, 2) for states in (query, key, value)]
    shares = (heads[0] @ heads[1].transpose(-1, -2) / math.sqrt(1)).softmax(-1)
    gathered = (shares @ heads[2]).transpose(1, 2).flatten(2)[:, 0]
    assert torch.allclose(pooling(tokens), pooling.attention.out_proj(gathered), atol=1e-6)


def test_a_new_model_has_weights_and_gradients_everywhere() -> None:
    model = make(VideoMAEForVideoClassification, classifier_head="attentive")
    run(model.train()).logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.pooling.parameters())
    fresh = VideoMAEForVideoClassification(model.config)
    assert float(fresh.pooling.query.detach().std()) > 0
    assert float(fresh.pooling.attention.in_proj_weight.detach().std()) > 0.05


def test_it_is_saved_and_opened_again(tmp_path: Path) -> None:
    model = make(VideoMAEForVideoClassification, classifier_head="attentive")
    model.save_pretrained(tmp_path)
    opened = load_checkpoint(tmp_path)
    assert opened.config.classifier_head == "attentive"
    assert torch.equal(run(opened).logits, run(model).logits)
    encoder = load_checkpoint(tmp_path, task="features")
    assert isinstance(encoder, VideoMAEModel)


def test_one_kind_of_head_makes_room_for_the_other(tmp_path: Path) -> None:
    names = ["LABEL_0", "LABEL_1"]
    for stored, wanted in (("attentive", "linear"), ("linear", "attentive")):
        model = make(VideoMAEForVideoClassification, classifier_head=stored)
        model.save_pretrained(tmp_path / stored)
        opened = load_checkpoint(tmp_path / stored, task="classification", class_names=names, classifier_head=wanted)
        assert (opened.pooling is not None) == (wanted == "attentive")
        weight = "videomae.encoder.layer.1.output.dense.weight"
        assert torch.equal(opened.state_dict()[weight], model.state_dict()[weight])


def test_other_classes_keep_the_pooling(tmp_path: Path) -> None:
    model = make(VideoMAEForVideoClassification, classifier_head="attentive")
    model.save_pretrained(tmp_path)
    opened = load_checkpoint(tmp_path, task="classification", class_names=["a", "b", "c"])
    assert torch.equal(opened.pooling.query, model.pooling.query)


def test_a_linear_head_is_not_noted_in_config_json(tmp_path: Path) -> None:
    make(VideoMAEForVideoClassification).save_pretrained(tmp_path)
    assert "classifier_head" not in (tmp_path / "config.json").read_text()


def test_without_a_config_the_tensors_show_the_head(tmp_path: Path) -> None:
    model = make(VideoMAEForVideoClassification, classifier_head="attentive")
    model.save_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    opened = load_checkpoint(
        tmp_path / "model.safetensors", num_frames=4, image_size=16, num_attention_heads=4, layer_norm_eps=1e-12
    )
    assert torch.allclose(run(opened).logits, run(model).logits, atol=1e-6)


def test_another_word_is_refused() -> None:
    with pytest.raises(ConfigError, match="classifier_head='deep': expected linear or attentive"):
        VideoMAEConfig(classifier_head="deep")


def test_checkpoints_are_described(tmp_path: Path) -> None:
    from videomae.api.description import describe_checkpoint

    make(VideoMAEForVideoClassification, classifier_head="attentive").save_pretrained(tmp_path)
    about = describe_checkpoint(tmp_path)
    assert about["head"] == "attentive classifier of 2 classes: a learned query pools the tokens"
    assert not about["misfits"]
    assert Checkpoint.open(tmp_path).model.config.num_labels == 2
