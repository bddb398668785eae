"""One process at a time in a run's folder."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from pathlib import Path
from typing import Any

from videomae.core.errors import InputError

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

# Of the locks held by this process: workers must not inherit them, they may live a moment longer.
_held: set[int] = set()


class FolderLock:
    """Held between `with` and its end, or until the process dies, however it dies.

    Where the file system has no locks, or cannot be written, there is none, and nothing is refused.

    Args:
        path: a small file, made if absent; it stays, and says who had the lock last.
        folder: what it guards, for the message.

    Raises:
        InputError: on entering, if another process has the lock; names it.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self._path = path
        self._folder = folder
        self._descriptor: int | None = None

    def __enter__(self) -> FolderLock:
        if fcntl is None:
            return self
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:  # whoever writes there next tells it better
            return self
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = _owner(os.read(descriptor, 1000))
            os.close(descriptor)
            raise InputError(
                f"{self._folder}, where another process is at work ({owner})",
                expected="a folder of which this process is the only one",
                hint="wait for it, end it, or choose another --output",
            ) from error
        except OSError:  # a file system without locks
            os.close(descriptor)
            return self
        self._descriptor = descriptor
        _held.add(descriptor)
        with contextlib.suppress(OSError):  # the lock holds on a full disk too; the text is for people
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            _held.discard(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None


def _owner(text: bytes) -> str:
    try:
        owner: dict[str, Any] = json.loads(text)
        return f"process {owner['pid']} on {owner['host']}"
    except (ValueError, KeyError, TypeError):  # it has the lock, and is about to write its name
        return "unknown which"


def _close_in_child() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
