"""The clips that go through the network at once."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from videomae.data.loader import ClipBatch


@dataclass(frozen=True)
class MicroBatch:
    """The clips that go through the network at once: one process' share of a batch, or a fraction of that share.

    What is random in a step is drawn for its whole batch, or keyed by rows of it: accumulation, the number of processes
    and unreadable videos then do not change what a clip gets.

    Args:
        clips: (B·V, T, C, H, W) uint8, on the device; the V views of a clip side by side.
        batch: where the clips come from, with their labels (B,).
        step: of the run, from 0.
        rows: (B·V,) int64, on the CPU: rows of these clips in the whole batch.
        num_rows: clips of the whole batch, times V: over all micro-batches and processes, unreadable videos included.
        number: of this micro-batch among those of all processes, from 0.
    """

    clips: Tensor
    batch: ClipBatch
    step: int
    rows: Tensor
    num_rows: int
    number: int = 0
