"""How much one file may cost before reading it is given up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from videomae.core.errors import VideoError


@dataclass(frozen=True)
class ReadLimits:
    """Bounds that keep a hostile or broken file from using up the machine.

    Args:
        max_pixels: of one frame, width times height; more is refused before memory is taken for it.
        max_seconds: for one call (opening, `read`, a whole `stream` without the time its consumer takes), looked at
            between packets; None for no bound.
    """

    max_pixels: int = 2**26
    max_seconds: float | None = 60.0

    def __post_init__(self) -> None:
        if not 1 <= self.max_pixels < 2**31:
            raise VideoError(f"max_pixels={self.max_pixels}", expected="from 1 to 2147483647", hint="leave it out")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise VideoError(f"max_seconds={self.max_seconds}", expected="more than 0", hint="None stands for no bound")


class Stopwatch:
    """The time left to the call in progress.

    Args:
        name: of the video, for the message.
        max_seconds: for each call; None for no bound.
    """

    def __init__(self, name: str, max_seconds: float | None) -> None:
        self._name = name
        self.max_seconds = max_seconds
        self.start()

    def start(self) -> None:
        """Begin a new call."""
        self._end = time.monotonic() + self.max_seconds if self.max_seconds is not None else float("inf")

    def pause(self) -> float:
        """Return the seconds left, for `resume`: what happens in between does not count."""
        return self._end - time.monotonic()

    def resume(self, seconds_left: float) -> None:
        """Go on with the seconds left by `pause`."""
        self._end = time.monotonic() + seconds_left

    def check(self) -> None:
        """Raise VideoError when the time is used up."""
        if time.monotonic() > self._end:
            raise VideoError(
                f"{self._name} (still being read after {self.max_seconds:g} s)",
                expected="a video that is read within the time limit",
                hint="skip this file, read fewer frames at once, or allow more time for it",
            )


@contextmanager
def faults_of(name: str) -> Iterator[None]:
    """Turn whatever a video makes the libraries raise into a VideoError: no file may end the work on the others."""
    try:
        yield
    except VideoError:
        raise
    except MemoryError as error:
        raise VideoError(
            f"{name} (more than the memory there is)",
            expected="frames that fit into memory",
            hint="read fewer at once, or leave this file out",
        ) from error
    except Exception as error:
        raise VideoError(
            f"{name} ({type(error).__name__}: {' '.join(str(error).split())})",
            expected="a video that PyAV reads",
            hint="remove this file from the data, or convert it to H.264 in an MP4 file",
        ) from error
