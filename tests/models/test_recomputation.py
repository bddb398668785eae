"""Linears that keep what their input was made from, beside plain ones: values, gradients, and what is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from videomae.core.masks import tube_mask
from videomae.models import network
from videomae.models.config import VideoMAEConfig
from videomae.models.modeling import VideoMAEForPreTraining, VideoMAEForVideoClassification
from videomae.models.network import BlockConfig, Layer
from videomae.models.recomputation import linears_of

BLOCK = BlockConfig(
    width=32,
    num_heads=4,
    mlp_width=64,
    num_layers=1,
    activation="gelu",
    dropout=0.0,
    attention_dropout=0.0,
    layer_norm_eps=1e-6,
    qkv_bias=True,
)
TINY = VideoMAEConfig(
    image_size=32,
    patch_size=16,
    num_frames=4,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
    decoder_hidden_size=16,
    decoder_num_hidden_layers=2,
    decoder_num_attention_heads=2,
    decoder_intermediate_size=32,
    num_labels=3,
)


@pytest.fixture(autouse=True)
def narrow_networks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_MIN_RECOMPUTED_WIDTH", 0)


def plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on all Linears keep their inputs, queries, keys and values are products of their own."""
    monkeypatch.setattr(network, "_is_untouched", lambda module: False)


def gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert (found[name] - gradient).abs().max() <= tolerance * max(1e-3, gradient.abs().max().item()), name


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("task", ["pretraining", "classification"])
def test_gradients_are_those_of_plain_layers(
    monkeypatch: pytest.MonkeyPatch, task: str, bf16: bool, fused: bool
) -> None:
    torch.manual_seed(0)
    model: Any = (VideoMAEForPreTraining if task == "pretraining" else VideoMAEForVideoClassification)(TINY)
    for parameter in model.parameters():  # biases of 0 would hide one that is left out
        nn.init.normal_(parameter, std=0.1)
    clips = torch.randn(2, 4, 3, 32, 32)
    mask = tube_mask(2, TINY.grid.shape, 0.5, generator=torch.Generator().manual_seed(1))
    arguments = {"bool_masked_pos": mask} if task == "pretraining" else {"labels": torch.tensor([0, 2])}
    monkeypatch.setattr(network, "_fuses_projections", lambda states: fused)
    results = []
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            output = model(clips, **arguments)
        results.append((output.logits.detach().float(), gradients(model, output.loss)))
        plainly(monkeypatch)
    (logits, found), (expected_logits, expected) = results
    tolerance = 2e-2 if bf16 else 1e-5
    assert (logits - expected_logits).abs().max() <= tolerance * expected_logits.abs().max()
    assert_equal(found, expected, tolerance)


def test_a_layer_keeps_no_input_of_its_linears() -> None:
    kept: list[tuple[int, ...]] = []
    layer = Layer(BLOCK, "sdpa")
    tokens = torch.randn(3, 7, 32, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(tuple(x.shape)) or x, lambda x: x):
        layer(tokens)
    wide = [shape for shape in kept if shape[-1] == 64 and shape[0] in (3, 21)]
    assert len(wide) == 1, "what the activation is of is kept, the activation is not"
    narrow = [shape for shape in kept if shape in ((3, 7, 32), (21, 32))]
    assert len(narrow) == 3, "the inputs of both norms and of the output projection are kept, the normed ones are not"


def test_a_narrow_layer_on_a_cpu_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_MIN_RECOMPUTED_WIDTH", 33)
    monkeypatch.setattr(network, "linears_of", None)
    Layer(BLOCK, "sdpa")(torch.randn(1, 4, 32))


def test_frozen_weights_and_inputs_get_no_gradient() -> None:
    norm, first, second = nn.LayerNorm(8), nn.Linear(8, 4), nn.Linear(8, 4)
    first.weight.requires_grad_(False)
    norm.bias.requires_grad_(False)
    x = torch.randn(5, 8)
    pairs = [(first.weight, first.bias), (second.weight, second.bias)]
    a, _ = linears_of(lambda x, w, b: nn.functional.layer_norm(x, (8,), w, b), (x, norm.weight, norm.bias), pairs)
    a.sum().backward()  # of the second one nothing is used
    assert first.weight.grad is None
    assert norm.bias.grad is None
    assert not second.weight.grad.any()
    assert torch.equal(first.bias.grad, torch.full((4,), 5.0))
    plain = nn.functional.layer_norm(x, (8,)).detach()
    expected = (plain * (torch.ones(5, 4) @ first.weight)).sum(0)
    assert torch.allclose(norm.weight.grad, expected, atol=1e-5)


def listen_to_norm(layer: Layer, calls: list[str]) -> None:
    layer.layernorm_before.register_forward_hook(lambda *_: calls.append("norm"))


def listen_to_query(layer: Layer, calls: list[str]) -> None:
    layer.attention.attention.query.register_forward_hook(lambda *_: calls.append("query"))


def listen_to_mlp(layer: Layer, calls: list[str]) -> None:
    layer.intermediate.register_forward_hook(lambda *_: calls.append("mlp"))


@pytest.mark.parametrize("listen", [listen_to_norm, listen_to_query, listen_to_mlp])
def test_hooks_of_parts_are_called(listen: Callable[[Layer, list[str]], None]) -> None:
    layer, calls = Layer(BLOCK, "sdpa"), []
    tokens = torch.randn(1, 4, 32)
    expected, _ = layer(tokens)
    listen(layer, calls)
    found, _ = layer(tokens)
    assert len(calls) == 1
    assert torch.allclose(found, expected, atol=1e-6)


def test_an_activation_of_the_users_own_runs_once() -> None:
    calls: list[int] = []

    def activation(x: Tensor) -> Tensor:
        calls.append(1)
        return x.relu()

    layer = Layer(BLOCK, "sdpa")
    layer.intermediate.activation = activation
    layer(torch.randn(1, 4, 32, requires_grad=True))[0].sum().backward()
    assert len(calls) == 1


def test_the_last_decoder_layer_computes_rebuilt_tokens_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = VideoMAEForPreTraining(TINY)
    clips = torch.randn(2, 4, 3, 32, 32)
    mask = tube_mask(2, TINY.grid.shape, 0.5, generator=torch.Generator().manual_seed(1))
    seen: list[int] = []
    last = model.decoder.decoder_layers[-1]
    last.output.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[1]))
    found = model(clips, mask)
    few = gradients(model, found.loss)
    run = network.LayerStack.run

    def run_all(self: Any, *args: Any, num_last: int | None = None, **options: Any) -> Any:
        return run(self, *args, **options)

    monkeypatch.setattr(network.LayerStack, "run", run_all)
    expected = model(clips, mask)
    assert seen == [int(mask[0].sum()), mask.shape[1]]
    assert torch.allclose(found.logits, expected.logits, atol=1e-6)
    assert_equal(few, gradients(model, expected.loss), 1e-5)


def test_a_device_without_autocast() -> None:
    layer = Layer(BLOCK, "sdpa").to("meta")
    layer(torch.empty(1, 4, 32, device="meta", requires_grad=True))[0].sum().backward()
    assert layer.intermediate.dense.weight.grad.shape == (64, 32)
