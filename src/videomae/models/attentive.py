"""Attentive pooling: a learned query gathers a clip's tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AttentivePooling(nn.Module):
    """A learned query attends to the normalized tokens of a clip (as in V-JEPA, Bardes et al. 2024).

    Args:
        width: of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        heads = next(heads for heads in (12, 8, 6, 4, 3, 2, 1) if width % heads == 0)
        self.norm = nn.LayerNorm(width)
        self.query = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def reset_parameters(self) -> None:
        """Draw new weights from torch's global generator."""
        nn.init.normal_(self.query, std=0.02)
        self.norm.reset_parameters()
        self.attention._reset_parameters()
        self.attention.out_proj.reset_parameters()
        nn.init.zeros_(self.attention.out_proj.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, D) to (B, D)."""
        tokens = self.norm(tokens)
        query = self.query.expand(len(tokens), -1, -1)
        pooled: Tensor = self.attention(query, tokens, tokens, need_weights=False)[0]
        return pooled[:, 0]
