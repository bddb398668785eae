"""How fast steps were: one definition for the terminal, metrics.jsonl and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Speed:
    """Of a stretch of training steps; validation, pictures and the save at an epoch's end are not training.

    Args:
        clips: that went through the network, over all processes; views of one decode are not counted.
        seconds: wall time of these steps, data loading included.
        waited_seconds: of them, those in which the main process had no clips and its device nothing to do.
    """

    clips: int = 0
    seconds: float = 0.0
    waited_seconds: float = 0.0

    def __add__(self, other: Speed) -> Speed:
        """Both stretches together."""
        return Speed(self.clips + other.clips, self.seconds + other.seconds, self.waited_seconds + other.waited_seconds)

    @property
    def clips_per_second(self) -> float:
        """Clips over wall time."""
        return self.clips / max(self.seconds, 1e-9)

    @property
    def data_wait_share(self) -> float:
        """Share of the wall time spent waiting for data, 0–1."""
        return min(1.0, self.waited_seconds / max(self.seconds, 1e-9))

    def logged(self) -> dict[str, float]:
        """As metrics.jsonl has it, of the steps since the line before."""
        return {
            "clips_per_second": self.clips_per_second,
            "data_wait_share": self.data_wait_share,
            "seconds": self.seconds,
        }


def speed_of_run(records: Sequence[Mapping[str, Any]]) -> Speed:
    """All training lines of metrics.jsonl together; of files without `seconds` steps are taken to be alike."""
    total, before = Speed(), 0
    for line in records:
        if line["split"] != "train":
            continue
        rate = line["clips_per_second"]
        # Files from before `seconds`: a clip for each step gives the same mean.
        seconds = line.get("seconds") or (line["step"] - before) / max(rate, 1e-9)
        total += Speed(round(rate * seconds), seconds, line["data_wait_share"] * seconds)
        before = line["step"]
    return total
