"""What every use of x264 needs."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def repeatable_params() -> str:
    """x264 parameters with which the same frames give the same bytes every time; '' where nothing is needed.

    Its AVX-512 code gives other bytes from run to run for some sizes, such as widths that are no multiple of 16.
    """
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "asm=AVX2" if " avx512bw " in flags else ""
