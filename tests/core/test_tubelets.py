"""Token order and pixel order against plain loops over single numbers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videomae.core import tubelets
from videomae.core.errors import ShapeError
from videomae.core.grid import TubeletGrid

GRIDS = {
    "all sizes differ": TubeletGrid(
        time=2, height=3, width=4, tubelet_size=2, patch_height=3, patch_width=5, num_channels=3
    ),
    "tubelet 1": TubeletGrid(time=3, height=2, width=2, tubelet_size=1, patch_height=2, patch_width=2, num_channels=3),
    "one channel": TubeletGrid(
        time=1, height=2, width=1, tubelet_size=3, patch_height=2, patch_width=4, num_channels=1
    ),
    "one token": TubeletGrid(time=1, height=1, width=1, tubelet_size=2, patch_height=4, patch_width=4, num_channels=2),
}


@pytest.fixture(params=GRIDS.values(), ids=GRIDS.keys())
def grid(request: pytest.FixtureRequest) -> TubeletGrid:
    return request.param


def numbered_clips(grid: TubeletGrid, batch_size: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
    """Clips in which every value occurs once."""
    shape = (batch_size, *grid.clip_shape)
    return torch.arange(math.prod(shape)).reshape(shape).to(dtype)


def by_loops(clips: Tensor, grid: TubeletGrid, order: str) -> Tensor:
    """Every value fetched on its own: tokens in the order time, row, column, values in `order` ("tyxc" or "ctyx")."""
    ranges = {
        "t": range(grid.tubelet_size),
        "y": range(grid.patch_height),
        "x": range(grid.patch_width),
        "c": range(grid.num_channels),
    }
    rows = []
    for clip in clips:
        tokens = []
        for time in range(grid.time):
            for row in range(grid.height):
                for column in range(grid.width):
                    values = []
                    for a in ranges[order[0]]:
                        for b in ranges[order[1]]:
                            for c in ranges[order[2]]:
                                for d in ranges[order[3]]:
                                    at = dict(zip(order, (a, b, c, d), strict=True))
                                    frame = time * grid.tubelet_size + at["t"]
                                    y, x = row * grid.patch_height + at["y"], column * grid.patch_width + at["x"]
                                    values.append(clip[frame, at["c"], y, x].item())
                    tokens.append(values)
        rows.append(tokens)
    return torch.tensor(rows, dtype=clips.dtype)


def test_targets_are_ordered_t_y_x_c(grid: TubeletGrid) -> None:
    clips = numbered_clips(grid)

    assert torch.equal(tubelets.patchify(clips, grid), by_loops(clips, grid, "tyxc"))


def test_embedding_patches_are_ordered_c_t_y_x(grid: TubeletGrid) -> None:
    clips = numbered_clips(grid)

    assert torch.equal(tubelets.embedding_patches(clips, grid), by_loops(clips, grid, "ctyx"))


def test_the_two_orders_differ() -> None:
    grid = GRIDS["all sizes differ"]
    clips = numbered_clips(grid)

    assert not torch.equal(tubelets.patchify(clips, grid), tubelets.embedding_patches(clips, grid))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16, torch.int64])
def test_unpatchify_is_the_inverse(grid: TubeletGrid, dtype: torch.dtype) -> None:
    clips = torch.randint(0, 256, (2, *grid.clip_shape), generator=torch.Generator().manual_seed(0)).to(dtype)

    there_and_back = tubelets.unpatchify(tubelets.patchify(clips, grid), grid)

    assert there_and_back.dtype == dtype
    assert torch.equal(there_and_back, clips)


def test_non_contiguous_clips(grid: TubeletGrid) -> None:
    clips = numbered_clips(grid)
    channels_last = clips.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    index = torch.zeros(2, 1, dtype=torch.int64)

    assert not channels_last.is_contiguous() or grid.num_channels == 1
    assert torch.equal(tubelets.patchify(channels_last, grid), tubelets.patchify(clips, grid))
    assert torch.equal(
        tubelets.gather_embedding_patches(channels_last, index, grid),
        tubelets.gather_embedding_patches(clips, index, grid),
    )


def test_gathering_equals_selecting_from_all(grid: TubeletGrid) -> None:
    clips = numbered_clips(grid, batch_size=3)
    generator = torch.Generator().manual_seed(1)
    # Another order in every clip, and repeats: an index is no mask.
    index = torch.randint(0, grid.num_tokens, (3, 5), generator=generator)
    rows = torch.arange(3).unsqueeze(1)

    assert torch.equal(tubelets.gather_targets(clips, index, grid), tubelets.patchify(clips, grid)[rows, index])
    assert torch.equal(
        tubelets.gather_embedding_patches(clips, index, grid), tubelets.embedding_patches(clips, grid)[rows, index]
    )


def test_gathering_nothing(grid: TubeletGrid) -> None:
    index = torch.zeros(2, 0, dtype=torch.int64)

    assert tubelets.gather_targets(numbered_clips(grid), index, grid).shape == (2, 0, grid.values_per_tubelet)


def test_normalized_targets_follow_the_formula() -> None:
    grid = GRIDS["all sizes differ"]
    clips = torch.randn(2, *grid.clip_shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    targets = tubelets.patchify(clips, grid)

    normalized = tubelets.normalize_targets(targets, grid.num_channels)

    expected = torch.empty_like(targets)
    for clip in range(targets.shape[0]):
        for token in range(targets.shape[1]):
            for channel in range(grid.num_channels):
                values = targets[clip, token, channel :: grid.num_channels].tolist()
                mean = sum(values) / len(values)
                variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
                for place, value in enumerate(values):
                    expected[clip, token, place * grid.num_channels + channel] = (value - mean) / (
                        math.sqrt(variance) + 1e-6
                    )
    torch.testing.assert_close(normalized, expected, rtol=1e-12, atol=1e-12)


def test_the_epsilon_is_added_after_the_root() -> None:
    # Two pixels 1e-6 apart: deviation 7.07e-7, so the place of the epsilon decides the result.
    targets = torch.tensor([[0.0, 1e-6]], dtype=torch.float64)

    high = tubelets.normalize_targets(targets, 1)[0, 1].item()

    assert high == pytest.approx(0.5e-6 / (math.sqrt(0.5e-12) + 1e-6), rel=1e-9)
    assert high != pytest.approx(0.5e-6 / math.sqrt(0.5e-12 + 1e-6), rel=0.1)


def test_a_flat_patch_stays_finite() -> None:
    targets = torch.full((1, 2, 24), 0.25)

    assert torch.equal(tubelets.normalize_targets(targets, 3), torch.zeros_like(targets))


def test_channels_do_not_mix() -> None:
    targets = torch.randn(4, 24, generator=torch.Generator().manual_seed(3))
    changed = targets.clone()
    changed[:, 0::3] = changed[:, 0::3] * 7 + 5

    before, after = (tubelets.normalize_targets(values, 3) for values in (targets, changed))

    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-5)


def test_denormalizing_restores_the_pixels() -> None:
    targets = torch.rand(2, 3, 24, generator=torch.Generator().manual_seed(4))

    restored = tubelets.denormalize_targets(tubelets.normalize_targets(targets, 3), targets, 3)

    torch.testing.assert_close(restored, targets)


@pytest.mark.parametrize(("num_positions", "width"), [(1568, 384), (10, 6), (7, 5), (1, 2), (3, 1)])
def test_position_table_against_plain_python(num_positions: int, width: int) -> None:
    table = tubelets.position_table(num_positions, width)

    assert table.shape == (1, num_positions, width)
    assert table.dtype == torch.float32
    assert table.device.type == "cpu"
    for position in {0, 1, num_positions // 2, num_positions - 1} & set(range(num_positions)):
        for place in {0, 1, 2, 3, width // 2, width - 2, width - 1} & set(range(width)):
            angle = position / 10000 ** (2 * (place // 2) / width)
            value = math.cos(angle) if place % 2 else math.sin(angle)
            # float32 of a number computed in float64: nothing but the rounding may differ.
            assert table[0, position, place].item() == pytest.approx(value, abs=6e-8)


def test_split_mask_keeps_token_order() -> None:
    mask = torch.tensor([[True, False, True, False, False], [False, False, True, False, True]])

    visible, hidden, *_ = tubelets.split_mask(mask)

    assert visible.tolist() == [[1, 3, 4], [0, 1, 3]]
    assert hidden.tolist() == [[0, 2], [2, 4]]
    assert visible.dtype == hidden.dtype == torch.int64


def test_split_mask_of_a_long_random_mask_keeps_order() -> None:
    noise = torch.rand(16, 1568, generator=torch.Generator().manual_seed(5))
    mask = noise.argsort(dim=1) < 1408

    visible, hidden, *_ = tubelets.split_mask(mask)

    for row in range(16):
        assert visible[row].tolist() == mask[row].logical_not().nonzero()[:, 0].tolist()
        assert hidden[row].tolist() == mask[row].nonzero()[:, 0].tolist()


@pytest.mark.parametrize("value", [True, False])
def test_split_mask_of_one_kind_only(value: bool) -> None:
    visible, hidden, *_ = tubelets.split_mask(torch.full((2, 6), value))

    assert (visible.shape[1], hidden.shape[1]) == ((0, 6) if value else (6, 0))


def test_unequal_masks_are_refused_in_one_line() -> None:
    mask = torch.tensor([[True, True, False, False], [True, False, False, False], [True, True, True, False]])

    with pytest.raises(ShapeError, match=r"from 1 to 3 tokens: expected .*same number.*; draw the batch") as caught:
        tubelets.split_mask(mask)
    assert "\n" not in str(caught.value)


def test_unequal_masks_can_be_padded() -> None:
    mask = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]]).bool()

    split = tubelets.split_mask(mask, pad=True)

    assert split.visible_valid is not None
    assert split.hidden_valid is not None
    assert split.visible.shape == split.visible_valid.shape == split.hidden.shape == (5, 4)
    assert ((split.visible >= 0) & (split.visible < 4) & (split.hidden >= 0) & (split.hidden < 4)).all()
    for row, hides in enumerate(mask):
        assert split.visible[row][split.visible_valid[row]].tolist() == (~hides).nonzero()[:, 0].tolist()
        assert split.hidden[row][split.hidden_valid[row]].tolist() == hides.nonzero()[:, 0].tolist()
        assert split.visible_valid[row].tolist() == sorted(split.visible_valid[row].tolist(), reverse=True)
        assert split.hidden_valid[row].tolist() == sorted(split.hidden_valid[row].tolist(), reverse=True)


def test_equal_masks_are_not_padded() -> None:
    mask = torch.tensor([[True, False], [False, True]])

    assert tubelets.split_mask(mask, pad=True)[2:] == (None, None)


def test_take_tokens_of_each_clip_and_of_a_table() -> None:
    tokens = torch.arange(2 * 4 * 3.0).reshape(2, 4, 3)
    index = torch.tensor([[3, 0], [1, 1]])

    taken = tubelets.take_tokens(tokens, index)
    shared = tubelets.take_tokens(tokens[:1], index)

    assert torch.equal(taken, torch.stack([tokens[0, [3, 0]], tokens[1, [1, 1]]]))
    assert torch.equal(shared, torch.stack([tokens[0, [3, 0]], tokens[0, [1, 1]]]))


def test_embedding_by_matrix_product_equals_the_convolution_in_value_and_gradient(grid: TubeletGrid) -> None:
    generator = torch.Generator().manual_seed(6)
    kernel = (grid.tubelet_size, grid.patch_height, grid.patch_width)
    convolution = nn.Conv3d(grid.num_channels, 8, kernel, stride=kernel).double()
    clips = torch.randn(2, *grid.clip_shape, generator=generator, dtype=torch.float64)
    upstream = torch.randn(2, grid.num_tokens, 8, generator=generator, dtype=torch.float64)

    def gradients(tokens: Tensor, source: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad((tokens * upstream).sum(), [source, convolution.weight, convolution.bias])

    ours, theirs = clips.clone().requires_grad_(), clips.clone().requires_grad_()
    product = F.linear(tubelets.embedding_patches(ours, grid), convolution.weight.flatten(1), convolution.bias)
    convolved = convolution(theirs.transpose(1, 2)).flatten(2).transpose(1, 2)

    torch.testing.assert_close(product, convolved)
    for left, right in zip(gradients(product, ours), gradients(convolved, theirs), strict=True):
        torch.testing.assert_close(left, right)


def test_gathered_embedding_has_the_convolutions_gradient() -> None:
    grid = GRIDS["all sizes differ"]
    generator = torch.Generator().manual_seed(7)
    clips = torch.randn(2, *grid.clip_shape, generator=generator, dtype=torch.float64, requires_grad=True)
    index = torch.stack([torch.randperm(grid.num_tokens, generator=generator)[:7] for _ in range(2)])

    (gradient,) = torch.autograd.grad(tubelets.gather_embedding_patches(clips, index, grid).sum(), clips)

    seen = tubelets.patchify(gradient, grid)
    for row in range(2):
        expected = torch.zeros(grid.num_tokens, grid.values_per_tubelet, dtype=torch.float64)
        expected[index[row]] = 1
        assert torch.equal(seen[row], expected)
