"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up, then a half cosine (Loshchilov & Hutter 2017), once per step.

    Args:
        total_steps: steps of the run.
        warmup_steps: steps of the warm-up; step 0 has `start`, step `warmup_steps` has `peak`.
        peak: the highest rate.
        minimum: what the cosine ends at, reached after the last step.
        start: where the warm-up begins.
    """

    total_steps: int
    warmup_steps: int
    peak: float
    minimum: float = 0.0
    start: float = 0.0

    def at(self, step: int) -> float:
        """The learning rate of step `step`, from 0."""
        if step < self.warmup_steps:
            return self.start + (self.peak - self.start) * step / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        return self.minimum + (self.peak - self.minimum) * (1 + math.cos(math.pi * min(1.0, done))) / 2
