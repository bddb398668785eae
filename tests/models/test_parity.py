"""With the same weights our models compute what transformers 4.34.0 computes: values, losses, gradients, names.

The goldens are described in, and made by, `tests/goldens/make_model_goldens.py`.
"""

import functools
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import videomae

GOLDENS = Path(__file__).parents[1] / "goldens" / "model"
CASES = sorted(path.stem for path in GOLDENS.glob("*.safetensors"))


@functools.cache
def golden(case):
    with safe_open(GOLDENS / f"{case}.safetensors", framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, json.loads(file.metadata()["golden"])


def all_runs(condition=lambda run: True):
    return [(case, name) for case in CASES for name, run in golden(case)[1]["runs"].items() if condition(run)]


def build(case, run_name, **config):
    """Our model of a run, with the golden weights: strictly, under the names of 4.34.0."""
    tensors, about = golden(case)
    run = about["runs"][run_name]
    settings = videomae.VideoMAEConfig(**{**about["config"], **run.get("config", {}), **config})
    model = getattr(videomae, run["class"])(settings).eval()
    prefix = "weights/videomae." if run["class"] == "VideoMAEModel" else "weights/"
    weights = {name: tensors[prefix + name] for name in model.state_dict()}
    for name in [name for name in weights if name.startswith("classifier.")]:
        weights[name] = weights[name][: settings.num_labels]
    model.load_state_dict(weights)
    return model


def inputs_of(case, run_name):
    tensors, about = golden(case)
    arguments = {
        name: tensors[f"inputs/{value}"] if isinstance(value, str) else value
        for name, value in about["runs"][run_name]["arguments"].items()
    }
    arguments["pixel_values"] = arguments["pixel_values"].clone().requires_grad_()
    return arguments


def backward(case, run_name, output):
    """The gradients of the run's loss, or of a fixed weighting of a bare model's output."""
    if "loss" in output:
        scalar = output.loss
    else:
        hidden = output.last_hidden_state
        scalar = (golden(case)[0]["inputs/probe"][:, : hidden.shape[1]] * hidden).sum()
    scalar.backward()


def recorded(case, run_name, kind):
    prefix = f"runs/{run_name}/{kind}"
    return {name.removeprefix(prefix): value for name, value in golden(case)[0].items() if name.startswith(prefix)}


def flatten(output):
    tensors = {}
    for name, value in output.items():
        if isinstance(value, tuple):
            tensors.update({f"{name}.{index}": item for index, item in enumerate(value)})
        else:
            tensors[name] = value
    return tensors


def assert_close(found, expected, what):
    assert found.shape == expected.shape, what
    assert found.dtype == expected.dtype, what
    bound = 1e-5 * max(1.0, expected.abs().max().item())
    error = (found - expected).abs().max().item()
    assert error <= bound, f"{what}: off by {error:.3g}, allowed {bound:.3g}"


def assert_close_gradient(found, expected, what):
    """As for values; and since gradients are often far below one, within 0.1 % of the largest one of a tensor."""
    assert_close(found, expected, what)
    bound = 1e-3 * expected.abs().max().item() + 1e-8
    error = (found - expected).abs().max().item()
    assert error <= bound, f"{what}: off by {error:.3g}, allowed {bound:.3g}"


def assert_gradients(case, run_name, model, pixel_values, *, subset=False):
    expected = recorded(case, run_name, "gradients/")
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    if not subset:
        assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name] is not None, f"no gradient for {name}"
        assert_close_gradient(found[name], value, f"gradient of {name}")
    assert_close_gradient(pixel_values.grad, recorded(case, run_name, "input_gradient")[""], "gradient of pixel_values")


def test_goldens_are_complete():
    assert len(CASES) == 16
    assert all(golden(case)[1]["versions"]["transformers"] == "4.34.0" for case in CASES)
    assert len(all_runs()) == 77


@pytest.mark.parametrize(("case", "class_name"), [(c, n) for c in CASES for n in golden(c)[1]["state_dicts"]])
def test_state_dict_has_the_names_and_shapes_of_4_34_0(case, class_name):
    about = golden(case)[1]
    model = getattr(videomae, class_name)(videomae.VideoMAEConfig(**about["config"]))
    found = {name: list(value.shape) for name, value in model.state_dict().items()}
    assert found == about["state_dicts"][class_name]
    assert {name for name, _ in model.named_parameters()} == set(found)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(("case", "run_name"), all_runs())
def test_output(case, run_name, attention):
    """With sdpa, attentions or a head mask asked for are answered too, by eager for that call."""
    run = golden(case)[1]["runs"][run_name]
    model = build(case, run_name, attn_implementation=attention)
    output = model(**inputs_of(case, run_name))
    assert type(output).__name__ == run["output_class"]
    structure = [[name, len(value) if isinstance(value, tuple) else None] for name, value in output.items()]
    assert structure == run["structure"]
    expected = recorded(case, run_name, "outputs/")
    found = flatten(output)
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert_close(found[name], value, name)


@pytest.mark.parametrize(("case", "run_name"), all_runs(lambda run: {"output_attentions"} & set(run["arguments"])))
def test_sdpa_alone(case, run_name):
    """Attentions not asked for, so that the fused attention is what computes."""
    model = build(case, run_name, attn_implementation="sdpa")
    arguments = {**inputs_of(case, run_name), "output_attentions": False}
    found = flatten(model(**arguments))
    expected = {k: v for k, v in recorded(case, run_name, "outputs/").items() if not k.startswith("attentions")}
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert_close(found[name], value, name)


@pytest.mark.parametrize(("case", "run_name"), all_runs())
def test_tuple(case, run_name):
    """`return_dict=False`: the present fields in order, nested tuples for hidden states and attentions."""
    model = build(case, run_name)
    answer = model(**inputs_of(case, run_name), return_dict=False)
    assert type(answer) is tuple
    structure = golden(case)[1]["runs"][run_name]["structure"]
    assert [len(value) if isinstance(value, tuple) else None for value in answer] == [size for _, size in structure]
    for (name, size), value in zip(structure, answer, strict=True):
        items = {name: value} if size is None else {f"{name}.{index}": item for index, item in enumerate(value)}
        for key, item in items.items():
            assert_close(item, recorded(case, run_name, "outputs/")[key], key)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(("case", "run_name"), all_runs(lambda run: run.get("gradients")))
def test_gradients(case, run_name, attention):
    model = build(case, run_name, attn_implementation=attention)
    arguments = {**inputs_of(case, run_name), "output_attentions": attention == "eager"}
    backward(case, run_name, model(**arguments))
    assert_gradients(case, run_name, model, arguments["pixel_values"], subset=case == "activations")


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(
    ("case", "run_name"),
    [
        ("defaults", "model"),
        ("defaults", "masked_model"),
        ("defaults", "pretraining"),
        ("defaults", "classification"),
        ("no_qkv_bias", "pretraining"),
        ("final_norm", "classification"),
        ("head_mask", "pretraining_layer_head_mask"),
        ("head_mask", "classification_head_mask"),
    ],
)
def test_gradient_checkpointing(case, run_name, attention):
    model = build(case, run_name, attn_implementation=attention).train()
    assert model.is_gradient_checkpointing is False
    model.gradient_checkpointing_enable()
    assert model.is_gradient_checkpointing is True
    layers = [module for name, module in model.named_modules() if name.endswith(("layer.0", "decoder_layers.0"))]
    assert len(layers) == (2 if "pretraining" in run_name else 1)
    calls = [0] * len(layers)

    def count(index):
        def hook(module, arguments):
            calls[index] += 1

        return hook

    for index, layer in enumerate(layers):
        layer.register_forward_pre_hook(count(index))
    arguments = {**inputs_of(case, run_name), "output_attentions": attention == "eager"}
    backward(case, run_name, model(**arguments))
    assert calls == [2] * len(layers), "each layer is computed once more on the way back"
    assert_gradients(case, run_name, model, arguments["pixel_values"])
    model.gradient_checkpointing_disable()
    assert model.is_gradient_checkpointing is False


def test_goldens_tell_models_apart():
    """A comparison can fail: each parameter moves the outputs of its run beyond the tolerance."""
    for case in ("defaults", "final_norm"):
        for run_name in ("pretraining", "classification"):
            model = build(case, run_name)
            expected = recorded(case, run_name, "outputs/")["logits"]
            for name, parameter in model.named_parameters():
                kept = parameter.detach().clone()
                with torch.no_grad():
                    parameter.zero_()
                    logits = model(**inputs_of(case, run_name)).logits
                    parameter.copy_(kept)
                assert (logits - expected).abs().max() > 1e-3, name
