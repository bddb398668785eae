"""Scanning a data set: every video is opened and tried, and what is found out is kept for training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

from videomae.core.errors import InputError
from videomae.core.machine import usable_cores
from videomae.curation.examine import Examined, examine_source
from videomae.curation.pool import WorkerFailure, run_in_workers
from videomae.datasets import Catalog, Finding, FindingKind, Manifest, VideoEntry, VideoRecord, stamp_of
from videomae.datasets.findings import clip_span, find_problems, notes_on
from videomae.video import VideoSource

SECONDS_PER_VIDEO = 60.0
SECONDS_PER_FULL_VIDEO = 1800.0
# Of one worker: a video of 8K needs 2 GiB.
_LIMIT_BYTES = 4 * 2**30


@dataclass(frozen=True, repr=False)
class ScanReport:
    """What a scan found.

    Args:
        manifest: the data set.
        records: what is known of each of its entries, in their order.
        findings: what is wrong, the gravest kinds first.
        notes: properties that are no faults but worth knowing; one line each.
        num_scanned: files that were read now; the others had been before.
        num_frames: of the clips that are to be drawn.
        frame_stride: distance of their frames.
        catalog_problem: why what was found could not be kept; None where it was.
    """

    manifest: Manifest
    records: tuple[VideoRecord, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    num_scanned: int
    num_frames: int
    frame_stride: int
    catalog_problem: InputError | None = None

    def __repr__(self) -> str:
        counts = Counter(finding.kind for finding in self.findings)
        found = ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "nothing wrong"
        return f"ScanReport({len(self.manifest)} videos, {found})"

    @cached_property
    def known(self) -> tuple[tuple[VideoEntry, VideoRecord], ...]:
        """Each entry with its record."""
        return tuple(zip(self.manifest.entries, self.records, strict=True))

    def of_kind(self, kind: FindingKind) -> tuple[Finding, ...]:
        """The findings of one kind."""
        return tuple(finding for finding in self.findings if finding.kind == kind)

    @property
    def broken(self) -> tuple[Finding, ...]:
        """Videos that cannot be used."""
        return self.of_kind("broken")

    @property
    def leaks(self) -> tuple[Finding, ...]:
        """The same content in several splits."""
        return self.of_kind("leak")

    @property
    def duplicates(self) -> tuple[Finding, ...]:
        """The same content in several files of one split and class."""
        return self.of_kind("duplicate")


def scan_videos(
    manifest: Manifest,
    *,
    catalog: Catalog,
    num_workers: int = -1,
    full: bool = False,
    limit_seconds: float | None = None,
    num_frames: int = 16,
    frame_stride: int = 4,
    on_video: Callable[[VideoSource, VideoRecord, bool], None] | None = None,
) -> ScanReport:
    """Try every video of a data set that the catalog does not know, and keep each result at once.

    A scan that is broken off, in whatever way, loses only the videos that were being read. Videos that crash or hang
    the process that reads them, or use up its memory, are found in the same way as others, after two attempts.

    Args:
        manifest: the data set.
        catalog: of known videos, where results are stored; where it cannot be written, the report has a note.
        num_workers: processes that read; -1 for one a core, 0 for none but this one, which then has no protection.
        full: decode every frame, not only the first, the middle and the last one; a video that was scanned without is
            scanned again.
        limit_seconds: for one video; None for 60, or 1800 with `full`.
        num_frames: of the clips that are to be drawn, for what is too short.
        frame_stride: distance of their frames.
        on_video: called with (source, record, whether it was known already) for each video, as they come.
    """
    found: dict[VideoSource, VideoRecord] = {}
    unknown: list[VideoSource] = []
    for source in dict.fromkeys(entry.path for entry in manifest.entries):
        record = catalog.find(source)
        if record is None or not _suffices(record, full=full):
            unknown.append(source)
            continue
        found[source] = record
        if on_video is not None:
            on_video(source, record, True)
    limit_seconds = limit_seconds or (SECONDS_PER_FULL_VIDEO if full else SECONDS_PER_VIDEO)
    catalog_problem = None
    for source, examined in _examine_all(unknown, num_workers=num_workers, full=full, limit_seconds=limit_seconds):
        found[source] = examined.record
        if catalog_problem is None and examined.stamp is not None:
            try:
                catalog.put(source, examined.record, stamp=examined.stamp, packet_index=examined.packet_index)
            except InputError as error:
                catalog_problem = error
        if on_video is not None:
            on_video(source, examined.record, False)
    records = tuple(found[entry.path] for entry in manifest.entries)
    known = list(zip(manifest.entries, records, strict=True))
    return ScanReport(
        manifest=manifest,
        records=records,
        findings=find_problems(known, clip_span=clip_span(num_frames, frame_stride)),
        notes=(*manifest.notices, *notes_on(manifest, known)),
        num_scanned=len(unknown),
        num_frames=num_frames,
        frame_stride=frame_stride,
        catalog_problem=catalog_problem,
    )


def _suffices(record: VideoRecord, *, full: bool) -> bool:
    """Whether a record answers what this scan asks."""
    if record.problem:
        return record.is_problem_certain
    return record.is_fully_decoded or not full


def _examine_all(
    sources: list[VideoSource], *, num_workers: int, full: bool, limit_seconds: float
) -> Iterator[tuple[VideoSource, Examined]]:
    here = num_workers == 0
    # A worker that takes too long is killed, whatever it is doing; without workers, the reader looks at the clock.
    examine = partial(examine_source, full=full, limit_seconds=limit_seconds if here else None)
    results = run_in_workers(
        examine,
        sources,
        num_workers=usable_cores() if num_workers < 0 else num_workers,
        limit_seconds=limit_seconds,
        limit_bytes=_LIMIT_BYTES,
        num_attempts=2,
    )
    for source, result in results:
        yield source, _failed(source, result) if isinstance(result, WorkerFailure) else result


def _failed(source: VideoSource, failure: WorkerFailure) -> Examined:
    """A file that crashed or hung its worker twice; the next scan tries it again."""
    if failure.kind == "exception":
        problem = f"reading it failed with {type(failure.error).__name__}: {failure.reason}"
    elif failure.kind == "memory":
        problem = f"reading it needs more than {_LIMIT_BYTES / 2**30:g} GiB of memory"
    else:
        problem = failure.reason
    return Examined(VideoRecord(problem=problem, is_problem_certain=False), stamp_of(source))
