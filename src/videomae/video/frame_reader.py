"""What all readers of videos offer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from ._index import PacketIndex
from ._info import VideoInfo


class FrameReader(Protocol):
    """An open video whose frames are read by number. A context manager; one thread at a time."""

    @property
    def num_frames(self) -> int:
        """Number of frames that can be read."""

    @property
    def frame_times(self) -> np.ndarray:
        """float64 (num_frames,): seconds from the first frame to each, non-decreasing."""

    @property
    def index(self) -> PacketIndex | None:
        """The packet index, to be given to later readers; None for videos that have none (folders of frames)."""

    @property
    def damage(self) -> str | None:
        """What is wrong with the file, which is read nevertheless; None for a sound one."""

    @property
    def info(self) -> VideoInfo:
        """Size, frame rate and further properties."""

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Read frames.

        Args:
            indices: frame numbers in [0, num_frames), in any order, repeats allowed, at least one.

        Returns:
            uint8 RGB (len(indices), height, width, 3), 0 to 255, in the order of `indices`; other channels than RGB
            come from folders of frames alone.

        Raises:
            VideoError: a number outside the video, a damaged file, frames of unequal sizes.
        """

    def stream(self, indices: Sequence[int] | np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield frames as they are decoded, so that only one is held in memory.

        Args:
            indices: as for `read`.

        Yields:
            (frame number, uint8 RGB (height, width, 3)) once for each distinct number, in ascending order.

        Raises:
            VideoError: a number outside the video, or a damaged file.
        """

    def close(self) -> None:
        """Release the file."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
