"""Work on many files in processes that may crash, hang or eat memory; a failure costs its file alone."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from videomae.core.child_process import away_from_terminal, how_it_ended
from videomae.core.text import error_line
from videomae.curation.pool_worker import read_exactly, read_header, skip_to_begin, write_message

Item = TypeVar("Item")
Result = TypeVar("Result")
FailureKind = Literal["exception", "crash", "time", "memory"]

# A fresh interpreter instead of a fork: a forked process with threads may hang, and multiprocessing's own way of
# starting one runs the caller's script again. -P keeps files beside the caller from shadowing the standard library.
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from videomae.curation.pool_worker import serve; serve()"
)
# Each worker is one of many: a library that starts a thread for each core only gets in the way, and costs memory.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_SECONDS_TO_END = 5.0
# On Windows Ctrl-C does not end a wait.
_SECONDS_TO_WAIT = 1.0
_MAX_TRACE_BYTES = 4096


@dataclass(frozen=True)
class WorkerFailure:
    """What became of an item that gave no result.

    Args:
        item: the item.
        kind: "exception": the function raised; "crash": the process died; "time": it was killed at the time limit;
            "memory": it reached the memory limit.
        reason: one line.
        error: what the function raised, where it can be passed between processes.
        trace: where it happened, as far as known.
    """

    item: object
    kind: FailureKind
    reason: str
    error: Exception | None = None
    trace: str | None = None


def run_in_workers(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    num_workers: int,
    limit_seconds: float | None = None,
    limit_bytes: int | None = None,
    num_attempts: int = 1,
) -> Generator[tuple[Item, Result | WorkerFailure], None, None]:
    """Call `function` on each item in worker processes; yields (item, result or failure) as they come, in any order.

    Items are taken as workers become free, one for each, so that they may be endless. A worker that crashes, or works
    on an item for longer than `limit_seconds`, is killed and replaced; this costs its item, and nothing else. Closing
    the iterator, Ctrl-C and the end of this process end the workers. Ctrl-C does not reach workers, and they ignore
    SIGTERM: this process decides what these mean.

    Args:
        function: importable by name (at the top level of a module that is not the script itself), or a
            `functools.partial` of such a one. Keep what its module imports light: each worker imports it.
        items: what can be pickled; results too.
        num_workers: processes; 0 calls `function` in this process, where neither limit holds and a crash is ours.
        limit_seconds: time for one item; None for any.
        limit_bytes: memory of one worker (its private data, as Linux counts it); None for any.
        num_attempts: how often an item is tried whose worker died or was killed; exceptions are never tried again.

    Raises:
        TypeError: `function` cannot be imported by name.
        RuntimeError: workers cannot be started.
    """
    if num_workers < 0 or num_attempts < 1:
        raise ValueError(f"num_workers={num_workers}, num_attempts={num_attempts}: expected at least 0 and 1")
    if num_workers == 0:
        return _run_here(function, items)
    target = getattr(function, "func", function)
    if target.__module__ == "__main__" or "<" in target.__qualname__:
        raise TypeError(f"{function!r}: expected a function at the top level of a module that workers can import")
    pool: _Pool[Item, Result] = _Pool(
        pickle.dumps((function, limit_bytes)),
        items,
        num_workers,
        limit_seconds=limit_seconds,
        num_attempts=num_attempts,
    )
    return pool.run()


def _run_here(
    function: Callable[[Item], Result], items: Iterable[Item]
) -> Generator[tuple[Item, Result | WorkerFailure], None, None]:
    for item in items:
        try:
            result: Result | WorkerFailure = function(item)
        except Exception as error:
            kind: FailureKind = "memory" if isinstance(error, MemoryError) else "exception"
            result = WorkerFailure(item, kind, error_line(error), error, traceback.format_exc())
        yield item, result


# Messages of the workers; None when one is gone.
_Inbox = queue.SimpleQueue["tuple[_Worker[Item], bytes | bytearray | None]"]


class _Worker(Generic[Item]):
    """One process, and what it is doing."""

    def __init__(self, job: bytes, inbox: _Inbox[Item]) -> None:
        self.item: Item | None = None
        self.attempt = 0
        self.is_idle = True
        self.is_ready = False
        self.since = 0.0  # when it began with the item; counts from when the worker is ready
        self.num_handled = 0  # of its messages
        self._num_begun = 0  # of its messages, those that come in or are in the inbox
        # What libraries print, and last words: kept from the terminal, where results or a progress bar are.
        self._last_words = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, json.dumps([os.fspath(path) for path in sys.path])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._last_words,
            bufsize=0,
            env={**os.environ, **_ONE_THREAD},
            **away_from_terminal(),
        )
        self._reader = threading.Thread(target=self._read, args=(inbox,), daemon=True)
        self._reader.start()
        self._send(job)

    def give(self, item: Item, attempt: int) -> None:
        self.item, self.attempt, self.is_idle, self.since = item, attempt, False, time.monotonic()
        self._send(pickle.dumps(item))

    @property
    def is_answering(self) -> bool:
        """Whether a message of it is on its way, or waits to be handled."""
        return self._num_begun > self.num_handled

    def overdue_at(self, limit_seconds: float | None) -> float | None:
        """When the time limit ends, on the monotonic clock."""
        return self.since + limit_seconds if limit_seconds is not None and self.is_ready else None

    def _send(self, content: bytes) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # one that died is found by its reader
            write_message(self._process.stdin, content)

    def _read(self, inbox: _Inbox[Item]) -> None:
        """In a thread of its own: put each message into the inbox, and None when the process is gone."""
        assert self._process.stdout is not None
        try:
            with contextlib.suppress(OSError, EOFError):
                skip_to_begin(self._process.stdout)
                while True:
                    num_bytes = read_header(self._process.stdout)
                    self._num_begun += 1
                    inbox.put((self, read_exactly(self._process.stdout, num_bytes)))
        finally:
            inbox.put((self, None))

    def end(self, *, kill: bool) -> tuple[str, str]:
        """Let an idle process end, or kill it; returns how it ended and its last words."""
        if kill:
            self._process.kill()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            status = self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._reader.join(_SECONDS_TO_END)
        self._process.stdout.close()
        with self._last_words as file:
            file.seek(-min(_MAX_TRACE_BYTES, file.seek(0, os.SEEK_END)), os.SEEK_END)
            return how_it_ended(status), file.read().decode("utf-8", "replace").strip()


class _Pool(Generic[Item, Result]):
    """The workers of one call of `run_in_workers`, and what is still to be given to them."""

    def __init__(
        self,
        job: bytes,
        items: Iterable[Item],
        num_workers: int,
        *,
        limit_seconds: float | None,
        num_attempts: int,
    ) -> None:
        self._job = job
        self._items = iter(items)
        self._again: deque[tuple[Item, int]] = deque()
        self._num_workers = num_workers
        self._limit_seconds = limit_seconds
        self._num_attempts = num_attempts
        self._workers: list[_Worker[Item]] = []
        self._inbox: _Inbox[Item] = queue.SimpleQueue()

    def run(self) -> Generator[tuple[Item, Result | WorkerFailure], None, None]:
        try:
            self._feed()
            while any(not worker.is_idle for worker in self._workers):
                finished = [*self._receive(), *self._stop_overdue()]
                self._feed()  # before yielding, so that workers are busy while the caller is
                yield from finished
        finally:
            for worker in self._workers:
                worker.end(kill=not worker.is_idle)

    def _feed(self) -> None:
        """An item for each worker that has none; workers are started as items need them."""
        while True:
            idle = next((worker for worker in self._workers if worker.is_idle), None)
            if idle is None and len(self._workers) == self._num_workers:
                return
            if self._again:
                item, attempt = self._again.popleft()
            else:
                try:
                    item, attempt = next(self._items), 1
                except StopIteration:
                    return
            if idle is None:
                idle = _Worker(self._job, self._inbox)
                self._workers.append(idle)
            idle.give(item, attempt)

    def _receive(self) -> Iterator[tuple[Item, Result | WorkerFailure]]:
        """Wait until a worker sends something or a time limit ends."""
        ends = [end for worker in self._workers if (end := self._overdue_at(worker)) is not None]
        timeout = max(0.0, min([_SECONDS_TO_WAIT, *(end - time.monotonic() for end in ends)]))
        with contextlib.suppress(queue.Empty):
            worker, content = self._inbox.get(timeout=timeout)
            while True:
                if worker in self._workers:  # not the last message of a worker that was ended
                    yield from self._handle(worker, content)
                worker, content = self._inbox.get_nowait()

    def _handle(
        self, worker: _Worker[Item], message: bytes | bytearray | None
    ) -> Iterator[tuple[Item, Result | WorkerFailure]]:
        if message is None:
            if worker.is_idle:  # nothing is lost with it
                self._workers.remove(worker)
                worker.end(kill=False)
            else:
                yield from self._lose(worker, "crash")
            return
        worker.num_handled += 1
        kind, *content = pickle.loads(message)
        if kind == "unable":
            raise RuntimeError(f"a worker process cannot import what it should do\n{content[0]}")
        if kind == "ready":
            worker.is_ready, worker.since = True, time.monotonic()
            return
        worker.is_idle = True
        yield worker.item, _outcome(worker.item, kind, *content)  # type: ignore[misc]

    def _overdue_at(self, worker: _Worker[Item]) -> float | None:
        return None if worker.is_idle else worker.overdue_at(self._limit_seconds)

    def _stop_overdue(self) -> Iterator[tuple[Item, WorkerFailure]]:
        now = time.monotonic()
        for worker in list(self._workers):
            end = self._overdue_at(worker)
            # A result that waits for us was in time: it may be us who were busy elsewhere.
            if end is not None and end <= now and not worker.is_answering:
                yield from self._lose(worker, "time")

    def _lose(self, worker: _Worker[Item], kind: FailureKind) -> Iterator[tuple[Item, WorkerFailure]]:
        """Take a worker out; its item is tried again or has failed."""
        self._workers.remove(worker)
        ending, last_words = worker.end(kill=kind == "time")
        if not worker.is_ready:
            raise RuntimeError(f"a worker process {ending} while it started\n{last_words}")
        item: Any = worker.item
        if worker.attempt < self._num_attempts:
            self._again.append((item, worker.attempt + 1))
            return
        reason = f"the process that worked on it {ending}"
        if kind == "time":
            reason = f"took longer than {self._limit_seconds:g} seconds"
        yield item, WorkerFailure(item, kind, reason, trace=last_words or None)


def _outcome(item: Any, kind: str, *content: Any) -> Any:
    """The result or the failure of a message."""
    if kind == "result":
        return content[0]
    reason, error, trace = content
    try:
        raised = pickle.loads(error) if error is not None else None
    except Exception:  # an exception whose class cannot be rebuilt; its line and trace remain
        raised = None
    return WorkerFailure(item, kind, reason, raised, trace)  # type: ignore[arg-type]
