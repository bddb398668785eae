"""Copies of models that compute less: Linear layers in int8, similar tokens merged. For inference alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videomae.core.errors import ConfigError
from videomae.core.tubelets import take_tokens
from videomae.models.int8 import Int8Linear, largest_weight
from videomae.models.network import Kept, Layer, Recording
from videomae.models.pretrained import VideoMAEPreTrainedModel

Model = TypeVar("Model", bound=VideoMAEPreTrainedModel)
# Tokens whose MLP is computed at once, so that what is between its products stays in the cache.
_MLP_ROWS = 784


def inference_copy(model: Model, *, int8: bool = False, merge_tokens: int = 0) -> Model:
    """A model whose encoder computes less; all else, and the original model, is as before.

    Its weights are those of the original, not copies; it has none of the layers' in its state dict. Neither hidden
    states, attentions nor head masks can be asked for.

    Args:
        model: any, on its device.
        int8: compute the layers' Linear products in 8-bit integers, see `Int8Linear`; on a CPU.
        merge_tokens: how many tokens each layer merges into others (ToMe's r, Bolya et al. 2023), 0 for none. Layers
            that have fewer than twice as many merge half of theirs. Outputs have all tokens again; of merged ones each
            has the value of all of them.

    Raises:
        ConfigError: for more than half of the tokens, a model whose Linear layers were replaced (adapters), or if the
            device does not multiply int8.
    """
    num_tokens = model.config.grid.num_tokens
    if not 0 <= merge_tokens <= num_tokens // 2:
        raise ConfigError(
            f"--merge-tokens {merge_tokens}",
            expected=f"0 to {num_tokens // 2}, half of the model's {num_tokens} tokens",
            hint="each layer merges so many; a twentieth of them is a moderate value",
        )
    if int8 and model.device.type != "cpu":
        raise ConfigError(
            f"--precision int8 on {model.device.type}", expected="the CPU", hint="use --precision auto or --device cpu"
        )
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    copy = deepcopy(model, shared)
    largest = largest_weight() if int8 else None
    copy.base_model.encoder = InferenceEncoder(model.base_model.encoder.layer, largest, merge_tokens)
    return copy


class InferenceEncoder(nn.Module):
    """The encoder's layers, with fewer tokens from one to the next.

    Args:
        layers: of `network.Encoder`.
        largest_weight: of int8; None computes in floating point.
        merge_tokens: as for `inference_copy`.
    """

    def __init__(self, layers: Iterable[Any], largest_weight: int | None, merge_tokens: int) -> None:
        super().__init__()
        self.layer = nn.ModuleList(InferenceLayer(layer, largest_weight, merge_tokens) for layer in layers)

    def forward(
        self,
        embeddings: Tensor,
        head_masks: Sequence[Tensor | None],
        keep: Recording,
        key_mask: Tensor | None = None,
    ) -> Kept:
        """(B, N, D) to (B, N, D); the other arguments are as for `network.Encoder`, and must ask for nothing."""
        if keep != Recording() or key_mask is not None or any(mask is not None for mask in head_masks):
            raise NotImplementedError("an inference copy gives its last hidden state only")
        x, sizes, place = embeddings, None, None
        for layer in self.layer:
            x, sizes, moved = layer(x, sizes)
            if moved is not None:
                place = moved if place is None else moved.gather(1, place)
        return x if place is None else take_tokens(x, place), None, None


class InferenceLayer(nn.Module):
    """One block, which may merge tokens between its attention and its MLP.

    Args:
        layer: whose weights it uses.
        largest_weight: of int8; None computes in floating point.
        merge_tokens: how many.
    """

    def __init__(self, layer: Layer, largest_weight: int | None, merge_tokens: int) -> None:
        super().__init__()
        attention = layer.attention.attention
        self.merge_tokens = merge_tokens
        self.num_heads = attention.num_heads
        self.layernorm_before, self.layernorm_after = layer.layernorm_before, layer.layernorm_after
        self.activation = layer.intermediate.activation
        linears = [layer.attention.output.dense, layer.intermediate.dense, layer.output.dense]
        inputs = [attention.query, attention.key, attention.value]
        for module in (*inputs, *linears):
            if type(module) is not nn.Linear:
                raise ConfigError(
                    f"--precision int8 or --merge-tokens with a {type(module).__name__}",
                    expected="a model of plain Linear layers",
                    hint="merge its adapters first: merge_and_unload() of PEFT",
                )
        weight = torch.cat([module.weight.detach() for module in inputs])
        bias = None
        if attention.q_bias is not None and attention.v_bias is not None:
            none = torch.zeros(len(attention.key.weight), dtype=weight.dtype, device=weight.device)
            bias = torch.cat([attention.q_bias.detach(), none, attention.v_bias.detach()])
        weights = [(weight, bias), *((module.weight, module.bias) for module in linears)]
        if largest_weight is None:
            made: list[nn.Module] = [_linear(weight, bias), *linears]
        else:
            made = [Int8Linear(weight, bias, largest_weight) for weight, bias in weights]
        self.qkv, self.output, self.widen, self.narrow = made

    def forward(self, x: Tensor, sizes: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """(B, N, D) to (B, N − r, D).

        Args:
            x: hidden states.
            sizes: (B, N) how many tokens each one was; None for 1 each.

        Returns:
            Hidden states, their sizes, and where each of the N tokens is among them (B, N), None for where it was.
        """
        qkv = self.qkv(self.layernorm_before(x)).unflatten(-1, (3, self.num_heads, -1))  # (B, N, 3, heads, D / heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        # Of n tokens in one, each would have its share of the attention (§3, proportional attention).
        bias = None if sizes is None else sizes.log().to(query.dtype)[:, None, None]
        context = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        x = x + self.output(context.transpose(1, 2).flatten(2))
        place, num_merged = None, min(self.merge_tokens, x.shape[1] // 2)
        if num_merged:
            place = merged_places(key.mean(dim=1), num_merged)
            x, sizes = merge(x, sizes, place, x.shape[1] - num_merged)
        rows = self.layernorm_after(x).flatten(0, 1).split(_MLP_ROWS)
        added = torch.cat([self.narrow(self.activation(self.widen(part))) for part in rows])
        return x + added.unflatten(0, x.shape[:2]), sizes, place


def merged_places(keys: Tensor, num_merged: int) -> Tensor:
    """Bipartite soft matching (Bolya et al. 2023, §3): where each token goes, (B, N).

    Every other token looks for the most similar one among the rest, by the cosine of their keys; of these pairs the
    `num_merged` most similar ones become one token each. Those that stay come first, then the rest.

    Args:
        keys: (B, N, d).
        num_merged: at most half of the tokens.
    """
    keys = F.normalize(keys.float(), dim=-1)
    similarity, partner = (keys[:, ::2] @ keys[:, 1::2].transpose(1, 2)).max(dim=-1)  # (B, N / 2)
    order = similarity.argsort(dim=1, descending=True, stable=True)
    is_merged = torch.zeros_like(partner, dtype=torch.bool).scatter_(1, order[:, :num_merged], True)
    num_staying = partner.shape[1] - num_merged
    staying = (~is_merged).cumsum(dim=1) - 1
    place = torch.empty(keys.shape[:2], dtype=torch.long, device=keys.device)
    place[:, ::2] = torch.where(is_merged, partner + num_staying, staying)
    place[:, 1::2] = torch.arange(keys.shape[1] // 2, device=keys.device) + num_staying
    return place


def merge(x: Tensor, sizes: Tensor | None, place: Tensor, num_places: int) -> tuple[Tensor, Tensor]:
    """The mean of the tokens that go to one place, weighted by their sizes, and the sizes of the new tokens.

    Args:
        x: (B, N, D).
        sizes: (B, N), or None for 1 each.
        place: (B, N), each below `num_places`.
        num_places: how many tokens are left.
    """
    if sizes is None:
        sizes = x.new_ones(x.shape[:2], dtype=torch.float32)
    # In float32: half types hold neither such sums nor sizes above 256.
    summed = sizes.new_zeros(len(x), num_places, x.shape[2])
    summed.scatter_add_(1, place[..., None].expand_as(x), x.float() * sizes[..., None])
    new_sizes = sizes.new_zeros(len(x), num_places).scatter_add_(1, place, sizes)
    return (summed / new_sizes[..., None]).to(x.dtype), new_sizes


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    linear.load_state_dict({"weight": weight} if bias is None else {"weight": weight, "bias": bias}, assign=True)
    return linear
