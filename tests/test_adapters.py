"""Adapter folders of PEFT: the same logits as PEFT's own merged model, every tensor used, everything else refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import videomae
from videomae.api.description import describe_checkpoint
from videomae.core.errors import CheckpointError, ConfigError

peft = pytest.importorskip("peft")

TINY: dict[str, Any] = {
    "image_size": 16,
    "patch_size": 8,
    "num_frames": 4,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
CLIPS = torch.randn(2, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
PLAIN = {"r": 4, "lora_alpha": 8, "target_modules": ["query", "value"], "modules_to_save": ["classifier"]}

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


def base(folder: Path, library: Any = videomae, **changes: Any) -> Any:
    torch.manual_seed(0)
    model = library.VideoMAEForVideoClassification(library.VideoMAEConfig(**TINY, num_labels=3, **changes))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    return library.VideoMAEForVideoClassification.from_pretrained(folder).eval()


def adapt(model: Any, folder: Path, **settings: Any) -> torch.Tensor:
    """Train-like changes of everything that the adapter holds; returns the logits of PEFT's merged model."""
    adapted = peft.get_peft_model(model, peft.LoraConfig(**{**PLAIN, **settings}))
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    adapted.save_pretrained(folder)
    saved = peft.PeftModel.from_pretrained(type(model).from_pretrained(folder.parent / "base"), folder)
    with torch.no_grad():
        return saved.merge_and_unload().eval()(CLIPS).logits


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("library", ["videomae", "transformers"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"layer.1.attention.attention.query": 2}, "alpha_pattern": {"value": 32}},
        {"target_modules": ["query", "value", "dense", "projection"], "modules_to_save": ["classifier", "fc_norm"]},
        {"bias": "all"},
        {"bias": "lora_only", "target_modules": ["dense"]},
        {"task_type": "FEATURE_EXTRACTION"},
        {"target_modules": r".*layer\.1.*(query|value)", "modules_to_save": None, "fan_in_fan_out": True},
    ],
)
def test_logits_are_those_of_pefts_merged_model(library: str, settings: dict[str, Any], tmp_path: Path) -> None:
    model = base(tmp_path / "base", pytest.importorskip(library))
    expected = adapt(model, tmp_path / "adapter", **settings)
    loaded = videomae.load_checkpoint(tmp_path / "adapter")
    assert type(loaded) is videomae.VideoMAEForVideoClassification
    with torch.no_grad():
        assert (loaded(CLIPS).logits - expected).abs().max() < 1e-5
        assert (loaded(CLIPS).logits - videomae.load_checkpoint(tmp_path / "base")(CLIPS).logits).abs().max() > 1e-3


def test_a_head_on_a_pretrained_base(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = videomae.VideoMAEConfig(**TINY, use_mean_pooling=False)
    videomae.VideoMAEForPreTraining(config).save_pretrained(tmp_path / "base")
    model = videomae.VideoMAEForVideoClassification.from_pretrained(tmp_path / "base", num_labels=5)
    adapted = peft.get_peft_model(model, peft.LoraConfig(**PLAIN)).eval()
    adapted.save_pretrained(tmp_path / "adapter")
    with pytest.raises(ConfigError, match=r"expected to know how the tokens were pooled; give use_mean_pooling=True"):
        videomae.Checkpoint.open(tmp_path / "adapter")
    loaded = videomae.Checkpoint.open(tmp_path / "adapter", use_mean_pooling=False).model
    with torch.no_grad():
        assert (loaded(CLIPS).logits - adapted(CLIPS).logits).abs().max() < 1e-5
    assert loaded.config.num_labels == 5
    assert "no names of classes" in caplog.text
    names = {index: f"class {index}" for index in range(5)}
    named = videomae.load_checkpoint(tmp_path / "adapter", id2label=names, use_mean_pooling=False)
    assert named.config.id2label == names


def test_another_base_and_what_info_says(tmp_path: Path) -> None:
    expected = adapt(base(tmp_path / "base"), tmp_path / "adapter")
    about = describe_checkpoint(tmp_path / "adapter")
    assert (about["layout"], about["container"]) == ("adapter", "adapter_model.safetensors")
    assert about["base"] == str(tmp_path / "base")
    (tmp_path / "base").rename(tmp_path / "moved")
    with pytest.raises(CheckpointError, match="base"):
        videomae.load_checkpoint(tmp_path / "adapter")
    loaded = videomae.Checkpoint.open(tmp_path / "adapter", base_model=tmp_path / "moved").model
    with torch.no_grad():
        assert (loaded(CLIPS).logits - expected).abs().max() < 1e-5
    torch.save(load_file(tmp_path / "adapter" / "adapter_model.safetensors"), tmp_path / "adapter/adapter_model.bin")
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    again = videomae.load_checkpoint(tmp_path / "adapter", base_model=tmp_path / "moved")
    assert torch.equal(again.classifier.weight, loaded.classifier.weight)


def test_the_base_has_the_processor(tmp_path: Path) -> None:
    adapt(base(tmp_path / "base"), tmp_path / "adapter")
    sampling = {"method": "uniform", "num_frames": 4, "frame_stride": 1}
    videomae.VideoMAEImageProcessor(size=16, crop_size=16, image_mean=[0.1] * 3, sampling=sampling).save_pretrained(
        tmp_path / "base"
    )
    opened = videomae.Checkpoint.open(tmp_path / "adapter")
    assert opened.sampling.method == "uniform"
    assert opened.processor.image_mean == [0.1] * 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_dora": True}, "with use_dora: expected an adapter of plain LoRA; merge it with PEFT"),
        ({"peft_type": "IA3"}, "peft_type 'IA3'"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa'"),
        ({"lora_bias": True, "a_new_one": [1]}, "with a_new_one, lora_bias"),
        ({"lora_alpha": "8"}, "lora_alpha='8' of rank 4"),
        ({"lora_alpha": float("nan")}, "lora_alpha=nan"),
        ({"lora_alpha": 10**400}, "lora_alpha=1000"),
        ({"alpha_pattern": {"(a+)+b": 3}}, "alpha_pattern"),
        ({"alpha_pattern": {"(": 3}}, "alpha_pattern"),
        ({"alpha_pattern": [3]}, "alpha"),
        ({"base_model_name_or_path": None}, "base_model_name_or_path=None.*--base-model CKPT"),
        ({"base_model_name_or_path": 5}, "base_model_name_or_path=5"),
    ],
)
def test_settings_that_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    adapt(base(tmp_path / "base"), tmp_path / "adapter")
    edit(tmp_path / "adapter", **changes)
    with pytest.raises(CheckpointError, match=message):
        videomae.load_checkpoint(tmp_path / "adapter")


QUERY = "base_model.model.videomae.encoder.layer.0.attention.attention.query"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop(f"{QUERY}.lora_B.weight"), r"missing: videomae.*query.lora_B"),
        (lambda state: state.pop(f"{QUERY}.lora_A.weight"), r"missing: videomae.*query.lora_A"),
        (lambda state: state.update({f"{QUERY}s.lora_A.weight": torch.zeros(1, 1)}), "querys"),
        (lambda state: state.update({"base_model.model.other": torch.zeros(1)}), "unexpected: other"),
        (lambda state: state.update({f"{QUERY}.lora_A.weight": torch.zeros(4, 5)}), r"LoRA of shapes \(4, 5\)"),
        (lambda state: state.update({f"{QUERY}.lora_A.weight": torch.zeros(())}), "lora_alpha=8 of rank 0"),
        (lambda state: state.update({f"{QUERY}.lora_A.weight": torch.zeros(4)}), r"LoRA of shapes \(4,\)"),
    ],
)
def test_tensors_that_do_not_fit(change: Any, message: str, tmp_path: Path) -> None:
    adapt(base(tmp_path / "base"), tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    state = load_file(path)
    change(state)
    save_file(state, path)
    with pytest.raises(CheckpointError, match=message):
        videomae.load_checkpoint(tmp_path / "adapter")


def test_adapters_of_adapters_are_refused(tmp_path: Path) -> None:
    adapt(base(tmp_path / "base"), tmp_path / "adapter")
    edit(tmp_path / "adapter", base_model_name_or_path=str(tmp_path / "adapter"))
    with pytest.raises(CheckpointError, match="another adapter, as its base"):
        videomae.load_checkpoint(tmp_path / "adapter")


def test_a_folder_without_the_adapters_weights(tmp_path: Path) -> None:
    adapt(base(tmp_path / "base"), tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"without adapter_model.safetensors"):
        videomae.load_checkpoint(tmp_path / "adapter")


@pytest.mark.parametrize("keeps_norm", [True, False])
def test_an_adapter_of_a_classifier_that_was_made_of_a_pretrained_encoder(tmp_path: Path, keeps_norm: bool) -> None:
    """The base on disk has a final norm and no head; what was adapted had a fresh `fc_norm` in their place."""
    torch.manual_seed(0)
    config = videomae.VideoMAEConfig(**TINY, use_mean_pooling=False)
    model = videomae.VideoMAEForPreTraining(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(tmp_path / "base")
    opened = videomae.Checkpoint.open(tmp_path / "base", task="classification", class_names=["a", "b", "c"])
    kept = ["classifier", "fc_norm"] if keeps_norm else ["classifier"]
    adapted = peft.get_peft_model(opened.model, peft.LoraConfig(**{**PLAIN, "modules_to_save": kept}))
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    adapted.save_pretrained(tmp_path / "adapter")
    with torch.no_grad():
        expected = adapted.merge_and_unload().eval()(CLIPS).logits

    told = {} if keeps_norm else {"use_mean_pooling": True}
    merged = videomae.load_checkpoint(tmp_path / "adapter", id2label={0: "a", 1: "b", 2: "c"}, **told)

    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert merged.config.use_mean_pooling
    with torch.no_grad():
        torch.testing.assert_close(merged(CLIPS).logits, expected, rtol=0, atol=1e-5)
