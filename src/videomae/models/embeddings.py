"""Pixels to tokens: tubelets, their embedding, their positions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videomae.core import tubelets
from videomae.models.config import VideoMAEConfig


class PatchEmbeddings(nn.Module):
    """Tubelets to tokens. A 3-D convolution whose stride is its kernel is one matrix product per tubelet."""

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        self.config = config
        self.grid = config.grid
        kernel = (self.grid.tubelet_size, self.grid.patch_height, self.grid.patch_width)
        # The convolution holds the weights under the names that checkpoints use; it is never called.
        self.projection = nn.Conv3d(config.num_channels, config.hidden_size, kernel, stride=kernel)

    def forward(self, pixel_values: Tensor, visible: Tensor | None = None) -> Tensor:
        """Embed all tubelets, or those at the indices `visible` (B, K) alone; uint8 pixels are normalized here."""
        if visible is None:
            patches = tubelets.embedding_patches(pixel_values, self.grid)
        else:
            patches = tubelets.gather_embedding_patches(pixel_values, visible, self.grid)
        if patches.dtype == torch.uint8:
            patches = normalized_patches(patches, self.config)
        weight = self.projection.weight.flatten(1)
        return F.linear(patches.to(weight.dtype), weight, self.projection.bias)


def channel_values(values: Sequence[float], like: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """A number for each channel as a tensor (C,) on the device of `like`.

    A tensor made on a GPU from a list waits for all that the GPU has still to do; one that is filled there does not.
    """
    return torch.stack([like.new_full((), value, dtype=dtype) for value in values])


def normalized_patches(patches: Tensor, config: VideoMAEConfig) -> Tensor:
    """uint8 tubelets in the order (C, t, y, x), with the mean and deviation of the configuration: float32."""
    assert config.pixel_statistics is not None
    mean, std = config.pixel_statistics
    scale = channel_values([1 / (255 * value) for value in std], patches).unsqueeze(1)
    shift = channel_values([-m / s for m, s in zip(mean, std, strict=True)], patches).unsqueeze(1)
    return (patches.unflatten(-1, (len(mean), -1)).float() * scale + shift).flatten(-2)


class Embeddings(nn.Module):
    """Patch embeddings plus fixed positions."""

    position_embeddings: Tensor

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        self.patch_embeddings = PatchEmbeddings(config)
        table = tubelets.grid_positions(config.grid.shape, config.hidden_size, config.position_grid)
        self.register_buffer("position_embeddings", table, persistent=False)

    def forward(self, pixel_values: Tensor, visible: Tensor | None = None) -> Tensor:
        """(B, T, C, H, W) to (B, N, D), or (B, K, D) for the tokens at the indices `visible` alone."""
        embeddings = self.patch_embeddings(pixel_values, visible)
        positions = self.position_embeddings
        if visible is not None:
            positions = tubelets.take_tokens(positions, visible)
        return embeddings + positions.to(embeddings.dtype)
