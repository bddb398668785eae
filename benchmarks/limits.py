"""The least time that a step's matrix products take on this machine: each is timed alone, at its own shape.

What a model computes beside them (norms, activations, softmax, sums, the optimizer) counts as nothing, so that no step
reaches its limit. Attention counts as what is faster at its shape: torch's fused kernel, or plain batched products
without softmax.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import torch
from model_peers import FROM_PIXELS, Row
from torch import Tensor
from torch.nn import functional as F

LEAST_REPEATS, LEAST_SECONDS = 5, 0.1


@dataclass(frozen=True)
class Product:
    """A Linear of all clips of a batch: (tokens, inputs) by (inputs, outputs)."""

    tokens: int
    inputs: int
    outputs: int
    from_pixels: bool = False  # pixels need no gradient

    @property
    def forward_flops(self) -> int:
        return 2 * self.tokens * self.inputs * self.outputs

    @property
    def backward_flops(self) -> int:
        return self.forward_flops * (1 if self.from_pixels else 2)


@dataclass(frozen=True)
class AttentionProducts:
    """Scores, and the sums that they weigh: `heads` of all clips of a batch, (queries, width) and (tokens, width)."""

    heads: int
    queries: int
    tokens: int
    width: int

    @property
    def forward_flops(self) -> int:
        return 4 * self.heads * self.queries * self.tokens * self.width

    @property
    def backward_flops(self) -> int:
        return 2 * self.forward_flops


def products(row: Row) -> Iterator[tuple[int, Product | AttentionProducts]]:
    """How often a forward pass of the whole batch has which product; all that it cannot do without."""
    config, batch = row.config, row.batch_size
    num_time, height, width = row.grid
    num_tokens = num_time * height * width
    values = 3 * 2 * config.get("patch_size", 16) ** 2
    visible = num_tokens if row.job in FROM_PIXELS else num_time * (height * width - int(0.9 * height * width))
    wide = config["hidden_size"]
    yield 1, Product(batch * visible, values, wide, from_pixels=True)
    sizes = wide, config["intermediate_size"], config["num_attention_heads"]
    yield from layers(config["num_hidden_layers"], batch, visible, visible, *sizes)
    if row.job in FROM_PIXELS:
        yield 1, Product(batch, wide, config["num_labels"])
        return
    narrow = config["decoder_hidden_size"]
    rebuilt = num_tokens // 2 if row.job == "dual" else num_tokens - visible
    yield 1, Product(batch * visible, wide, narrow)
    sizes = narrow, config["decoder_intermediate_size"], config["decoder_num_attention_heads"]
    tokens = visible + rebuilt
    yield from layers(config["decoder_num_hidden_layers"] - 1, batch, tokens, tokens, *sizes)
    yield from layers(1, batch, rebuilt, tokens, *sizes)  # of the last one no more comes out
    yield 1, Product(batch * rebuilt, narrow, values)


def layers(
    number: int, batch: int, queries: int, tokens: int, width: int, mlp_width: int, heads: int
) -> Iterator[tuple[int, Product | AttentionProducts]]:
    """Of layers that take `tokens` and give the last `queries` of them."""
    if queries == tokens:
        yield number, Product(batch * tokens, width, 3 * width)  # queries, keys and values in one
    else:
        yield number, Product(batch * queries, width, width)
        yield number, Product(batch * tokens, width, 2 * width)
    yield number, AttentionProducts(batch * heads, queries, tokens, width // heads)
    yield number, Product(batch * queries, width, width)
    yield number, Product(batch * queries, width, mlp_width)
    yield number, Product(batch * queries, mlp_width, width)


def flops(row: Row) -> int:
    """Of the matrix products of a step of the batch; a multiplication and an addition count two."""
    trains = row.job != "classify"
    return sum(n * (p.forward_flops + (p.backward_flops if trains else 0)) for n, p in products(row))


def limit_seconds(row: Row, device: torch.device) -> float:
    """Of a step of the whole batch."""
    dtype = torch.bfloat16 if row.precision == "bf16" else torch.float32
    trains = row.job != "classify"
    return sum(number * product_seconds(product, trains, dtype, device) for number, product in products(row))


@cache
def product_seconds(
    product: Product | AttentionProducts, trains: bool, dtype: torch.dtype, device: torch.device
) -> float:
    if isinstance(product, AttentionProducts):
        return attention_seconds(product, trains, dtype, device)
    x = torch.randn(product.tokens, product.inputs, device=device, dtype=dtype)
    weight = torch.randn(product.outputs, product.inputs, device=device, dtype=dtype)
    with torch.inference_mode():
        seconds = fastest(lambda: F.linear(x, weight), device)
        if trains:
            gradient = F.linear(x, weight)
            seconds += fastest(lambda: gradient.t() @ x, device)
            seconds += 0 if product.from_pixels else fastest(lambda: gradient @ weight, device)
    return seconds


def attention_seconds(product: AttentionProducts, trains: bool, dtype: torch.dtype, device: torch.device) -> float:
    query, gradient, key, value = (
        torch.randn(1, product.heads, tokens, product.width, device=device, dtype=dtype)
        for tokens in (product.queries, product.queries, product.tokens, product.tokens)
    )
    queries = query.clone().requires_grad_(trains), key.clone().requires_grad_(trains), value.requires_grad_(trains)

    def fused() -> None:
        context = F.scaled_dot_product_attention(*queries)
        if trains:
            torch.autograd.grad(context, queries, gradient)

    def plain() -> Tensor:
        scores = query @ key.mT
        context = scores @ value
        if trains:
            scores.mT @ gradient  # of the values
            scores_gradient = gradient @ value.mT
            scores_gradient @ key
            scores_gradient.mT @ query
        return context

    fused_seconds = fastest(fused, device)
    with torch.no_grad():
        return min(fused_seconds, fastest(plain, device))


def fastest(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of several calls; on a GPU of ten at a time, whose launches overlap."""
    number = 10 if device.type == "cuda" else 1
    call()
    times: list[float] = []
    while len(times) < LEAST_REPEATS or (sum(times) * number < LEAST_SECONDS and len(times) < 100):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        begin = time.perf_counter()
        for _ in range(number):
            call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append((time.perf_counter() - begin) / number)
    return min(times)
