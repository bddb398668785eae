"""From videos to batches of clips."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videomae.core.lazy import lazy_names

if TYPE_CHECKING:
    from .augmentation import Augmentation as Augmentation, SampleAugmentation as SampleAugmentation
    from .clips import (
        Crop as Crop,
        Sample as Sample,
        TrainingClips as TrainingClips,
        VideoClips as VideoClips,
        ViewClips as ViewClips,
        label_indices as label_indices,
        multi_hot as multi_hot,
    )
    from .index_store import IndexStore as IndexStore
    from .listed_clips import ListedClips as ListedClips
    from .loader import (
        ClipBatch as ClipBatch,
        automatic_workers as automatic_workers,
        collate as collate,
        hard_limit_seconds as hard_limit_seconds,
        training_loader as training_loader,
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
