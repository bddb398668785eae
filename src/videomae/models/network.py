"""The transformer, top to bottom in the order data flows. Module names follow transformers 4.34.0's state dict.

Longer than 400 lines: a block is read as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from videomae.models.activations import ACTIVATIONS, get_activation
from videomae.models.config import VideoMAEConfig
from videomae.models.outputs import VideoMAEDecoderOutput
from videomae.models.recomputation import Prologue, Weights, linears_of

_MAX_EAGER_TOKENS = 512
# On a CPU: there, computing norms and activations again takes about 7 % of a block's time at a width of 128, and 1 % at
# 768, where memory is more likely to run out.
_MIN_RECOMPUTED_WIDTH = 384


@dataclass(frozen=True)
class BlockConfig:
    """What shapes one transformer block; encoder and decoder each have theirs."""

    width: int
    num_heads: int
    mlp_width: int
    num_layers: int
    activation: str
    dropout: float
    attention_dropout: float
    layer_norm_eps: float
    qkv_bias: bool

    @classmethod
    def encoder(cls, config: VideoMAEConfig) -> BlockConfig:
        """The encoder's blocks."""
        return cls(
            width=config.hidden_size,
            num_heads=config.num_attention_heads,
            mlp_width=config.intermediate_size,
            num_layers=config.num_hidden_layers,
            activation=config.hidden_act,
            dropout=config.hidden_dropout_prob,
            attention_dropout=config.attention_probs_dropout_prob,
            layer_norm_eps=config.layer_norm_eps,
            qkv_bias=config.qkv_bias,
        )

    @classmethod
    def decoder(cls, config: VideoMAEConfig) -> BlockConfig:
        """The decoder's blocks: its own sizes, all else as in the encoder."""
        return replace(
            cls.encoder(config),
            width=config.decoder_hidden_size,
            num_heads=config.decoder_num_attention_heads,
            mlp_width=config.decoder_intermediate_size,
            num_layers=config.decoder_num_hidden_layers,
        )


class SelfAttention(nn.Module):
    """Multi-head self-attention; queries and values have a bias, keys have none."""

    def __init__(self, block: BlockConfig, implementation: str) -> None:
        super().__init__()
        self.num_heads = block.num_heads
        self.dropout = block.attention_dropout
        self.implementation = implementation
        self.query = nn.Linear(block.width, block.width, bias=False)
        self.key = nn.Linear(block.width, block.width, bias=False)
        self.value = nn.Linear(block.width, block.width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(block.width)) if block.qkv_bias else None
        self.v_bias = nn.Parameter(torch.zeros(block.width)) if block.qkv_bias else None

    def forward(
        self,
        hidden_states: Tensor,
        head_mask: Tensor | None = None,
        output_attentions: bool = False,
        key_mask: Tensor | None = None,
        num_queries: int | None = None,
        norm: nn.LayerNorm | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """(B, N, D) to (B, N, D), and the attention weights (B, heads, N, N) where requested.

        Args:
            hidden_states: the tokens.
            head_mask: see `VideoMAEModel.forward`.
            output_attentions: return the weights.
            key_mask: (B, N), False at padding, which no token attends to.
            num_queries: compute the last tokens alone, as many as this; all tokens remain keys.
            norm: is applied to the tokens first; None where they are normalized.
        """
        projected = self._query_key_value(hidden_states, num_queries, norm)
        query, key, value = (states.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for states in projected)
        dropout = self.dropout if self.training else 0.0
        attentions = None
        keys = None if key_mask is None else key_mask[:, None, None, :]
        eager = self.implementation == "eager" or head_mask is not None or output_attentions
        if eager or _eager_is_faster(query):
            scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
            if keys is not None:
                scores = scores.masked_fill(~keys, -torch.inf)
            attentions = F.dropout(scores.softmax(dim=-1), dropout)
            if head_mask is not None:
                attentions = attentions * head_mask.to(attentions.dtype)
            context = attentions @ value
        else:
            context = F.scaled_dot_product_attention(query, key, value, attn_mask=keys, dropout_p=dropout)
        context = context.transpose(1, 2).flatten(2)  # (B, N, D)
        return context, attentions if output_attentions else None

    def _query_key_value(
        self, hidden_states: Tensor, num_queries: int | None, norm: nn.LayerNorm | None
    ) -> Sequence[Tensor]:
        """Queries, keys and values, (B, N, D) each (heads not apart yet)."""
        linears, biases = (self.query, self.key, self.value), (self.q_bias, None, self.v_bias)
        is_plain = num_queries is not None or not _recomputes(hidden_states, self.implementation)
        if norm is None or is_plain or not all(map(_is_untouched, (norm, *linears))):
            normed = hidden_states if norm is None else norm(hidden_states)
            asked = normed if num_queries is None else normed[:, -num_queries:]
            return [
                self._project(linear, states, bias)
                for linear, states, bias in zip(linears, (asked, normed, normed), biases, strict=True)
            ]
        weights: list[Weights] = [(linear.weight, bias) for linear, bias in zip(linears, biases, strict=True)]
        if not _fuses_projections(hidden_states):
            return linears_of(*_normalization(norm, hidden_states), weights)
        fused_bias = None
        if self.q_bias is not None and self.v_bias is not None:
            fused_bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        fused = (torch.cat([linear.weight for linear in linears]), fused_bias)
        (projected,) = linears_of(*_normalization(norm, hidden_states), [fused])
        return projected.chunk(3, dim=-1)

    @staticmethod
    def _project(module: nn.Module, hidden_states: Tensor, bias: Tensor | None) -> Tensor:
        # One fused call while the module is what we made; an adapter (LoRA, quantization) is called as it is.
        if _is_untouched(module):
            return F.linear(hidden_states, module.weight, bias)  # type: ignore[arg-type]
        projected: Tensor = module(hidden_states)
        return projected if bias is None else projected + bias


def _is_untouched(module: nn.Module) -> bool:
    """Whether a part of a layer is what we made: no adapter (LoRA, quantization) in its place, no hooks on it."""
    is_ours = type(module) in (nn.Linear, nn.LayerNorm, Intermediate, DenseDropout)
    return is_ours and not (module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)


def _recomputes(hidden_states: Tensor, implementation: str) -> bool:
    """Whether the backward pass computes normalized and activated tokens (B, N, D) again; with "eager" all is plain."""
    is_worth_it = hidden_states.device.type != "cpu" or hidden_states.shape[-1] >= _MIN_RECOMPUTED_WIDTH
    return implementation != "eager" and is_worth_it


def _fuses_projections(hidden_states: Tensor) -> bool:
    """Whether queries, keys and values come from one product.

    A GPU is kept busier by one large product than by three. On a CPU, joining the weights costs what it gains.
    """
    return hidden_states.device.type != "cpu"


def _normalization(norm: nn.LayerNorm, hidden_states: Tensor) -> tuple[Prologue, tuple[Tensor, ...]]:
    """A LayerNorm as a prologue of `linears_of`, and its inputs."""

    def normalize(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.layer_norm(x, norm.normalized_shape, weight, bias, norm.eps)

    return normalize, (hidden_states, norm.weight, norm.bias)


def _eager_is_faster(query: Tensor) -> bool:
    """Whether plain products beat the fused kernel in training.

    On a CPU the fused kernel's backward pass is slow in half precision: measured with torch 2.15 and AMX, forward and
    backward together took 7 times as long as plain products at 16 tokens, 4.6 at 64, 2.7 at 160 and 1.1 at 784.
    """
    half = query.dtype in (torch.bfloat16, torch.float16)
    return half and query.device.type == "cpu" and query.requires_grad and query.shape[-2] <= _MAX_EAGER_TOKENS


class DenseDropout(nn.Module):
    """A Linear and a dropout, `dense` by name: the output of attention and of the MLP."""

    def __init__(self, in_width: int, out_width: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(in_width, out_width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(B, N, in) to (B, N, out)."""
        return self.dropout(self.dense(hidden_states))


class Attention(nn.Module):
    """Self-attention and its output projection."""

    def __init__(self, block: BlockConfig, implementation: str) -> None:
        super().__init__()
        self.attention = SelfAttention(block, implementation)
        self.output = DenseDropout(block.width, block.width, block.dropout)
        self.kept_heads = list(range(block.num_heads))  # fewer once `pruning.prune_attention` removed some

    def forward(
        self,
        hidden_states: Tensor,
        head_mask: Tensor | None = None,
        output_attentions: bool = False,
        key_mask: Tensor | None = None,
        num_queries: int | None = None,
        norm: nn.LayerNorm | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """As `SelfAttention.forward`; `head_mask` has an entry for each head that there ever was."""
        if head_mask is not None and head_mask.shape[1] != len(self.kept_heads):
            head_mask = head_mask[:, self.kept_heads]
        context, attentions = self.attention(hidden_states, head_mask, output_attentions, key_mask, num_queries, norm)
        return self.output(context), attentions


class Intermediate(nn.Module):
    """The first half of the MLP."""

    def __init__(self, block: BlockConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(block.width, block.mlp_width)
        self.activation = get_activation(block.activation)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(B, N, D) to (B, N, MLP width)."""
        return self.activation(self.dense(hidden_states))


class Layer(nn.Module):
    """One pre-norm block."""

    def __init__(self, block: BlockConfig, implementation: str) -> None:
        super().__init__()
        self.layernorm_before = nn.LayerNorm(block.width, eps=block.layer_norm_eps)
        self.attention = Attention(block, implementation)
        self.layernorm_after = nn.LayerNorm(block.width, eps=block.layer_norm_eps)
        self.intermediate = Intermediate(block)
        self.output = DenseDropout(block.mlp_width, block.width, block.dropout)
        self.is_frozen = False  # then drop path, which regularizes what is trained, leaves it alone

    def forward(
        self,
        hidden_states: Tensor,
        head_mask: Tensor | None = None,
        output_attentions: bool = False,
        branch_scales: Tensor | None = None,
        key_mask: Tensor | None = None,
        num_queries: int | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """(B, N, D) to (B, N, D), and the attention weights where requested.

        `branch_scales` (2, B) multiplies what attention and MLP add to each sample; None adds it as it is. `key_mask`
        and `num_queries` as for `SelfAttention.forward`: with the latter, the last tokens alone come out.
        """
        attended, attentions = self.attention(
            hidden_states, head_mask, output_attentions, key_mask, num_queries, self.layernorm_before
        )
        if num_queries is not None:
            hidden_states = hidden_states[:, -num_queries:]
        after_attention, after_mlp = (None, None) if branch_scales is None else branch_scales
        hidden_states = _add_branch(hidden_states, attended, after_attention)
        return _add_branch(hidden_states, self._mlp(hidden_states), after_mlp), attentions

    def _mlp(self, hidden_states: Tensor) -> Tensor:
        norm, first, last = self.layernorm_after, self.intermediate, self.output
        # Without a backward pass, what is before the activation need not be kept until the block's end.
        recomputes = torch.is_grad_enabled() and _recomputes(hidden_states, self.attention.attention.implementation)
        is_known = first.activation in ACTIVATIONS.values()  # without state or randomness
        if not recomputes or not is_known or not all(map(_is_untouched, (norm, first, first.dense, last, last.dense))):
            added: Tensor = last(first(norm(hidden_states)))
            return added
        (widened,) = linears_of(*_normalization(norm, hidden_states), [(first.dense.weight, first.dense.bias)])
        (narrowed,) = linears_of(first.activation, (widened,), [(last.dense.weight, last.dense.bias)])
        return F.dropout(narrowed, last.dropout.p, self.training)


def _add_branch(hidden_states: Tensor, branch: Tensor, scale: Tensor | None) -> Tensor:
    if scale is None:
        return hidden_states + branch
    # The product is taken in float32: 1 / keep has no exact half-precision value and would scale every layer wrongly.
    return hidden_states + (branch * scale[:, None, None]).to(hidden_states.dtype)


def draw_branch_scales(rate: float, num_layers: int, batch_size: int, device: torch.device) -> Tensor:
    """Drop path (stochastic depth, Huang et al. 2016), drawn for all layers at once from torch's global generator.

    The share of dropped branches grows evenly from 0 in the first layer to `rate` in the last one.

    Returns:
        (num_layers, 2, B) float32: of attention and MLP of each layer and sample 0 with probability p, else
        1 / (1 − p).
    """
    dropped = torch.arange(num_layers, device=device) * (rate / max(num_layers - 1, 1))
    kept = (1.0 - dropped).reshape(-1, 1, 1)
    draws = torch.rand(num_layers, 2, batch_size, device=device)
    return (draws < kept) / kept.clamp(min=torch.finfo(torch.float32).tiny)


@dataclass(frozen=True)
class Recording:
    """What a run through the layers is to keep."""

    attentions: bool = False
    hidden_states: bool = False


Kept = tuple[Tensor, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None]


class LayerStack(nn.Module):
    """Runs layers in order; the owner of the ModuleList (`layer`, `decoder_layers`) decides the names."""

    def __init__(self) -> None:
        super().__init__()
        self.gradient_checkpointing = False
        self.checkpoint_every = 1
        self.checkpoint_options: dict[str, Any] = {"use_reentrant": False}

    def run(
        self,
        layers: nn.ModuleList,
        x: Tensor,
        head_masks: Sequence[Tensor | None],
        keep: Recording,
        branch_scales: Tensor | None = None,
        key_mask: Tensor | None = None,
        num_last: int | None = None,
    ) -> Kept:
        """The last layer's output, all hidden states and all attentions (the latter two where `keep` asks).

        With `num_last`, only as many of the last tokens come out, and the last layer computes no others.
        """
        states, attentions = [x], []
        for index, (layer, head_mask) in enumerate(zip(layers, head_masks, strict=True)):
            scales = None if branch_scales is None or layer.is_frozen else branch_scales[index]
            num_queries = num_last if index == len(layers) - 1 else None
            if self.gradient_checkpointing and self.training and index % self.checkpoint_every == 0:
                options = self.checkpoint_options
                x, weights = checkpoint(layer, x, head_mask, keep.attentions, scales, key_mask, num_queries, **options)
            else:
                x, weights = layer(x, head_mask, keep.attentions, scales, key_mask, num_queries)
            if keep.hidden_states:
                states.append(x)
            if keep.attentions:
                attentions.append(weights)
        return x, tuple(states) if keep.hidden_states else None, tuple(attentions) if keep.attentions else None


class Encoder(LayerStack):
    """The encoder's layers."""

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        self.config = config
        block = BlockConfig.encoder(config)
        self.layer = nn.ModuleList(Layer(block, config.attn_implementation) for _ in range(block.num_layers))

    def forward(
        self,
        embeddings: Tensor,
        head_masks: Sequence[Tensor | None],
        keep: Recording,
        key_mask: Tensor | None = None,
    ) -> Kept:
        """(B, N, D) to (B, N, D), and what `keep` asks for; `key_mask` as for `SelfAttention.forward`."""
        scales = None
        # Read at each call, so that a loaded model trains with drop path once its configuration has a rate.
        # Drawn before the layers run, so that neither the attention kernel nor recomputing a layer changes the draws.
        if self.training and self.config.drop_path_rate > 0:
            rate = self.config.drop_path_rate
            scales = draw_branch_scales(rate, len(self.layer), len(embeddings), embeddings.device)
        return self.run(self.layer, embeddings, head_masks, keep, scales, key_mask)


class Decoder(LayerStack):
    """The decoder's layers, norm and head."""

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        block = BlockConfig.decoder(config)
        self.decoder_layers = nn.ModuleList(Layer(block, config.attn_implementation) for _ in range(block.num_layers))
        self.norm = nn.LayerNorm(block.width, config.final_norm_eps)
        self.head = nn.Linear(block.width, config.grid.values_per_tubelet)

    def forward(
        self, tokens: Tensor, num_rebuilt: int, keep: Recording = Recording(), key_mask: Tensor | None = None
    ) -> VideoMAEDecoderOutput:
        """Rebuild the last `num_rebuilt` of the tokens (B, N, D_dec): logits (B, num_rebuilt, P)."""
        layers = self.decoder_layers
        num_last = None if keep.hidden_states or keep.attentions else num_rebuilt
        x, states, attentions = self.run(
            layers, tokens, [None] * len(layers), keep, key_mask=key_mask, num_last=num_last
        )
        logits = self.head(self.norm(x[:, -num_rebuilt:]))
        return VideoMAEDecoderOutput(logits=logits, hidden_states=states, attentions=attentions)
