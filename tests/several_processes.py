"""Functions run in several processes at once that know each other, as a launcher would start them."""

from __future__ import annotations

import multiprocessing
import pickle
import time
import traceback
from collections.abc import Callable
from multiprocessing import connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# Forked from a server that has loaded everything once: a process more costs no import of torch.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["torch", "torch.distributed.fsdp", "videomae.training.pretrain", "several_processes"])


def run_in_processes(
    function: Callable[..., Any], *arguments: Any, num_processes: int = 2, limit_seconds: float = 300
) -> list[Any]:
    """What `function(*arguments)` returns in each process, by rank; an exception is returned in its place.

    A function of a test module, or of this one. Processes that are not done in time are ended, and the test fails.
    """
    with TemporaryDirectory() as folder:  # they meet at a file: no port that another program might take
        pipes, processes = [], []
        for rank in range(num_processes):
            receiver, sender = _CONTEXT.Pipe(duplex=False)
            process = _CONTEXT.Process(
                target=_run, args=(sender, str(Path(folder) / "store"), rank, num_processes, function, arguments)
            )
            process.start()
            sender.close()
            pipes.append(receiver)
            processes.append(process)
        try:
            return _collect(pipes, time.monotonic() + limit_seconds)
        finally:
            for process in processes:
                process.join(5)
                process.kill()
                process.join()


def _collect(pipes: list[Any], deadline: float) -> list[Any]:
    results: dict[int, Any] = {}
    while len(results) < len(pipes):
        waiting = [pipe for rank, pipe in enumerate(pipes) if rank not in results]
        ready = connection.wait(waiting, timeout=deadline - time.monotonic())
        assert ready, f"processes {sorted(set(range(len(pipes))) - results.keys())} did not end; the others: {results}"
        for pipe in ready:
            rank = pipes.index(pipe)
            try:
                results[rank], problem = pickle.loads(pipe.recv_bytes())
            except EOFError:
                raise AssertionError(f"process {rank} died; the others: {results}") from None
            assert problem is None, f"process {rank}: {problem}"
    return [results[rank] for rank in range(len(pipes))]


def _run(sender: Any, store: str, rank: int, num_processes: int, function: Any, arguments: Any) -> None:
    import torch
    import torch.distributed as dist

    from videomae.core.errors import InputError

    torch.set_num_threads(1)
    try:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=num_processes)
        try:
            answer = function(*arguments)
        except InputError as error:
            answer = error
        # Pickled here: a pipe by itself sends tensors as memory of this process, which may end before they are read.
        sender.send_bytes(pickle.dumps((answer, None)))
    except BaseException:
        sender.send_bytes(pickle.dumps((None, traceback.format_exc())))
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
