"""Several processes that do one job together: how many there are, which one this is, what they exchange.

The launcher (`torchrun`, `accelerate launch`) starts the same command several times and sets environment
variables. A single process loads nothing of torch.distributed and waits for nobody.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor

from videomae.core.device import choose_device
from videomae.core.errors import ConfigError, InputError

# A process may be late by a whole file that hangs until it is given up, or by a report.
_TIMEOUT = timedelta(minutes=60)
# Texts of torch's errors when another process is gone, or no longer answers.
_LOST = (
    "Connection closed by peer",
    "Connection reset",
    "Broken pipe",
    "Timed out",
    "timed out",
    "Socket Timeout",
    "remote process exited",  # NCCL
)

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class ProcessGroup:
    """This process and the others of its job. All of them must call the collective methods, in the same order.

    Args:
        rank: which process this is, from 0.
        world_size: how many there are, on all machines.
        local_rank: which of this machine's.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """The device of this process, as `choose_device`; of several GPUs its own.

        Raises:
            ConfigError: if there is none for it.
        """
        device = choose_device(name)
        if self.world_size == 1 or device.type == "cpu":
            return device
        if device.type != "cuda" or device.index is not None:
            raise ConfigError(
                f"--device {name} with {self.world_size} processes",
                expected="auto, cuda or cpu; each process takes a GPU of its own",
                hint="choose one of them, or start one process",
            )
        if self.local_rank >= torch.cuda.device_count():
            raise ConfigError(
                f"process {self.local_rank + 1} on a machine with {torch.cuda.device_count()} GPUs",
                expected="one process for each GPU",
                hint="start fewer processes (torchrun --nproc-per-node), or use --device cpu",
            )
        device = torch.device("cuda", self.local_rank)
        torch.cuda.set_device(device)
        return device

    def gather(self, value: Any) -> list[Any]:
        """What each process gave, in the order of their ranks; any object that can be pickled."""
        if self.world_size == 1:
            return [value]
        import torch.distributed as dist

        gathered: list[Any] = [None] * self.world_size
        dist.all_gather_object(gathered, value)
        return gathered

    def gather_numbers(self, *numbers: int) -> list[list[int]]:
        """What each process gave, (processes, numbers): cheaper than `gather`, and no wait for a GPU."""
        if self.world_size == 1:
            return [list(numbers)]
        import torch.distributed as dist

        gathered = torch.empty(self.world_size, len(numbers), dtype=torch.int64)
        dist.all_gather(list(gathered), torch.tensor(numbers, dtype=torch.int64))  # into its rows
        return gathered.tolist()

    def any_of(self, *flags: bool) -> list[bool]:
        """Whether each of them holds in any process; one message for all."""
        return [any(others) for others in zip(*self.gather_numbers(*map(int, flags)), strict=True)]

    def any(self, flag: bool) -> bool:
        """Whether it holds in any process."""
        return any(other for (other,) in self.gather_numbers(int(flag)))

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in each, of tensors of one shape; on a GPU nothing waits for it."""
        if self.world_size == 1:
            return tensor
        import torch.distributed as dist

        total = tensor.detach().clone()
        dist.all_reduce(total)
        return total

    def from_main(self, value: Any) -> Any:
        """What the main process gave; tensors on the CPU in dictionaries and lists travel as they are."""
        if self.world_size == 1:
            return value
        import torch.distributed as dist

        tensors: list[Tensor] = []
        plan = [_take_out(value, tensors)] if self.is_main else [None]
        dist.broadcast_object_list(plan, src=0)
        shapes: list[Any] = [[(tensor.shape, tensor.dtype) for tensor in tensors]]
        dist.broadcast_object_list(shapes, src=0)
        if not self.is_main:
            tensors = [torch.empty(shape, dtype=dtype) for shape, dtype in shapes[0]]
        for tensor in tensors:
            dist.broadcast(tensor, src=0)
        return value if self.is_main else _put_in(plan[0], tensors)

    def on_main(self, function: Callable[[], Answer]) -> Answer | None:
        """Let the main process alone do something while the others wait; they get None.

        Raises:
            InputError: in every process, if it does in the main one.
        """
        if self.world_size == 1:
            return function()
        answer, problem = None, None
        if self.is_main:
            try:
                answer = function()
            except InputError as error:
                problem = error
        problem = self.from_main(problem)
        if problem is not None:
            raise problem
        return answer

    def barrier(self) -> None:
        """Wait until all processes are here."""
        self.gather_numbers(0)


@dataclass(frozen=True)
class _Place:
    """Where a tensor was."""

    number: int


def _take_out(value: Any, tensors: list[Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors.append(value.detach().cpu().contiguous())
        return _Place(len(tensors) - 1)
    if isinstance(value, Mapping):
        return {key: _take_out(part, tensors) for key, part in value.items()}
    if isinstance(value, list):
        return [_take_out(part, tensors) for part in value]
    return value


def _put_in(value: Any, tensors: list[Tensor]) -> Any:
    if isinstance(value, _Place):
        return tensors[value.number]
    if isinstance(value, dict):
        return {key: _put_in(part, tensors) for key, part in value.items()}
    if isinstance(value, list):
        return [_put_in(part, tensors) for part in value]
    return value


@contextmanager
def joined_process_group(
    device_name: str = "auto", environment: Mapping[str, str] | None = None
) -> Iterator[ProcessGroup]:
    """Within it, the processes that the launcher started know each other; alone, nothing happens.

    A program that has called `torch.distributed.init_process_group` itself keeps its group.

    Args:
        device_name: where they compute, as for `choose_device`; GPUs talk through NCCL.
        environment: what the launcher set: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT.

    Raises:
        ConfigError: if the environment is incomplete, or the others cannot be found.
        InputError: if another process ends in the midst of the job.
    """
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        with _problems_shared(dist.get_rank(), dist.get_world_size()):
            yield ProcessGroup(dist.get_rank(), dist.get_world_size(), dist.get_node_local_rank(dist.get_rank()))
        return
    processes = launched_process_group(environment)
    if processes.world_size == 1:
        yield processes
        return
    device = processes.device(device_name)
    try:
        # Small messages between the processes stay on the CPU: a GPU need not be waited for to send one.
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
            timeout=_TIMEOUT,
            rank=processes.rank,
            world_size=processes.world_size,
        )
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"process {processes.rank} of {processes.world_size} that finds no others "
            f"({(str(error).splitlines() or [type(error).__name__])[0][:200]})",
            expected="all processes to start, and to reach MASTER_ADDR at MASTER_PORT",
            hint="start them with torchrun or accelerate launch, see docs/scale.md",
        ) from error
    try:
        with _problems_shared(processes.rank, processes.world_size):
            yield processes
    finally:
        dist.destroy_process_group()


@contextmanager
def _problems_shared(rank: int, world_size: int) -> Iterator[None]:
    """Within it, an error of one process ends the others too, with its message where it could be sent."""
    problems = _ProblemStore(world_size)
    try:
        yield
    except Exception as error:
        if not (isinstance(error, RuntimeError) and any(words in str(error) for words in _LOST)):
            problems.put(rank, error)
            raise
        raise problems.first_but(rank) or InputError(
            f"process {rank} of {world_size} lost its connection to the others",
            expected="all processes to run to the end",
            hint="one of them was killed, or its machine is gone; "
            "repeat the command to resume from the last saved state",
        ) from error


class _ProblemStore:
    """The errors of processes that ended, in the store of the process group, which outlives them."""

    _numbers = itertools.count()

    def __init__(self, world_size: int) -> None:
        self._world_size = world_size
        self._name = f"videomae/problem/{next(self._numbers)}"

    def put(self, rank: int, problem: Exception) -> None:
        if not isinstance(problem, InputError):
            text = f"{type(problem).__name__}: {(str(problem).splitlines() or [''])[0][:200]}"
            problem = InputError(text, expected="no such failure", hint="see the earlier output of this process")
        text = json.dumps([problem.value, problem.expected, problem.hint])
        with suppress(RuntimeError):  # the store is gone, with the process or the launcher that kept it
            self._store().set(f"{self._name}/{rank}", text)

    def first_but(self, rank: int) -> InputError | None:
        """The error of the first of the other processes that reported one."""
        for other in range(self._world_size):
            key = f"{self._name}/{other}"
            with suppress(RuntimeError):
                if other != rank and self._store().check([key]):
                    value, expected, hint = json.loads(self._store().get(key))
                    name = f"process {other} of {self._world_size}"
                    return InputError(f"{name}: {value}", expected=expected, hint=hint)
        return None

    @staticmethod
    def _store() -> Any:
        from torch.distributed.distributed_c10d import _get_default_store

        return _get_default_store()


def launched_process_group(environment: Mapping[str, str] | None = None) -> ProcessGroup:
    """How many processes the launcher started, and which this one is; loads and starts nothing.

    Raises:
        ConfigError: if what it set is incomplete or no number.
    """
    environment = os.environ if environment is None else environment
    if environment.get("WORLD_SIZE", "1") == "1":
        return ProcessGroup()
    numbers = {}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        given = environment.get(name, "")
        if not given.isdecimal():
            raise ConfigError(
                f"{name}={given!r} in the environment",
                expected="a number, as torchrun and accelerate launch set it",
                hint="start the command with one of them, or unset WORLD_SIZE",
            )
        numbers[name.lower()] = int(given)
    if not numbers["rank"] < numbers["world_size"]:
        raise ConfigError(
            f"RANK={numbers['rank']} of WORLD_SIZE={numbers['world_size']} in the environment",
            expected="a rank below the world size",
            hint="start the command with torchrun or accelerate launch",
        )
    return ProcessGroup(**numbers)
