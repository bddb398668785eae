"""Brings the report of a run up to date while it goes on, without making training wait noticeably."""

from __future__ import annotations

import time
from collections.abc import Callable

from videomae.core.errors import InputError

# Of the time since the report before.
MAX_SHARE = 0.02


class RegularReports:
    """Writes the report after each epoch, but less often where writing would take more than 2 % of the time.

    Args:
        write: writes it.
        warn: receives why it could not be written, once: no reason to end a run of days.
        clock: seconds, from any beginning.
    """

    def __init__(
        self, write: Callable[[], object], warn: Callable[[str], object], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._write = write
        self._warn = warn
        self._clock = clock
        self._seconds = 0.0
        self._end = clock()
        self._has_failed = False

    def update(self, *, is_last: bool = False) -> None:
        """Write the report where it is due.

        Args:
            is_last: write it whatever that takes: the run is being interrupted.
        """
        begin = self._clock()
        if not is_last and begin - self._end < self._seconds / MAX_SHARE:
            return
        try:
            self._write()
        except (InputError, OSError) as error:
            if not self._has_failed:
                self._warn(f"no report of the run so far: {error}")
            self._has_failed = True
        self._end = self._clock()
        self._seconds = self._end - begin
