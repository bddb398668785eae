"""Folders to models: prefixes, types, sizes, and what is told of what was left over."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from videomae.core.errors import CheckpointError, ConfigError
from videomae.models import pretrained
from videomae.models.config import VideoMAEConfig
from videomae.models.modeling import VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel

MODELS = (VideoMAEModel, VideoMAEForPreTraining, VideoMAEForVideoClassification)
TINY: dict[str, Any] = {
    "image_size": 16,
    "patch_size": 8,
    "num_frames": 4,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "decoder_hidden_size": 12,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 3,
    "decoder_intermediate_size": 24,
}


def saved(model_class: Any, folder: Path, **changes: Any) -> Any:
    model = model_class(VideoMAEConfig(**{**TINY, **changes}))
    for parameter in model.parameters():  # a tensor that was left behind would be zero, one or small
        torch.nn.init.uniform_(parameter, 1, 2)
    model.save_pretrained(folder)
    return model


def rename(folder: Path, change: Any) -> None:
    state = load_file(folder / "model.safetensors")
    save_file({change(name): tensor for name, tensor in state.items()}, folder / "model.safetensors")


def assert_same_encoder(left: Any, right: Any) -> None:
    encoders = [getattr(model, "videomae", model).state_dict() for model in (left, right)]
    common = [name for name in encoders[0] if name in encoders[1]]
    assert any(".q_bias" in name for name in common)
    for name in common:
        assert torch.equal(encoders[0][name], encoders[1][name]), name


@pytest.mark.parametrize("source", MODELS)
@pytest.mark.parametrize("target", MODELS)
@pytest.mark.parametrize("pooling", [True, False])
def test_the_encoder_travels_between_all_models(source: Any, target: Any, pooling: bool, tmp_path: Path) -> None:
    model = saved(source, tmp_path, use_mean_pooling=pooling)

    loaded, info = target.from_pretrained(tmp_path, output_loading_info=True)

    assert_same_encoder(model, loaded)
    assert not [name for name in info["missing_keys"] if "encoder.layer" in name or "embeddings" in name]
    assert (info["missing_keys"] == []) == (source is target or target is VideoMAEModel)
    assert info["mismatched_keys"] == []
    assert not any(parameter.is_meta for parameter in loaded.parameters())
    assert not loaded.training


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("model_class", MODELS)
def test_names_of_wrapped_models(prefix: str, model_class: Any, tmp_path: Path) -> None:
    model = saved(model_class, tmp_path)
    rename(tmp_path, lambda name: prefix + name)

    loaded, info = model_class.from_pretrained(tmp_path, output_loading_info=True)

    assert info["missing_keys"] == info["unexpected_keys"] == []
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


@pytest.mark.parametrize("model_class", MODELS)
def test_query_and_value_biases_of_transformers_5(model_class: Any, tmp_path: Path) -> None:
    model = saved(model_class, tmp_path)
    rename(tmp_path, lambda name: name.replace(".q_bias", ".query.bias").replace(".v_bias", ".value.bias"))
    assert any(name.endswith("query.bias") for name in load_file(tmp_path / "model.safetensors"))

    loaded, info = model_class.from_pretrained(tmp_path, output_loading_info=True)

    assert info["missing_keys"] == info["unexpected_keys"] == []
    assert_same_encoder(model, loaded)


def test_missing_weights_are_drawn_anew_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    saved(VideoMAEForPreTraining, tmp_path, use_mean_pooling=False)

    with caplog.at_level(logging.INFO, logger="videomae"):
        loaded = VideoMAEForVideoClassification.from_pretrained(tmp_path, num_labels=7)

    text = caplog.text
    assert "classifier.weight" in text
    assert "train before use" in text
    assert "not used: decoder.*, encoder_to_decoder.*, mask_token.*" in text
    assert loaded.classifier.weight.shape == (7, 16)
    assert 0 < loaded.classifier.weight.std() < 0.1
    assert loaded.classifier.bias.abs().sum() == 0


def test_a_whole_checkpoint_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    saved(VideoMAEForPreTraining, tmp_path)

    with caplog.at_level(logging.INFO, logger="videomae"):
        VideoMAEForPreTraining.from_pretrained(tmp_path)

    assert caplog.text == ""


def test_part_of_a_module_missing_keeps_the_other_part(tmp_path: Path) -> None:
    model = saved(VideoMAEForVideoClassification, tmp_path)
    state = {name: tensor for name, tensor in model.state_dict().items() if name != "classifier.bias"}
    save_file(state, tmp_path / "model.safetensors")

    loaded, info = VideoMAEForVideoClassification.from_pretrained(tmp_path, output_loading_info=True)

    assert info["missing_keys"] == ["classifier.bias"]
    assert torch.equal(loaded.classifier.weight, model.classifier.weight)
    assert loaded.classifier.bias.tolist() == [0, 0]


@pytest.mark.parametrize("keyword", ["dtype", "torch_dtype"])
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (None, torch.float32),
        ("auto", torch.bfloat16),
        ("float16", torch.float16),
        (torch.float64, torch.float64),
        ("float32", torch.float32),
    ],
)
def test_types(tmp_path: Path, keyword: str, asked: Any, expected: torch.dtype) -> None:
    VideoMAEForVideoClassification(VideoMAEConfig(**TINY)).to(torch.bfloat16).save_pretrained(tmp_path)

    loaded = VideoMAEForVideoClassification.from_pretrained(tmp_path, **{keyword: asked})

    assert {parameter.dtype for parameter in loaded.parameters()} == {expected}
    assert loaded.dtype == expected


def test_auto_type_of_a_new_head(tmp_path: Path) -> None:
    VideoMAEModel(VideoMAEConfig(**TINY)).to(torch.bfloat16).save_pretrained(tmp_path)

    loaded = VideoMAEForVideoClassification.from_pretrained(tmp_path, dtype="auto")

    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("asked", ["int8", "float99", "nn", torch.int64])
def test_types_that_are_none(tmp_path: Path, asked: Any) -> None:
    saved(VideoMAEModel, tmp_path)

    with pytest.raises(ConfigError, match=r"dtype=.*expected float32, bfloat16, float16 or auto"):
        VideoMAEModel.from_pretrained(tmp_path, dtype=asked)


def test_other_sizes_are_refused_or_drawn_anew(tmp_path: Path) -> None:
    model = saved(VideoMAEForVideoClassification, tmp_path, num_labels=3)

    with pytest.raises(
        CheckpointError, match=r"classifier.weight of shape \(3, 16\) instead of \(5, 16\), .*ignore_mism"
    ) as e:
        VideoMAEForVideoClassification.from_pretrained(tmp_path, num_labels=5)
    assert "\n" not in str(e.value)
    loaded, info = VideoMAEForVideoClassification.from_pretrained(
        tmp_path, num_labels=5, ignore_mismatched_sizes=True, output_loading_info=True
    )

    assert [entry[0] for entry in info["mismatched_keys"]] == ["classifier.weight", "classifier.bias"]
    assert info["mismatched_keys"][0] == ("classifier.weight", (3, 16), (5, 16))
    assert info["missing_keys"] == []
    assert loaded.classifier.weight.shape == (5, 16)
    assert not loaded.classifier.weight.is_meta
    assert_same_encoder(model, loaded)


def test_another_number_of_frames_needs_no_new_weights(tmp_path: Path) -> None:
    saved(VideoMAEForPreTraining, tmp_path)

    loaded, info = VideoMAEForPreTraining.from_pretrained(tmp_path, num_frames=8, output_loading_info=True)

    assert info["missing_keys"] == info["mismatched_keys"] == []
    assert loaded.position_embeddings.shape == (1, 16, 12)
    assert loaded.videomae.embeddings.position_embeddings.shape == (1, 16, 16)


def test_weights_of_another_architecture(tmp_path: Path) -> None:
    VideoMAEConfig(**TINY).save_pretrained(tmp_path)
    save_file({"conv1.weight": torch.zeros(3)}, tmp_path / "model.safetensors")

    with pytest.raises(CheckpointError, match=r"expected weights under the names of a VideoMAE model; .*conv1\.weight"):
        VideoMAEModel.from_pretrained(tmp_path)


def test_a_folder_without_weights_or_configuration(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"expected a checkpoint folder with config\.json"):
        VideoMAEModel.from_pretrained(tmp_path)
    VideoMAEConfig(**TINY).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="without weights"):
        VideoMAEModel.from_pretrained(tmp_path)


def test_a_configuration_of_another_architecture(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')

    with pytest.raises(CheckpointError, match="model_type 'vit': expected model_type 'videomae'"):
        VideoMAEModel.from_pretrained(tmp_path)


def test_a_loaded_model_trains(tmp_path: Path) -> None:
    saved(VideoMAEModel, tmp_path)
    loaded = VideoMAEForVideoClassification.from_pretrained(tmp_path, num_labels=3)

    assert all(parameter.requires_grad and parameter.is_leaf for parameter in loaded.parameters())
    loaded.train()(torch.randn(2, 4, 3, 16, 16), labels=torch.tensor([0, 2])).loss.backward()
    assert all(parameter.grad is not None for parameter in loaded.parameters())


def test_keywords_of_transformers_that_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = saved(VideoMAEModel, tmp_path / "plain")
    seen: list[Any] = []
    read = pretrained.files.read_weights
    monkeypatch.setattr(
        pretrained.files, "read_weights", lambda source, **options: (seen.append(options), read(source, **options))[1]
    )

    model.save_pretrained(
        tmp_path / "wordy",
        save_function=torch.save,
        max_shard_size="1MB",
        variant=None,
        token="t",
        save_peft_format=True,
    )
    loaded = VideoMAEModel.from_pretrained(
        tmp_path / "wordy",
        use_safetensors=True,
        low_cpu_mem_usage=True,
        trust_remote_code=False,
        proxies=None,
        resume_download=True,
        use_auth_token="secret",
    )

    assert sorted(file.name for file in (tmp_path / "wordy").iterdir()) == ["config.json", "model.safetensors"]
    assert_same_encoder(model, loaded)
    assert seen == [{"token": "secret"}]
    assert "use_safetensors" not in loaded.config.to_dict()
    with pytest.raises(ConfigError, match="low_cpu_memory=True"):
        VideoMAEModel.from_pretrained(tmp_path / "wordy", low_cpu_memory=True)
    with pytest.raises(ConfigError, match="variant='fp16'"):
        model.save_pretrained(tmp_path / "other", variant="fp16")
    with pytest.raises(TypeError, match="max_shards"):
        model.save_pretrained(tmp_path / "other", max_shards=1)
    assert not (tmp_path / "other").exists()


def test_the_token_is_for_the_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads: list[Any] = []
    monkeypatch.setattr(pretrained.hub, "upload_folder", lambda *arguments, **options: uploads.append(options))

    VideoMAEModel(VideoMAEConfig(**TINY)).save_pretrained(tmp_path, push_to_hub=True, token="t", private=True)

    assert uploads == [{"token": "t", "private": True}]


def test_state_dict_instead_of_the_file(tmp_path: Path) -> None:
    model = saved(VideoMAEModel, tmp_path)
    other = {name: torch.full_like(tensor, 3.0) for name, tensor in model.state_dict().items()}

    with_folder = VideoMAEModel.from_pretrained(tmp_path, state_dict=other)
    without = VideoMAEModel.from_pretrained(None, config=model.config, state_dict=other)

    for loaded in (with_folder, without):
        assert all((parameter == 3).all() for parameter in loaded.parameters())
    with pytest.raises(ConfigError, match="give config and state_dict"):
        VideoMAEModel.from_pretrained(None, config=model.config)


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("name", ["", "config.json"])
def test_configuration_from_elsewhere(kind: Any, name: str, tmp_path: Path) -> None:
    saved(VideoMAEForVideoClassification, tmp_path / "weights")
    VideoMAEConfig(**TINY, id2label={0: "a", 1: "b"}).save_pretrained(tmp_path / "config")

    loaded = VideoMAEForVideoClassification.from_pretrained(
        tmp_path / "weights", config=kind(tmp_path / "config" / name), hidden_dropout_prob=0.25
    )

    assert loaded.config.id2label == {0: "a", 1: "b"}
    assert loaded.config.hidden_dropout_prob == 0.25


@pytest.mark.parametrize(
    "device_map", ["cpu", torch.device("cpu"), "meta", {"": "cpu"}, {"": torch.device("meta")}, None]
)
def test_device_map_of_one_device(device_map: Any, tmp_path: Path) -> None:
    saved(VideoMAEModel, tmp_path)

    loaded = VideoMAEModel.from_pretrained(tmp_path, device_map=device_map)

    expected = torch.device((device_map[""] if isinstance(device_map, dict) else device_map) or "cpu")
    assert loaded.device == expected
    assert getattr(loaded, "hf_device_map", None) == (None if device_map is None else {"": expected})


@pytest.mark.parametrize("strategy", ["auto", "balanced", "balanced_low_0", "sequential"])
@pytest.mark.parametrize(("available", "device"), [(True, "cuda"), (False, "cpu")])
def test_device_map_auto(available: bool, device: str, strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)

    assert pretrained.loading.single_device(strategy) == torch.device(device)


@pytest.mark.parametrize(
    "device_map", [{}, {"videomae": 0, "classifier": "cpu"}, {"": True}, {"": {"": "cpu"}}, "evenly", True, 0.5]
)
def test_device_maps_of_more_or_no_devices(device_map: Any, tmp_path: Path) -> None:
    saved(VideoMAEModel, tmp_path)

    with pytest.raises(ConfigError, match=r"device_map=.*: expected one device") as caught:
        VideoMAEModel.from_pretrained(tmp_path, device_map=device_map)

    assert "\n" not in str(caught.value)
