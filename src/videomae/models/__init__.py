"""The networks, with the interface of transformers 4.34.0."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videomae.core.lazy import lazy_names

if TYPE_CHECKING:
    from .config import VideoMAEConfig as VideoMAEConfig
    from .initialization import (
        init_classifier as init_classifier,
        init_for_finetuning as init_for_finetuning,
        init_for_pretraining as init_for_pretraining,
    )
    from .modeling import (
        VideoMAEForPreTraining as VideoMAEForPreTraining,
        VideoMAEForVideoClassification as VideoMAEForVideoClassification,
        VideoMAEModel as VideoMAEModel,
    )
    from .outputs import (
        BaseModelOutput as BaseModelOutput,
        ImageClassifierOutput as ImageClassifierOutput,
        ModelOutput as ModelOutput,
        VideoMAEForPreTrainingOutput as VideoMAEForPreTrainingOutput,
    )
    from .pretrained import VideoMAEPreTrainedModel as VideoMAEPreTrainedModel

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "config": ["VideoMAEConfig"],
        "initialization": ["init_classifier", "init_for_finetuning", "init_for_pretraining"],
        "modeling": ["VideoMAEForPreTraining", "VideoMAEForVideoClassification", "VideoMAEModel"],
        "outputs": ["BaseModelOutput", "ImageClassifierOutput", "ModelOutput", "VideoMAEForPreTrainingOutput"],
        "pretrained": ["VideoMAEPreTrainedModel"],
    },
)
