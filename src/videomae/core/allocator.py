"""Keeping memory that tensors on the CPU have freed.

By default glibc hands every large block back to the system when it is freed, and allocates the next one's pages again,
each with a fault and zeros. A training step on the CPU frees and takes gigabytes: keeping the pages makes it about a
fifth faster (`benchmarks/allocator.py`).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# glibc's malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4
_KEPT = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1, _TOP_PAD: 2**26}
# What glibc's own thresholds grow to in a process that frees large blocks.
_GIVEN_BACK = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 2**25, _TRIM_THRESHOLD: 2**26, _TOP_PAD: 2**17}


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Meanwhile this process keeps what it frees for its own next blocks; at the end it gives it back.

    Does nothing where malloc is not glibc's. Processes forked meanwhile inherit it: see `give_freed_memory_back`.
    """
    _set(_KEPT)
    try:
        yield
    finally:
        give_freed_memory_back()


def give_freed_memory_back() -> None:
    """Undo what `freed_memory_kept` has set, in this process."""
    _set(_GIVEN_BACK)
    if _has_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def _set(values: dict[int, int]) -> None:
    if _has_glibc():
        for name, value in values.items():
            ctypes.CDLL(None).mallopt(name, value)


def _has_glibc() -> bool:
    return sys.platform == "linux" and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
