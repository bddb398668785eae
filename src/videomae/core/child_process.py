"""How child processes are started, limited and end, on each system."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

# Windows ends a process that crashed with the number of the exception, such as 0xC0000005.
_FIRST_EXCEPTION = 2**31


def away_from_terminal() -> dict[str, Any]:
    """Arguments of `subprocess.Popen` with which Ctrl-C in the terminal does not reach the process."""
    # Each system ignores the other's argument.
    return {"start_new_session": True, "creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}


def ignore_stop_signals() -> None:
    """In a worker: let the process that started it decide what Ctrl-C and a scheduler's SIGTERM mean.

    Ctrl-C reaches every process of the terminal, SIGTERM often every process of the job.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def limit_own_memory(limit_bytes: int) -> None:
    """Let this process have at most so much private data (as Linux counts it); nothing where the system cannot."""
    if sys.platform == "win32":
        return
    import resource

    # Data, not address space: mapped files and reserved addresses cost nothing, and FFmpeg and numpy have plenty.
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes if hard < 0 else min(limit_bytes, hard), hard))


def how_it_ended(status: int | None, *, out_of_memory: Collection[str] = ("SIGKILL",)) -> str:
    """The end of a process in words, such as "was killed by SIGSEGV" or "ended with status 3".

    Args:
        status: its exit status; below 0 the signal that killed it.
        out_of_memory: signals that processes get when memory runs out.
    """
    if status is None or 0 <= status < _FIRST_EXCEPTION:
        return f"ended with status {status}"
    if status > 0:
        return f"crashed with {status:#010X}".replace("0X", "0x")
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    return f"was killed by {name}" + (", as happens when memory runs out" if name in out_of_memory else "")


@contextmanager
def deaths_stay_quiet() -> Iterator[None]:
    """Keep torch, whose loader is begun within, from raising an error in the main thread when a worker dies."""
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    yield
    is_torchs = getattr(before, "__module__", "") == "torch.utils.data._utils.signal_handling"
    # Other loaders of this process find out about dead workers without the handler too, a few seconds later.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL if before is None or is_torchs else before)
