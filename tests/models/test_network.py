"""The fast way of computing attention beside the plain one."""

import pytest
import torch

from videomae.models import network
from videomae.models.network import BlockConfig, SelfAttention

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
