"""The small methods that tools expect of a model, and what a model is where transformers is absent."""

from __future__ import annotations

import copy
import io
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import MODELS, TINY, make, run

from videomae.core.errors import ConfigError
from videomae.models.config import VideoMAEConfig
from videomae.models.modeling import VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel
from videomae.models.outputs import ImageClassifierOutput


@pytest.mark.parametrize("model_class", MODELS)
def test_the_encoder_of_each_model(model_class: Any) -> None:
    model = make(model_class)

    assert type(model.base_model) is VideoMAEModel
    assert model.base_model is (model if model_class is VideoMAEModel else model.videomae)
    assert model.base_model.base_model is model.base_model
    assert model.get_input_embeddings() is model.base_model.embeddings.patch_embeddings
    assert model.get_output_embeddings() is None
    assert model.tie_weights() is None
    assert model_class.can_generate() is False
    assert model.framework == "pt"


@pytest.mark.parametrize("model_class", MODELS)
def test_another_patch_embedding(model_class: Any) -> None:
    model = make(model_class)
    old = model.get_input_embeddings()

    class Doubled(torch.nn.Module):
        def forward(self, pixel_values: Any, visible: Any = None) -> Any:
            return 2 * old(pixel_values, visible)

    before = run(model, output_hidden_states=True).hidden_states[0]
    model.set_input_embeddings(Doubled())
    after = run(model, output_hidden_states=True).hidden_states[0]

    assert isinstance(model.base_model.embeddings.patch_embeddings, Doubled)
    visible = torch.arange(8) % 2 == 1 if model_class is VideoMAEForPreTraining else slice(None)
    positions = model.base_model.embeddings.position_embeddings[:, visible]
    assert torch.allclose(after - positions, 2 * (before - positions), atol=1e-5)


@pytest.mark.parametrize("model_class", MODELS)
def test_sizes(model_class: Any) -> None:
    model = make(model_class)
    count = sum(tensor.numel() for tensor in model.state_dict().values())

    assert model.num_parameters() == model.num_parameters(exclude_embeddings=True) == count
    assert model.get_memory_footprint(return_buffers=False) == 4 * count
    tables = 8 * 16 + (8 * 12 if model_class is VideoMAEForPreTraining else 0)
    assert model.get_memory_footprint() == 4 * (count + tables)
    assert model.half().get_memory_footprint() == 2 * (count + tables)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    assert model.num_parameters(only_trainable=True) == 0


@pytest.mark.parametrize(
    "make_one", [VideoMAEForVideoClassification.from_config, VideoMAEForVideoClassification._from_config]
)
def test_from_config(make_one: Any) -> None:
    config = VideoMAEConfig(**TINY, num_labels=5)

    torch.manual_seed(3)
    model = make_one(config)
    torch.manual_seed(3)
    direct = VideoMAEForVideoClassification(config)

    assert model.training
    assert model.config is config
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), direct.parameters(), strict=True))
    assert make_one(config, torch_dtype=torch.bfloat16).dtype == torch.bfloat16
    assert make_one(config, dtype="float16").dtype == torch.float16
    assert make_one(config, dtype="auto").dtype == torch.float32
    assert make_one(VideoMAEConfig(**TINY, torch_dtype="bfloat16"), torch_dtype="auto").dtype == torch.bfloat16
    eager = make_one(config, attn_implementation="eager")
    assert eager.config.attn_implementation == "eager"
    assert config.attn_implementation == "sdpa"
    assert eager.config.num_labels == 5
    with pytest.raises(ConfigError, match="num_label=3"):
        make_one(config, num_label=3)


def test_where_a_model_came_from(tmp_path: Path) -> None:
    model = make(VideoMAEForVideoClassification)
    model.save_pretrained(tmp_path)

    loaded = VideoMAEForVideoClassification.from_pretrained(tmp_path)

    assert model.name_or_path == model.config.name_or_path == ""
    assert loaded.name_or_path == loaded.config.name_or_path == str(tmp_path)
    assert VideoMAEConfig.from_pretrained(tmp_path).name_or_path == str(tmp_path)
    assert loaded.config == VideoMAEConfig.from_dict(loaded.config.to_dict())
    loaded.save_pretrained(tmp_path / "copy")
    assert str(tmp_path) not in (tmp_path / "copy/config.json").read_text()


def test_gradients_of_the_embedded_tokens() -> None:
    model = make(VideoMAEForVideoClassification)
    model.requires_grad_(False)

    assert not run(model).logits.requires_grad
    model.enable_input_require_grads()
    assert run(model).logits.requires_grad
    model.disable_input_require_grads()
    assert not run(model).logits.requires_grad


@pytest.mark.parametrize("model_class", MODELS)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_copies(model_class: Any, protocol: int) -> None:
    model = make(model_class)
    expected = run(model)

    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model, protocol))):
        assert type(twin) is model_class
        assert torch.equal(run(twin)[0], expected[0])


class TheirModel(torch.nn.Module):
    def __init__(self, config: Any) -> None:
        raise AssertionError("their constructor is for their models")

    kind = "theirs"

    @property
    def depth(self) -> int:
        return len(self.base_model.encoder.layer)

    def num_parameters(self) -> int:
        raise AssertionError("what we have is ours")

    def is_custom_code(self) -> bool:
        return not self.__class__.__module__.startswith("transformers.")


class TheirOutput(dict[str, Any]):
    def __delitem__(self, *_: Any) -> None:
        raise AssertionError("their outputs may not be changed")


@pytest.fixture
def loaded_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as `isinstance` sees it."""
    modeling, generic = types.ModuleType("modeling"), types.ModuleType("generic")
    modeling.PreTrainedModel, generic.ModelOutput = TheirModel, TheirOutput  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers.modeling_utils", modeling)
    monkeypatch.setitem(sys.modules, "transformers.utils.generic", generic)


@pytest.mark.parametrize("model_class", MODELS)
def test_where_transformers_is_loaded(model_class: Any, loaded_transformers: None, tmp_path: Path) -> None:
    model = make(model_class)

    assert isinstance(model, TheirModel)
    assert isinstance(model, model_class)
    assert type(model) is model_class
    assert model.__class__.__name__ == model_class.__name__
    assert (model.kind, model.depth, model.is_custom_code()) == ("theirs", 2, True)
    assert model.num_parameters() > 0
    with pytest.raises(AttributeError, match=f"'{model_class.__name__}' object has no attribute 'depths'"):
        _ = model.depths
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for twin in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        assert type(twin) is model_class
        assert torch.equal(run(twin)[0], run(model)[0])
    model.save_pretrained(tmp_path)
    assert f'"{model_class.__name__}"' in (tmp_path / "config.json").read_text()


def test_outputs_where_transformers_is_loaded(loaded_transformers: None) -> None:
    output = run(make(VideoMAEForVideoClassification), labels=torch.tensor([0, 1]))

    assert isinstance(output, TheirOutput)
    assert isinstance(output, ImageClassifierOutput)
    assert type(output) is ImageClassifierOutput
    again = output.__class__({"logits": output.logits})
    assert isinstance(again, TheirOutput)
    assert isinstance(again, ImageClassifierOutput)
    assert again.logits is output.logits
    assert again.loss is None
    assert again[0] is output.logits
    again.loss = output.loss
    assert list(again) == ["logits", "loss"]
    again.loss = None
    assert list(again) == ["logits"]


def test_where_transformers_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("transformers.modeling_utils", "transformers.utils.generic"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    model = make(VideoMAEForVideoClassification)

    assert model.__class__ is VideoMAEForVideoClassification
    with pytest.raises(
        AttributeError, match="'VideoMAEForVideoClassification' object has no attribute 'is_custom_code'"
    ):
        model.is_custom_code()
    assert run(model).__class__ is ImageClassifierOutput


def test_another_class_can_be_assigned() -> None:
    """As torch's FSDP does with each module that it shards."""
    model = make(VideoMAEForVideoClassification)

    class Sharded(VideoMAEForVideoClassification):
        pass

    model.__class__ = Sharded

    assert type(model) is Sharded
    assert isinstance(model, Sharded)
