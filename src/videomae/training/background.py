"""Saving beside the training: tensors are copied, which is quick, and written while training continues."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


class HostCopy:
    """Copies states into the processor's memory, page-locked where they come from a GPU; the memory is used again."""

    def __init__(self) -> None:
        self._memory: dict[tuple[Any, ...], Tensor] = {}

    def take(self, state: Any) -> Any:
        """The state with its own containers and tensors; those of the copy before are overwritten."""
        devices: set[torch.device] = set()
        copy = self._copy(state, (), devices)
        for device in devices:
            torch.cuda.synchronize(device)
        return copy

    def _copy(self, value: Any, place: tuple[Any, ...], devices: set[torch.device]) -> Any:
        if isinstance(value, Tensor):
            memory = self._memory.get(place)
            if memory is None or memory.shape != value.shape or memory.dtype != value.dtype:
                memory = torch.empty(value.shape, dtype=value.dtype, pin_memory=value.is_cuda)
                self._memory[place] = memory
            memory.copy_(value.detach(), non_blocking=value.is_cuda)
            if value.is_cuda:
                devices.add(value.device)
            return memory
        if isinstance(value, Mapping):
            return {key: self._copy(part, (*place, key), devices) for key, part in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self._copy(part, (*place, number), devices) for number, part in enumerate(value))
        return value


class BackgroundWriter:
    """One job at a time in a thread of its own.

    Attributes:
        seconds: how long the last finished job took.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def submit(self, job: Callable[[], object]) -> None:
        """Begin a job, once the one before it is done.

        Raises:
            Exception: whatever the job before it raised.
        """
        self.wait()
        # Files are written aside: a process that ends in the midst of a job loses nothing.
        self._thread = threading.Thread(target=self._run, args=(job,), name="run state writer", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise what a finished job raised; waits for none."""
        if self._error is not None:
            self.wait()

    def wait(self) -> None:
        """Until the job is done; raises what it raised."""
        self.join()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def join(self) -> None:
        """Until the job is done, whatever became of it."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, job: Callable[[], object]) -> None:
        begin = time.perf_counter()
        try:
            job()
        except BaseException as error:
            self._error = error
        self.seconds = time.perf_counter() - begin
