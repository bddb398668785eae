"""What workers do in the tests of the pool; they find it by name, as they could not in a test's own module."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from videomae.curation.examine import Examined, examine_source


def double(number: int) -> int:
    return 2 * number


def misbehave(word: str) -> str:
    """Do what the word says, or return it in capitals."""
    if word == "raise":
        raise KeyError("no such thing")
    if word == "hang":
        time.sleep(3600)
    if word == "exit":
        os._exit(3)
    if word == "lambda":
        return lambda: None  # type: ignore[return-value]  # cannot be pickled
    if word == "odd error":
        raise OddError(1, 2)
    if word == "memory":
        np.ones(2**32, dtype=np.uint8)
    if word == "many":
        return "x" * 5_000_000
    if word.startswith("SIG"):
        print("last words", flush=True)
        os.kill(os.getpid(), signal.Signals[word])
    return word.upper()


def read_and_print(_: int) -> None:
    """Read the standard input, print what came, and crash."""
    print(f"read: {os.read(0, 10).decode()!r}", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)


def fail_once(path: Path) -> str:
    """Crash the first time."""
    if path.exists():
        return "done"
    path.touch()
    os.kill(os.getpid(), signal.SIGSEGV)
    return "never"


def tell_process(path: Path) -> int:
    """Write down the process, then work for ever."""
    path.write_text(str(os.getpid()))
    time.sleep(3600)
    return 0


def work_or_return(word: str, item: str | Path) -> str | int:
    """Return the word at once, or work for ever."""
    return word if isinstance(item, str) else tell_process(item)


def fail_with(error: Exception, _: int) -> None:
    raise error


class OddError(Exception):
    """Cannot be rebuilt from its arguments."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


def examine_badly(source: Path, *, full: bool, limit_seconds: float | None) -> Examined:
    """As `examine_source`, but for files whose names tell what they do to their reader."""
    misbehave(source.stem)
    return examine_source(source, full=full, limit_seconds=limit_seconds)
