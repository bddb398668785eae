"""Re-encoding a data set once, so that random clips are fast to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videomae.core.lazy import lazy_names

if TYPE_CHECKING:
    from .journal import PackedRecord as PackedRecord
    from .packer import (
        BrokenSource as BrokenSource,
        PackReport as PackReport,
        PackSettings as PackSettings,
        pack_videos as pack_videos,
    )

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "journal": ["PackedRecord"],
        "packer": ["BrokenSource", "PackReport", "PackSettings", "pack_videos"],
    },
)
