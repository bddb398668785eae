"""Files of weights without a configuration, of transformers' layout and of the original code's."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import Commands
from torch.nn import functional as F

import videomae
from videomae.api.description import describe_checkpoint
from videomae.core.errors import CheckpointError, ConfigError, InputError
from videomae.core.tubelets import position_table
from videomae.weights import finite, original
from videomae.weights.files import write_safetensors

SIZES: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 8,
    "num_frames": 4,
    "hidden_size": 128,  # a width of the size table, so that the heads follow
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 256,
    "decoder_hidden_size": 128,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 4,
    "decoder_intermediate_size": 256,
    "layer_norm_eps": 1e-6,
    "final_norm_eps": 1e-6,
}
CLIP = {"num_frames": 4, "image_size": 32}


def made(kind: type, **config: Any) -> Any:
    torch.manual_seed(0)
    model = kind(videomae.VideoMAEConfig(**{**SIZES, **config})).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def classifier(**config: Any) -> Any:
    return made(videomae.VideoMAEForVideoClassification, id2label={0: "run", 1: "jump", 2: "sit"}, **config)


def pretrained() -> Any:
    return made(videomae.VideoMAEForPreTraining, use_mean_pooling=False)


def original_logits(state: Mapping[str, torch.Tensor], clips: torch.Tensor) -> torch.Tensor:
    """What the original code computes from a fine-tuned file, by its formulas: (B, C, T, H, W) to (B, classes)."""

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    weight = state["patch_embed.proj.weight"]
    x = F.conv3d(clips, weight, state["patch_embed.proj.bias"], stride=weight.shape[2:]).flatten(2).transpose(1, 2)
    x = x + position_table(x.shape[1], x.shape[2])
    for block in range(2):
        name = f"blocks.{block}"
        q_bias, v_bias = state[f"{name}.attn.q_bias"], state[f"{name}.attn.v_bias"]
        bias = torch.cat((q_bias, torch.zeros_like(v_bias), v_bias))
        qkv = F.linear(norm(x, f"{name}.norm1"), state[f"{name}.attn.qkv.weight"], bias)
        q, k, v = qkv.unflatten(-1, (3, 4, -1)).permute(2, 0, 3, 1, 4)
        attention = (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(-1) @ v
        x = x + linear(attention.transpose(1, 2).flatten(2), f"{name}.attn.proj")
        x = x + linear(F.gelu(linear(norm(x, f"{name}.norm2"), f"{name}.mlp.fc1")), f"{name}.mlp.fc2")
    return linear(norm(x.mean(1), "fc_norm"), "head")


@pytest.mark.parametrize("prefixes", [(), ("module.",), ("backbone.", "module."), ("_orig_mod.", "module.")])
@pytest.mark.parametrize("container", ["model", "module", "state_dict", ""])
def test_a_file_of_the_original_code(prefixes: tuple[str, ...], container: str, tmp_path: Path) -> None:
    state = original.to_original(classifier().state_dict())
    for prefix in prefixes:
        state = {prefix + name: tensor for name, tensor in state.items()}
    arguments = argparse.Namespace(num_frames=4, input_size=32, lr=1e-3, model="vit", opt_betas=[0.9, 0.95])
    torch.save({container: state, "epoch": 3, "args": arguments} if container else state, tmp_path / "v1.pth")
    loaded = videomae.load_checkpoint(tmp_path / "v1.pth", **({} if container else CLIP))
    assert (loaded.config.layer_norm_eps, loaded.config.final_norm_eps) == (1e-6, 1e-6)
    clips = torch.randn(2, 4, 3, 32, 32)
    bare = original.without_prefixes(state)
    with torch.no_grad():
        logits = loaded(clips).logits
        assert torch.equal(logits, classifier()(clips).logits)
        assert (logits - original_logits(bare, clips.transpose(1, 2))).abs().max() < 1e-5


def test_pretraining_and_what_it_becomes(tmp_path: Path) -> None:
    model = pretrained()
    videomae.convert(_saved(model, tmp_path / "hf"), tmp_path / "v1.pth", layout="original")
    loaded = videomae.load_checkpoint(tmp_path / "v1.pth")
    assert type(loaded) is videomae.VideoMAEForPreTraining
    clips, mask = torch.randn(1, 4, 3, 32, 32), videomae.tube_mask(1, model.config.grid, 0.75)
    with torch.no_grad():
        assert torch.equal(loaded(clips, mask).logits, model(clips, mask).logits)
    fresh = videomae.load_checkpoint(tmp_path / "v1.pth", task="classification", class_names=["a", "b"])
    assert fresh.config.id2label == {0: "a", 1: "b"}
    assert fresh.fc_norm.eps == 1e-6
    assert type(videomae.Checkpoint.open(tmp_path / "v1.pth", task="features").model) is videomae.VideoMAEModel


def _saved(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    videomae.VideoMAEImageProcessor(size=32, crop_size=32, sampling={"num_frames": 4}).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("make", [classifier, pretrained])
def test_there_and_back_bit_for_bit(make: Any, tmp_path: Path) -> None:
    model = make(layer_norm_eps=1e-12, final_norm_eps=1e-5) if make is classifier else make()
    first = _saved(model, tmp_path / "first")
    assert videomae.convert(first, tmp_path / "there.pth", layout="original") == tmp_path / "there.pth"
    videomae.convert(tmp_path / "there.pth", tmp_path / "back")
    videomae.convert(tmp_path / "back", tmp_path / "again.pth", layout="original")
    assert (first / "config.json").read_bytes() == (tmp_path / "back" / "config.json").read_bytes()
    assert (first / "model.safetensors").read_bytes() == (tmp_path / "back" / "model.safetensors").read_bytes()
    there, again = (torch.load(tmp_path / name, weights_only=True) for name in ("there.pth", "again.pth"))
    assert there["model"].keys() == again["model"].keys()
    assert all(torch.equal(again["model"][name], tensor) for name, tensor in there["model"].items())


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "weights.pt"])
def test_weights_of_transformers_alone(name: str, tmp_path: Path) -> None:
    model = classifier()
    if name.endswith("safetensors"):
        model.save_pretrained(tmp_path)
        (tmp_path / "config.json").unlink()
    else:
        torch.save(model.state_dict(), tmp_path / name)
    sources = [tmp_path / name] if name == "weights.pt" else [tmp_path / name, tmp_path]
    for source in sources:
        loaded = videomae.load_checkpoint(source, **CLIP, layer_norm_eps=1e-6, final_norm_eps=1e-6)
        clips = torch.randn(1, 4, 3, 32, 32)
        with torch.no_grad():
            assert torch.equal(loaded(clips).logits, model(clips).logits)


def test_a_file_from_before_torch_1_6(tmp_path: Path) -> None:
    state = original.to_original(classifier().state_dict())
    torch.save({"module": state}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    loaded = videomae.load_checkpoint(tmp_path / "old.pth", **CLIP)
    assert torch.equal(loaded.classifier.weight, state["head.weight"])


def test_what_a_file_does_not_tell_is_asked_for(tmp_path: Path) -> None:
    state = original.to_original(classifier().state_dict())
    torch.save(state, tmp_path / "bare.pth")
    with pytest.raises(ConfigError, match=r"without num_frames and image_size: .* give num_frames=16 image_size=224"):
        videomae.Checkpoint.open(tmp_path / "bare.pth")
    odd = made(videomae.VideoMAEForVideoClassification, hidden_size=96, num_attention_heads=3)
    torch.save(original.to_original(odd.state_dict()), tmp_path / "odd.pth")
    with pytest.raises(ConfigError, match="without num_attention_heads"):
        videomae.load_checkpoint(tmp_path / "odd.pth", **CLIP)
    assert videomae.load_checkpoint(tmp_path / "odd.pth", **CLIP, num_attention_heads=3).config.num_attention_heads == 3


class Foreign:
    """Not a type that may come out of a pickle."""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {"model": state, "args": Foreign()}, "Python objects .*Foreign"),
        (lambda state: {name: state[name] for name in state if "blocks.0." not in name}, "layers 1, …"),
        (lambda state: {**state, "blocks.0.attn.qkv.weight": torch.zeros(10, 128)}, r"\(3 · width, width\)"),
        (lambda state: {"a.weight": torch.zeros(2)}, "the tensors of a VideoMAE model"),
        (lambda state: {name: state[name] for name in state if name != "blocks.1.norm1.bias"}, "all weights"),
        (lambda state: [1, 2], "a file that maps names to tensors"),
    ],
)
def test_files_that_are_refused(change: Any, message: str, tmp_path: Path) -> None:
    torch.save(change(original.to_original(classifier().state_dict())), tmp_path / "x.pth")
    with pytest.raises(InputError, match=message) as caught:
        videomae.load_checkpoint(tmp_path / "x.pth", **CLIP)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_cut_off(tmp_path: Path) -> None:
    torch.save(original.to_original(classifier().state_dict()), tmp_path / "x.pth")
    whole = (tmp_path / "x.pth").read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "x.pth").write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="undamaged weights file"):
            videomae.load_checkpoint(tmp_path / "x.pth", **CLIP)


def test_the_commands(commands: Commands, tmp_path: Path) -> None:
    torch.save({"module": original.to_original(classifier().state_dict())}, tmp_path / "v1.pth")
    line = commands.refused("convert", tmp_path / "v1.pth", tmp_path / "hf")
    assert "give --num-frames 16 --image-size 224" in line
    line = commands.refused("predict", "x.mp4", "--model", tmp_path / "v1.pth")
    assert f"videomae convert {tmp_path / 'v1.pth'} FOLDER --num-frames 16 --image-size 224" in line
    assert commands("convert", tmp_path / "v1.pth", tmp_path / "hf", "--num-frames", 4, "--image-size", 32) == 0
    assert commands("info", tmp_path / "hf") == 0
    assert "layout      hf" in commands.out
    assert commands("info", tmp_path / "v1.pth", "--num-frames", 4, "--image-size", 32) == 0
    assert "layout      original" in commands.out
    assert "an .pth" not in commands.refused("convert", tmp_path / "hf", tmp_path / "x", "--layout", "original")
    assert "a folder" in commands.refused("convert", tmp_path / "hf", tmp_path / "x.pth")
    assert describe_checkpoint(tmp_path / "hf")["layout"] == "hf"


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated:UserWarning")
@pytest.mark.parametrize("name", ["x.pth", "old.pth", "x.safetensors"])
def test_damaged_files_load_or_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    small = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 16}
    model = made(videomae.VideoMAEForVideoClassification, **small, image_size=16)
    if name.endswith("safetensors"):
        write_safetensors(tmp_path / name, model.state_dict())
    else:
        state = {"model": original.to_original(model.state_dict()), "args": argparse.Namespace(num_frames=4)}
        torch.save(state, tmp_path / name, _use_new_zipfile_serialization=name == "x.pth")
    whole = (tmp_path / name).read_bytes()
    random = np.random.default_rng(0)
    refusals: list[str] = []
    for _ in range(60):
        damaged = bytearray(whole)
        place = int(random.integers(len(whole)))
        match int(random.integers(4)):
            case 0:
                damaged[place] ^= 1 << int(random.integers(8))
            case 1:
                del damaged[place:]
            case 2:
                del damaged[place : place + int(random.integers(1, 64))]
            case 3:
                damaged[place % 4000] = int(random.integers(256))
        (tmp_path / name).write_bytes(damaged)
        try:
            videomae.load_checkpoint(tmp_path / name, num_frames=4, image_size=16, num_attention_heads=2)
        except InputError as error:
            refusals.append(str(error))
    assert 10 < len(refusals) < 60
    assert not [text for text in refusals if "\n" in text]


def test_a_tensor_too_many_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = original.to_original(classifier().state_dict())
    torch.save({**state, "norm.weight": torch.ones(128), "norm.bias": torch.zeros(128)}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"unexpected: videomae.layernorm.weight, .*no others"):
        videomae.load_checkpoint(tmp_path / "x.pth", **CLIP)
    with caplog.at_level("INFO", logger="videomae"):
        videomae.load_checkpoint(tmp_path / "x.pth", **CLIP, task="features")
    assert "for features: drops classifier, fc_norm, layernorm" in caplog.text


def test_all_that_does_not_fit_is_listed(tmp_path: Path) -> None:
    model = made(videomae.VideoMAEForVideoClassification, hidden_size=16, num_hidden_layers=7, num_labels=3)
    model.save_pretrained(tmp_path)
    state = model.state_dict()
    layer = "videomae.encoder.layer"
    for index in (1, 2, 3, 5):
        del state[f"{layer}.{index}.output.dense.weight"]
    for index in (0, 6):
        name = f"{layer}.{index}.intermediate.dense.bias"
        state[name] = torch.zeros(5)
    write_safetensors(tmp_path / "model.safetensors", {**state, "decoder.extra": torch.zeros(1)})
    with pytest.raises(CheckpointError) as caught:
        videomae.load_checkpoint(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} (missing: {layer}.{{1-3,5}}.output.dense.weight (4); unexpected: decoder.extra; "
        f"misshaped: {layer}.{{0,6}}.intermediate.dense.bias (2) of shape (5,) instead of (256,)): expected all "
        "weights for classification and no others; part of its encoder is missing; copy or download it again"
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_tables_of_positions_are_ours_or_refused(dtype: torch.dtype, tmp_path: Path) -> None:
    state = original.to_original(pretrained().state_dict())
    tables = {"encoder.pos_embed": position_table(32, 128).to(dtype), "pos_embed": position_table(32, 16).to(dtype)}
    torch.save({**state, **tables}, tmp_path / "x.pth")
    assert videomae.load_checkpoint(tmp_path / "x.pth", **CLIP)
    tables["encoder.pos_embed"] = tables["encoder.pos_embed"] + torch.randn(1, 32, 128).to(dtype)
    torch.save({**state, **tables}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"encoder.pos_embed of shape .*its positions were learned"):
        videomae.load_checkpoint(tmp_path / "x.pth", **CLIP)


def test_weights_that_are_no_numbers_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = classifier()
    state = model.state_dict()
    for index in (0, 1):
        state[f"videomae.encoder.layer.{index}.output.dense.weight"][3, 5] = float("nan")
    state["classifier.bias"][1] = float("-inf")
    model.half().save_pretrained(tmp_path, state_dict={name: tensor.half() for name, tensor in state.items()})
    named = "NaN or infinity in videomae.encoder.layer.{0-1}.output.dense.weight (2), classifier.bias"
    for load in (videomae.load_checkpoint, videomae.VideoMAEForVideoClassification.from_pretrained):
        caplog.clear()
        load(tmp_path)
        assert f"{tmp_path}: {named}" in caplog.text
    assert len(describe_checkpoint(tmp_path)["not_finite"]) == 3


def test_large_weights_are_looked_at_beside_what_follows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finite, "_AT_ONCE_BYTES", 0)
    model = classifier()
    with torch.no_grad():
        model.classifier.bias[0] = float("nan")
    model.save_pretrained(tmp_path)
    videomae.load_checkpoint(tmp_path)
    for thread in threading.enumerate():
        if thread.name == "videomae: look for NaN":
            thread.join()
    assert "NaN or infinity in classifier.bias" in caplog.text


def test_large_numbers_are_numbers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = classifier()
    state = {name: torch.full_like(tensor, 3e38) for name, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path, state_dict=state)
    videomae.load_checkpoint(tmp_path)
    assert "NaN" not in caplog.text


def test_the_same_weights_have_one_checksum(tmp_path: Path) -> None:
    model = classifier()
    folder = _saved(model, tmp_path / "hf")
    videomae.convert(folder, tmp_path / "v1.pth", layout="original")
    model.save_pretrained(tmp_path / "shards", max_shard_size="200KB")
    model.save_pretrained(tmp_path / "bin", safe_serialization=False)
    sources = [folder, tmp_path / "v1.pth", tmp_path / "shards", tmp_path / "bin"]
    found = [describe_checkpoint(source) for source in sources]
    assert len({about["checksum"] for about in found}) == 1
    assert [about["container"] for about in found] == [
        *("model.safetensors", "v1.pth", "model.safetensors.index.json", "pytorch_model.bin")
    ]
    assert [about["layout"] for about in found] == ["hf", "original", "hf", "hf"]
    with torch.no_grad():
        model.classifier.bias[0] += 1
    model.save_pretrained(folder)
    assert describe_checkpoint(folder)["checksum"] != found[0]["checksum"]


def test_shards_without_a_configuration(tmp_path: Path) -> None:
    model = classifier()
    model.save_pretrained(tmp_path, max_shard_size="200KB")
    (tmp_path / "config.json").unlink()
    assert (tmp_path / "model.safetensors.index.json").exists()
    loaded = videomae.load_checkpoint(tmp_path, **CLIP, layer_norm_eps=1e-6, final_norm_eps=1e-6)
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in model.state_dict().items())


def test_options_that_describe_a_file_are_said_to(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They are not what it is adapted to: that would be a silent mistake where the file is of other clips."""
    file = tmp_path / "weights.pth"
    torch.save(original.to_original(pretrained().state_dict()), file)

    with caplog.at_level("INFO", logger="videomae"):
        videomae.load_checkpoint(file, **CLIP)
    said = [record.getMessage() for record in caplog.records if "does not tell" in record.getMessage()]
    assert said == [
        f"{file} does not tell its clips: taken as trained with num_frames=4 and image_size=32; for others, convert it "
        "and adapt the folder"
    ]


def test_a_file_that_tells_its_clips_is_adapted_to_others(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    model = pretrained()
    arguments = argparse.Namespace(num_frames=4, input_size=32)
    torch.save({"model": original.to_original(model.state_dict()), "args": arguments}, file)

    adapted = videomae.load_checkpoint(file, num_frames=8, image_size=(32, 48))

    assert adapted.config.position_grid == (2, 4, 4)
    assert adapted.config.grid.shape == (4, 4, 6)
    assert torch.equal(adapted.encoder_to_decoder.weight, model.encoder_to_decoder.weight)


def test_convert_writes_over_nothing(tmp_path: Path) -> None:
    classifier().save_pretrained(tmp_path / "first")
    classifier(hidden_act="relu").save_pretrained(tmp_path / "second")
    before = (tmp_path / "second" / "config.json").read_bytes()
    with pytest.raises(ConfigError, match="second, which is there already: expected a new place"):
        videomae.convert(tmp_path / "first", tmp_path / "second")
    assert (tmp_path / "second" / "config.json").read_bytes() == before

    videomae.convert(tmp_path / "first", tmp_path / "second", overwrite=True)
    assert videomae.VideoMAEConfig.from_pretrained(tmp_path / "second").hidden_act == "gelu"
    file = videomae.convert(tmp_path / "first", tmp_path / "weights.pth", layout="original")
    with pytest.raises(ConfigError, match="there already"):
        videomae.convert(tmp_path / "first", file, layout="original")

    (tmp_path / "second" / "recipe.json").write_text("{}")
    with pytest.raises(ConfigError, match="second, which is a training run"):
        videomae.convert(tmp_path / "first", tmp_path / "second", overwrite=True)


@pytest.mark.parametrize(("name", "what"), [("gamma_1", "LayerScale"), ("attn.scale", "cosine attention")])
def test_networks_of_the_original_code_that_compute_something_else(tmp_path: Path, name: str, what: str) -> None:
    state = original.to_original(classifier().state_dict())
    torch.save({"model": {**state, f"blocks.1.{name}": torch.ones(128)}}, tmp_path / "weights.pth")

    with pytest.raises(CheckpointError, match=rf"blocks\.1\.{name}, of {what}: expected a VideoMAE as published"):
        videomae.load_checkpoint(tmp_path / "weights.pth", **CLIP)


def test_a_processor_beside_weights_tells_their_clips(tmp_path: Path) -> None:
    """A trainer's checkpoint-N without config.json, but with what feeds the model."""
    model = classifier()
    model.save_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    sampling = {"method": "dense", "num_frames": 4, "frame_stride": 2}
    crop = {"height": 32, "width": 32}
    videomae.VideoMAEImageProcessor(crop_size=crop, image_mean=[0.1, 0.2, 0.3], sampling=sampling).save_pretrained(
        tmp_path
    )

    opened = videomae.Checkpoint.open(tmp_path, layer_norm_eps=1e-6, final_norm_eps=1e-6)

    assert opened.sampling.frame_stride == 2
    assert opened.processor.image_mean == [0.1, 0.2, 0.3]
    clips = torch.randn(1, 4, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(opened.model(clips).logits, model(clips).logits)


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    classifier().save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text(encoding="utf-8")
    (tmp_path / "config.json").write_text(text, encoding="utf-8-sig")

    assert videomae.VideoMAEConfig.from_pretrained(tmp_path).num_labels == 3
