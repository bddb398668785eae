"""Packing a data set: every video is re-encoded once, so that training reads it many times cheaply."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from videomae.core.errors import ConfigError, DataError, InputError, VideoError
from videomae.core.machine import usable_cores
from videomae.core.text import readable
from videomae.curation.examine import reason_of
from videomae.curation.pack.journal import Journal, PackedRecord
from videomae.curation.pack.plan import PackJob, check_output, plan_jobs
from videomae.curation.pack.shards import assemble_shards, shard_members
from videomae.curation.pack.worker import pack_one
from videomae.curation.pool import WorkerFailure, run_in_workers
from videomae.datasets import Manifest, VideoEntry, stamp_of
from videomae.datasets.shards import PackedFile, write_index
from videomae.video import VideoSource
from videomae.video.packing import CRF, FRAME_ORDER, LAYOUT_NAME, SHORT_SIDE

# Below this a person sees that it is another picture; noise and dither come near it.
LOW_PSNR = 25.0
STALL_SECONDS = 120.0
SHARD_BYTES = 10**9
# Of one worker: decoder and encoder of a video of 8K need less.
_LIMIT_BYTES = 6 * 2**30


@dataclass(frozen=True)
class PackSettings:
    """How videos are packed.

    Args:
        short_side: pixels of the frames' shorter side, an even number; smaller frames are not enlarged.
        crf: x264's constant rate factor, from 0 (largest file, best picture) to 51.
        shard_bytes: bytes of videos in a tar shard; None for a file for each video.
    """

    short_side: int = SHORT_SIDE
    crf: int = CRF
    shard_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.short_side % 2 or not 16 <= self.short_side <= 16_384:
            raise ConfigError(
                f"short_side={self.short_side}",
                expected="an even number of pixels from 16 to 16384",
                hint="256 and 320 are common",
            )
        if not 0 <= self.crf <= 51:
            raise ConfigError(f"crf={self.crf}", expected="0 (best) to 51 (smallest)", hint=f"the default is {CRF}")
        if self.shard_bytes is not None and self.shard_bytes < 1:
            raise ConfigError(f"shard_bytes={self.shard_bytes}", expected="1 or more", hint="1 GB is common")

    def as_dict(self) -> dict[str, Any]:
        """What has to be the same for videos to go into one folder; the size of shards has not."""
        shards = "none" if self.shard_bytes is None else "tar"
        return {
            "short_side": self.short_side,
            "crf": self.crf,
            "layout": LAYOUT_NAME,
            "shards": shards,
            "frame_order": FRAME_ORDER,
        }


@dataclass(frozen=True)
class BrokenSource:
    """An unreadable video, and the reason in one line."""

    path: str
    reason: str


@dataclass(frozen=True, repr=False)
class PackReport:
    """What came out.

    Args:
        out: the packed folder.
        settings: how they were packed.
        files: the entries of its index, with classes, splits and groups.
        records: the videos it holds, in the order of the data set.
        broken: unreadable videos.
        num_packed: how many were packed now; the others had been before.
        num_dropped: packed earlier and no longer in the data set, so not in the index either.
        seconds: how long it took.
    """

    out: Path
    settings: PackSettings
    files: tuple[PackedFile, ...]
    records: tuple[PackedRecord, ...]
    broken: tuple[BrokenSource, ...]
    num_packed: int
    num_dropped: int
    seconds: float

    def __repr__(self) -> str:
        broken = f", {len(self.broken)} unreadable" if self.broken else ""
        sizes = f"{decimal(self.source_num_bytes)} → {decimal(self.num_bytes)}"
        return f"PackReport({len(self.records)} videos in {self.out}, {sizes}{broken})"

    @property
    def source_num_bytes(self) -> int:
        """Of the videos that were packed, each counted once."""
        return sum({record.source: record.source_num_bytes for record in self.records}.values())

    @property
    def num_bytes(self) -> int:
        """Of the packed videos."""
        return sum(record.num_bytes for record in self.records)

    @property
    def num_frames(self) -> int:
        """Of the packed videos."""
        return sum(record.num_frames for record in self.records)

    @property
    def mean_psnr(self) -> float:
        """dB, mean over videos."""
        return sum(record.psnr for record in self.records) / len(self.records)

    @property
    def shards(self) -> tuple[str, ...]:
        """Names of the tar files."""
        return tuple(sorted({record.shard for record in self.records if record.shard is not None}))

    @property
    def damaged(self) -> tuple[PackedRecord, ...]:
        """Packed up to where the source breaks off."""
        return tuple(record for record in self.records if record.damage is not None)

    @property
    def low(self) -> tuple[PackedRecord, ...]:
        """Packed, but little like their source."""
        return tuple(record for record in self.records if record.psnr < LOW_PSNR)


def pack_videos(
    manifest: Manifest,
    out: Path,
    *,
    settings: PackSettings | None = None,
    num_workers: int = -1,
    overwrite: bool = False,
    stall_seconds: float = STALL_SECONDS,
    on_video: Callable[[PackedRecord | BrokenSource, bool], None] | None = None,
) -> PackReport:
    """Pack every video of a data set into `out`, which is then a data set with the same classes, splits and groups.

    If it is stopped in any way, only the videos being packed are lost: called again, it resumes. Videos whose
    file has changed since are packed again. Each file appears whole and checked, or not at all. Parts of videos
    (in seconds or frames) become videos of their own.

    Args:
        manifest: the data set.
        out: the folder to fill: a new one, or one that was packed with the same settings.
        settings: how.
        num_workers: processes; -1 for one a core, 0 for none but this one, which then has no protection.
        overwrite: pack everything again where `out` was packed with other settings.
        stall_seconds: a video that gives no frame for so long counts as broken.
        on_video: called with (what became of it, whether it was packed before) for each video, as they come.

    Raises:
        DataError: `out` cannot be used for this, or no video could be packed.
        InputError: `out` cannot be written, or its disk is full; what is packed stays.
    """
    settings = settings or PackSettings()
    started = time.monotonic()
    check_output(out, manifest)
    jobs, of_entry = plan_jobs(manifest, for_shards=settings.shard_bytes is not None)
    report = on_video or (lambda outcome, was_known: None)
    with Journal(out, settings.as_dict(), overwrite=overwrite) as journal:
        todo = _left_to_do(out, journal, jobs, report)
        broken = _pack_all(
            todo, out, journal, settings, num_workers=num_workers, stall_seconds=stall_seconds, on_video=report
        )
        names = {job.name for job in jobs} & set(journal.records)
        names -= {job.name for job, _ in broken}
        if not names:
            raise _nothing(manifest, len(jobs), broken)
        listed = [
            (entry, jobs[number].name)
            for entry, number in zip(manifest.entries, of_entry, strict=True)
            if jobs[number].name in names
        ]
        files = _put_together(out, journal, manifest, listed, settings)
        num_dropped = len(set(journal.records) - {job.name for job in jobs})
        records = tuple(journal.records[job.name] for job in jobs if job.name in names)
    return PackReport(
        out=out,
        settings=settings,
        files=files,
        records=records,
        broken=tuple(source for _, source in broken),
        num_packed=len(todo) - len(broken),
        num_dropped=num_dropped,
        seconds=time.monotonic() - started,
    )


def _put_together(
    out: Path, journal: Journal, manifest: Manifest, listed: list[tuple[VideoEntry, str]], settings: PackSettings
) -> tuple[PackedFile, ...]:
    """Shards, where they are wanted, and the index."""
    if settings.shard_bytes is not None:
        assemble_shards(out, journal, _about(listed), manifest.class_names, shard_bytes=settings.shard_bytes)
    files = tuple(_as_file(journal.records[name], entry) for entry, name in listed)
    about = {"settings": settings.as_dict(), "source": readable(manifest.source)}
    write_index(out, files, about={**about, "class_names": list(manifest.class_names)})
    journal.finish()
    return files


def _nothing(manifest: Manifest, num_videos: int, broken: list[tuple[PackJob, BrokenSource]]) -> DataError:
    return DataError(
        f"{manifest.source} ({num_videos} videos, none of which can be packed)",
        expected="a video that can be read",
        hint=f"the first: {broken[0][1].reason}" if broken else "give other videos",
    )


def _left_to_do(
    out: Path, journal: Journal, jobs: list[PackJob], report: Callable[[PackedRecord | BrokenSource, bool], None]
) -> list[PackJob]:
    """The jobs whose packed file is missing, not whole, or of a source that has changed since."""
    places: dict[str, dict[str, tuple[int, int]]] = {}
    todo = []
    for job in jobs:
        record = journal.records.get(job.name)
        stamp = stamp_of(job.source)
        is_kept = (
            record is not None
            and stamp is not None
            and record.stamp == (stamp.num_bytes, stamp.mtime_ns)
            and record.part == job.part
        )
        if record is not None and is_kept:
            if record.shard is not None:
                if record.shard not in places:
                    places[record.shard] = shard_members(out / record.shard)
                is_kept = places[record.shard].get(record.name) == (record.offset, record.num_bytes)
            else:
                found = [folder / record.name for folder in (out, journal.staging)]
                is_kept = any(path.is_file() and path.stat().st_size == record.num_bytes for path in found)
        if record is not None and is_kept:
            report(record, True)
        else:
            todo.append(job)
    return todo


def _pack_all(
    todo: list[PackJob],
    out: Path,
    journal: Journal,
    settings: PackSettings,
    *,
    num_workers: int,
    stall_seconds: float,
    on_video: Callable[[PackedRecord | BrokenSource, bool], None],
) -> list[tuple[PackJob, BrokenSource]]:
    """Pack the jobs; returns those that failed."""
    pack = partial(
        pack_one,
        folder=out if settings.shard_bytes is None else journal.staging,
        aside=journal.aside,
        short_side=settings.short_side,
        crf=settings.crf,
        stall_seconds=stall_seconds if num_workers else None,
    )
    results = run_in_workers(
        pack,
        todo,
        num_workers=usable_cores() if num_workers < 0 else num_workers,
        limit_bytes=_LIMIT_BYTES,
        num_attempts=2,
    )
    broken = []
    with closing(results):  # at once where something is raised, so that no worker keeps running
        for job, result in results:
            outcome: PackedRecord | BrokenSource
            if isinstance(result, WorkerFailure):
                name = readable(str(job.source))
                outcome = BrokenSource(name, _reason(result, job.source, stall_seconds))
                broken.append((job, outcome))
            else:
                outcome = result
                journal.add(result)
            on_video(outcome, False)
    return broken


def _reason(failure: WorkerFailure, source: VideoSource, stall_seconds: float) -> str:
    """Why a video could not be packed; an error that would occur for every video is raised."""
    if isinstance(failure.error, InputError) and not isinstance(failure.error, VideoError):
        raise failure.error
    if failure.kind == "memory":
        return f"needs more than {_LIMIT_BYTES / 2**30:g} GiB of memory"
    if failure.kind == "crash" and "Timeout (" in (failure.trace or ""):
        return f"gave no frame for {stall_seconds:g} seconds"
    if isinstance(failure.error, VideoError):
        return reason_of(failure.error, source)
    if failure.kind == "exception":
        return f"packing it failed with {type(failure.error).__name__}: {failure.reason}"
    return failure.reason


def _about(listed: list[tuple[VideoEntry, str]]) -> dict[str, dict[str, Any]]:
    """The metadata of each video in a shard; of one that is listed several times, that of its first line."""
    about: dict[str, dict[str, Any]] = {}
    for entry, name in listed:
        labels = None if entry.labels is None else list(entry.labels)
        known = {
            "label": entry.label,
            "labels": labels,
            "score": entry.score,
            "split": entry.split,
            "group": entry.group,
        }
        about.setdefault(name, {key: value for key, value in known.items() if value is not None})
    return about


def _as_file(record: PackedRecord, entry: VideoEntry) -> PackedFile:
    return PackedFile(
        name=record.name,
        num_bytes=record.num_bytes,
        num_frames=record.num_frames,
        width=record.width,
        height=record.height,
        psnr=record.psnr,
        packets=record.packet_bytes,
        label=entry.label,
        labels=entry.labels,
        score=entry.score,
        split=entry.split,
        group=entry.group,
        source=record.source,
        shard=record.shard,
        offset=record.offset,
    )
