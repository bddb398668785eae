"""Options of the commands that read DATA."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """Where the videos of lists are."""

    video_root: Path | None = None
    """Folder that the paths of a list are relative to; by default the list's own."""


@dataclass(frozen=True, kw_only=True)
class SplitOptions(ListOptions):
    """How videos are held out for validation."""

    val_share: float | None = None
    """Share of the videos to hold out for validation, such as 0.2, where there is no split val."""
    group: str | None = None
    """What must stay in one split: a column of the list, parent (folder), or a group in a regular expression for the
    path, such as '(s\\d+)_'."""
