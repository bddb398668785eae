"""The update of one step: clipping, division, skipping; fused and not."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from videomae.training.optimizer import apply_gradients, gradient_norm, make_optimizer, parameter_groups


def _model(seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    model = nn.Linear(5, 3)
    model(torch.randn(4, 5)).square().sum().backward()
    return model


def _optimizer(model: nn.Module, *, fused: bool) -> torch.optim.Optimizer:
    if fused:
        groups = parameter_groups(model.named_parameters(), weight_decay=0.1)
        optimizer = make_optimizer(groups, betas=(0.9, 0.99), device=torch.device("cpu"))
        for group in optimizer.param_groups:
            group["lr"] = 0.01
        return optimizer
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("divisor", [None, 4.0])
def test_a_step_divides_the_gradients(fused: bool, divisor: float | None) -> None:
    ours, expected = _model(), _model()
    for parameter in expected.parameters():
        assert parameter.grad is not None
        parameter.grad /= divisor or 1.0
    _optimizer(expected, fused=fused).step()
    tensor = None if divisor is None else torch.tensor(divisor)
    apply_gradients(_optimizer(ours, fused=fused), divisor=tensor, skipped=torch.tensor(0.0))
    for parameter, other in zip(ours.parameters(), expected.parameters(), strict=True):
        assert torch.equal(parameter, other)


@pytest.mark.parametrize("fused", [True, False])
def test_a_skipped_step_leaves_weights_and_optimizer(fused: bool) -> None:
    model = _model()
    optimizer = _optimizer(model, fused=fused)
    apply_gradients(optimizer, divisor=None, skipped=torch.tensor(0.0))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    state = [{name: value.clone() for name, value in values.items()} for values in optimizer.state.values()]
    assert state
    for parameter in model.parameters():
        assert parameter.grad is not None
        parameter.grad.fill_(math.nan)
    apply_gradients(optimizer, divisor=torch.tensor(math.nan), skipped=torch.tensor(1.0))
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
    for values, old_values in zip(optimizer.state.values(), state, strict=True):
        assert all(torch.equal(values[name], old) for name, old in old_values.items())


def test_the_optimizer_keeps_nothing_of_one_step_for_the_next() -> None:
    optimizer = _optimizer(_model(), fused=True)
    apply_gradients(optimizer, divisor=torch.tensor(2.0), skipped=torch.tensor(0.0))
    assert not hasattr(optimizer, "found_inf")
    assert not hasattr(optimizer, "grad_scale")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_norm_of_all_gradients_shows_what_is_not_finite(value: float) -> None:
    model = _model()
    grads = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    norm = float(gradient_norm(model.parameters()))
    assert norm == pytest.approx(math.sqrt(sum(float(grad.square().sum()) for grad in grads)))
    grads[1][2] = value
    assert not gradient_norm(model.parameters()).isfinite()
