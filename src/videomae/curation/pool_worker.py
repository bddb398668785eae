"""A worker of `run_in_workers` from the inside, and how it and the process that started it send each other messages.

Each message is its length and its bytes. The pipes are the worker's standard input and output, which every system can
pass on; other printing goes to the standard error.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import pickle
import queue
import threading
import traceback
from collections.abc import Callable
from typing import IO, Any

from videomae.core.child_process import ignore_stop_signals, limit_own_memory
from videomae.core.text import error_line

_NUM_HEADER_BYTES = 8
_BEGIN = b"\0videomae worker\0"


def serve() -> None:
    """The life of a worker: take items from the standard input and send results, until it closes."""
    ignore_stop_signals()
    faulthandler.enable()
    items: queue.SimpleQueue[bytes | bytearray] = queue.SimpleQueue()
    given, results = _take_channels()
    threading.Thread(target=_listen, args=(given, items), daemon=True).start()
    results.write(_BEGIN)
    try:
        function, limit_bytes = pickle.loads(items.get())
    except Exception:
        write_message(results, pickle.dumps(("unable", traceback.format_exc())))
        return
    if limit_bytes is not None:
        limit_own_memory(limit_bytes)
    write_message(results, pickle.dumps(("ready",)))
    while True:
        write_message(results, _call(function, items.get()))


def _take_channels() -> tuple[IO[bytes], IO[bytes]]:
    """Where items come from and results go to; what libraries read is nothing, what they print are last words."""
    given, results = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return os.fdopen(given, "rb", buffering=0), os.fdopen(results, "wb", buffering=0)


def _listen(given: IO[bytes], items: queue.SimpleQueue[bytes | bytearray]) -> None:
    """Pass on the items. When the other side is gone, exit at once, also in the middle of an item."""
    try:
        with contextlib.suppress(OSError, EOFError):
            while True:
                items.put(read_exactly(given, read_header(given)))
    except MemoryError:
        traceback.print_exc()
    finally:
        os._exit(1)


def _call(function: Callable[[Any], Any], item: bytes | bytearray) -> bytes:
    try:
        return pickle.dumps(("result", function(pickle.loads(item))))
    except Exception as error:
        kind = "memory" if isinstance(error, MemoryError) else "exception"
        return pickle.dumps((kind, error_line(error), _pickled(error), traceback.format_exc()))


def _pickled(error: Exception) -> bytes | None:
    try:
        return pickle.dumps(error)
    except Exception:  # an exception that holds an open file or the like; its line and trace are sent without it
        return None


def write_message(file: IO[bytes], content: bytes) -> None:
    """Send all of it; raises OSError where the other side is gone."""
    for part in (len(content).to_bytes(_NUM_HEADER_BYTES, "little"), content):
        rest = memoryview(part)
        while rest:
            rest = rest[file.write(rest) :]


def skip_to_begin(file: IO[bytes]) -> None:
    """Pass over what a new interpreter printed before the worker could prevent it."""
    last = b""
    while last != _BEGIN:
        last = (last + read_exactly(file, 1))[-len(_BEGIN) :]


def read_header(file: IO[bytes]) -> int:
    """How many bytes the next message has."""
    return int.from_bytes(read_exactly(file, _NUM_HEADER_BYTES), "little")


def read_exactly(file: IO[bytes], num_bytes: int) -> bytes | bytearray:
    """So many bytes; raises EOFError where there are fewer."""
    content = bytearray(num_bytes)
    rest = memoryview(content)
    while rest:
        num_read = file.readinto(rest)  # type: ignore[attr-defined]
        if not num_read:
            raise EOFError
        rest = rest[num_read:]
    return content
