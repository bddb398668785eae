"""A model on several processes: replicated (DDP) or sharded (FSDP2); batches are shared, the state is gathered."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from videomae.core.distributed import ProcessGroup
from videomae.data.loader import ClipBatch
from videomae.data.workers import Broken
from videomae.models.network import Layer

Sharding = Literal["none", "full"]


class DataParallel:
    """Trains one model in several processes, each on its share of every batch; alone by default.

    Args:
        processes: that train.
        sharding: "none" keeps the whole model in each process (DDP); "full" shards weights, gradients and optimizer
            state over the processes (FSDP2).
    """

    def __init__(self, processes: ProcessGroup | None = None, sharding: Sharding = "none") -> None:
        self.processes = processes or ProcessGroup()
        self.sharding = sharding
        self._network: Any = None

    @property
    def rank(self) -> int:
        """Of this process, from 0."""
        return self.processes.rank

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return self.processes.world_size

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.processes.is_main

    def wrap(self, model: Any) -> Any:
        """The network to call in training, whose gradients are the mean over the processes; alone, the model itself.

        All processes begin with the weights of the main one. Make the optimizer afterwards: sharding replaces the
        model's parameters, in place.
        """
        self._network = model
        if self.world_size > 1 and self.sharding == "full":
            _shard(model, self.world_size)
        elif self.world_size > 1:
            self._network = _replicate(model)
        return self._network

    @contextmanager
    def gradient_sync(self, *, is_last: bool) -> Iterator[None]:
        """Around forward and backward of a micro-batch; gradients are averaged over the processes in the last one's."""
        if self.world_size == 1:
            yield
        elif self.sharding == "full":
            self._network.set_requires_gradient_sync(is_last)
            yield
        else:
            with nullcontext() if is_last else self._network.no_sync():
                yield

    def exchange(self, batches: Sequence[ClipBatch]) -> tuple[int, list[Broken]]:
        """Of one step's batch: the number of readable clips, and the unreadable videos in the order of the batch.

        One small message, and another one where a video is unreadable.

        Args:
            batches: the micro-batches of this process.
        """
        broken = [found for batch in batches for found in batch.broken]
        counts = self.processes.gather_numbers(sum(len(batch.indices) for batch in batches), len(broken))
        if self.world_size > 1 and any(number for _, number in counts):
            broken = [found for others in self.processes.gather(broken) for found in others]
        return sum(number for number, _ in counts), broken

    def gathered(self, state: Any) -> Any:
        """A state (of a model, an optimizer) with whole tensors in the main process; all processes must call it.

        Run states hold these, so that a run resumes with any number of processes, sharded or not. Sharded tensors are
        gathered one after the other, onto the CPU; the other processes get None in their place.
        """
        if isinstance(state, Tensor) and hasattr(state, "full_tensor"):
            whole = state.full_tensor()
            return whole.cpu() if self.is_main else None
        if isinstance(state, Mapping):
            return {key: self.gathered(value) for key, value in state.items()}
        if isinstance(state, list):
            return [self.gathered(value) for value in state]
        return state


class ModelState:
    """A model's weights in the run state: gathered states load into sharded and whole models.

    Args:
        model: not wrapped.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def state_dict(self) -> dict[str, Tensor]:
        """As of the model; not copied."""
        return self._model.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load a gathered state; of a sharded model each process keeps its shard."""
        own = self._model.state_dict()
        self._model.load_state_dict({name: sharded_like(tensor, own.get(name)) for name, tensor in state.items()})


class OptimizerState:
    """An optimizer's state in the run state: gathered states load into those of sharded and whole models.

    Args:
        optimizer: over the model's parameters.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer

    def state_dict(self) -> dict[str, Any]:
        """As of the optimizer; not copied."""
        return self._optimizer.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a gathered state; of sharded parameters each process keeps its shard."""
        parameters = [parameter for group in self._optimizer.param_groups for parameter in group["params"]]
        shards = {
            number: {
                name: sharded_like(value, parameters[number])
                if getattr(value, "shape", None) == parameters[number].shape
                else value
                for name, value in values.items()
            }
            for number, values in state["state"].items()
        }
        self._optimizer.load_state_dict({"state": shards, "param_groups": state["param_groups"]})


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
    """Within it every process has the whole weights, so that each may call the model a different number of times."""
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


def sharded_like(whole: Tensor, own: Tensor | None) -> Tensor:
    """`whole` sharded as `own` is."""
    if not hasattr(own, "full_tensor"):
        return whole
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(own, DTensor)
    # Each process has the whole: nothing needs to be sent.
    return distribute_tensor(whole.to(own.device), own.device_mesh, own.placements, src_data_rank=None)


def stand_in(batch: ClipBatch, clip_shape: Sequence[int]) -> ClipBatch:
    """One black clip for a process without clips in a step in which the others wait for its gradients.

    It must count with a weight of zero.

    Args:
        batch: without clips.
        clip_shape: (V, T, C, H, W).
    """
    zero = torch.zeros(1, dtype=torch.int64)
    clips = torch.zeros(1, *clip_shape, dtype=torch.uint8)
    return replace(batch, clips=clips, labels=zero, indices=zero, places=zero, operations=())
