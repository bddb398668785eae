"""What `videomae scan` shows: the summary for people, the document for programs, the table of all videos."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from rich.filesize import decimal

from videomae.cli.console import one_line
from videomae.core.errors import DataError
from videomae.core.files import write_text
from videomae.curation.scan import ScanReport
from videomae.datasets.catalog import Catalog, VideoRecord
from videomae.datasets.findings import Finding, FindingKind, clip_span, frames_of
from videomae.datasets.manifest import VideoEntry

_MAX_FINDINGS = 20
_MAX_CLASSES = 20
_MAX_VALUES = 4
# kind → (key in the document, heading)
_PART = {"start_seconds": "start", "end_seconds": "end", "start_frame": "start_frame", "end_frame": "end_frame"}
_KINDS: dict[FindingKind, tuple[str, str]] = {
    "broken": ("broken", "unreadable"),
    "leak": ("leaks", "leaking: the same content in training and evaluation"),
    "conflict": ("conflicts", "in two classes at once"),
    "repeated": ("repeated", "listed several times: counted as often"),
    "duplicate": ("duplicates", "copies: counted as often as there are files"),
    "damaged": ("damaged", "damaged: data is missing or cannot be decoded; used as far as possible"),
    "too_short": ("too_short", "shorter than a clip"),
}
# What `--strict` refuses.
_GRAVE: dict[FindingKind, str] = {"broken": "broken", "leak": "leaking", "conflict": "contradictory"}


def strict_error(report: ScanReport) -> DataError | None:
    """What `--strict` refuses."""
    counts = {adjective: len(report.of_kind(kind)) for kind, adjective in _GRAVE.items()}
    found = ", ".join(f"{count} {adjective}" for adjective, count in counts.items() if count)
    if not found:
        return None
    return DataError(
        f"{report.manifest.source} with {found}",
        expected="no broken, leaking or contradictory video (--strict)",
        hint="leave these out of the data set, or correct them",
    )


def as_document(report: ScanReport) -> dict[str, Any]:
    """What `--json` prints."""
    manifest, usable = report.manifest, _usable(report)
    frames = [record.num_frames for record in usable]
    return {
        "data": str(manifest.source),
        "num_videos": len(manifest),
        "num_scanned": report.num_scanned,
        "num_bytes": sum(record.num_bytes for record in usable),
        "duration_seconds": round(sum(record.duration_seconds or 0.0 for record in usable), 3),
        "splits": dict(Counter(entry.split for entry in manifest.entries if entry.split)),
        "classes": {name: dict(counts) for name, counts in _class_counts(report).items()},
        "num_frames": {"min": min(frames), "median": median(frames), "max": max(frames)} if frames else None,
        "frame_rates": dict(_rates(usable).most_common()),
        "sizes": dict(_sizes(usable).most_common()),
        "codecs": dict(Counter(record.codec for record in usable).most_common()),
        **{
            key: [{"paths": [str(entry.path) for entry in f.entries], "reason": f.reason} for f in report.of_kind(kind)]
            for kind, (key, _) in _KINDS.items()
        },
        "notes": list(report.notes),
        "catalog": str(Catalog().path),
        "catalog_problem": str(report.catalog_problem) if report.catalog_problem else None,
    }


def write_csv(report: ScanReport, path: Path) -> None:
    """A line for each entry of the data set: where it is, what is wrong with it, what is known of it."""
    found: dict[int, list[Finding]] = {}
    for finding in report.findings:
        for entry in finding.entries:
            found.setdefault(id(entry), []).append(finding)
    text = io.StringIO()
    facts = [name for name in asdict(VideoRecord()) if name not in ("problem", "is_problem_certain", "damage")]
    writer = csv.writer(text, lineterminator="\n")
    label = "labels" if report.manifest.is_multi_label else "label"
    writer.writerow(["path", label, "split", *_PART.values(), "findings", "reasons", *facts])
    for entry, record in report.known:
        about = found.get(id(entry), [])
        kinds, reasons = "; ".join(f.kind for f in about), "; ".join(f.reason for f in about)
        known = asdict(record)
        where = [entry.path, entry.label_text, entry.split, *(getattr(entry, name) for name in _PART)]
        writer.writerow([*where, kinds, reasons, *(known[name] for name in facts)])
    write_text(path, text.getvalue().encode("utf-8", "backslashreplace").decode("utf-8"))


def print_report(report: ScanReport, *, csv: Path | None) -> None:
    """The summary for people on stdout."""
    kinds = [kind for kind in _KINDS if kind != "too_short"]
    sections = [_overview(report), *(_listed(report, kind, csv) for kind in kinds)]
    if not any(sections[1:]):
        sections.append(["no video is broken, damaged, there twice or in two splits"])
    sections.append([f"note: {note}" for note in (*_on_length(report), *report.notes)])
    sections.append(_on_files(report, csv))
    print("\n\n".join("\n".join(lines) for lines in sections if lines))


def _overview(report: ScanReport) -> list[str]:
    usable = _usable(report)
    hours = sum(record.duration_seconds or 0.0 for record in usable) / 3600
    num_bytes = sum(record.num_bytes for record in usable)
    rows = {
        "videos": f"{len(report.manifest)}{_split_counts(report)}, {_hours(hours)}, {decimal(num_bytes)}",
        "frames": _range([record.num_frames for record in usable]),
        "seconds": _range([record.duration_seconds for record in usable if record.duration_seconds]),
        "rate": _most_common(_rates(usable)),
        "size": _most_common(_sizes(usable)),
        "codec": _most_common(Counter(record.codec for record in usable)),
    }
    return [f"{name:<9} {value}" for name, value in rows.items() if value] + _class_table(report)


def _class_table(report: ScanReport) -> list[str]:
    counts = _class_counts(report)
    if len(counts) > _MAX_CLASSES:
        sizes = [sum(by_split.values()) for by_split in counts.values()]
        return [f"{'classes':<9} {len(counts)}, with {min(sizes)} to {max(sizes)} videos"]
    if not counts:
        return []
    splits = report.manifest.splits
    width = max(9, *(len(name) + 2 for name in counts))
    header = f"{'classes':<{width}} " + "".join(f"{split:>8}" for split in splits or ["videos"])
    rows = ["".join(f"{by_split[split]:>8}" for split in splits or ["all"]) for by_split in counts.values()]
    return [header, *(f"  {name:<{width - 2}} {row}" for name, row in zip(counts, rows, strict=True))]


def _listed(report: ScanReport, kind: FindingKind, csv: Path | None) -> list[str]:
    findings = report.of_kind(kind)
    if not findings:
        return []
    lines = [f"{len(findings)} {_KINDS[kind][1]}"]
    for finding in findings[:_MAX_FINDINGS]:
        names = " = ".join(_name(entry, report) for entry in finding.entries[:_MAX_VALUES])
        more = f" and {len(finding.entries) - _MAX_VALUES} more" if len(finding.entries) > _MAX_VALUES else ""
        lines.append(one_line(f"  {names}{more}: {finding.reason}"))
    if len(findings) > _MAX_FINDINGS:
        rest = "" if csv else "; --report FILE.csv lists all"
        lines.append(f"  and {len(findings) - _MAX_FINDINGS} more{rest}")
    return lines


def _on_length(report: ScanReport) -> Iterator[str]:
    """One line for all that are too short: they may be most of the data set, and the remedy is one option."""
    num_short = len(report.of_kind("too_short"))
    if not num_short:
        return
    frames = [frames_of(entry, record) for entry, record in report.known if not record.problem]
    stride = max(
        (s for s in range(1, report.frame_stride) if _fit(frames, report.num_frames, s) == len(frames)), default=1
    )
    fitting = _fit(frames, report.num_frames, stride)
    advice = f"--frame-stride {stride} fits {'all' if fitting == len(frames) else f'{fitting} of all {len(frames)}'}"
    yield (
        f"{num_short} of {len(frames)} videos are shorter than a clip of {report.num_frames} frames at a stride of "
        f"{report.frame_stride}, which spans {clip_span(report.num_frames, report.frame_stride)}; their clips end with "
        f"the last frame repeated; the shortest has {min(frames)}" + (f"; {advice}" if report.frame_stride > 1 else "")
    )


def _fit(frames: list[int], num_frames: int, frame_stride: int) -> int:
    return sum(count >= clip_span(num_frames, frame_stride) for count in frames)


def _on_files(report: ScanReport, csv: Path | None) -> list[str]:
    lines = [f"all videos are in {csv}"] if csv is not None else []
    if report.catalog_problem is not None:
        return [*lines, f"not kept: {report.catalog_problem}"]
    num_known = len({entry.path for entry in report.manifest.entries}) - report.num_scanned
    before = f"{num_known} known from before, {report.num_scanned} read now; " if num_known else ""
    return [*lines, f"{before}kept in {Catalog().path}, which training uses"]


# --- words and figures -------------------------------------------------------------------------------------------


def _usable(report: ScanReport) -> list[VideoRecord]:
    """What is known of each file once, without broken ones."""
    return [record for record in {e.path: r for e, r in report.known}.values() if not record.problem]


def _class_counts(report: ScanReport) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {name: Counter() for name in report.manifest.class_names}
    for entry in report.manifest.entries:
        for name in entry.classes:
            counts[name][entry.split or "all"] += 1
    return counts


def _rates(records: Iterable[VideoRecord]) -> Counter[str]:
    return Counter(f"{record.frames_per_second:.4g}" for record in records if record.frames_per_second)


def _sizes(records: Iterable[VideoRecord]) -> Counter[str]:
    return Counter(f"{record.width}x{record.height}" for record in records)


def _name(entry: VideoEntry, report: ScanReport) -> str:
    """The path below the data set's folder, where it is there."""
    path, source = str(entry.path), str(report.manifest.source)
    prefix = f"{source if os.path.isdir(source) else os.path.dirname(source)}{os.sep}"
    return path.removeprefix(prefix)


def _split_counts(report: ScanReport) -> str:
    counts = Counter(entry.split for entry in report.manifest.entries)
    named = [f"{split} {counts[split]}" for split in report.manifest.splits]
    return f" ({', '.join(named)})" if named else ""


def _range(values: list[int] | list[float]) -> str:
    if not values:
        return ""
    least, middle, most = (f"{value:.4g}" for value in (min(values), median(values), max(values)))
    return most if least == most else f"{least} to {most}, half have {middle} or more"


def _most_common(counts: Counter[str]) -> str:
    if len(counts) == 1:
        return next(iter(counts))
    shown = ", ".join(f"{value} ({count})" for value, count in counts.most_common(_MAX_VALUES))
    num_others = len(counts) - _MAX_VALUES
    return shown + (f", {num_others} other{'s' if num_others > 1 else ''}" if num_others > 0 else "")


def _hours(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"
