"""The interface of the specification (transformers 4.34.0's documentation page of VideoMAE), name by name."""

import copy
import inspect
import json
import os
import pickle
import subprocess
import sys

import pytest
import torch

import videomae
from videomae.core.errors import InputError

REQUIRED = inspect.Parameter.empty

SIGNATURES = {
    "VideoMAEConfig.__init__": {
        "image_size": 224,
        "patch_size": 16,
        "num_channels": 3,
        "num_frames": 16,
        "tubelet_size": 2,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "qkv_bias": True,
        "use_mean_pooling": True,
        "decoder_num_attention_heads": 6,
        "decoder_hidden_size": 384,
        "decoder_num_hidden_layers": 4,
        "decoder_intermediate_size": 1536,
        "norm_pix_loss": True,
        "kwargs": REQUIRED,
    },
    "VideoMAEImageProcessor.__init__": {
        "do_resize": True,
        "size": None,
        "resample": 2,
        "do_center_crop": True,
        "crop_size": None,
        "do_rescale": True,
        "rescale_factor": 0.00392156862745098,
        "do_normalize": True,
        "image_mean": None,
        "image_std": None,
        "kwargs": REQUIRED,
    },
    "VideoMAEImageProcessor.preprocess": {
        "videos": REQUIRED,
        "do_resize": None,
        "size": None,
        "resample": None,
        "do_center_crop": None,
        "crop_size": None,
        "do_rescale": None,
        "rescale_factor": None,
        "do_normalize": None,
        "image_mean": None,
        "image_std": None,
        "return_tensors": None,
        "data_format": "channels_first",
        "input_data_format": None,
        "kwargs": REQUIRED,
    },
    "VideoMAEModel.__init__": {"config": REQUIRED},
    "VideoMAEModel.forward": {
        "pixel_values": REQUIRED,
        "bool_masked_pos": None,
        "head_mask": None,
        "output_attentions": None,
        "output_hidden_states": None,
        "return_dict": None,
    },
    "VideoMAEForPreTraining.__init__": {"config": REQUIRED},
    "VideoMAEForPreTraining.forward": {
        "pixel_values": REQUIRED,
        "bool_masked_pos": REQUIRED,
        "head_mask": None,
        "output_attentions": None,
        "output_hidden_states": None,
        "return_dict": None,
        "decoder_masked_pos": None,  # ours: dual masking
    },
    "VideoMAEForVideoClassification.__init__": {"config": REQUIRED},
    "VideoMAEForVideoClassification.forward": {
        "pixel_values": None,
        "head_mask": None,
        "labels": None,
        "output_attentions": None,
        "output_hidden_states": None,
        "return_dict": None,
    },
}

OUTPUT_FIELDS = {
    "VideoMAEModel": ("BaseModelOutput", ("last_hidden_state", "hidden_states", "attentions")),
    "VideoMAEForPreTraining": (
        "VideoMAEForPreTrainingOutput",
        ("loss", "logits", "hidden_states", "attentions"),
    ),
    "VideoMAEForVideoClassification": ("ImageClassifierOutput", ("loss", "logits", "hidden_states", "attentions")),
}

TINY = {
    "image_size": 8,
    "patch_size": 4,
    "num_frames": 4,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "decoder_hidden_size": 8,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 16,
}


def make_model(class_name, **config):
    torch.manual_seed(0)
    return getattr(videomae, class_name)(videomae.VideoMAEConfig(**{**TINY, **config})).eval()


def arguments_of(class_name):
    arguments = {"pixel_values": torch.randn(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(1))}
    if class_name == "VideoMAEForPreTraining":
        arguments["bool_masked_pos"] = torch.tensor([[True, False] * 4, [False, True] * 4])
    if class_name == "VideoMAEForVideoClassification":
        arguments["labels"] = torch.tensor([0, 1])
    return arguments


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature(name):
    class_name, method = name.split(".")
    parameters = inspect.signature(getattr(getattr(videomae, class_name), method)).parameters
    found = {key: parameter.default for key, parameter in parameters.items() if key != "self"}
    assert list(found) == list(SIGNATURES[name])
    assert found == SIGNATURES[name]
    for key, parameter in parameters.items():
        expected = inspect.Parameter.VAR_KEYWORD if key == "kwargs" else inspect.Parameter.POSITIONAL_OR_KEYWORD
        assert parameter.kind is expected, key


def test_names_of_the_specification():
    names = {name.split(".")[0] for name in SIGNATURES} | {"VideoMAEFeatureExtractor", "AutoImageProcessor"}
    own = {"read_video", "sample_frame_indices", "tube_mask", "random_mask", "running_cell_mask", "load_checkpoint"}
    assert names | own <= set(dir(videomae))
    assert names | own <= set(videomae.__all__)
    with pytest.raises(AttributeError, match="VideoMAEForPretraining"):
        _ = videomae.VideoMAEForPretraining


def test_feature_extractor_is_a_deprecated_image_processor():
    assert issubclass(videomae.VideoMAEFeatureExtractor, videomae.VideoMAEImageProcessor)
    with pytest.warns(FutureWarning, match="VideoMAEImageProcessor"):
        videomae.VideoMAEFeatureExtractor()


@pytest.mark.parametrize("class_name", OUTPUT_FIELDS)
def test_output_fields(class_name):
    name, fields = OUTPUT_FIELDS[class_name]
    output = make_model(class_name)(**arguments_of(class_name), output_attentions=True, output_hidden_states=True)
    assert type(output).__name__ == name
    assert tuple(output.keys()) == fields
    assert len(output.hidden_states) == 3
    assert len(output.attentions) == 2
    for index, field in enumerate(fields):
        assert getattr(output, field) is output[field]
        assert output[index] is output[field]
        assert output.to_tuple()[index] is output[field]
    assert output[1:] == output.to_tuple()[1:]
    assert output[-1] is output.attentions
    assert len(output) == len(output.to_tuple()) == len(fields)
    assert tuple(output.values()) == output.to_tuple()
    assert isinstance(output, dict)


@pytest.mark.parametrize("class_name", OUTPUT_FIELDS)
def test_output_leaves_out_what_was_not_asked_for(class_name):
    arguments = arguments_of(class_name)
    arguments.pop("labels", None)
    output = make_model(class_name)(**arguments)
    _, fields = OUTPUT_FIELDS[class_name]
    present = tuple(field for field in fields if field in ("last_hidden_state", "logits"))
    if class_name == "VideoMAEForPreTraining":
        present = ("loss", "logits")
    assert tuple(output.keys()) == present
    assert len(output.to_tuple()) == len(present)
    for field in set(fields) - set(present):
        assert getattr(output, field) is None
        assert field not in output
        with pytest.raises(KeyError):
            _ = output[field]
    with pytest.raises(AttributeError):
        _ = output.pooler_output
    with pytest.raises(IndexError):
        _ = output[len(present)]


def test_output_copies():
    output = make_model("VideoMAEForVideoClassification")(**arguments_of("VideoMAEForVideoClassification"))
    detached = type(output)(loss=output.loss.detach(), logits=output.logits.detach())
    for twin in (copy.copy(detached), copy.deepcopy(detached), pickle.loads(pickle.dumps(detached))):
        assert type(twin) is type(output)
        assert tuple(twin.keys()) == ("loss", "logits")
        assert torch.equal(twin.logits, output.logits)
    detached.loss = None
    assert tuple(detached.keys()) == ("logits",)
    detached.loss = output.loss
    assert detached["loss"] is output.loss


@pytest.mark.parametrize("class_name", OUTPUT_FIELDS)
def test_configuration_controls_outputs(class_name):
    arguments = arguments_of(class_name)
    model = make_model(class_name, output_attentions=True, output_hidden_states=True)
    assert tuple(model(**arguments).keys())[-2:] == ("hidden_states", "attentions")
    plain = model(**arguments, output_attentions=False, output_hidden_states=False)
    assert not {"hidden_states", "attentions"} & set(plain.keys())
    model = make_model(class_name, return_dict=False)
    assert type(model(**arguments)) is tuple
    assert type(model(**arguments, return_dict=True)).__name__ == OUTPUT_FIELDS[class_name][0]


def test_configuration_defaults():
    config = videomae.VideoMAEConfig()
    assert config.model_type == "videomae"
    assert (config.output_attentions, config.output_hidden_states) == (False, False)
    assert (config.return_dict, config.use_return_dict) == (True, True)
    assert config.problem_type is None
    assert config.num_labels == 2
    assert config.id2label == {0: "LABEL_0", 1: "LABEL_1"}
    assert config.label2id == {"LABEL_0": 0, "LABEL_1": 1}
    assert videomae.VideoMAEConfig(return_dict=False).use_return_dict is False


def test_configuration_labels():
    config = videomae.VideoMAEConfig(num_labels=3)
    assert config.id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
    assert config.label2id == {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}
    config = videomae.VideoMAEConfig(
        id2label={"0": "push", "1": "pull", "2": "turn"}, label2id={"push": 0, "pull": 1, "turn": 2}
    )
    assert config.num_labels == 3
    assert config.id2label == {0: "push", 1: "pull", 2: "turn"}
    assert config.label2id == {"push": 0, "pull": 1, "turn": 2}
    assert videomae.VideoMAEConfig(id2label={0: "a", 1: "b"}).label2id == {"a": 0, "b": 1}
    assert videomae.VideoMAEConfig(label2id={"a": 0, "b": 1}).id2label == {0: "a", 1: "b"}
    config.num_labels = 3
    assert config.id2label[0] == "push"
    config.num_labels = 4
    assert config.id2label == {index: f"LABEL_{index}" for index in range(4)}
    assert make_model("VideoMAEForVideoClassification", num_labels=5).classifier.weight.shape == (5, 8)


def test_configuration_dictionaries():
    config = videomae.VideoMAEConfig(**TINY, num_labels=3, my_key={"deep": [1, 2]}, problem_type="regression")
    values = config.to_dict()
    assert values["model_type"] == "videomae"
    assert values["my_key"] == {"deep": [1, 2]}
    assert values["problem_type"] == "regression"
    assert TINY.items() <= values.items()
    assert set(SIGNATURES["VideoMAEConfig.__init__"]) - {"kwargs"} <= set(values)
    values["my_key"]["deep"].append(3)
    assert config.my_key == {"deep": [1, 2]}, "to_dict gives a copy"
    text = config.to_json_string()
    assert text.endswith("}\n")
    saved = json.loads(text)
    assert saved["id2label"] == {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}
    assert saved["model_type"] == "videomae"
    whole = json.loads(config.to_json_string(use_diff=False))
    assert set(saved) <= set(whole)
    assert whole["output_attentions"] is False
    assert videomae.VideoMAEConfig.from_dict(saved) == config
    assert videomae.VideoMAEConfig.from_dict(whole) == config
    assert videomae.VideoMAEConfig(**TINY) != config


def test_configuration_files(tmp_path):
    config = videomae.VideoMAEConfig(
        **TINY,
        id2label={0: "a", 1: "b", 2: "c"},
        output_attentions=True,
        output_hidden_states=True,
        return_dict=False,
        problem_type="multi_label_classification",
        another_tool={"version": 3},
    )
    config.save_pretrained(tmp_path / "saved")
    assert [path.name for path in (tmp_path / "saved").iterdir()] == ["config.json"]
    loaded = videomae.VideoMAEConfig.from_pretrained(tmp_path / "saved")
    assert loaded == config
    assert loaded.to_dict() == config.to_dict()
    assert loaded.another_tool == {"version": 3}
    assert loaded.id2label == {0: "a", 1: "b", 2: "c"}
    assert videomae.VideoMAEConfig.from_pretrained(str(tmp_path / "saved" / "config.json")) == config
    overridden = videomae.VideoMAEConfig.from_pretrained(tmp_path / "saved", num_labels=7, num_frames=8)
    assert (overridden.num_labels, overridden.num_frames) == (7, 8)
    assert overridden.id2label[6] == "LABEL_6"
    with pytest.raises(InputError, match="missing"):
        videomae.VideoMAEConfig.from_pretrained(tmp_path / "missing")
    with pytest.raises(InputError, match=r"nun_labels=7.*num_labels"):
        videomae.VideoMAEConfig.from_pretrained(tmp_path / "saved", nun_labels=7)


def test_configuration_of_5_x_names_the_bias_differently(tmp_path):
    for written in ({"qv_bias": False}, {"qkv_bias": False}, {"qv_bias": False, "qkv_bias": False}):
        (tmp_path / "config.json").write_text(json.dumps({**TINY, **written, "model_type": "videomae"}))
        config = videomae.VideoMAEConfig.from_pretrained(tmp_path)
        assert config.qkv_bias is False
        saved = json.loads(config.to_json_string())
        assert saved["qkv_bias"] is False
        assert "qv_bias" not in saved
        assert "qv_bias" not in config.to_dict()
    assert not any(
        "bias" in name and "attention.attention" in name for name in videomae.VideoMAEModel(config).state_dict()
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"hidden_size": 10, "num_attention_heads": 4},
        {"decoder_hidden_size": 10, "decoder_num_attention_heads": 4},
        {"image_size": 10},
        {"num_frames": 5},
        {"num_channels": 0},
        {"hidden_act": "gleu"},
        {"problem_type": "classification"},
        {"attn_implementation": "fast"},
    ],
)
def test_configuration_that_describes_no_model(wrong):
    """One line with the bad value, before any weight is made."""
    with pytest.raises(InputError) as caught:
        videomae.VideoMAEForPreTraining(videomae.VideoMAEConfig(**{**TINY, **wrong}))
    message = str(caught.value)
    assert "\n" not in message
    assert all(str(value) in message for value in wrong.values())
    assert caught.value.expected
    assert caught.value.hint


@pytest.mark.parametrize("class_name", OUTPUT_FIELDS)
def test_model_properties(class_name):
    model = make_model(class_name)
    assert model.device == torch.device("cpu")
    assert model.dtype == torch.float32
    assert model.double().dtype == torch.float64
    assert model.config.hidden_size == 8
    total = sum(parameter.numel() for parameter in model.parameters())
    assert model.num_parameters() == total
    frozen = next(model.parameters())
    frozen.requires_grad_(False)
    assert model.num_parameters(only_trainable=True) == total - frozen.numel()
    for method in ("from_pretrained", "save_pretrained", "push_to_hub", "gradient_checkpointing_enable"):
        assert callable(getattr(model, method))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int64, torch.bool])
def test_head_mask_of_any_type(dtype):
    """As in 4.34.0 the mask takes the type of the weights, and its zeros silence heads in every precision."""
    model = make_model("VideoMAEModel")
    clips = arguments_of("VideoMAEModel")["pixel_values"]
    expected = model(clips, head_mask=torch.tensor([1.0, 0.0])).last_hidden_state
    assert torch.equal(model(clips, head_mask=torch.tensor([1, 0]).to(dtype)).last_hidden_state, expected)
    assert not torch.allclose(model(clips).last_hidden_state, expected)
    half = model.bfloat16()(clips.bfloat16(), head_mask=torch.tensor([1, 0]).to(dtype)).last_hidden_state
    assert half.dtype == torch.bfloat16
    assert (half.float() - expected).abs().max() < 0.1


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_whole_numbers_are_classes(dtype):
    model = make_model("VideoMAEForVideoClassification", num_labels=3)
    clips = arguments_of("VideoMAEModel")["pixel_values"]
    output = model(clips, labels=torch.tensor([2, 0]).to(dtype))
    expected = torch.nn.functional.cross_entropy(output.logits, torch.tensor([2, 0]))
    assert torch.equal(output.loss, expected)


def test_saving_from_many_processes(tmp_path):
    """The pattern of transformers' examples: all processes call, the main one writes the gathered weights."""
    model = make_model("VideoMAEModel")
    model.save_pretrained(tmp_path / "other", is_main_process=False, state_dict={})
    assert not (tmp_path / "other").exists()
    gathered = {name: value + 1 for name, value in model.state_dict().items()}
    model.save_pretrained(tmp_path / "main", is_main_process=True, state_dict=gathered)
    loaded = videomae.VideoMAEModel.from_pretrained(tmp_path / "main").state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in gathered.items())


@pytest.mark.parametrize("name", ["activation_checkpointing", "gradient_checkpointing"])
def test_checkpointing_every_other_layer(name):
    """As the Trainers of transformers 5.20 and 5.23 ask for it."""
    model = make_model("VideoMAEModel", num_hidden_layers=3).train()
    calls = []
    for index, layer in enumerate(model.encoder.layer):
        layer.register_forward_pre_hook(lambda module, arguments, index=index: calls.append(index))
    enable = getattr(model, f"{name}_enable")
    enable(**{f"{name}_kwargs": {"use_reentrant": False}}, every_n_layers=2, offload=False)
    model(**arguments_of("VideoMAEModel")).last_hidden_state.sum().backward()
    assert sorted(calls) == [0, 0, 1, 2, 2]
    for wrong in ({"every_n_layers": 0}, {"offload": True}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            enable(**wrong)


def test_gradient_checkpointing_repeats_dropout():
    model = make_model("VideoMAEForVideoClassification", hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.3)
    gradients = []
    for _ in range(2):
        torch.manual_seed(4)
        model.train().zero_grad()
        model(**arguments_of("VideoMAEForVideoClassification")).loss.backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
        model.gradient_checkpointing_enable()
    assert all(torch.allclose(left, right, atol=1e-7) for left, right in zip(*gradients, strict=True))


@pytest.mark.parametrize("class_name", OUTPUT_FIELDS)
def test_new_weights(class_name):
    """As in 4.34.0: matrices from N(0, initializer_range), norms at identity, biases and the mask token at zero."""
    model = make_model(class_name, hidden_size=64, intermediate_size=128, initializer_range=0.05)
    for name, value in model.state_dict().items():
        if "norm" in name and name.endswith("weight"):
            assert bool((value == 1).all()), name
        elif name == "mask_token" or name.endswith("bias"):
            assert bool((value == 0).all()), name
        elif value.numel() > 4000:
            assert 0.045 < value.std().item() < 0.055, name
            assert abs(value.mean().item()) < 0.005, name
        else:
            assert 0 < value.std().item() < 0.1, name


def run_python(code):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_import_loads_no_torch():
    code = "import sys, videomae; videomae.VideoMAEConfig(); print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False", "False"]


def test_models_need_no_transformers(tmp_path):
    code = f"""
import sys
for name in ("transformers", "accelerate", "peft"):
    sys.modules[name] = None
import torch, videomae
config = videomae.VideoMAEConfig(**{TINY!r})
clips = torch.randn(1, 4, 3, 8, 8)
for cls in (videomae.VideoMAEModel, videomae.VideoMAEForVideoClassification, videomae.VideoMAEForPreTraining):
    model = cls(config).eval()
    model.save_pretrained({str(tmp_path)!r})
    more = [torch.arange(8)[None] < 4] if cls is videomae.VideoMAEForPreTraining else []
    twin = cls.from_pretrained({str(tmp_path)!r})
    assert torch.equal(model(clips, *more)[-1], twin(clips, *more)[-1])
videomae.VideoMAEImageProcessor().save_pretrained({str(tmp_path)!r})
videomae.AutoImageProcessor.from_pretrained({str(tmp_path)!r})
print("done")
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["done"]
