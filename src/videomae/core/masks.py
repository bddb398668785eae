"""Masks over the token grid: whole batches at once, on any device, from a generator.

True = masked. For the encoder that means hidden (removed); for a decoder mask it means not rebuilt.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from videomae.core.choices import MaskName
from videomae.core.errors import ConfigError
from videomae.core.grid import TubeletGrid


def tube_mask(
    batch_size: int,
    grid: Sequence[int] | TubeletGrid,
    ratio: float = 0.9,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Bool[Tensor, "B N"]:
    """One random spatial mask per clip, repeated over all time steps (VideoMAE, §3.3 "tube masking").

    Args:
        batch_size: B, clips.
        grid: (time, height, width) in tokens, or `model.config.grid`.
        ratio: share of each time step that is hidden, 0 ≤ ratio < 1; int(ratio · height · width) tokens are.
        generator: source of randomness, on any device; None uses torch's global one.
        device: where the mask is returned; None means the generator's device.

    Returns:
        (B, time · height · width) bool, True = masked; every row hides the same number.

    Raises:
        ConfigError: if the ratio or the grid is out of range.
    """
    time, height, width = _checked_grid(grid, ratio)
    spatial = _hide_first(batch_size, height * width, int(ratio * height * width), generator, device)
    return spatial.repeat(1, time)


def random_mask(
    batch_size: int,
    grid: Sequence[int] | TubeletGrid,
    ratio: float = 0.9,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Bool[Tensor, "B N"]:
    """Tokens hidden independently of place and time; arguments, result and errors as in `tube_mask`."""
    time, height, width = _checked_grid(grid, ratio)
    num_tokens = time * height * width
    return _hide_first(batch_size, num_tokens, int(ratio * num_tokens), generator, device)


def running_cell_mask(
    batch_size: int,
    grid: Sequence[int] | TubeletGrid,
    ratio: float = 0.5,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Bool[Tensor, "B N"]:
    """VideoMAE V2's decoder mask (Wang et al. 2023, §3.2): 2×2 cells whose pattern runs on with every time step.

    A cell hides its first 4·ratio places in reading order; each time step rotates it left by one place, and each clip
    starts at a random rotation. True = the decoder does not rebuild this token.

    Args:
        batch_size: B, clips.
        grid: (time, height, width) in tokens; height and width even, so that cells tile it.
        ratio: share that is not rebuilt: 0, 0.25, 0.5 or 0.75.
        generator: source of randomness, on any device; None uses torch's global one.
        device: where the mask is returned; None means the generator's device.

    Returns:
        (B, time · height · width) bool; every row and every time step leaves out the same number.

    Raises:
        ConfigError: for a ratio that is no quarter, or a grid that 2×2 cells do not tile.
    """
    time, height, width = _checked_grid(grid, ratio)
    if height % 2 or width % 2:
        raise ConfigError(
            f"a token grid of {height}×{width}",
            expected="an even number of token rows and columns for running-cell masks",
            hint="choose an image size that is a multiple of twice the patch size, or turn the decoder mask off",
        )
    if ratio * 4 != int(ratio * 4):
        raise ConfigError(
            f"a decoder mask ratio of {ratio}",
            expected="0, 0.25, 0.5 or 0.75, because a cell has four places",
            hint="the published recipe uses 0.5",
        )
    source = _draw_device(generator, device)
    start = torch.randint(4, (batch_size, 1, 1, 1), generator=generator, device=source)
    steps = torch.arange(time, device=source).view(1, time, 1, 1)
    rows = torch.arange(height, device=source).view(1, 1, height, 1)
    columns = torch.arange(width, device=source).view(1, 1, 1, width)
    place = (rows % 2) * 2 + columns % 2  # reading order inside a cell
    # Rotating left by s places brings the pattern's entry (place + s) mod 4 to this place.
    mask = (place + start + steps) % 4 < int(ratio * 4)
    return mask.flatten(1).to(device or source)


def _hide_first(
    batch_size: int,
    num_places: int,
    num_hidden: int,
    generator: torch.Generator | None,
    device: torch.device | str | None,
) -> Tensor:
    """Hide `num_hidden` random places of each row: those with the smallest of independent random numbers."""
    source = _draw_device(generator, device)
    noise = torch.rand(batch_size, num_places, generator=generator, device=source)
    rank = noise.argsort(dim=1).argsort(dim=1)
    return (rank < num_hidden).to(device or source)


def _draw_device(generator: torch.Generator | None, device: torch.device | str | None) -> torch.device:
    """Numbers must be drawn where their generator lives."""
    return generator.device if generator is not None else torch.device(device or "cpu")


def _checked_grid(grid: Sequence[int] | TubeletGrid, ratio: float) -> tuple[int, int, int]:
    try:
        time, height, width = (operator.index(size) for size in (grid.shape if isinstance(grid, TubeletGrid) else grid))
    except (TypeError, ValueError):
        time = height = width = 0
    if min(time, height, width) < 1:
        raise ConfigError(
            f"grid={grid}",
            expected="three positive whole numbers (time, height, width) in tokens",
            hint="for 16 frames of 224 pixels with 2×16×16 tubelets it is (8, 14, 14)",
        )
    if not 0 <= ratio < 1:
        raise ConfigError(
            f"a mask ratio of {ratio}", expected="a share from 0 to below 1", hint="the published recipe hides 0.9"
        )
    return time, height, width


# The kinds of mask that pre-training and `reconstruct` offer by name.
MASKS: dict[MaskName, Callable[..., Tensor]] = {"tube": tube_mask, "random": random_mask}
