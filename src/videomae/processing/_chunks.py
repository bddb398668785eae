"""Clips part by part: what one step leaves is still in the caches for the next, and threads share the parts."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

# So much of a clip is taken through all steps at a time, so that what one step leaves is still in the caches.
CHUNK_BYTES = 3 << 19
_MAX_THREADS = 8


def chunks_of(frames: torch.Tensor) -> list[slice]:
    """Parts of a clip (n, …) that fit into the cache, at least one frame each."""
    frame_bytes = max(1, frames[:1].numel() * frames.element_size())
    step = max(1, CHUNK_BYTES // frame_bytes)
    return [slice(start, start + step) for start in range(0, len(frames), step)]


def in_threads(work: Callable[[slice], None], chunks: list[slice]) -> None:
    """Do all chunks, with as many threads as torch may use (one in a loader's worker).

    torch resizes 8-bit frames with a single thread; and here nothing waits for torch's own threads, which is slow where
    others use the cores.
    """
    num_threads = min(torch.get_num_threads(), len(chunks), _MAX_THREADS)
    if num_threads == 1:
        for chunk in chunks:
            work(chunk)
        return
    with ThreadPoolExecutor(num_threads) as threads:
        for _ in threads.map(work, chunks):
            pass
