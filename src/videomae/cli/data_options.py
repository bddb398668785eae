"""Options of the commands that read DATA."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """Where the videos of lists are."""

    video_root: Path | None = None
    """Of a list: the folder that its paths begin in, or below which the videos lie that it names. Without: its own."""


@dataclass(frozen=True, kw_only=True)
class SplitOptions(ListOptions):
    """How videos are held out to judge what is learnt."""

    val_share: float | None = None
    """Share of the videos to hold out to judge each epoch, such as 0.2, where there is no split val."""
    group: str | None = None
    """What stays on one side: a column of the list, parent (folder), or a bracket in the path such as '(s\\d+)_'."""
