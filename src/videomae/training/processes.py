"""A model on several processes: replicated (DDP) or sharded (FSDP2); steps are shared, the state is gathered."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from videomae.core.distributed import Processes
from videomae.data.loader import ClipBatch
from videomae.data.workers import Broken
from videomae.models.network import Layer
from videomae.training.ema import WeightAverage

Sharding = Literal["none", "full"]


class Team:
    """The processes that train one model, each on its share of every batch; one alone by default.

    Args:
        processes: who trains.
        sharding: "none" keeps the whole model in each process (DDP); "full" spreads weights, gradients and optimiser
            state over the processes (FSDP2).
    """

    def __init__(self, processes: Processes | None = None, sharding: Sharding = "none") -> None:
        self.processes = processes or Processes()
        self.sharding = sharding
        self._network: Any = None

    @property
    def rank(self) -> int:
        """Which process this is."""
        return self.processes.rank

    @property
    def world_size(self) -> int:
        """How many processes there are."""
        return self.processes.world_size

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.processes.is_main

    def spread(self, model: Any) -> Any:
        """The network to call in training, whose gradients are the mean over the processes; alone, the model itself.

        All processes begin with the weights of the main one. The optimiser is to be made afterwards: sharding replaces
        the model's parameters, in place.
        """
        self._network = model
        if self.world_size > 1 and self.sharding == "full":
            _shard(model, self.world_size)
        elif self.world_size > 1:
            self._network = _replicate(model)
        return self._network

    @contextmanager
    def backward_of(self, *, is_last_part: bool) -> Iterator[None]:
        """Around forward and backward of a part; gradients are averaged over the processes in that of the last one."""
        if self.world_size == 1:
            yield
        elif self.sharding == "full":
            self._network.set_requires_gradient_sync(is_last_part)
            yield
        else:
            with nullcontext() if is_last_part else self._network.no_sync():
                yield

    def collect(self, parts: Sequence[ClipBatch]) -> tuple[int, list[Broken]]:
        """Of one step's batch: how many clips could be read, and the broken videos, in the order of the batch.

        One small message, and another one where a video is broken.
        """
        broken = [found for part in parts for found in part.broken]
        told = self.processes.gather_numbers(sum(len(part.indices) for part in parts), len(broken))
        if self.world_size > 1 and any(number for _, number in told):
            broken = [found for others in self.processes.gather(broken) for found in others]
        return sum(number for number, _ in told), broken

    def gathered(self, state: Any) -> Any:
        """A state (of a model, an optimiser) with whole tensors in the main process; all must call it.

        Run states hold these, so that a run goes on with any number of processes, sharded or not. Sharded tensors come
        one after the other, and stay on the CPU; the other processes keep None of them.
        """
        if isinstance(state, Tensor) and hasattr(state, "full_tensor"):
            whole = state.full_tensor()
            return whole.cpu() if self.is_main else None
        if isinstance(state, Mapping):
            return {key: self.gathered(part) for key, part in state.items()}
        if isinstance(state, list):
            return [self.gathered(part) for part in state]
        return state


def _replicate(model: nn.Module) -> nn.Module:
    from torch.nn.parallel import DistributedDataParallel

    # The only buffers, position tables, are constants. torch 2.15 has another name for not sending them each time.
    known = inspect.signature(DistributedDataParallel).parameters
    buffers: dict[str, Any] = {
        "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": False
    }
    return DistributedDataParallel(
        model,
        # With device_ids it would send the masks to the GPU and wait for it, twice: they are wanted on the CPU.
        device_ids=None,
        gradient_as_bucket_view=True,
        **buffers,
    )


def _shard(model: nn.Module, world_size: int) -> None:
    from torch.distributed import broadcast
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    for parameter in model.parameters():
        broadcast(parameter.data, src=0)
    mesh = init_device_mesh(next(model.parameters()).device.type, (world_size,))
    for module in model.modules():
        if isinstance(module, Layer):
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)


def _is_sharded(model: object) -> bool:
    from torch.distributed.fsdp import FSDPModule

    return isinstance(model, FSDPModule)


@contextmanager
def unsharded(model: nn.Module) -> Iterator[None]:
    """Within it every process has the weights whole: each may call the model as often as it has videos to judge."""
    if not _is_sharded(model):
        yield
        return
    modules: list[Any] = [module for module in model.modules() if _is_sharded(module)]
    for module in modules:
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()
    try:
        yield
    finally:
        for module in modules:
            module.set_reshard_after_forward(module is not model, recurse=False)
            module.reshard()


def load_model(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Take up a gathered state; of a sharded model each process keeps its part."""
    own = model.state_dict()
    model.load_state_dict({name: _like(tensor, own.get(name)) for name, tensor in state.items()})


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Take up a gathered state; of sharded parameters each process keeps its part."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    parts = {
        number: {
            name: _like(value, parameters[number])
            if getattr(value, "shape", None) == parameters[number].shape
            else value
            for name, value in values.items()
        }
        for number, values in state["state"].items()
    }
    optimizer.load_state_dict({"state": parts, "param_groups": state["param_groups"]})


def load_average(average: WeightAverage, state: Mapping[str, Any]) -> None:
    """Take up a gathered state; of the average of sharded weights each process keeps its part."""
    own = average.state_dict()["shadow"]
    shadow = {name: _like(tensor, own.get(name)) for name, tensor in state["shadow"].items()}
    average.load_state_dict({**state, "shadow": shadow})


def _like(whole: Tensor, own: Tensor | None) -> Tensor:
    """`whole` spread as `own` is."""
    if not hasattr(own, "full_tensor"):
        return whole
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(own, DTensor)
    # Each process has the whole: nothing needs to be sent.
    return distribute_tensor(whole.to(own.device), own.device_mesh, own.placements, src_data_rank=None)


def stand_in(batch: ClipBatch, clip_shape: Sequence[int]) -> ClipBatch:
    """One black clip in a batch that has none, for a process without clips in a step in which the others wait for it.

    It is to count with a weight of zero.

    Args:
        batch: without clips.
        clip_shape: (V, T, C, H, W).
    """
    zero = torch.zeros(1, dtype=torch.int64)
    return replace(batch, clips=torch.zeros(1, *clip_shape, dtype=torch.uint8), labels=zero, indices=zero, places=zero)
