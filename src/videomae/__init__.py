"""VideoMAE: a folder of videos → a pre-trained model → a classifier, features, pictures.

Jobs: `pretrain`, `finetune`, `evaluate`, `probe`, `predict`, `timeline`, `embed`, `reconstruct`, `compare`; of data
`scan`, `pack`; of collections `index`, `search`, `near_duplicates`, `suggest_labels`, `map_index`.
Models: `Checkpoint` (model, processor and sampling), `load_checkpoint`, and the classes of transformers 4.34.0:
`VideoMAEConfig`, `VideoMAEModel`, `VideoMAEForPreTraining`, `VideoMAEForVideoClassification`, `VideoMAEImageProcessor`.
Videos: `probe_video`, `open_video`, `read_video`, `sample_frame_indices`, `VideoDataset`.
Masks: `tube_mask`, `random_mask`, `running_cell_mask`. Settings: `list_recipes`, `get_recipe`.
Errors: `InputError` and its kinds `VideoError`, `DataError`, `CheckpointError`, `ConfigError`, `ShapeError`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Names are found on first use, so that `import videomae` and `videomae --help` load no torch.
_HOMES = {
    "Checkpoint": "videomae.api.checkpoint",
    "compare": "videomae.api.comparison",
    "Comparison": "videomae.api.comparison",
    "CheckpointError": "videomae.core.errors",
    "ConfigError": "videomae.core.errors",
    "convert": "videomae.api.checkpoint",
    "DataError": "videomae.core.errors",
    "cross_validate": "videomae.api.training",
    "CrossValidation": "videomae.training.cross_validation",
    "DryRun": "videomae.training.dry_run",
    "dry_run_finetune": "videomae.api.training",
    "dry_run_pretrain": "videomae.api.training",
    "embed": "videomae.api.inference",
    "evaluate": "videomae.api.evaluation",
    "evaluate_timelines": "videomae.api.timeline",
    "Features": "videomae.inference.features",
    "finetune": "videomae.api.training",
    "FinetuneRecipe": "videomae.recipes.finetune",
    "FinetuneResult": "videomae.training.finetune",
    "get_recipe": "videomae.api.recipes",
    "index": "videomae.api.search",
    "IndexReport": "videomae.retrieval.building",
    "InputError": "videomae.core.errors",
    "list_recipes": "videomae.api.recipes",
    "load_checkpoint": "videomae.checkpoint",
    "map_index": "videomae.api.search",
    "Match": "videomae.retrieval.index",
    "near_duplicates": "videomae.api.search",
    "NearDuplicate": "videomae.retrieval.relations",
    "open_video": "videomae.video.opening",
    "pack": "videomae.api.curation",
    "predict": "videomae.api.inference",
    "Predictions": "videomae.api.inference",
    "pretrain": "videomae.api.training",
    "PretrainRecipe": "videomae.recipes.pretrain",
    "PretrainResult": "videomae.training.pretrain",
    "probe": "videomae.api.evaluation",
    "probe_video": "videomae.video.opening",
    "random_mask": "videomae.core.masks",
    "read_video": "videomae.video.reader",
    "reconstruct": "videomae.api.reconstruction",
    "Reconstruction": "videomae.inference.reconstruct",
    "reconstruct_whole": "videomae.api.reconstruction",
    "running_cell_mask": "videomae.core.masks",
    "sample_frame_indices": "videomae.video.sampling",
    "scan": "videomae.api.curation",
    "search": "videomae.api.search",
    "ShapeError": "videomae.core.errors",
    "timeline": "videomae.api.timeline",
    "Timeline": "videomae.inference.timeline",
    "Timelines": "videomae.api.timeline",
    "suggest_labels": "videomae.api.search",
    "SuggestedLabel": "videomae.retrieval.relations",
    "TrainingStopped": "videomae.training.trainer",
    "tube_mask": "videomae.core.masks",
    "VideoDataset": "videomae.data.video_dataset",
    "VideoError": "videomae.core.errors",
    "VideoIndex": "videomae.retrieval.index",
    "VideoInfo": "videomae.video._info",
    "VideoMAEConfig": "videomae.models.config",
    "VideoMAEFeatureExtractor": "videomae.processing.image_processor",
    "VideoMAEForPreTraining": "videomae.models.modeling",
    "VideoMAEForVideoClassification": "videomae.models.modeling",
    "VideoMAEImageProcessor": "videomae.processing.image_processor",
    "VideoMAEModel": "videomae.models.modeling",
    "VideoMAEPreTrainedModel": "videomae.models.pretrained",
    "VideoPrediction": "videomae.inference.predict",
}
# transformers' examples say AutoImageProcessor; here there is one processor.
_ALIASES = {"AutoImageProcessor": "VideoMAEImageProcessor"}

__all__ = [
    "AutoImageProcessor",
    "Checkpoint",
    "CheckpointError",
    "Comparison",
    "ConfigError",
    "CrossValidation",
    "DataError",
    "DryRun",
    "Features",
    "FinetuneRecipe",
    "FinetuneResult",
    "IndexReport",
    "InputError",
    "Match",
    "NearDuplicate",
    "Predictions",
    "PretrainRecipe",
    "PretrainResult",
    "Reconstruction",
    "ShapeError",
    "SuggestedLabel",
    "Timeline",
    "Timelines",
    "TrainingStopped",
    "VideoDataset",
    "VideoError",
    "VideoIndex",
    "VideoInfo",
    "VideoMAEConfig",
    "VideoMAEFeatureExtractor",
    "VideoMAEForPreTraining",
    "VideoMAEForVideoClassification",
    "VideoMAEImageProcessor",
    "VideoMAEModel",
    "VideoMAEPreTrainedModel",
    "VideoPrediction",
    "compare",
    "convert",
    "cross_validate",
    "dry_run_finetune",
    "dry_run_pretrain",
    "embed",
    "evaluate",
    "evaluate_timelines",
    "finetune",
    "get_recipe",
    "index",
    "list_recipes",
    "load_checkpoint",
    "map_index",
    "near_duplicates",
    "open_video",
    "pack",
    "predict",
    "pretrain",
    "probe",
    "probe_video",
    "random_mask",
    "read_video",
    "reconstruct",
    "reconstruct_whole",
    "running_cell_mask",
    "sample_frame_indices",
    "scan",
    "search",
    "suggest_labels",
    "timeline",
    "tube_mask",
]

if TYPE_CHECKING:
    from videomae.api.checkpoint import Checkpoint, convert
    from videomae.api.comparison import Comparison, compare
    from videomae.api.curation import pack, scan
    from videomae.api.evaluation import evaluate, probe
    from videomae.api.inference import Predictions, embed, predict
    from videomae.api.recipes import get_recipe, list_recipes
    from videomae.api.reconstruction import reconstruct, reconstruct_whole
    from videomae.api.search import index, map_index, near_duplicates, search, suggest_labels
    from videomae.api.timeline import Timelines, evaluate_timelines, timeline
    from videomae.api.training import cross_validate, dry_run_finetune, dry_run_pretrain, finetune, pretrain
    from videomae.checkpoint import load_checkpoint
    from videomae.core.errors import CheckpointError, ConfigError, DataError, InputError, ShapeError, VideoError
    from videomae.core.masks import random_mask, running_cell_mask, tube_mask
    from videomae.data.video_dataset import VideoDataset
    from videomae.inference.features import Features
    from videomae.inference.predict import VideoPrediction
    from videomae.inference.reconstruct import Reconstruction
    from videomae.inference.timeline import Timeline
    from videomae.models.config import VideoMAEConfig
    from videomae.models.modeling import VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel
    from videomae.models.pretrained import VideoMAEPreTrainedModel
    from videomae.processing.image_processor import (
        VideoMAEFeatureExtractor,
        VideoMAEImageProcessor,
        VideoMAEImageProcessor as AutoImageProcessor,
    )
    from videomae.recipes.finetune import FinetuneRecipe
    from videomae.recipes.pretrain import PretrainRecipe
    from videomae.retrieval.building import IndexReport
    from videomae.retrieval.index import Match, VideoIndex
    from videomae.retrieval.relations import NearDuplicate, SuggestedLabel
    from videomae.training.cross_validation import CrossValidation
    from videomae.training.dry_run import DryRun
    from videomae.training.finetune import FinetuneResult
    from videomae.training.pretrain import PretrainResult
    from videomae.training.trainer import TrainingStopped
    from videomae.video._info import VideoInfo
    from videomae.video.opening import open_video, probe_video
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
    return sorted([*__all__, "__all__", "__doc__", "__file__", "__name__", "__path__", "__version__"])
