"""Whether freed memory is kept, seen by the page faults of the blocks that follow."""

import resource
import sys

import pytest
import torch

from videomae.core.allocator import freed_memory_kept

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="malloc is glibc's on Linux only")

# Larger than any that glibc keeps by itself (32 MiB).
NUM_BLOCKS, BLOCK_BYTES = 10, 2**26


def _num_faults() -> int:
    """Page faults of blocks that are taken, filled and freed one after the other."""
    torch.ones(BLOCK_BYTES // 4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(NUM_BLOCKS):
        torch.ones(BLOCK_BYTES // 4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def _resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def test_blocks_reuse_pages_that_are_there():
    plain = _num_faults()
    with freed_memory_kept():
        kept = _num_faults()
    assert kept < 0.6 * plain


def test_memory_is_given_back_at_the_end():
    with freed_memory_kept():
        blocks = [torch.ones(BLOCK_BYTES // 4) for _ in range(NUM_BLOCKS)]
        del blocks
        inside = _resident_bytes()
    assert _resident_bytes() < inside - NUM_BLOCKS * BLOCK_BYTES // 2
