"""Linear layers that keep what their input was made from, not their input: less memory in training, the same numbers.

The inputs of a block's Linears are a LayerNorm's or an activation's output. These are cheap to compute and large to
keep: with the plain path, autograd keeps 64 values for each token and channel of a block, with this one 40.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Prologue = Callable[..., Tensor]
# Weight (out, in) and bias (out,) or None.
Weights = tuple[Tensor, Tensor | None]


def linears_of(prologue: Prologue, inputs: Sequence[Tensor], weights: Sequence[Weights]) -> tuple[Tensor, ...]:
    """`F.linear(prologue(*inputs), weight, bias)` for each pair of `weights`; the backward pass runs `prologue` again.

    Args:
        prologue: without state or randomness; gives (…, in).
        inputs: of the prologue.
        weights: of the Linears that read its output.

    Returns:
        One tensor (…, out) for each pair.
    """
    flat = [tensor for pair in weights for tensor in pair]
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():  # a compiler chooses itself what to compute again
        hidden = prologue(*inputs)
        return tuple(F.linear(hidden, weight, bias) for weight, bias in weights)
    outputs: tuple[Tensor, ...] = _Linears.apply(prologue, len(inputs), *inputs, *flat)
    return outputs


class _Linears(torch.autograd.Function):
    """See `linears_of`."""

    @staticmethod
    def forward(ctx: Any, prologue: Prologue, num_inputs: int, *tensors: Any) -> tuple[Tensor, ...]:
        ctx.prologue, ctx.num_inputs = prologue, num_inputs
        inputs, weights, biases = tensors[:num_inputs], tensors[num_inputs::2], tensors[num_inputs + 1 :: 2]
        kind = inputs[0].device.type
        ctx.autocast = nullcontext
        ctx.save_for_backward(*inputs, *weights)
        hidden = prologue(*inputs)
        if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
            dtype = torch.get_autocast_dtype(kind)
            ctx.autocast = partial(torch.autocast, kind, dtype=dtype)
            hidden = hidden.to(dtype)  # once for all Linears
        return tuple(F.linear(hidden, weight, bias) for weight, bias in zip(weights, biases, strict=True))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        first = 2  # of forward's arguments, the first tensor
        saved = ctx.saved_tensors  # to be read once, for activation checkpointing
        inputs, weights = saved[: ctx.num_inputs], saved[ctx.num_inputs :]
        needed = ctx.needs_input_grad[first:]
        with torch.enable_grad(), ctx.autocast():
            inputs = [tensor.detach().requires_grad_(need) for tensor, need in zip(inputs, needed, strict=False)]
            hidden = ctx.prologue(*inputs)
        rows = hidden.detach().flatten(0, -2)
        grad_hidden = None
        of_weights: list[Tensor | None] = []
        needs = zip(needed[ctx.num_inputs :: 2], needed[ctx.num_inputs + 1 :: 2], strict=True)
        for weight, grad, (needs_weight, needs_bias) in zip(weights, grads, needs, strict=True):
            flat = grad.flatten(0, -2)  # (rows, out)
            rows = rows.to(flat.dtype)
            of_weights.append((flat.T @ rows).to(weight.dtype) if needs_weight else None)
            of_weights.append(flat.sum(0).to(weight.dtype) if needs_bias else None)
            if hidden.requires_grad:
                part = flat @ weight.to(flat.dtype)
                grad_hidden = part if grad_hidden is None else grad_hidden + part
        of_inputs: list[Tensor | None] = [None] * len(inputs)
        if grad_hidden is not None:
            wanted = [place for place, tensor in enumerate(inputs) if tensor.requires_grad]
            found = torch.autograd.grad(
                hidden, [inputs[place] for place in wanted], grad_hidden.view_as(hidden).to(hidden.dtype)
            )
            for place, gradient in zip(wanted, found, strict=True):
                of_inputs[place] = gradient
        return None, None, *of_inputs, *of_weights
