"""The fast way of computing attention beside the plain one; drop path."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from videomae.models import network
from videomae.models.config import VideoMAEConfig
from videomae.models.modeling import VideoMAEModel
from videomae.models.network import BlockConfig, Layer, SelfAttention, draw_branch_scales

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


def fused_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of tokens with which the fused kernel was called."""
    calls: list[int] = []
    fused = network.F.scaled_dot_product_attention

    def counted(query: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        calls.append(query.shape[-2])
        return fused(query, *args, **kwargs)

    monkeypatch.setattr(network.F, "scaled_dot_product_attention", counted)
    return calls


@pytest.mark.parametrize("num_tokens", [16, 513])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_plain_and_fused_attention_agree_in_value_and_gradient(num_tokens: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    fused, plain = SelfAttention(BLOCK, "sdpa"), SelfAttention(BLOCK, "eager")
    plain.load_state_dict(fused.state_dict())
    tokens = torch.randn(2, num_tokens, 32)
    results = []
    for attention in (fused, plain):
        inputs = tokens.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            context, _ = attention(inputs)
        context.float().square().sum().backward()
        results.append([context.float().detach(), inputs.grad, attention.query.weight.grad, attention.v_bias.grad])
    tolerance = 2e-2 if dtype == torch.bfloat16 else 1e-5
    for a, b in zip(*results, strict=True):
        assert (a - b).abs().max() <= tolerance * max(1.0, b.abs().max().item())


def test_short_sequences_train_plainly_in_half_precision_and_only_there(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fused_calls(monkeypatch)
    attention = SelfAttention(BLOCK, "sdpa")
    short, long = torch.randn(1, 512, 32), torch.randn(1, 513, 32)
    with torch.autocast("cpu", torch.bfloat16):
        attention(short)
        assert calls == []
        attention(long)
        assert calls == [513]
        with torch.no_grad():
            attention(short)
        assert calls == [513, 512]
    attention(short)
    assert calls == [513, 512, 512]


NUM_LAYERS = 4


def encoder(**changes: Any) -> VideoMAEModel:
    """A small encoder in training mode, the same one each time, whose branches all add something."""
    config = VideoMAEConfig(
        image_size=16,
        patch_size=4,
        num_frames=4,
        hidden_size=16,
        num_hidden_layers=NUM_LAYERS,
        num_attention_heads=2,
        intermediate_size=32,
        **changes,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VideoMAEModel(config).train()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def clips(batch_size: int) -> Tensor:
    return torch.randn(batch_size, 4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def run(model: VideoMAEModel, pixel_values: Tensor, seed: int = 3, **arguments: Any) -> tuple[Tensor, ...]:
    """The tokens and, of their squares' sum, the gradients of all parameters."""
    model.zero_grad()
    torch.manual_seed(seed)
    tokens = model(pixel_values, **arguments).last_hidden_state
    tokens.float().square().mean().backward()
    return tokens.detach(), *(parameter.grad.clone() for parameter in model.parameters())


def assert_same(left: tuple[Tensor, ...], right: tuple[Tensor, ...], tolerance: float = 1e-5) -> None:
    for a, b in zip(left, right, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def test_dropped_branches_grow_evenly_with_depth_and_keep_the_mean() -> None:
    torch.manual_seed(0)
    scales = draw_branch_scales(0.6, 4, 20_000, torch.device("cpu"))
    assert scales.shape == (4, 2, 20_000)
    for layer, dropped in enumerate((0.0, 0.2, 0.4, 0.6)):
        values = scales[layer].unique().tolist()
        assert values == pytest.approx([1.0] if not dropped else [0.0, 1 / (1 - dropped)])
        for branch in scales[layer]:
            assert (branch == 0).float().mean().item() == pytest.approx(dropped, abs=0.015)
            assert branch.mean().item() == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize(("rate", "num_layers", "last"), [(1.0, 3, 0.0), (0.5, 1, 1.0)])
def test_drop_path_at_its_ends(rate: float, num_layers: int, last: float) -> None:
    """A rate of 1 always drops the last layer; the only layer of a network is its first one."""
    scales = draw_branch_scales(rate, num_layers, 8, torch.device("cpu"))
    assert (scales[-1] == last).all()


def test_a_dropped_branch_leaves_its_sample_as_it_is_and_a_kept_one_counts_more() -> None:
    torch.manual_seed(0)
    layer, tokens = Layer(BLOCK, "sdpa"), torch.randn(3, 5, 32)
    attended = layer.attention(layer.layernorm_before(tokens))[0]
    scales = torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, 3.0]])
    found, _ = layer(tokens, branch_scales=scales)
    assert found[0].equal(tokens[0])
    torch.testing.assert_close(found[1], tokens[1] + 2 * attended[1])
    torch.testing.assert_close(
        found[2], tokens[2] + 3 * layer.output(layer.intermediate(layer.layernorm_after(tokens[2])))
    )


def test_drop_path_is_what_the_scales_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoder hands each layer its own row: here the third layer alone is dropped, for the second sample alone."""
    scales = torch.ones(NUM_LAYERS, 2, 2)
    scales[2, :, 1] = 0
    monkeypatch.setattr(network, "draw_branch_scales", lambda *_: scales)
    states = encoder(drop_path_rate=0.3)(clips(2), output_hidden_states=True).hidden_states
    assert states is not None
    changed = [[not after[i].equal(before[i]) for before, after in pairwise(states)] for i in (0, 1)]
    assert changed == [[True] * NUM_LAYERS, [True, True, False, True]]


def test_drop_path_is_off_in_evaluation_and_at_0() -> None:
    pixel_values = clips(4)
    plain = encoder()
    before = torch.random.get_rng_state()
    expected = plain(pixel_values).last_hidden_state
    assert torch.random.get_rng_state().equal(before)  # nothing is drawn
    assert encoder(drop_path_rate=0.5).eval()(pixel_values).last_hidden_state.equal(expected)
    assert not encoder(drop_path_rate=0.5)(pixel_values).last_hidden_state.equal(expected)


def test_the_rate_may_be_set_on_a_loaded_model() -> None:
    model, pixel_values = encoder(), clips(8)
    plain = run(model, pixel_values)[0]
    model.config.update({"drop_path_rate": 0.9})
    assert run(model, pixel_values)[0].equal(run(encoder(drop_path_rate=0.9), pixel_values)[0])
    assert not run(model, pixel_values)[0].equal(plain)


def test_attention_and_checkpointing_change_nothing_about_what_is_dropped() -> None:
    pixel_values = clips(8)
    plain = encoder(drop_path_rate=0.8)
    expected = run(plain, pixel_values)
    assert_same(run(encoder(drop_path_rate=0.8, attn_implementation="eager"), pixel_values), expected)
    assert_same(run(plain, pixel_values, output_attentions=True), expected)
    for options in ({}, {"preserve_rng_state": False}, {"use_reentrant": True}):
        recomputing = encoder(drop_path_rate=0.8)
        recomputing.gradient_checkpointing_enable(options)
        # The reentrant kind gives gradients only where an input has one.
        assert_same(run(recomputing, pixel_values.clone().requires_grad_()), expected)
    assert not run(plain, pixel_values, seed=4)[0].equal(expected[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_drop_path_keeps_the_type_of_a_half_precision_model(dtype: torch.dtype) -> None:
    model = encoder(drop_path_rate=0.8).to(dtype)
    assert model(clips(2).to(dtype)).last_hidden_state.dtype == dtype


def test_drop_path_compiles_into_one_graph() -> None:
    layers = encoder(drop_path_rate=0.8).encoder
    compiled = torch.compile(layers, backend="eager", fullgraph=True)
    tokens = torch.randn(8, 32, 16)
    results = []
    for run_layers in (layers, compiled):
        torch.manual_seed(3)
        results.append(run_layers(tokens, [None] * NUM_LAYERS, network.Recording())[0])
    torch.testing.assert_close(*results)
    assert not results[0].equal(layers.eval()(tokens, [None] * NUM_LAYERS, network.Recording())[0])
