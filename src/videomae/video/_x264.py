"""What every use of x264 needs."""

from __future__ import annotations

from functools import cache

from videomae.core.machine import cpu_flags


@cache
def repeatable_params() -> str:
    """x264 parameters with which the same frames give the same bytes every time; '' where nothing is needed.

    Its AVX-512 code gives other bytes from run to run for some sizes, such as widths that are no multiple of 16.
    """
    return "asm=AVX2" if "avx512bw" in cpu_flags() else ""
