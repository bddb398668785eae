"""The videos that a run leaves out because they cannot be read: counted, named once, and bounded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from videomae.core.errors import VideoError
from videomae.data.workers import Broken
from videomae.datasets.catalog import Catalog, stamp_of
from videomae.training.monitor import Monitor


class BrokenVideos:
    """What could not be read so far.

    Args:
        dataset: has `paths`.
        max_broken: share of the videos, but at least one, that may be broken; 0 allows none.
        monitor: is told each one.

    Attributes:
        reasons: path → why, of all videos left out.
        excluded: index → why, of those that are not to be opened; the loader adds what ended its workers.
    """

    def __init__(self, dataset: Any, max_broken: float, monitor: Monitor) -> None:
        self.reasons: dict[str, str] = {}
        self.excluded: dict[int, VideoError] = {}
        self._dataset = dataset
        self._max_broken = max_broken
        self._monitor = monitor
        self._known: set[int] = set()

    def count_known(self) -> None:
        """Name the videos that a scan has found broken, before training begins; they are not opened.

        Raises:
            VideoError: if there are more of them than allowed.
        """
        catalog = Catalog()
        for index, path in enumerate(self._dataset.paths if catalog.path.exists() else ()):
            record = catalog.find(path)
            if record is not None and record.problem is not None and record.is_problem_certain:
                self._known.add(index)
                self.excluded[index] = VideoError(
                    f"{path} ({record.problem})",
                    expected="a video that can be read",
                    hint="a scan found this; leave the file out, or replace it",
                )
        self.count([Broken(index, self.excluded[index]) for index in sorted(self._known)])

    def count(self, found: Iterable[Broken]) -> None:
        """Name each broken video once.

        Raises:
            VideoError: if there are more than allowed.
        """
        num_videos = len(self._dataset)
        allowed = max(1, math.floor(self._max_broken * num_videos)) if self._max_broken else 0
        for broken in found:
            path = str(self._dataset.paths[broken.index])
            if path in self.reasons:
                continue
            self.reasons[path] = str(broken.error)
            self._monitor.note(f"left out, cannot be read: {broken.error}")
            if len(self.reasons) > allowed or len(self.reasons) == num_videos:
                raise VideoError(
                    f"{len(self.reasons)} of {num_videos} videos cannot be read, the last one {path}",
                    expected=f"at most {allowed} (max_broken={self._max_broken})",
                    hint="replace or remove the files named above, or allow more with --max-broken",
                ) from broken.error

    def lethal(self) -> dict[str, list[Any]]:
        """The videos that ended workers, as plain data: they are not tried again after an interruption."""
        kept = {}
        for index, error in self.excluded.items():
            stamp = stamp_of(self._dataset.paths[index])
            if index not in self._known and stamp is not None:
                path = str(self._dataset.paths[index])
                kept[path] = [stamp.num_bytes, stamp.mtime_ns, error.value, error.expected, error.hint]
        return kept

    def load_state(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Take up `reasons` and `lethal` of an interrupted run; files that have changed since are tried again."""
        self.reasons = dict(state["reasons"])
        for index, path in enumerate(self._dataset.paths if state["lethal"] else ()):
            num_bytes, mtime_ns, value, expected, hint = state["lethal"].get(str(path), [None] * 5)
            stamp = stamp_of(path)
            if stamp is not None and (stamp.num_bytes, stamp.mtime_ns) == (num_bytes, mtime_ns):
                self.excluded[index] = VideoError(value, expected=expected, hint=hint)
