"""Clips part by part: what one step leaves is still in the caches for the next."""

from __future__ import annotations

import torch

# So much of a clip is taken through all steps at a time. (Sharing the parts among threads was measured: no gain.)
CHUNK_BYTES = 3 << 19


def chunks_of(frames: torch.Tensor) -> list[slice]:
    """Parts of a clip (n, …) that fit into the cache, at least one frame each."""
    frame_bytes = max(1, frames[:1].numel() * frames.element_size())
    step = max(1, CHUNK_BYTES // frame_bytes)
    return [slice(start, start + step) for start in range(0, len(frames), step)]
