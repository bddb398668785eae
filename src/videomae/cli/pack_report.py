"""What `videomae pack` shows: progress, the summary for people, the document for programs."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import Any

from rich.filesize import decimal

from videomae.cli.console import one_line
from videomae.core.errors import DataError
from videomae.curation.pack.packer import PackReport
from videomae.datasets.entries import SPLITS
from videomae.datasets.shards import INDEX_NAME

_MAX_LISTED = 20


def strict_error(report: PackReport) -> DataError | None:
    """What `--strict` refuses."""
    if not report.broken:
        return None
    count = len(report.broken)
    return DataError(
        f"{count} broken video{'s' * (count > 1)}",
        expected="none (--strict)",
        hint="leave them out of the data set, or copy them again",
    )


def as_document(report: PackReport) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "out": str(report.out),
        "num_videos": len(report.records),
        "num_packed": report.num_packed,
        "num_frames": report.num_frames,
        "source_num_bytes": report.source_num_bytes,
        "num_bytes": report.num_bytes,
        "size_share": round(report.num_bytes / max(1, report.source_num_bytes), 4),
        "mean_psnr": round(report.mean_psnr, 2),
        "min_psnr": round(min(record.psnr for record in report.records), 2),
        "seconds": round(report.seconds, 2),
        "shards": list(report.shards),
        "broken": [vars(broken) for broken in report.broken],
        "damaged": [{"path": record.source, "reason": record.damage} for record in report.damaged],
        "low_psnr": [{"path": record.source, "psnr": round(record.psnr, 2)} for record in report.low],
        "settings": report.settings.as_dict(),
    }


def print_report(report: PackReport) -> None:
    """The summary for people on stdout."""
    lowest = min(report.records, key=lambda record: record.psnr)
    share = report.num_bytes / max(1, report.source_num_bytes)
    before = len(report.records) - report.num_packed
    rows = {
        "videos": f"{len(report.records)}{_splits(report)}, {report.num_frames} frames"
        + (f"; {before if report.num_packed else 'all'} of them packed before" if before else ""),
        "size": f"{decimal(report.source_num_bytes)} → {decimal(report.num_bytes)} ({share:.0%}), {_sizes(report)}",
        "quality": f"{report.mean_psnr:.1f} dB PSNR on average; the lowest is {lowest.psnr:.1f}, {lowest.source}",
        "time": f"{report.seconds:.0f} s"
        + (f", {report.num_packed / max(1e-3, report.seconds):.1f} videos/s" if report.num_packed else ""),
        "shards": f"{len(report.shards)}: {report.shards[0]}" + ", …" * (len(report.shards) > 1)
        if report.shards
        else None,
        "index": str(report.out / INDEX_NAME),
    }
    for name, value in rows.items():
        if value:
            print(f"{name:<9} {value}")
    _print_list("unreadable, skipped", [(broken.path, broken.reason) for broken in report.broken])
    _print_list(
        "damaged, packed as far as they can be decoded",
        [(record.source, str(record.damage)) for record in report.damaged],
    )
    _print_list(
        "low PSNR against the source: check them, or lower --crf",
        [(record.source, f"{record.psnr:.1f} dB") for record in report.low],
    )
    if report.num_dropped and report.settings.shard_bytes is None:
        print(f"\nno longer in DATA: {report.num_dropped} videos; their files are kept, and the index leaves them out")
    print(f"\n{report.out} is DATA for training: videomae pretrain {shlex.quote(str(report.out))} --output …")


def _print_list(heading: str, items: list[tuple[str, str]]) -> None:
    if not items:
        return
    print(f"\n{len(items)} {heading}")
    for path, reason in items[:_MAX_LISTED]:
        print(one_line(f"  {path}: {reason}"))
    if len(items) > _MAX_LISTED:
        print(f"  and {len(items) - _MAX_LISTED} more; --json lists all")


def _splits(report: PackReport) -> str:
    counts = Counter(file.split for file in report.files)
    named = ", ".join(f"{split} {counts[split]}" for split in SPLITS if counts[split])
    return f" ({named})" if named else ""


def _sizes(report: PackReport) -> str:
    """The commonest sizes of frames."""
    counts = Counter(f"{record.width}x{record.height}" for record in report.records).most_common(4)
    if len(counts) == 1:
        return counts[0][0]
    named = ", ".join(f"{size} ({count})" for size, count in counts[:3])
    return named + (", …" if len(counts) > 3 else "")
