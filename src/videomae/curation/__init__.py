"""Checking, measuring and packing the videos of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videomae.core.lazy import lazy_names

if TYPE_CHECKING:
    from .bench import (
        BenchReport as BenchReport,
        LoaderSpeed as LoaderSpeed,
        bench_data as bench_data,
        recommend as recommend,
    )
    from .scan import ScanReport as ScanReport, scan_videos as scan_videos

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "bench": ["BenchReport", "LoaderSpeed", "bench_data", "recommend"],
        "scan": ["ScanReport", "scan_videos"],
    },
)
