"""Masks: how many, where, how evenly, and from which generator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from videomae.core.errors import ConfigError
from videomae.core.masks import random_mask, running_cell_mask, tube_mask

MASKS: dict[str, Callable[..., torch.Tensor]] = {
    "tube": tube_mask,
    "random": random_mask,
    "running cell": running_cell_mask,
}
PUBLISHED_GRID = (8, 14, 14)


@pytest.fixture(params=MASKS.values(), ids=MASKS.keys())
def draw(request: pytest.FixtureRequest) -> Callable[..., torch.Tensor]:
    return request.param


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_published_tube_mask_shows_160_tokens() -> None:
    mask = tube_mask(4, PUBLISHED_GRID, 0.9, generator=seeded())

    assert mask.shape == (4, 1568)
    assert mask.dtype == torch.bool
    assert (~mask).sum(dim=1).tolist() == [160] * 4


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.25, 0.5, 0.6, 0.75, 0.9, 0.95, 0.999])
@pytest.mark.parametrize("grid", [(8, 14, 14), (1, 3, 5), (4, 1, 7)])
def test_tube_hides_the_same_places_and_numbers_at_every_time(grid: tuple[int, int, int], ratio: float) -> None:
    time, height, width = grid
    steps = tube_mask(5, grid, ratio, generator=seeded(1)).view(5, time, height * width)

    assert (steps.sum(dim=2) == int(ratio * height * width)).all()
    assert (steps == steps[:, :1]).all()


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 0.75, 0.9])
def test_random_hides_the_same_number_in_every_row(ratio: float) -> None:
    mask = random_mask(6, (3, 5, 7), ratio, generator=seeded(2))

    assert mask.sum(dim=1).tolist() == [int(ratio * 105)] * 6


def test_random_differs_over_time_and_tube_over_clips() -> None:
    random = random_mask(1, PUBLISHED_GRID, 0.9, generator=seeded(3)).view(8, 196)
    tube = tube_mask(8, PUBLISHED_GRID, 0.9, generator=seeded(3))

    assert len({tuple(step.tolist()) for step in random}) == 8
    assert len({tuple(row.tolist()) for row in tube}) == 8


@pytest.mark.parametrize(("mask", "grid"), [(tube_mask, (2, 4, 4)), (random_mask, (2, 2, 4))])
def test_every_place_is_hidden_equally_often(mask: Callable[..., torch.Tensor], grid: tuple[int, int, int]) -> None:
    draws, ratio = 8000, 0.75
    counts = mask(draws, grid, ratio, generator=seeded(4))[:, :16].sum(dim=0).double()

    # Each place is a binomial; 16 places of which 12 are hidden leave 15 degrees of freedom. 37.7 is exceeded by
    # chance once in a thousand times, and the seed is fixed.
    variance = draws * ratio * (1 - ratio) * 16 / 15
    assert ((counts - draws * ratio) ** 2 / variance).sum().item() < 37.7


def test_pairs_of_places_are_hidden_independently() -> None:
    mask = tube_mask(8000, (1, 4, 4), 0.5, generator=seeded(5)).double()

    both = (mask.T @ mask / 8000)[~torch.eye(16, dtype=torch.bool)]

    # 8 of 16: two given places are both hidden with probability 8/16 · 7/15; 5 σ over 240 pairs.
    assert both.sub(8 / 16 * 7 / 15).abs().max().item() < 5 * (0.2333 * 0.7667 / 8000) ** 0.5


def test_running_cells_by_hand() -> None:
    # Cells in reading order [top left, top right, bottom left, bottom right]; H hidden, - kept. Start s at time t is
    # [H, H, -, -] rotated left by s + t places.
    rotations = ["HH--", "H--H", "--HH", "-HH-"]
    masks = running_cell_mask(64, (4, 2, 2), 0.5, generator=seeded(6)).view(64, 4, 4)

    seen = {tuple("".join("H" if hidden else "-" for hidden in step) for step in clip) for clip in masks.tolist()}

    assert seen == {tuple(rotations[(start + step) % 4] for step in range(4)) for start in range(4)}


def test_running_cells_repeat_over_the_frame_and_after_four_steps() -> None:
    masks = running_cell_mask(8, (9, 6, 10), 0.5, generator=seeded(7)).view(8, 9, 6, 10)

    cells = masks.view(8, 9, 3, 2, 5, 2)
    assert (cells == cells[:, :, :1, :, :1]).all()
    assert (masks[:, 4:] == masks[:, :-4]).all()


@pytest.mark.parametrize("ratio", [0.0, 0.25, 0.5, 0.75])
def test_running_cells_leave_out_their_share_of_every_step(ratio: float) -> None:
    masks = running_cell_mask(4, PUBLISHED_GRID, ratio, generator=seeded(8)).view(4, 8, 196)

    assert (masks.sum(dim=2) == int(ratio * 196)).all()


def test_running_cells_keep_every_place_half_of_the_time() -> None:
    masks = running_cell_mask(3, (8, 4, 4), 0.5, generator=seeded(9)).view(3, 8, 16)

    assert (masks.sum(dim=1) == 4).all()


def test_running_cells_start_evenly() -> None:
    masks = running_cell_mask(4000, (1, 2, 2), 0.5, generator=seeded(10))
    starts = masks.double() @ torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=torch.float64)

    counts = torch.stack([(starts == code).sum() for code in (3, 9, 12, 6)]).double()

    assert counts.sum() == 4000
    assert ((counts - 1000) ** 2 / 1000).sum().item() < 16.3  # χ², 3 degrees of freedom, one in a thousand


def test_a_mask_follows_from_its_generator(draw: Callable[..., torch.Tensor]) -> None:
    first, again = (draw(32, (4, 6, 6), 0.5, generator=seeded(11)) for _ in range(2))
    other = draw(32, (4, 6, 6), 0.5, generator=seeded(12))
    going_on = seeded(11)

    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(draw(32, (4, 6, 6), 0.5, generator=going_on), draw(32, (4, 6, 6), 0.5, generator=going_on))


def test_a_generator_leaves_the_global_stream_alone(draw: Callable[..., torch.Tensor]) -> None:
    before = torch.get_rng_state()

    draw(2, (4, 6, 6), 0.5, generator=seeded(13))

    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_generator_the_global_stream_decides(draw: Callable[..., torch.Tensor]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(14)
        first = draw(32, (4, 6, 6), 0.5)
        torch.manual_seed(14)
        again = draw(32, (4, 6, 6), 0.5)

    assert torch.equal(first, again)


def test_a_generator_on_the_cpu_serves_any_device(draw: Callable[..., torch.Tensor]) -> None:
    here = draw(2, (4, 6, 6), 0.5, generator=seeded(15), device="cpu")
    by_object = draw(2, (4, 6, 6), 0.5, generator=seeded(15), device=torch.device("cpu"))
    elsewhere = draw(2, (4, 6, 6), 0.5, generator=seeded(15), device="meta")

    assert here.device.type == "cpu"
    assert torch.equal(here, by_object)
    assert elsewhere.device.type == "meta"
    assert elsewhere.shape == (2, 144)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU and TEST_GPU=1")
def test_a_generator_on_either_side_of_a_gpu(draw: Callable[..., torch.Tensor]) -> None:
    there = draw(4, (4, 6, 6), 0.5, generator=seeded(16), device="cuda")
    on_gpu = torch.Generator("cuda").manual_seed(0)

    assert there.device.type == "cuda"
    assert torch.equal(there.cpu(), draw(4, (4, 6, 6), 0.5, generator=seeded(16)))
    assert draw(4, (4, 6, 6), 0.5, generator=on_gpu).device.type == "cuda"
    assert draw(4, (4, 6, 6), 0.5, generator=on_gpu, device="cpu").device.type == "cpu"


@pytest.mark.parametrize("ratio", [1.0, 1.5, -0.1, float("nan"), float("inf")])
def test_bad_ratios(draw: Callable[..., torch.Tensor], ratio: float) -> None:
    with pytest.raises(ConfigError, match=r"a mask ratio of .*: expected a share from 0 to below 1; ") as caught:
        draw(2, (4, 6, 6), ratio)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("grid", [(0, 6, 6), (4, -2, 6), (6, 6), (1, 2, 3, 4), ()])
def test_bad_grids(draw: Callable[..., torch.Tensor], grid: Any) -> None:
    with pytest.raises(ConfigError, match=r"grid=.*three positive whole numbers \(time, height, width\)"):
        draw(2, grid, 0.5)


@pytest.mark.parametrize("grid", [(8, 7, 14), (8, 14, 7), (1, 1, 1)])
def test_cells_must_tile_the_grid(grid: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError, match="expected an even number of token rows and columns"):
        running_cell_mask(2, grid, 0.5)


@pytest.mark.parametrize("ratio", [0.3, 0.6, 0.9])
def test_cells_have_four_places(ratio: float) -> None:
    with pytest.raises(ConfigError, match=r"expected 0, 0\.25, 0\.5 or 0\.75"):
        running_cell_mask(2, (8, 14, 14), ratio)
