"""Loader workers that may die or hang: its batch reports the file, and loading continues."""

from __future__ import annotations

import functools
import gc
import multiprocessing
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from videomae.core.allocator import give_freed_memory_back
from videomae.core.child_process import deaths_stay_quiet, how_it_ended, ignore_stop_signals
from videomae.core.errors import ConfigError, InputError, VideoError

# How long to wait for a batch before looking after the workers.
_POLL_SECONDS = 1.0
_SECONDS_TO_LEAVE = 1.0
# A machine that was asleep, or a job that was stopped, makes everything look slow: hence several polls in a row.
_POLLS_BEFORE_HUNG = 3
_POLLS_BEFORE_STALLED = 120
# The system kills whoever is there when memory runs out: only a file that was being read twice is to blame.
_DEATHS_PER_FILE = 2
_DEATHS_WITHOUT_A_FILE = 3
# SIGBUS: no room in shared memory.
_SIGNALS_OUT_OF_MEMORY = ("SIGKILL", "SIGBUS")
# Columns of the status table.
_INDEX, _SINCE, _PID = range(3)
_IDLE, _BETWEEN = -1, -2


@dataclass(frozen=True)
class Broken:
    """A video that could not be read, in the place of its sample: it is reported, never replaced."""

    index: int
    error: VideoError


@dataclass(frozen=True)
class Failure:
    """What a worker's `collate` returns where loading cannot continue: pickled errors lose some of their parts."""

    error: InputError


@dataclass(frozen=True)
class Watch:
    """What becomes of workers that die or hang.

    Args:
        name_of: the video of an index, for messages.
        limit_seconds: after this a worker that is still at one item is killed; None never.
        excluded: index → why, of the videos that are not opened at all; those that ended a worker are added.
        note: called with a line for each event.
    """

    name_of: Callable[[int], object]
    limit_seconds: float | None
    excluded: dict[int, VideoError]
    note: Callable[[str], object]


class WatchedItems(Dataset[Any]):
    """The items of a data set, noting in the status table which one is being read."""

    def __init__(self, dataset: Dataset[Any], excluded: Mapping[int, VideoError], status: Tensor | None = None) -> None:
        self._dataset = dataset
        self._excluded = dict(excluded)
        self._status = status

    def __getitems__(self, keys: Sequence[Any]) -> list[Any]:
        worker = get_worker_info()
        row = np.zeros(3) if worker is None or self._status is None else self._status[worker.id].numpy()
        try:
            return [self._item(key, row) for key in keys]
        finally:
            row[_INDEX] = _IDLE

    def _item(self, key: Any, row: np.ndarray) -> Any:
        index = key[1] if isinstance(key, tuple) else key
        if index in self._excluded:
            return Broken(index, self._excluded[index])
        row[_SINCE], row[_INDEX] = time.monotonic(), index
        item = self._dataset[key]
        row[_INDEX] = _BETWEEN
        return item


class _DecodeWorkers:
    """The worker processes of one DataLoader; they deliver batches until one of them dies or hangs."""

    def __init__(
        self, dataset: Dataset[Any], batches: Any, *, num_workers: int, watch: Watch, options: Mapping[str, Any]
    ) -> None:
        self._status = torch.tensor([_IDLE, 0.0, 0.0], dtype=torch.float64).repeat(num_workers, 1).share_memory_()
        with _any_number_of_workers():
            loader: DataLoader[Any] = DataLoader(
                WatchedItems(dataset, watch.excluded, self._status),
                batch_sampler=batches,
                num_workers=num_workers,
                timeout=_POLL_SECONDS,
                worker_init_fn=functools.partial(_begin_worker, self._status),
                **options,
            )
        # A scaler of FFmpeg's that awaits garbage collection has threads. They do not run in a forked worker, which
        # would wait for them forever.
        gc.collect()
        with deaths_stay_quiet(), _any_number_of_workers():
            self._iterator: Iterator[Any] | None = iter(loader)
        # Not `multiprocessing.active_children`, which forgets workers that died at once.
        self._processes: list[BaseProcess] = list(self._iterator._workers)  # type: ignore[attr-defined]
        self._polls: Counter[tuple[int, float]] = Counter()
        self._idle_polls = 0

    def next_batch(self) -> Any:
        """The next batch; None if the workers are to be checked first. Raises StopIteration at the end."""
        assert self._iterator is not None
        try:
            batch = next(self._iterator)
        except (RuntimeError, OSError, EOFError) as error:
            timed_out = str(error).startswith("DataLoader timed out")
            # A batch on its way from a worker that dies fails in many ways, and some before the worker is quite dead.
            sentinels = [process.sentinel for process in self._processes]
            if not timed_out and not connection.wait(sentinels, timeout=_SECONDS_TO_LEAVE):
                raise
            return None
        self._polls.clear()
        self._idle_polls = 0
        return batch

    def dead(self) -> list[tuple[int | None, str]]:
        """For each worker that died: the index that it was reading, if any, and how it ended."""
        at = {int(pid): int(index) for index, _, pid in self._status.tolist()}
        gone = [process for process in self._processes if not process.is_alive()]
        places = [
            (at.get(process.pid or 0, _IDLE), how_it_ended(process.exitcode, out_of_memory=_SIGNALS_OUT_OF_MEMORY))
            for process in gone
        ]
        return [(index if index >= 0 else None, how) for index, how in places]

    def hung(self, limit_seconds: float | None) -> list[int]:
        """The indices that workers have been reading for too long; to be called after each wait without a batch."""
        busy = [(int(index), since) for index, since, _ in self._status.tolist() if index >= 0]
        self._idle_polls = 0 if busy else self._idle_polls + 1
        self._polls = Counter({key: self._polls[key] + 1 for key in busy})
        if limit_seconds is None:
            return []
        now = time.monotonic()
        return [
            key[0] for key, polls in self._polls.items() if polls >= _POLLS_BEFORE_HUNG and now - key[1] > limit_seconds
        ]

    @property
    def is_stalled(self) -> bool:
        """All workers are alive and idle, and no batch comes."""
        return self._idle_polls >= _POLLS_BEFORE_STALLED

    def close(self) -> None:
        """End all workers, also those that are reading."""
        for process in self._processes:
            if any(pid == process.pid and index != _IDLE for index, _, pid in self._status.tolist()):
                process.kill()
        # The iterator ends the idle ones and waits for them: forever, if one waits for the lock of a dead one.
        kill_timer = threading.Timer(_SECONDS_TO_LEAVE, self._kill_all)
        try:
            kill_timer.start()
        except RuntimeError:  # Python is ending, and starts no more threads
            self._kill_all()
        self._iterator = None
        kill_timer.cancel()
        self._kill_all()
        for process in self._processes:
            process.join(_SECONDS_TO_LEAVE)

    def _kill_all(self) -> None:
        for process in self._processes:
            process.kill()


def watched_batches(
    dataset: Dataset[Any],
    order: Any,
    *,
    num_workers: int,
    watch: Watch,
    options: Mapping[str, Any],
) -> Generator[Any, None, None]:
    """Batches of `order` in worker processes, each once, whatever happens to the workers.

    A file that ended workers twice, or that takes longer than allowed, is `Broken` in its batch from then on, and all
    batches are what they would be if reading it had raised an error.

    Args:
        dataset: gives items by key: an index, or a tuple with the index in second place.
        order: lists of keys: a sequence, or something with `after` (see `BatchOrder`).
        num_workers: at least 1.
        watch: limits and exclusions; where events are reported.
        options: further arguments of `DataLoader`.

    Raises:
        ConfigError: workers die repeatedly, and no file is the cause.
    """

    def workers_after(num_batches: int) -> _DecodeWorkers:
        rest = order.after(num_batches) if hasattr(order, "after") else order[num_batches:]
        return _DecodeWorkers(dataset, rest, num_workers=num_workers, watch=watch, options=options)

    # Workers begin now, not when the first batch is asked for.
    return _restarted_batches(workers_after, workers_after(0), _WorkerFailures(watch, num_workers))


def _restarted_batches(
    workers_after: Callable[[int], _DecodeWorkers], workers: _DecodeWorkers, failures: _WorkerFailures
) -> Generator[Any, None, None]:
    num_given = 0
    try:
        while True:
            try:
                batch = workers.next_batch()
            except StopIteration:
                return
            if batch is None:
                if failures.require_restart(workers):
                    workers.close()
                    workers = workers_after(num_given)
                continue
            if isinstance(batch, Failure):
                raise batch.error
            failures.num_unexplained = 0
            num_given += 1
            yield batch
    finally:
        workers.close()


class _WorkerFailures:
    """Which files ended workers, or made them hang, and how often."""

    def __init__(self, watch: Watch, num_workers: int) -> None:
        self._watch = watch
        self._num_workers = num_workers
        self._deaths: Counter[int] = Counter()
        self.num_unexplained = 0  # deaths without a file since the last batch

    def require_restart(self, workers: _DecodeWorkers) -> bool:
        """Whether new workers are needed; the file that ended these is excluded or noted.

        Raises:
            ConfigError: workers end repeatedly, and no file is the cause.
        """
        dead, hung = workers.dead(), workers.hung(self._watch.limit_seconds)
        for index in hung:
            limit = f"{self._watch.limit_seconds:g}"
            self._exclude(index, f"still being read after {limit} s, so its worker process was ended")
        for at, how in dead:
            if at is not None:
                self._blame(at, how)
        unexplained = [how for index, how in dead if index is None]
        if unexplained and len(unexplained) == len(dead):
            self._count_unexplained(unexplained[0])
        elif workers.is_stalled:
            self._count_unexplained("stopped delivering batches")
        return bool(dead or hung or workers.is_stalled)

    def _blame(self, index: int, how: str) -> None:
        self._deaths[index] += 1
        if self._deaths[index] >= _DEATHS_PER_FILE:
            self._exclude(index, f"reading it ended a worker process {self._deaths[index]} times: {how}")
        else:
            name = self._watch.name_of(index)
            self._watch.note(f"a worker process that read {name} {how}; the file is read again")

    def _exclude(self, index: int, reason: str) -> None:
        self._watch.excluded[index] = VideoError(
            f"{self._watch.name_of(index)} ({reason})",
            expected="a video that can be read",
            hint="remove this file from the data, or convert it",
        )

    def _count_unexplained(self, how: str) -> None:
        self.num_unexplained += 1
        if self.num_unexplained > _DEATHS_WITHOUT_A_FILE:
            raise ConfigError(
                f"num_workers={self._num_workers}: worker processes ended {self.num_unexplained} times in a row, "
                f"the last one {how}",
                expected="worker processes that keep running",
                hint="give them more memory (also /dev/shm, in a container), or lower --num-workers",
            )
        self._watch.note(f"a worker process {how}, at no file in particular; starting new ones")


def _begin_worker(status: Tensor, worker_id: int) -> None:
    status[worker_id, _PID] = float(multiprocessing.current_process().pid or 0)
    give_freed_memory_back()  # a large video must not swell each worker for good
    ignore_stop_signals()  # a worker ends with its loader, or when its parent is gone


@contextmanager
def _any_number_of_workers() -> Iterator[None]:
    """Keep torch from warning of more workers than cores, twice: whoever asks for them may wait for a slow disk."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create", category=UserWarning)
        yield
