"""Models of a few thousand weights, none of them with a value that a lost one would have too."""

from __future__ import annotations

from typing import Any

import torch

from videomae.models.config import VideoMAEConfig
from videomae.models.modeling import VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel

MODELS = (VideoMAEModel, VideoMAEForPreTraining, VideoMAEForVideoClassification)
TINY: dict[str, Any] = {
    "image_size": 16,
    "patch_size": 8,
    "num_frames": 4,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "decoder_hidden_size": 12,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 3,
    "decoder_intermediate_size": 24,
}


def make(model_class: Any, **changes: Any) -> Any:
    """In evaluation mode, every weight random, biases too."""
    model = model_class(VideoMAEConfig(**{**TINY, **changes}))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 0.3
            shift = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale + shift)
    return model.eval()


def run(model: Any, **arguments: Any) -> Any:
    """The output for two clips, always the same; of pre-training (also transformers') with every other token hidden."""
    generator = torch.Generator().manual_seed(2)
    if type(model).__name__ == "VideoMAEForPreTraining":
        arguments["bool_masked_pos"] = (torch.arange(8) % 2 == 0).repeat(2, 1)
    return model(torch.randn(2, 4, 3, 16, 16, generator=generator), **arguments)
