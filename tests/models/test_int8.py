"""Int8 Linear layers against exact integers and against the float ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from videomae.core.errors import ConfigError
from videomae.models import int8
from videomae.models.int8 import Int8Linear, largest_weight


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_weights_and_activations_that_are_whole_numbers_are_multiplied_exactly() -> None:
    # The largest weight and the largest activation of each row are such that every scale is 1.
    largest = largest_weight()
    weight = torch.randint(-largest, largest + 1, (48, 96), generator=torch.Generator().manual_seed(0)).float()
    weight[:, 0] = largest
    x = torch.randint(-128, 128, (2, 20, 96), generator=torch.Generator().manual_seed(1)).float()
    x[..., 0], x[..., 1] = -128, 127
    bias = torch.arange(48).float()

    found = Int8Linear(weight, bias, largest)(x)

    torch.testing.assert_close(found, nn.functional.linear(x, weight, bias), rtol=1e-6, atol=1e-3)


def test_the_largest_products_do_not_saturate() -> None:
    linear = Int8Linear(torch.ones(32, 3072), None, largest_weight())

    assert linear(torch.full((8, 3072), 5.0)).sub(5.0 * 3072).abs().max() < 1


@pytest.mark.parametrize("largest", [largest_weight(), 64])
def test_close_to_the_float_layer(largest: int) -> None:
    weight, bias, x = drawn(64, 96), drawn(64, seed=1), drawn(3, 50, 96, seed=2)
    x = x * torch.logspace(-3, 3, 50)[:, None]  # each token on a scale of its own
    expected = nn.functional.linear(x, weight, bias)

    error = (Int8Linear(weight, bias, largest)(x) - expected).norm(dim=-1) / expected.norm(dim=-1)

    assert 1e-4 < error.max() < 0.03


def test_activations_above_zero_use_most_of_the_levels() -> None:
    largest = largest_weight()
    weight = torch.randint(-largest, largest + 1, (48, 96), generator=torch.Generator().manual_seed(0)).float()
    weight[:, 0] = largest  # weights lose nothing
    x = nn.functional.gelu(3 * drawn(50, 96, seed=2))
    expected = nn.functional.linear(x, weight)

    def error(layer: Int8Linear, shift: float) -> float:
        # A negative outlier in a token of its own moves the zero point to the middle.
        outlier = torch.full((1, 96), -shift)
        return float((layer(torch.cat([x, outlier]))[:50] - expected).norm())

    layer = Int8Linear(weight, None, largest)
    assert error(layer, 0.0) < 0.7 * error(layer, float(x.max()))


@pytest.mark.parametrize("rows", [torch.zeros(2, 8), torch.full((2, 8), 1e-40), torch.ones(2, 8), -torch.ones(2, 8)])
def test_constant_rows(rows: Tensor) -> None:
    weight, bias = drawn(32, 8), drawn(32, seed=1)

    found = Int8Linear(weight, bias, largest_weight())(rows)

    torch.testing.assert_close(found, nn.functional.linear(rows, weight, bias), rtol=0.03, atol=0.05)


def test_nan_stays_nan() -> None:
    linear = Int8Linear(drawn(32, 8), None, largest_weight())

    assert linear(torch.tensor([[float("nan")] * 8, [1.0] * 8]))[0].isnan().all()
    assert Int8Linear(torch.full((32, 8), float("nan")), None, 64)(torch.ones(1, 8)).isnan().all()


def test_half_types() -> None:
    layer = Int8Linear(drawn(32, 8).bfloat16(), drawn(32, seed=1).bfloat16(), largest_weight())

    assert layer(drawn(4, 8, seed=2).bfloat16()).dtype == torch.bfloat16
    assert not layer.state_dict()


def test_a_machine_without_such_products(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Tensor:
        raise RuntimeError("could not create a primitive\nmore")

    monkeypatch.setattr(int8, "_product", refuse)
    largest_weight.cache_clear()
    with pytest.raises(ConfigError, match=r"--precision int8: could not create a primitive: expected a CPU") as found:
        largest_weight()
    assert "\n" not in str(found.value)
    monkeypatch.setattr(int8, "_product", lambda levels, *_: torch.zeros(len(levels), 32))
    with pytest.raises(ConfigError, match="products are not exact"):
        largest_weight()
    monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: False)
    with pytest.raises(ConfigError, match="no oneDNN"):
        largest_weight()


def test_the_largest_weight_is_what_the_products_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that sums two products in 16 bits saturates at 127 · 255 · 2, as AVX2 does; with VNNI it does not."""

    def saturating(levels: Tensor, zero: int, packed: Tensor, scales: Tensor) -> Tensor:
        pairs = (levels.double()[:, :, None] * packed.double().T).unflatten(1, (-1, 2)).sum(dim=2)
        return pairs.clamp(max=limit).sum(dim=1).float()

    monkeypatch.setattr(int8, "_pack", lambda weight: weight)
    monkeypatch.setattr(int8, "_product", saturating)
    limit = 2**15 - 1
    assert largest_weight() == 64
    limit = 2**31 - 1
    largest_weight.cache_clear()
    assert largest_weight() == 127


@pytest.fixture(autouse=True)
def _fresh() -> object:
    largest_weight.cache_clear()
    yield
    largest_weight.cache_clear()
