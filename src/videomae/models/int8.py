"""Linear layers in 8-bit integers, for inference on a CPU.

Weights are rounded once, on a scale for each output channel; activations at each call, on a scale for each token
(dynamic quantization). Sums are exact.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor, nn

from videomae.core.errors import ConfigError

_SMALLEST_SCALE = torch.finfo(torch.float32).tiny


class Int8Linear(nn.Module):
    """A Linear whose weights are int8; its state dict is empty.

    Args:
        weight: (out, in), of any floating-point type.
        bias: (out,), or None.
        largest: the largest weight after rounding, see `largest_weight`.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, largest: int) -> None:
        super().__init__()
        weight = weight.detach().float()
        self._scales = (weight.abs().amax(dim=1) / largest).clamp(min=_SMALLEST_SCALE)
        self._packed = _pack((weight / self._scales[:, None]).round())
        self._bias = torch.zeros(len(weight)) if bias is None else bias.detach().float()

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) to (…, out), of the same type."""
        rows = x.float().flatten(0, -2)
        # Apart, these two are three times as fast as aminmax along a dimension.
        low, high = rows.amin(dim=1, keepdim=True).clamp(max=0.0), rows.amax(dim=1, keepdim=True).clamp(min=0.0)
        zero = _zero_point(float(low.amin()), float(high.amax()))
        scales = torch.maximum(high / (255 - zero), low / -zero).clamp(min=_SMALLEST_SCALE)  # (rows, 1)
        # Truncation after adding a half rounds, since nothing is below 0.
        levels = torch.addcmul(torch.tensor(zero + 0.5), rows, scales.reciprocal()).to(torch.uint8)
        products = _product(levels, zero, self._packed, self._scales)
        return torch.addcmul(self._bias, products, scales).to(x.dtype).unflatten(0, x.shape[:-1])


def _zero_point(low: float, high: float) -> int:
    """The level of 0: activations that are mostly positive, as after GELU, have most levels above it."""
    if not math.isfinite(high - low) or high <= low:
        return 128  # the output will be NaN, or 0
    return min(max(round(255 * -low / (high - low)), 1), 254)


def _pack(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.onednn.qlinear_prepack(weight.to(torch.int8), None)
    return packed


def _product(levels: Tensor, zero: int, packed: Tensor, scales: Tensor) -> Tensor:
    """(rows, in) uint8 less `zero`, times the weights, times the scale of each output channel: (rows, out) float32."""
    zeros = torch.zeros(len(scales), dtype=torch.int32)
    # Of activations scale and zero point, packed weights with theirs, bias, of outputs scale, zero point and type.
    product: Tensor = torch.ops.onednn.qlinear_pointwise(
        levels, 1.0, zero, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
    )
    return product


@cache
def largest_weight() -> int:
    """The largest rounded weight with which this machine's products are exact: 127, or 64.

    x86 CPUs without VNNI add two products in 16 bits, which hold 2 · 255 · 64 but not 2 · 255 · 127: they would end at
    the largest number without a word. So it is tried.

    Raises:
        ConfigError: if this machine, or this release of torch, has no such products.
    """
    reason = "products are not exact"
    if not torch.backends.mkldnn.is_available():
        reason = "this torch has no oneDNN"
    else:
        for largest in (127, 64):
            weight = torch.full((32, 64), float(largest))
            levels = torch.full((32, 64), 255, dtype=torch.uint8)
            try:
                found = _product(levels, 0, _pack(weight), torch.ones(32))
            except (RuntimeError, AttributeError, NotImplementedError) as error:
                reason = (str(error).splitlines() or ["?"])[0][:120]
                break
            if (found == 64 * 255 * largest).all():
                return largest
    raise ConfigError(
        f"--precision int8: {reason}",
        expected="a CPU and a torch whose oneDNN multiplies int8",
        hint="use --precision auto",
    )
