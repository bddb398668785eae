"""Ctrl-C and SIGTERM as a request to stop after the step in progress."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType
from typing import Any

# A cluster signals the launcher and the processes that it has started, to which the launcher passes the signal on.
_SAME_SIGNAL_SECONDS = 5.0


class StopSignal:
    """Turns the first Ctrl-C or SIGTERM into a request to stop after this step; a second one acts at once.

    In a process that a launcher started, what follows within seconds is the first one again, by another way.
    """

    def __init__(self) -> None:
        self.requested = False
        self._since = 0.0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        # Python hands signals to the main thread alone; a run in another thread is stopped by its owner.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _request(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.requested:
            self.requested, self._since = True, now
            if os.environ.get("WORLD_SIZE", "1") == "1":
                self.__exit__()
        elif now - self._since > _SAME_SIGNAL_SECONDS:
            self.__exit__()
            signal.raise_signal(number)
