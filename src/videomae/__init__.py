"""VideoMAE: a folder of videos → a pre-trained model → a classifier, features, pictures."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Names are found on first use, so that `import videomae` and `videomae --help` load no torch.
_HOMES = {
    "VideoMAEConfig": "videomae.models.config",
    "VideoMAEModel": "videomae.models.modeling",
    "VideoMAEForPreTraining": "videomae.models.modeling",
    "VideoMAEForVideoClassification": "videomae.models.modeling",
    "VideoMAEPreTrainedModel": "videomae.models.pretrained",
    "VideoMAEImageProcessor": "videomae.processing.image_processor",
    "VideoMAEFeatureExtractor": "videomae.processing.image_processor",
    "read_video": "videomae.video.reader",
    "sample_frame_indices": "videomae.video.sampling",
    "tube_mask": "videomae.core.masks",
    "random_mask": "videomae.core.masks",
    "running_cell_mask": "videomae.core.masks",
    "load_checkpoint": "videomae.checkpoint",
}
# transformers' examples say AutoImageProcessor; here there is one processor.
_ALIASES = {"AutoImageProcessor": "VideoMAEImageProcessor"}

__all__ = [
    "AutoImageProcessor",
    "VideoMAEConfig",
    "VideoMAEFeatureExtractor",
    "VideoMAEForPreTraining",
    "VideoMAEForVideoClassification",
    "VideoMAEImageProcessor",
    "VideoMAEModel",
    "VideoMAEPreTrainedModel",
    "load_checkpoint",
    "random_mask",
    "read_video",
    "running_cell_mask",
    "sample_frame_indices",
    "tube_mask",
]

if TYPE_CHECKING:
    from videomae.checkpoint import load_checkpoint
    from videomae.core.masks import random_mask, running_cell_mask, tube_mask
    from videomae.models.config import VideoMAEConfig
    from videomae.models.modeling import VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel
    from videomae.models.pretrained import VideoMAEPreTrainedModel
    from videomae.processing.image_processor import VideoMAEFeatureExtractor, VideoMAEImageProcessor
    from videomae.processing.image_processor import VideoMAEImageProcessor as AutoImageProcessor
    from videomae.video.reader import read_video
    from videomae.video.sampling import sample_frame_indices


def __getattr__(name: str) -> Any:
    target = _ALIASES.get(name, name)
    if target not in _HOMES:
        raise AttributeError(f"module 'videomae' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[target]), target)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
