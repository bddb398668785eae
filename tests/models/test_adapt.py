"""Checkpoints for clips of another length, size, tubelet or number of channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from videomae.core.errors import ConfigError
from videomae.core.masks import random_mask
from videomae.core.tubelets import grid_positions, position_table
from videomae.models.adapt import adapt_weights, adapted_config, channel_means, describe_adaptation
from videomae.models.config import VideoMAEConfig
from videomae.models.modeling import VideoMAEForPreTraining, VideoMAEForVideoClassification

TINY: dict[str, Any] = {
    "image_size": 16,
    "patch_size": 4,
    "num_frames": 8,
    "tubelet_size": 2,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "decoder_hidden_size": 12,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 3,
    "decoder_intermediate_size": 24,
}


def model_of(kind: type = VideoMAEForVideoClassification, **changes: Any) -> Any:
    torch.manual_seed(0)
    model = kind(VideoMAEConfig(**{**TINY, **changes})).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def adapted(model: Any, **overrides: Any) -> Any:
    """The model for other clips, by the functions under test."""
    stored = model.config
    config = adapted_config(stored, overrides)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    adapt_weights(state, stored, config)
    other, info = type(model).from_state(config, state, source="a test")
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    return other


def clips(num_frames: int = 8, num_channels: int = 3, size: tuple[int, int] = (16, 16)) -> Tensor:
    return torch.randn(2, num_frames, num_channels, *size, generator=torch.Generator().manual_seed(1))


# --- positions --------------------------------------------------------------------------------------------------------


def interpolated(table: np.ndarray, size: int, axis: int) -> np.ndarray:
    """One axis of a table interpolated linearly, written out: new point i lies at (i + 1/2) · old / new − 1/2."""
    old = table.shape[axis]
    places = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, old - 1)
    low = np.floor(places).astype(int)
    high = np.minimum(low + 1, old - 1)
    shape = [1] * table.ndim
    shape[axis] = size
    share = (places - low).reshape(shape)
    return table.take(low, axis) * (1 - share) + table.take(high, axis) * share


@pytest.mark.parametrize(
    ("trained", "shape"),
    [((4, 4, 4), (8, 4, 4)), ((4, 4, 4), (4, 8, 6)), ((8, 14, 14), (4, 10, 16)), ((2, 3, 5), (1, 1, 1))],
)
def test_positions_are_interpolated_along_each_axis(trained: tuple[int, int, int], shape: tuple[int, int, int]) -> None:
    table = position_table(trained[0] * trained[1] * trained[2], 16).double().numpy().reshape(*trained, 16)
    for axis, size in enumerate(shape):
        table = interpolated(table, size, axis)

    found = grid_positions(shape, 16, trained)
    assert found.shape == (1, shape[0] * shape[1] * shape[2], 16)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found[0].numpy(), table.reshape(-1, 16), rtol=0, atol=2e-7)


def test_positions_of_the_same_grid_are_the_table_itself() -> None:
    assert grid_positions((4, 4, 4), 16) is position_table(64, 16)
    assert grid_positions((4, 4, 4), 16, (4, 4, 4)) is position_table(64, 16)


@pytest.mark.parametrize(
    ("overrides", "grid"),
    [
        ({}, None),
        ({"num_frames": 8, "image_size": [16, 16]}, None),
        ({"num_frames": 4}, None),  # the first time steps of the same table
        ({"num_frames": 16}, (4, 4, 4)),
        ({"num_frames": 4, "image_size": (16, 24)}, (2, 4, 4)),
        ({"image_size": 32}, (4, 4, 4)),
        ({"image_size": 8, "position_grid": None}, None),
        ({"image_size": 8, "position_grid": [4, 2, 4]}, (4, 2, 4)),
        ({"tubelet_size": 1}, (4, 4, 4)),
        ({"tubelet_size": 1, "num_frames": 4}, None),
        ({"num_channels": 1}, None),
    ],
)
def test_which_grid_the_positions_come_from(overrides: dict[str, Any], grid: tuple[int, int, int] | None) -> None:
    assert adapted_config(VideoMAEConfig(**TINY), overrides).position_grid == grid


def test_adapted_twice_positions_still_come_from_training() -> None:
    once = adapted_config(VideoMAEConfig(**TINY), {"image_size": 32})
    twice = adapted_config(VideoMAEConfig.from_dict(once.to_dict()), {"image_size": 24})
    back = adapted_config(twice, {"image_size": 16})

    assert twice.position_grid == (4, 4, 4)
    assert back.position_grid is None


def test_a_shorter_clip_of_a_static_size_is_the_beginning_of_a_longer_one() -> None:
    model = model_of()
    shorter = adapted(model, num_frames=4)
    table, shorter_table = (m.videomae.embeddings.position_embeddings for m in (model, shorter))

    assert torch.equal(shorter_table, table[:, : shorter.config.grid.num_tokens])


def test_an_unchanged_clip_changes_nothing() -> None:
    model = model_of()
    same = adapted(model, num_frames=8, image_size=16)

    assert torch.equal(same(clips()).logits, model(clips()).logits)


@pytest.mark.parametrize("size", [(16, 24), (8, 16), (20, 12)])
def test_sizes_that_are_no_squares(size: tuple[int, int]) -> None:
    model = adapted(model_of(VideoMAEForPreTraining), image_size=size)
    hidden = random_mask(2, model.config.grid.shape, 0.5, generator=torch.Generator().manual_seed(0))

    output = model(clips(size=size), hidden)

    assert output.loss.isfinite()
    assert model.decoder.head.out_features == output.logits.shape[-1] == 2 * 4 * 4 * 3


# --- tubelets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tubelet", "num_frames"), [(1, 4), (4, 16), (3, 12)])
def test_a_static_clip_is_given_the_same_tokens_whatever_the_tubelet(tubelet: int, num_frames: int) -> None:
    """Of four tubelets, each shows one picture for as long as it lasts."""
    model = model_of()
    other = adapted(model, tubelet_size=tubelet, num_frames=num_frames)
    pictures = clips(4)

    before = model.videomae.embeddings(pictures.repeat_interleave(2, dim=1))
    after = other.videomae.embeddings(pictures.repeat_interleave(tubelet, dim=1))

    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)


def test_twice_as_many_frames_at_twice_the_rate_are_given_the_same_tokens() -> None:
    model = model_of()
    other = adapted(model, tubelet_size=4, num_frames=16)

    before = model.videomae.embeddings(clips())
    after = other.videomae.embeddings(clips().repeat_interleave(2, dim=1))

    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("tubelet", "num_frames"), [(4, 16), (1, 4)])
def test_the_decoder_rebuilds_the_same_pictures_for_another_tubelet(tubelet: int, num_frames: int) -> None:
    model = model_of(VideoMAEForPreTraining, norm_pix_loss=False)
    other = adapted(model, tubelet_size=tubelet, num_frames=num_frames)
    hidden = random_mask(2, (4, 4, 4), 0.5, generator=torch.Generator().manual_seed(0))
    still = clips(4)

    before = model(still.repeat_interleave(2, dim=1), hidden).logits.unflatten(-1, (2, 4, 4, 3))
    after = other(still.repeat_interleave(tubelet, dim=1), hidden).logits.unflatten(-1, (tubelet, 4, 4, 3))

    expected = before.repeat_interleave(2, dim=2) if tubelet == 4 else before.mean(dim=2, keepdim=True)
    torch.testing.assert_close(after, expected, rtol=0, atol=1e-5)


def test_there_and_back_gives_the_tubelets_again() -> None:
    model = model_of(VideoMAEForPreTraining)
    back = adapted(adapted(model, tubelet_size=4, num_frames=16), tubelet_size=2, num_frames=8)

    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(back.state_dict()[name], tensor, rtol=0, atol=1e-6, msg=name)
    assert back.config.position_grid is None


# --- channels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_channels", [1, 2, 4, 12])
def test_a_gray_clip_is_given_the_same_tokens_whatever_the_number_of_channels(num_channels: int) -> None:
    model = model_of()
    gray = clips(num_channels=1)

    before = model(gray.expand(-1, -1, 3, -1, -1)).logits
    after = adapted(model, num_channels=num_channels)(gray.expand(-1, -1, num_channels, -1, -1)).logits

    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)


def test_colors_that_are_repeated_are_given_the_same_tokens() -> None:
    model = model_of()
    before = model(clips()).logits
    after = adapted(model, num_channels=12)(clips().repeat(1, 1, 4, 1, 1)).logits

    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("num_channels", "sources"), [(4, [0, 1, 2, 0]), (12, [0, 1, 2] * 4)])
def test_the_decoder_rebuilds_repeated_colors(num_channels: int, sources: list[int]) -> None:
    model = model_of(VideoMAEForPreTraining, norm_pix_loss=False)
    other = adapted(model, num_channels=num_channels)
    hidden = random_mask(2, (4, 4, 4), 0.5, generator=torch.Generator().manual_seed(0))

    before = model(clips(), hidden).logits.unflatten(-1, (-1, 3))
    after = other(clips()[:, :, sources], hidden).logits.unflatten(-1, (-1, num_channels))

    torch.testing.assert_close(after, before[..., sources], rtol=0, atol=1e-5)


def test_statistics_follow_the_channels() -> None:
    stored = VideoMAEConfig(**TINY, image_mean=(0.2, 0.4, 0.9), image_std=(0.1, 0.2, 0.3))

    assert adapted_config(stored, {"num_channels": 4}).image_mean == pytest.approx((0.2, 0.4, 0.9, 0.2))
    assert adapted_config(stored, {"num_channels": 1}).image_std == pytest.approx((0.2,))
    assert adapted_config(stored, {}).image_mean == (0.2, 0.4, 0.9)
    assert adapted_config(VideoMAEConfig(**TINY), {"num_channels": 4}).image_mean == (0.485, 0.456, 0.406, 0.485)
    assert adapted_config(VideoMAEConfig(**{**TINY, "num_channels": 2}), {"num_channels": 4}).pixel_statistics is None
    explicit = adapted_config(stored, {"num_channels": 2, "image_mean": [0.1, 0.2], "image_std": [0.3, 0.4]})
    assert explicit.pixel_statistics == ((0.1, 0.2), (0.3, 0.4))
    assert channel_means((1.0, 2.0, 6.0), 2) == pytest.approx((3.0, 3.0))


@pytest.mark.parametrize("num_channels", [1, 2, 4, 12])
@pytest.mark.parametrize("norm_pix_loss", [True, False])
def test_targets_undo_the_statistics_of_each_channel(num_channels: int, norm_pix_loss: bool) -> None:
    """The loss that loops compute from 0–1 pixels."""
    mean = tuple(0.1 + 0.05 * channel for channel in range(num_channels))
    std = tuple(0.2 + 0.02 * channel for channel in range(num_channels))
    model = model_of(
        VideoMAEForPreTraining,
        num_channels=num_channels,
        image_mean=mean,
        image_std=std,
        norm_pix_loss=norm_pix_loss,
    )
    pixels = torch.rand(1, 8, num_channels, 16, 16, generator=torch.Generator().manual_seed(4))
    shape = (num_channels, 1, 1)
    pixel_values = (pixels - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)
    hidden = torch.ones(1, 64, dtype=torch.bool)
    hidden[0, 7] = False

    output = model(pixel_values, hidden)

    total = 0.0
    for row, token in enumerate(index for index in range(64) if index != 7):
        time, place = divmod(token, 16)
        down, across = divmod(place, 4)
        box = pixels[0, 2 * time : 2 * time + 2, :, 4 * down : 4 * down + 4, 4 * across : 4 * across + 4]
        target = box.permute(0, 2, 3, 1).reshape(-1, num_channels)
        if norm_pix_loss:
            target = (target - target.mean(dim=0)) / (target.var(dim=0, unbiased=True).sqrt() + 1e-6)
        total += float((output.logits[0, row].detach() - target.flatten()).square().mean())
    assert float(output.loss.detach()) == pytest.approx(total / 63, rel=1e-4)


def test_three_channels_have_imagenet_statistics_unless_others_are_given() -> None:
    plain, explicit = (
        model_of(VideoMAEForPreTraining, norm_pix_loss=False, **statistics)
        for statistics in ({}, {"image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225)})
    )
    hidden = random_mask(2, (4, 4, 4), 0.5, generator=torch.Generator().manual_seed(0))

    assert torch.equal(plain(clips(), hidden).loss, explicit(clips(), hidden).loss)


# --- what is said -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        ({}, ""),
        ({"num_frames": 4}, "8 → 4 frames; positions 4×4×4 → 2×4×4"),
        ({"num_frames": 16}, "8 → 16 frames; positions 4×4×4 → 8×4×4, interpolated"),
        ({"image_size": (16, 24)}, "16×16 → 16×24 px; positions 4×4×4 → 4×4×6, interpolated"),
        ({"num_channels": 1}, "3 → 1 channels"),
        ({"tubelet_size": 1}, "tubelets of 2 → 1 frames; positions 4×4×4 → 8×4×4, interpolated"),
    ],
)
def test_what_was_adapted_is_one_line(overrides: dict[str, Any], text: str) -> None:
    stored = VideoMAEConfig(**TINY)

    assert describe_adaptation(stored, adapted_config(stored, overrides)) == text


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"num_frames": 7}, "num_frames=7 with tubelet_size=2"),
        ({"image_size": 18}, "image_size=18 with patch_size=4"),
        ({"num_frams": 4}, "did you mean num_frames"),
        ({"position_grid": (4, 4)}, r"position_grid=\(4, 4\): expected \(time, height, width\)"),
        ({"position_grid": (4, 0, 4)}, "position_grid"),
        ({"position_grid": 4}, "position_grid=4"),
        ({"position_grid": (10**4, 10**4, 10**4)}, "position_grid"),
        ({"image_mean": [0.5, 0.5, 0.5]}, "image_std=None of 3 channels"),
        ({"image_mean": [0.5], "image_std": [0.5]}, r"image_mean=\(0.5,\) of 3 channels"),
        ({"image_mean": [0.5] * 3, "image_std": [0.5, 0.5, 0]}, "image_std=.*above 0"),
        ({"image_mean": ["a"] * 3, "image_std": [0.5] * 3}, "image_mean"),
        ({"image_mean": 0.5, "image_std": 0.5}, "image_mean=0.5 of 3 channels"),
    ],
)
def test_what_cannot_be_adapted(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        adapted_config(VideoMAEConfig(**TINY), overrides)
    assert "\n" not in str(caught.value)
