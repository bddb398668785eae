"""From videos to batches of clips."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videomae.core.lazy import lazy_names

if TYPE_CHECKING:
    from .augmentation import Augmentation as Augmentation
    from .augmentation import SampleAugmentation as SampleAugmentation
    from .clips import (
        Crop as Crop,
    )
    from .clips import (
        Sample as Sample,
    )
    from .clips import (
        TrainingClips as TrainingClips,
    )
    from .clips import (
        VideoClips as VideoClips,
    )
    from .clips import (
        ViewClips as ViewClips,
    )
    from .clips import (
        label_indices as label_indices,
    )
    from .clips import (
        multi_hot as multi_hot,
    )
    from .index_store import IndexStore as IndexStore
    from .listed_clips import ListedClips as ListedClips
    from .loader import (
        ClipBatch as ClipBatch,
    )
    from .loader import (
        automatic_workers as automatic_workers,
    )
    from .loader import (
        collate as collate,
    )
    from .loader import (
        hard_limit_seconds as hard_limit_seconds,
    )
    from .loader import (
        training_loader as training_loader,
    )
    from .loader import (
        view_loader as view_loader,
    )
    from .order import BatchOrder as BatchOrder
    from .workers import Broken as Broken

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "augmentation": ["Augmentation", "SampleAugmentation"],
        "clips": ["Crop", "Sample", "TrainingClips", "VideoClips", "ViewClips", "label_indices", "multi_hot"],
        "index_store": ["IndexStore"],
        "listed_clips": ["ListedClips"],
        "loader": ["ClipBatch", "automatic_workers", "collate", "hard_limit_seconds", "training_loader", "view_loader"],
        "order": ["BatchOrder"],
        "workers": ["Broken"],
    },
)
