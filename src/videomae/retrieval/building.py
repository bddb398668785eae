"""Bringing an index up to date: videos that are new or have changed are embedded, the others are not read."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from videomae.checkpoint import Checkpoint
from videomae.core.errors import VideoError
from videomae.datasets.catalog import FileStamp, stamp_of
from videomae.datasets.entries import VideoEntry
from videomae.inference.embed import Embedding, EmbedOptions, embed_videos
from videomae.retrieval.index import VideoIndex, key_of
from videomae.video.source import FrameFolder

# Rows are kept at the latest after so long, so that a run that is killed loses little.
_SECONDS_BETWEEN_WRITES = 20.0
_MAX_ROWS_BETWEEN_WRITES = 4096


@dataclass
class IndexReport:
    """What an update of an index did, in videos.

    Args:
        num_new: were not in the index.
        num_changed: had another size or time of change; their old rows are gone.
        num_unchanged: were left as they are.
        missing: paths of videos that are in the index and whose files are gone.
        num_removed: of those, how many were removed from the index.
        num_rows: of the whole index.
        errors: of videos that could not be read; they are tried again next time.
    """

    num_new: int = 0
    num_changed: int = 0
    num_unchanged: int = 0
    missing: list[str] = field(default_factory=list)
    num_removed: int = 0
    num_rows: int = 0
    errors: list[VideoError] = field(default_factory=list)


@dataclass(frozen=True)
class _Todo:
    """A video that is to be read: its stamp before, and whether rows of an older content were there."""

    entry: VideoEntry
    stamp: FileStamp
    was_known: bool


def update_index(
    index: VideoIndex,
    checkpoint: Checkpoint,
    entries: Sequence[VideoEntry],
    *,
    options: EmbedOptions,
    prune: bool = False,
    on_start: Callable[[int], None] = lambda total: None,
    on_video: Callable[[VideoError | None], None] = lambda error: None,
) -> IndexReport:
    """Add the videos that an index lacks, and those that have changed since.

    All rows of a video are added in one step: a run that is killed leaves no video half, and repeating it does what is
    left.

    Args:
        index: whose settings fit the checkpoint and the options.
        checkpoint: in evaluation mode on its device.
        entries: the videos.
        options: how they are embedded.
        prune: also remove videos whose files are gone.
        on_start: called with the number of videos that are to be read.
        on_video: called after each of them, with its error if it cannot be read.

    Raises:
        InputError: if another process writes to the index.
    """
    report = IndexReport()
    with index.lock():
        known = index.stamps()
        todo: list[_Todo] = []
        seen: set[str] = set()
        for entry in entries:
            path, part = place_of(entry)
            if (key := key_of(path, part)) in seen:
                continue
            seen.add(key)
            stamp = stamp_of(entry.path) or FileStamp(-1, -1)  # opening it will say why it cannot be read
            if known.get(key) == (path, stamp.num_bytes, stamp.mtime_ns):
                report.num_unchanged += 1
                continue
            if key in known:
                index.remove([path], part)
            todo.append(_Todo(entry, stamp, key in known))
        report.missing = sorted({path for path, *_ in known.values() if _is_gone(path)})
        if prune and report.missing:
            index.remove(report.missing)
            report.num_removed = len(report.missing)
        on_start(len(todo))
        videos = [video.entry for video in todo]
        embedded = embed_videos(checkpoint, videos, options=options, device=checkpoint.device)
        with warnings.catch_warnings():
            # It speaks of forked processes that use the table; those that decode do not.
            warnings.filterwarnings("ignore", message="lancedb fork support")
            _write(index, embedded, todo, report, on_video)
        if todo or report.num_removed:
            index.finish()
        report.num_rows = len(index)
    return report


def _write(
    index: VideoIndex,
    embedded: Iterable[Embedding],
    todo: Sequence[_Todo],
    report: IndexReport,
    on_video: Callable[[VideoError | None], None],
) -> None:
    rows: list[dict[str, Any]] = []
    last = time.monotonic()
    try:
        for number, of_video in groupby(embedded, key=lambda row: row.index):
            found = list(of_video)
            error = next((row.error for row in found if row.error is not None), None)
            if error is None:  # of a video of which a part cannot be read nothing is kept: it is tried again
                rows += [_row(todo[number], row) for row in found]
                report.num_changed += todo[number].was_known
                report.num_new += not todo[number].was_known
            else:
                report.errors.append(error)
            on_video(error)
            if len(rows) >= _MAX_ROWS_BETWEEN_WRITES or time.monotonic() - last > _SECONDS_BETWEEN_WRITES:
                index.add(rows)
                rows, last = [], time.monotonic()
    finally:
        # Whole videos only; after Ctrl-C too.
        if rows:
            index.add(rows)


def _row(video: _Todo, row: Embedding) -> dict[str, Any]:
    entry, stamp = video.entry, video.stamp
    path, part = place_of(entry)
    assert row.values is not None
    return {
        **{"path": path, "part": part, "label": entry.label_text or ""},
        **{"start_seconds": row.start_seconds, "end_seconds": row.end_seconds},
        **{"size": stamp.num_bytes, "mtime_ns": stamp.mtime_ns, "features": row.values.numpy()},
    }


def place_of(entry: VideoEntry) -> tuple[str, str]:
    """The absolute path of a video, and the part of it that counts as a text, "" for all of it."""
    source = entry.path
    path = os.path.abspath(source) if isinstance(source, Path) else str(source)
    if isinstance(source, FrameFolder):
        path = os.path.abspath(source.path)
    return path, repr(entry.part) if entry.is_part else ""


def _is_gone(path: str) -> bool:
    """Of a member of a shard: whether the shard is gone, where that can be seen."""
    file = path.rpartition("::")[0] or path
    return "://" not in file and not os.path.exists(file)
