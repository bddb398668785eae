"""One process at a time in a folder."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from videomae.core.errors import InputError

logger = logging.getLogger("videomae")

# Of the locks held by this process: forked workers must not inherit them, they may live a moment longer.
_held: set[int] = set()
# Windows locks the first byte, which other processes then cannot read.
_OWNER_AT = 1


class FolderLock:
    """Held between `with` and its end, or until the process dies, however it dies.

    Where the folder cannot be written there is no lock: whoever writes there next raises a better error. Where the
    file system has no locks there is none either, and one line is logged.

    Args:
        path: a small file, made if absent; it stays, and names the last owner of the lock.
        refusal: what to raise if another process has the lock, given who that is.

    Raises:
        InputError: on entering, `refusal`.
    """

    def __init__(self, path: Path, refusal: Callable[[str], InputError]) -> None:
        self.path = path
        self._refusal = refusal
        self._descriptor: int | None = None

    def __enter__(self) -> FolderLock:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return self
        if self._is_free(descriptor):
            self._descriptor = descriptor
            _held.add(descriptor)
            owner = {"pid": os.getpid(), "host": socket.gethostname()}
            with contextlib.suppress(OSError):  # the lock holds on a full disk too; the text is for people
                os.ftruncate(descriptor, 0)
                os.write(descriptor, b" " * _OWNER_AT + json.dumps(owner).encode())
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            _held.discard(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def _is_free(self, descriptor: int) -> bool:
        """Whether the lock is now ours; closes the file if not."""
        from filelock import lock_descriptor

        try:
            if lock_descriptor(descriptor, blocking=False):
                return True
        except OSError as error:
            os.close(descriptor)
            logger.warning(
                "%s cannot be locked (%s): see to it that no second process works there",
                self.path.parent,
                error.strerror or type(error).__name__,
            )
            return False
        os.lseek(descriptor, _OWNER_AT, os.SEEK_SET)
        owner = _name_of(os.read(descriptor, 1000))
        os.close(descriptor)
        raise self._refusal(owner)


def _name_of(text: bytes) -> str:
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
