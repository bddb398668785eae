"""Exponential moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from videomae.core.errors import ConfigError
from videomae.training.parallel import sharded_like


class WeightAverage:
    """A float32 average of the trained weights, whatever their type; frozen weights are not in it.

    Each `update` takes the average a share of 1 - decay towards the weights. With `warmup` the decay of update n
    (from 0) is at most (1 + n) / (10 + n), so that the first weights, random ones perhaps, are soon forgotten.

    Args:
        model: whose weights are averaged; on its device, and not wrapped for several devices.
        decay: of the average, 0 to below 1.
        warmup: whether the decay grows.

    Raises:
        ConfigError: for a decay out of range.
    """

    def __init__(self, model: nn.Module, *, decay: float = 0.9999, warmup: bool = True) -> None:
        if not 0 <= decay < 1:
            raise ConfigError(f"decay={decay} of the weight average", expected="0 to below 1", hint="try 0.9999")
        self.decay = decay
        self.warmup = warmup
        self.num_updates = 0
        self._is_swapped_in = False
        self._shadow = {
            name: parameter.detach().float().clone()
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }

    @torch.no_grad()
    def update(self, model: nn.Module, *, skipped: Tensor | None = None) -> None:
        """Add the weights; once after each step of the optimizer. Waits for no device.

        Args:
            model: as it is after the step.
            skipped: 0-dim, on the device: where it is 1, the step was skipped and the average stays.

        Raises:
            RuntimeError: inside `swapped_in`, where the model holds the average.
        """
        if self._is_swapped_in:
            raise RuntimeError("the model holds its average: train it outside swapped_in()")
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates)) if self.warmup else self.decay
        shadow = list(self._shadow.values())
        weights = [weight.float() for weight in self._weights(model).values()]
        if skipped is None:
            torch._foreach_lerp_(shadow, weights, 1 - decay)
        else:
            way = torch._foreach_sub(weights, shadow)
            torch._foreach_mul_(way, (1 - decay) * (1 - skipped))
            torch._foreach_add_(shadow, way)
        self.num_updates += 1

    @contextmanager
    def swapped_in(self, model: nn.Module) -> Iterator[None]:
        """Within it the model holds the average, to be evaluated or saved; then its own weights again, bit for bit."""
        weights = self._weights(model)
        own = [weight.clone() for weight in weights.values()]
        self._is_swapped_in = True
        try:
            for name, weight in weights.items():
                weight.copy_(self._shadow[name])
            yield
        finally:
            for weight, value in zip(weights.values(), own, strict=True):
                weight.copy_(value)
            self._is_swapped_in = False

    def state_dict(self) -> dict[str, Any]:
        """For the run state: `num_updates` and the average by name (`shadow`); not copied."""
        return {"num_updates": self.num_updates, "shadow": dict(self._shadow)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from a run state, gathered; of the average of sharded weights each process keeps its shard.

        Raises:
            ValueError: if it is of other weights.
        """
        shadow: Mapping[str, Tensor] = state["shadow"]
        if shadow.keys() != self._shadow.keys():
            odd = sorted(shadow.keys() ^ self._shadow.keys())
            raise ValueError(f"the average of other weights: {', '.join(odd[:3])} in one of the two only")
        for name, tensor in self._shadow.items():
            if shadow[name].shape != tensor.shape:
                raise ValueError(
                    f"the average of {name} has shape {tuple(shadow[name].shape)}, not {tuple(tensor.shape)}"
                )
        for name, tensor in self._shadow.items():
            tensor.copy_(sharded_like(shadow[name], tensor))
        self.num_updates = int(state["num_updates"])

    def _weights(self, model: nn.Module) -> dict[str, Tensor]:
        """The model's weights that are averaged, in the order of the average, without their history."""
        parameters = dict(model.named_parameters())
        return {name: parameters[name].detach() for name in self._shadow}


def averaged(model: nn.Module, average: WeightAverage | None) -> AbstractContextManager[None]:
    """Within it the model holds its average, where there is one: what is evaluated and saved."""
    return nullcontext() if average is None else average.swapped_in(model)
