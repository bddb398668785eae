"""Random erasing: which boxes, how often, and what is put into them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from videomae.core.errors import ConfigError, ShapeError
from videomae.processing.erasing import draw_erased_box, erase_randomly_


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_boxes_have_the_published_sizes_and_shapes() -> None:
    draws = generator()
    boxes = [draw_erased_box(224, 160, draws) for _ in range(6000)]
    found = [box for box in boxes if box is not None]
    assert len(found) / len(boxes) == pytest.approx(0.25, abs=0.015)
    shares = torch.tensor([box.height * box.width / (224 * 160) for box in found])
    assert 0.019 < shares.min() < 0.03
    assert 0.3 < shares.max() < 0.335
    # Large boxes of extreme shapes do not fit into the frame and are drawn again: the mean is below (0.02 + 1/3) / 2.
    assert 0.15 < shares.mean() < 0.177
    aspects = torch.tensor([math.log(box.height / box.width) for box in found])
    assert -1.25 < aspects.min() < -1.0
    assert 1.0 < aspects.max() < 1.25
    for box in found:
        assert box.height < 224
        assert box.width < 160
        assert box.top + box.height <= 224
        assert box.left + box.width <= 160
    free = torch.tensor([box.top / (224 - box.height) for box in found])
    assert (free.min(), free.max()) == (0, 1)
    assert free.mean().item() == pytest.approx(0.5, abs=0.03)


def test_a_frame_without_room_for_a_box_stays() -> None:
    assert all(draw_erased_box(1, 8, generator(seed), probability=1) is None for seed in range(20))


def test_as_many_numbers_are_drawn_whatever_comes_of_them() -> None:
    rest = []
    for probability in (0.0, 1.0):
        draws = generator(3)
        draw_erased_box(32, 32, draws, probability=probability)
        rest.append(torch.rand((), generator=draws).item())
    assert rest[0] == rest[1]


def erased(clips: Tensor) -> Tensor:
    """Which values changed, of clips that held the value 9 alone."""
    return clips != 9


def test_noise_in_the_same_box_of_all_frames() -> None:
    clips = torch.full((40, 4, 3, 32, 48), 9.0)
    assert erase_randomly_(clips, generator(), probability=0.5) is clips
    changed = erased(clips)
    assert changed.eq(changed[:, :1, :1]).all()  # in all frames and channels of a clip
    masks = changed[:, 0, 0]
    assert 8 < masks.flatten(1).any(1).sum() < 32
    distinct = {tuple(mask.flatten().tolist()) for mask in masks}
    assert len(distinct) > 8
    for mask in masks:  # a rectangle
        assert mask.equal(mask.any(1, keepdim=True) & mask.any(0, keepdim=True))
    noise = clips[changed]
    assert noise.mean().abs().item() < 0.02
    assert noise.std().item() == pytest.approx(1, abs=0.02)
    rows = clips[masks.flatten(1).any(1)]
    assert not rows[:, 0].equal(rows[:, 1])  # each frame has its own noise


def test_a_function_of_the_generator() -> None:
    def run(seed: int) -> Tensor:
        return erase_randomly_(torch.full((8, 2, 3, 16, 16), 9.0), generator(seed), probability=0.8)

    assert run(1).equal(run(1))
    assert not run(1).equal(run(2))


def test_none_and_all() -> None:
    clips = torch.full((6, 2, 1, 16, 16), 9.0, dtype=torch.bfloat16)
    erase_randomly_(clips, generator(), probability=0)
    assert not erased(clips).any()
    erase_randomly_(clips, generator(), probability=1)
    assert erased(clips).flatten(1).any(1).all()
    assert erase_randomly_(clips[:0], generator()).shape == (0, 2, 1, 16, 16)


def test_what_does_not_fit() -> None:
    with pytest.raises(ShapeError, match="uint8 clips"):
        erase_randomly_(torch.zeros(2, 4, 3, 8, 8, dtype=torch.uint8), generator())
    with pytest.raises(ShapeError, match=r"shape \(4, 3, 8, 8\)"):
        erase_randomly_(torch.zeros(4, 3, 8, 8), generator())
    with pytest.raises(ConfigError, match=r"probability=1\.5"):
        erase_randomly_(torch.zeros(2, 4, 3, 8, 8), generator(), probability=1.5)
