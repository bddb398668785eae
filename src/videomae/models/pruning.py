"""Removing attention heads with their weights."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import nn

from videomae.models.network import Attention


def prune_attention(attention: Attention, heads: Collection[int]) -> None:
    """Remove `heads`, numbered as before any were removed; those already gone stay gone.

    Queries, keys and values lose the rows of these heads, and the biases of theirs too; the output projection loses
    the columns that read them. The rest computes what it did with a `head_mask` that silences them.
    """
    projections = attention.attention
    kept = [head for head in attention.kept_heads if head not in heads]
    if kept == attention.kept_heads:
        return
    width = projections.query.out_features // projections.num_heads
    rows = torch.arange(projections.query.out_features, device=projections.query.weight.device).view(-1, width)
    places = [attention.kept_heads.index(head) for head in kept]
    index = rows[places].flatten()
    for linear in (projections.query, projections.key, projections.value):
        linear.weight = _selected(linear.weight, index, dim=0)
        linear.out_features = len(index)
    for name in ("q_bias", "v_bias"):
        if getattr(projections, name) is not None:
            setattr(projections, name, _selected(getattr(projections, name), index, dim=0))
    dense = attention.output.dense
    dense.weight = _selected(dense.weight, index, dim=1)
    dense.in_features = len(index)
    projections.num_heads = len(kept)
    attention.kept_heads = kept


def _selected(parameter: torch.Tensor, index: torch.Tensor, *, dim: int) -> nn.Parameter:
    return nn.Parameter(parameter.detach().index_select(dim, index), requires_grad=parameter.requires_grad)
