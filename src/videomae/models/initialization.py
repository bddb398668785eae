"""New weights as the published runs drew them. The models' own default is transformers'."""

from __future__ import annotations

import math

from torch import nn

from videomae.core.errors import ConfigError
from videomae.models.embeddings import PatchEmbeddings
from videomae.models.modeling import VideoMAEForPreTraining, VideoMAEForVideoClassification
from videomae.models.network import SelfAttention


def init_for_pretraining(model: VideoMAEForPreTraining) -> None:
    """Initialize the weights of a pre-training model from torch's global generator.

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


def init_classifier(model: VideoMAEForVideoClassification, *, init_scale: float = 0.001) -> None:
    """Draw a new head for fine-tuning, from torch's global generator; the encoder stays as it is.

    The classifier's weight is N(0, 0.02) × `init_scale`, its bias 0, `fc_norm` the identity, attentive pooling is drawn
    anew: at first all classes are about equally likely, so that a random head sends the encoder no large gradients
    (published: 0.001).

    Raises:
        ConfigError: for a model without classes, or a scale that is not above 0.
    """
    if not isinstance(model.classifier, nn.Linear):
        raise ConfigError("num_labels=0", expected="a model with classes", hint="load it with num_labels=…")
    if not 0 < init_scale < math.inf:
        raise ConfigError(f"init_scale={init_scale}", expected="a number above 0", hint="published: 0.001")
    nn.init.normal_(model.classifier.weight, std=0.02 * init_scale)
    nn.init.zeros_(model.classifier.bias)
    if model.fc_norm is not None:
        model.fc_norm.reset_parameters()
    if model.pooling is not None:
        model.pooling.reset_parameters()


def init_for_finetuning(model: VideoMAEForVideoClassification, *, init_scale: float = 0.001) -> None:
    """Initialize all weights of a classifier from torch's global generator, for fine-tuning from scratch.

    Linears are N(0, 0.02) with biases 0, the patch embedding keeps PyTorch's default, the head is `init_classifier`'s.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            module.reset_parameters()
        elif isinstance(module, PatchEmbeddings):
            module.projection.reset_parameters()
        elif isinstance(module, SelfAttention):
            for bias in (module.q_bias, module.v_bias):
                if bias is not None:
                    nn.init.zeros_(bias)
    init_classifier(model, init_scale=init_scale)
