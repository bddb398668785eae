"""When the data wait is larger than it should be: find out, and print what would help."""

from __future__ import annotations

import shlex
from collections import deque
from typing import TYPE_CHECKING

from videomae.core.machine import usable_cores
from videomae.data.loader import automatic_workers
from videomae.datasets.shards import is_packed
from videomae.video.remote import is_url

if TYPE_CHECKING:
    from videomae.training.loop import Training

# More than this share of the time, over at least so many of the last steps and so long.
MAX_SHARE = 0.2
_MIN_STEPS = 20
_MIN_SECONDS = 10.0


class DataWaitWatch:
    """Tells once in its life that waiting takes too large a share of the last steps' time."""

    def __init__(self) -> None:
        self._steps: deque[tuple[float, float]] = deque()
        self._waited = 0.0
        self._seconds = 0.0
        self._is_first = True
        self._has_told = False

    def add(self, *, waited_seconds: float, step_seconds: float) -> float | None:
        """A step took `step_seconds`, of which it waited; returns the share of waiting if it is to be told now."""
        if self._is_first:  # workers have to start, whatever the data
            self._is_first = False
            return None
        self._steps.append((waited_seconds, step_seconds))
        self._waited += waited_seconds
        self._seconds += step_seconds
        while len(self._steps) > _MIN_STEPS and self._seconds - self._steps[0][1] >= _MIN_SECONDS:
            waited, seconds = self._steps.popleft()
            self._waited -= waited
            self._seconds -= seconds
        is_enough = len(self._steps) >= _MIN_STEPS and self._seconds >= _MIN_SECONDS
        if self._has_told or not is_enough or self._waited <= MAX_SHARE * self._seconds:
            return None
        self._has_told = True
        return self._waited / self._seconds


def describe_data_wait(training: Training, share: float) -> str:
    """The line about it."""
    remedies = list_remedies(
        data=training.data,
        num_workers=training.recipe.num_workers,
        num_cores=usable_cores(),
        num_views=training.recipe.views,
        is_packed=is_url(training.data) or is_packed(training.data),
    )
    measure = f"`videomae bench-data {shlex.quote(training.data)}` measures it"
    return f"data wait {share:.0%} over the last steps; what helps: {', or '.join(remedies)}; {measure}"


def list_remedies(*, data: str, num_workers: int, num_cores: int, num_views: int, is_packed: bool) -> list[str]:
    """What makes the data come faster in this case, the cheapest first.

    Args:
        data: the data set, as the user names it.
        num_workers: of the run; -1 for automatic.
        num_cores: that this process may use.
        num_views: crops of each decoded clip.
        is_packed: the data set was written by `videomae pack`.
    """
    workers = automatic_workers() if num_workers < 0 else num_workers
    remedies = []
    if workers < num_cores:
        remedies.append(f"--num-workers {num_cores}")
    if not is_packed:
        remedies.append(f"`videomae pack {shlex.quote(data)} OUT` (decoding several times cheaper)")
    remedies.append(f"--views {2 * num_views} (more crops of each decode)")
    return remedies
