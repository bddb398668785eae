"""Loader workers that may die or hang: the file that did it is told in its batch, and loading goes on."""

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
# A machine that was asleep, or a job that was stopped, makes everything look slow: so often in a row is it looked.
_POLLS_BEFORE_HUNG = 3
_POLLS_BEFORE_STALLED = 120
# The system kills whoever is there when memory runs out: only a file that was being read twice is to blame.
_DEATHS_PER_FILE = 2
_DEATHS_WITHOUT_A_FILE = 3
# SIGBUS: no room in shared memory.
_SIGNALS_OUT_OF_MEMORY = ("SIGKILL", "SIGBUS")
# Columns of the board.
_INDEX, _SINCE, _PID = range(3)
_IDLE, _BETWEEN = -1, -2


@dataclass(frozen=True)
class Broken:
    """A video that could not be read, in the place of its sample: it is reported, never replaced."""

    index: int
    error: VideoError


@dataclass(frozen=True)
class Failure:
    """What a worker's `collate` returns where loading cannot go on: errors do not survive the way with all parts."""

    error: InputError


@dataclass(frozen=True)
class Watch:
    """What becomes of workers that die or hang.

    Args:
        name_of: the video of an index, for messages.
        limit_seconds: after this a worker that is still at one item is killed; None never.
        excluded: index → why, of the videos that are not opened at all; those that ended a worker are added.
        note: is told what happened, a line each.
    """

    name_of: Callable[[int], object]
    limit_seconds: float | None
    excluded: dict[int, VideoError]
    note: Callable[[str], object]


class WatchedItems(Dataset[Any]):
    """The items of a data set, noting on the board which one is being made."""

    def __init__(self, dataset: Dataset[Any], excluded: Mapping[int, VideoError], board: Tensor | None = None) -> None:
        self._dataset = dataset
        self._excluded = dict(excluded)
        self._board = board

    def __getitems__(self, keys: Sequence[Any]) -> list[Any]:
        worker = get_worker_info()
        row = np.zeros(3) if worker is None or self._board is None else self._board[worker.id].numpy()
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


class _Crew:
    """The workers of one DataLoader, which give batches until one of them dies or hangs."""

    def __init__(
        self, dataset: Dataset[Any], batches: Any, *, num_workers: int, watch: Watch, options: Mapping[str, Any]
    ) -> None:
        self._board = torch.tensor([_IDLE, 0.0, 0.0], dtype=torch.float64).repeat(num_workers, 1).share_memory_()
        with _any_number_of_workers():
            loader: DataLoader[Any] = DataLoader(
                WatchedItems(dataset, watch.excluded, self._board),
                batch_sampler=batches,
                num_workers=num_workers,
                timeout=_POLL_SECONDS,
                worker_init_fn=functools.partial(_begin_worker, self._board),
                **options,
            )
        # A converter of FFmpeg's that waits for the garbage collector has threads; freed in a forked worker, where
        # these do not run, it would wait for them for ever.
        gc.collect()
        with deaths_stay_quiet(), _any_number_of_workers():
            self._iterator: Iterator[Any] | None = iter(loader)
        # Not `multiprocessing.active_children`, which forgets workers that died at once.
        self._processes: list[BaseProcess] = list(self._iterator._workers)  # type: ignore[attr-defined]
        self._looks: Counter[tuple[int, float]] = Counter()
        self._idle_looks = 0

    def next_batch(self) -> Any:
        """The next batch; None if it is worth looking after the workers first. Raises StopIteration at the end."""
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
        self._looks.clear()
        self._idle_looks = 0
        return batch

    def dead(self) -> list[tuple[int | None, str]]:
        """Of each worker that died the index it was at, if any, and how it ended."""
        at = {int(pid): int(index) for index, _, pid in self._board.tolist()}
        gone = [process for process in self._processes if not process.is_alive()]
        places = [
            (at.get(process.pid or 0, _IDLE), how_it_ended(process.exitcode, out_of_memory=_SIGNALS_OUT_OF_MEMORY))
            for process in gone
        ]
        return [(index if index >= 0 else None, how) for index, how in places]

    def hung(self, limit_seconds: float | None) -> list[int]:
        """The indices at which workers have been for too long; to be called after each fruitless wait."""
        busy = [(int(index), since) for index, since, _ in self._board.tolist() if index >= 0]
        self._idle_looks = 0 if busy else self._idle_looks + 1
        self._looks = Counter({key: self._looks[key] + 1 for key in busy})
        if limit_seconds is None:
            return []
        now = time.monotonic()
        return [
            key[0] for key, looks in self._looks.items() if looks >= _POLLS_BEFORE_HUNG and now - key[1] > limit_seconds
        ]

    @property
    def is_stalled(self) -> bool:
        """Nobody works, nobody is dead, and nothing comes."""
        return self._idle_looks >= _POLLS_BEFORE_STALLED

    def close(self) -> None:
        """End all workers, also from the midst of an item."""
        for process in self._processes:
            if any(pid == process.pid and index != _IDLE for index, _, pid in self._board.tolist()):
                process.kill()
        # The idle ones are let go by the iterator's end. One that waits for a lock of a dead one would be waited for.
        impatience = threading.Timer(_SECONDS_TO_LEAVE, self._kill_all)
        try:
            impatience.start()
        except RuntimeError:  # Python is ending, and starts no more threads
            self._kill_all()
        self._iterator = None
        impatience.cancel()
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
    """Batches of `order` in worker processes, none left out and none twice, whatever becomes of the workers.

    A file at which workers die twice, or one is longer than allowed, is `Broken` in its batch from then on, and all
    batches are what they would be if reading it had raised an error.

    Args:
        dataset: gives items by key: an index, or a tuple with the index in second place.
        order: lists of keys: a sequence, or something with `after` (see `BatchOrder`).
        num_workers: at least 1.
        watch: what to do about workers that die or hang.
        options: further arguments of `DataLoader`.

    Raises:
        ConfigError: workers die again and again, and no file is to blame.
    """

    def crew_after(num_batches: int) -> _Crew:
        rest = order.after(num_batches) if hasattr(order, "after") else order[num_batches:]
        return _Crew(dataset, rest, num_workers=num_workers, watch=watch, options=options)

    # Workers begin now, not when the first batch is asked for.
    return _keep_going(crew_after, crew_after(0), _Judge(watch, num_workers))


def _keep_going(crew_after: Callable[[int], _Crew], crew: _Crew, judge: _Judge) -> Generator[Any, None, None]:
    num_given = 0
    try:
        while True:
            try:
                batch = crew.next_batch()
            except StopIteration:
                return
            if batch is None:
                if judge.has_ended(crew):
                    crew.close()
                    crew = crew_after(num_given)
                continue
            if isinstance(batch, Failure):
                raise batch.error
            judge.num_unexplained = 0
            num_given += 1
            yield batch
    finally:
        crew.close()


class _Judge:
    """Finds who is to blame for workers that died or hang."""

    def __init__(self, watch: Watch, num_workers: int) -> None:
        self._watch = watch
        self._num_workers = num_workers
        self._deaths: Counter[int] = Counter()
        self.num_unexplained = 0  # deaths without a file since the last batch

    def has_ended(self, crew: _Crew) -> bool:
        """Whether a new crew is needed; what ended this one is excluded or noted.

        Raises:
            ConfigError: crews end again and again without a file to blame.
        """
        dead, hung = crew.dead(), crew.hung(self._watch.limit_seconds)
        for index in hung:
            limit = f"{self._watch.limit_seconds:g}"
            self._exclude(index, f"still at work after {limit} s, so its worker process was ended")
        for at, how in dead:
            if at is not None:
                self._blame(at, how)
        unexplained = [how for index, how in dead if index is None]
        if unexplained and len(unexplained) == len(dead):
            self._count_unexplained(unexplained[0])
        elif crew.is_stalled:
            self._count_unexplained("gave nothing any more")
        return bool(dead or hung or crew.is_stalled)

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
            hint="leave this file out, or convert it",
        )

    def _count_unexplained(self, how: str) -> None:
        self.num_unexplained += 1
        if self.num_unexplained > _DEATHS_WITHOUT_A_FILE:
            raise ConfigError(
                f"num_workers={self._num_workers}: worker processes ended {self.num_unexplained} times in a row, "
                f"the last one {how}",
                expected="worker processes that live",
                hint="give them more memory (also /dev/shm, in a container), or lower --num-workers",
            )
        self._watch.note(f"a worker process {how}, at no file in particular; starting new ones")


def _begin_worker(board: Tensor, worker_id: int) -> None:
    board[worker_id, _PID] = float(multiprocessing.current_process().pid or 0)
    give_freed_memory_back()  # a large video must not swell each worker for good
    ignore_stop_signals()  # a worker ends when it is told to, or when its parent is gone


@contextmanager
def _any_number_of_workers() -> Iterator[None]:
    """Keep torch from warning of more workers than cores, twice: whoever asks for them may wait for a slow disk."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create", category=UserWarning)
        yield
