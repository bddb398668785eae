"""The average of weights against sums by hand; swapped in, saved and loaded."""

from __future__ import annotations

import io

import pytest
import torch
from torch import nn

from videomae.core.errors import ConfigError
from videomae.training.ema import WeightAverage


def model(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)).to(dtype)
    layers[1].bias.requires_grad_(False)
    return layers


def set_weights(layers: nn.Module, value: float) -> None:
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.fill_(value)


def averages(average: WeightAverage) -> dict[str, float]:
    shadow = average.state_dict()["shadow"]
    assert all(tensor.eq(tensor.flatten()[0]).all() for tensor in shadow.values())
    return {name: tensor.flatten()[0].item() for name, tensor in shadow.items()}


def test_by_hand() -> None:
    layers = model()
    set_weights(layers, 1.0)
    average = WeightAverage(layers, decay=0.75, warmup=False)
    for value in (2.0, 4.0):
        set_weights(layers, value)
        average.update(layers)
    # 0.75 · (0.75 · 1 + 0.25 · 2) + 0.25 · 4; the frozen bias of the norm has no average.
    assert averages(average) == {"0.weight": 1.9375, "0.bias": 1.9375, "1.weight": 1.9375}
    assert average.num_updates == 2


def test_warm_up_by_hand() -> None:
    layers = model()
    set_weights(layers, 1.0)
    average = WeightAverage(layers, decay=0.15)
    expected = 1.0
    for value, decay in ((2.0, 1 / 10), (4.0, 0.15), (8.0, 0.15)):  # 2 / 11 and 3 / 12 are above 0.15
        set_weights(layers, value)
        average.update(layers)
        expected = decay * expected + (1 - decay) * value
        assert averages(average)["0.weight"] == pytest.approx(expected, rel=1e-6)


def test_half_precision_weights_are_averaged_in_float32() -> None:
    """A thousand small steps that bfloat16 would lose all."""
    layers = model(torch.bfloat16)
    set_weights(layers, 1.0)
    average = WeightAverage(layers, decay=0.999, warmup=False)
    set_weights(layers, 1.25)
    for _ in range(1000):
        average.update(layers)
    assert averages(average)["0.weight"] == pytest.approx(1.25 - 0.25 * 0.999**1000, rel=1e-4)
    assert next(layers.parameters()).dtype == torch.bfloat16


def test_swapped_in_and_back_bit_for_bit() -> None:
    layers = model()
    average = WeightAverage(layers, decay=0.5, warmup=False)
    shadow = {name: tensor.clone() for name, tensor in average.state_dict()["shadow"].items()}
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.add_(torch.randn_like(parameter))
    own = {name: tensor.clone() for name, tensor in layers.state_dict().items()}
    with average.swapped_in(layers):
        held = layers.state_dict()
        assert all(held[name].equal(tensor) for name, tensor in shadow.items())
        assert held["1.bias"].equal(own["1.bias"])  # frozen
        with pytest.raises(RuntimeError, match="outside swapped_in"):
            average.update(layers)
    assert all(layers.state_dict()[name].equal(tensor) for name, tensor in own.items())
    average.update(layers)  # trains on

    with pytest.raises(KeyError), average.swapped_in(layers):
        raise KeyError
    assert all(layers.state_dict()[name].equal(tensor) for name, tensor in own.items())


def test_gradients_and_optimizer_survive_a_swap() -> None:
    layers = model()
    optimizer = torch.optim.AdamW(layers.parameters(), lr=0.1)
    average = WeightAverage(layers)
    layers(torch.ones(4, 3)).square().sum().backward()
    gradient = layers[0].weight.grad.clone()
    before = layers[0].weight.detach().clone()
    with average.swapped_in(layers):
        pass
    assert layers[0].weight.grad.equal(gradient)
    optimizer.step()
    assert not layers[0].weight.equal(before)


def test_goes_on_from_a_run_state() -> None:
    layers = model()
    whole, first = WeightAverage(layers, decay=0.9), WeightAverage(layers, decay=0.9)
    for value in (2.0, 3.0):
        set_weights(layers, value)
        whole.update(layers)
        first.update(layers)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = WeightAverage(layers, decay=0.9)
    second.load_state_dict(torch.load(file, weights_only=True))
    set_weights(layers, 5.0)
    for average in (whole, second):
        average.update(layers)
    for name, tensor in whole.state_dict()["shadow"].items():
        assert tensor.equal(second.state_dict()["shadow"][name])
    assert second.num_updates == 3


def test_a_run_state_of_other_weights() -> None:
    average = WeightAverage(model())
    other = WeightAverage(nn.Sequential(nn.Linear(3, 2)))
    with pytest.raises(ValueError, match=r"1\.weight"):
        average.load_state_dict(other.state_dict())
    wide = WeightAverage(nn.Sequential(nn.Linear(4, 2)))
    with pytest.raises(ValueError, match=r"0\.weight has shape \(2, 4\), not \(2, 3\)"):
        other.load_state_dict(wide.state_dict())


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_decays_out_of_range(decay: float) -> None:
    with pytest.raises(ConfigError, match="decay="):
        WeightAverage(model(), decay=decay)
