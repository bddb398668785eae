"""New weights as the published pre-training runs drew them. The models' own default is transformers'."""

from __future__ import annotations

import math

from torch import nn

from videomae.models.modeling import VideoMAEForPreTraining
from videomae.models.network import PatchEmbeddings, SelfAttention


def init_for_pretraining(model: VideoMAEForPreTraining) -> None:
    """Draw the weights of a pre-training model anew, from torch's global generator.

    Encoder and decoder Linears are Xavier-uniform; queries, keys and values are drawn as the one matrix (3D, D) that
    the original network has, so their bound is sqrt(6 / 4D). `encoder_to_decoder` and the patch embedding keep
    PyTorch's default; the mask token is N(0, 0.02) cut off at ±0.02.
    """
    for stack in (model.videomae.encoder, model.decoder):
        for module in stack.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in stack.modules():
            if isinstance(module, SelfAttention):
                for projection in (module.query, module.key, module.value):
                    bound = math.sqrt(6 / (4 * projection.in_features))
                    nn.init.uniform_(projection.weight, -bound, bound)
    for module in model.modules():
        if isinstance(module, PatchEmbeddings):
            module.projection.reset_parameters()
    model.encoder_to_decoder.reset_parameters()
    nn.init.trunc_normal_(model.mask_token, std=0.02, a=-0.02, b=0.02)
