"""The videos that a run skips because they cannot be read: counted, reported once, and limited in number."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from videomae.core.distributed import ProcessGroup
from videomae.core.errors import VideoError
from videomae.data.workers import Broken
from videomae.datasets.catalog import Catalog, stamp_of
from videomae.video.source import VideoSource

# Of a million videos the allowed hundredth would be ten thousand lines.
MAX_NOTED = 20


class UnreadableVideos:
    """What could not be read so far.

    Args:
        paths: the videos of the data set.
        max_share: share of the videos, but at least one, that may be unreadable; 0 allows none.
        note: receives a line for each one, of very many for the first.
        processes: of the run; each keeps what ended its own workers.

    Attributes:
        reasons: path → why, of all skipped videos.
        excluded: index → why, of those that are not opened again; the loader adds what ended its workers.
    """

    def __init__(
        self,
        paths: Sequence[VideoSource],
        max_share: float,
        note: Callable[[str], object],
        processes: ProcessGroup | None = None,
    ) -> None:
        self.reasons: dict[str, str] = {}
        self.excluded: dict[int, VideoError] = {}
        self._paths = paths
        self._max_share = max_share
        self._note = note
        self._processes = processes or ProcessGroup()
        self._scanned: set[int] = set()

    def add_scanned(self) -> None:
        """Skip the videos that a scan has found unreadable, before training begins; they are not opened.

        Raises:
            VideoError: if there are more of them than allowed.
        """
        catalog = Catalog()
        for index, path in enumerate(self._paths if catalog.path.exists() else ()):
            record = catalog.find(path)
            if record is not None and record.problem is not None and record.is_problem_certain:
                self._scanned.add(index)
                self.excluded[index] = VideoError(
                    str(path), expected=f"a video that can be read; a scan found: {record.problem}", hint="replace it"
                )
        self.add([Broken(index, self.excluded[index]) for index in sorted(self._scanned)])

    def add(self, found: Iterable[Broken]) -> None:
        """Report each unreadable video once.

        Raises:
            VideoError: if there are more than allowed.
        """
        num_videos = len(self._paths)
        allowed = max(1, math.floor(self._max_share * num_videos)) if self._max_share else 0
        for video in found:
            path = str(self._paths[video.index])
            if path in self.reasons:
                continue
            self.reasons[path] = str(video.error)
            if len(self.reasons) <= MAX_NOTED:
                self._note(f"skipping unreadable video: {video.error}")
            elif len(self.reasons) == MAX_NOTED + 1:
                self._note("skipping more unreadable videos, without a line for each; report.html lists them")
            if len(self.reasons) > allowed or len(self.reasons) == num_videos:
                raise VideoError(
                    f"{len(self.reasons)} of {num_videos} videos cannot be read, the last one {path}",
                    expected=f"at most {allowed} (max_broken={self._max_share})",
                    hint="replace or remove the files listed above, or allow more with --max-broken",
                ) from video.error

    def state_dict(self) -> dict[str, Any]:
        """Plain data: `reasons`, and of all processes the videos that ended workers (`lethal`), not to be tried again.

        All processes must call it.
        """
        own = {}
        for index, error in self.excluded.items():
            stamp = stamp_of(self._paths[index])
            if index not in self._scanned and stamp is not None:
                path = str(self._paths[index])
                own[path] = [stamp.num_bytes, stamp.mtime_ns, error.value, error.expected, error.hint]
        lethal: dict[str, list[Any]] = {}
        for found in self._processes.gather(own):
            lethal |= found
        return {"reasons": dict(self.reasons), "lethal": lethal}

    def load_state_dict(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Resume from what `state_dict` gave; files that have changed since are tried again."""
        self.reasons = dict(state["reasons"])
        for index, path in enumerate(self._paths if state["lethal"] else ()):
            num_bytes, mtime_ns, value, expected, hint = state["lethal"].get(str(path), [None] * 5)
            stamp = stamp_of(path)
            if stamp is not None and (stamp.num_bytes, stamp.mtime_ns) == (num_bytes, mtime_ns):
                self.excluded[index] = VideoError(value, expected=expected, hint=hint)
