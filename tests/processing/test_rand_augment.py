"""RandAugment: its notation, what it draws, and that all frames of a clip get the same."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor

from videomae.core.errors import ConfigError, ShapeError
from videomae.processing._rand_augment_ops import COLOR_OPS, WARPS
from videomae.processing.rand_augment import OPERATIONS, RandAugment

PUBLISHED = "rand-m7-n4-mstd0.5-inc1"
SIGNED = {"Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clip(num_frames: int = 4) -> Tensor:
    return torch.randint(0, 256, (num_frames, 3, 24, 32), dtype=torch.uint8, generator=generator())


def test_the_published_notation_is_the_default() -> None:
    assert RandAugment.parse(PUBLISHED) == RandAugment()
    assert RandAugment() == RandAugment(
        magnitude=7, num_ops=4, magnitude_std=0.5, increasing=True, probability=0.5, interpolation="bicubic"
    )


def test_sections_in_any_order_and_left_out() -> None:
    assert RandAugment.parse("rand") == RandAugment(magnitude=10, num_ops=2, magnitude_std=0, increasing=False)
    assert RandAugment.parse("rand-inc0-p0.7-n3-m2.5", interpolation="bilinear") == RandAugment(
        magnitude=2.5, num_ops=3, magnitude_std=0, increasing=False, probability=0.7, interpolation="bilinear"
    )


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("", "RandAugment ''"),
        ("augmix-m3", "RandAugment 'augmix-m3'"),
        ("rand-m7-w0", "section 'w0'"),
        ("rand-m7-n4-m8", "section 'm8'"),
        ("rand-n2.5", r"section 'n2\.5'"),
        ("rand-m", "section 'm'"),
        ("rand-", "section ''"),
        ("rand-m7 -n4", "section 'm7 '"),
        ("rand-m11", r"magnitude=11\.0"),
        ("rand-n0", "num_ops=0"),
        ("rand-p1.5", r"probability=1\.5"),
    ],
)
def test_notation_that_is_not_understood(spec: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        RandAugment.parse(spec)


def test_numbers_out_of_range() -> None:
    with pytest.raises(ConfigError, match=r"interpolation='cubic'.*bicubic or bilinear"):
        RandAugment(interpolation="cubic")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="magnitude_std=-1"):
        RandAugment(magnitude_std=-1)


def test_every_operation_can_be_done() -> None:
    assert set(OPERATIONS) == COLOR_OPS.keys() | WARPS.keys()
    assert len(OPERATIONS) == 15


# By hand: magnitude 7 of 10 without noise, for sign -1 and +1.
INCREASING_AT_7 = {
    "AutoContrast": {0.0},
    "Equalize": {0.0},
    "Invert": {0.0},
    "Rotate": {-21.0, 21.0},
    "Posterize": {2},
    "Solarize": {77},
    "SolarizeAdd": {77},
    **{key: {0.37, 1.63} for key in ("Color", "Contrast", "Brightness", "Sharpness")},
    **{key: {-0.21, 0.21} for key in ("ShearX", "ShearY")},
    **{key: {-0.315, 0.315} for key in ("TranslateX", "TranslateY")},
}
PLAIN_AT_7 = {
    **INCREASING_AT_7,
    "Solarize": {179},
    **{key: {1.36} for key in ("Color", "Contrast", "Brightness", "Sharpness")},
}


@pytest.mark.parametrize(("increasing", "table"), [(True, INCREASING_AT_7), (False, PLAIN_AT_7)])
def test_arguments_by_hand(increasing: bool, table: dict[str, set[float]]) -> None:
    augment = RandAugment(magnitude_std=0, num_ops=1000, probability=1.0, increasing=increasing)
    found: dict[str, set[float]] = {}
    for name, argument in augment.draw(generator()):
        found.setdefault(name, set()).add(round(argument, 9))
    assert found == table


def test_what_is_drawn_how_often() -> None:
    """Each operation is as likely as any other, with replacement; half of those drawn are applied."""
    augment, draws = RandAugment(), generator()
    drawn = [augment.draw(draws) for _ in range(6000)]
    lengths = Counter(len(operations) for operations in drawn)
    for length, share in enumerate((1, 4, 6, 4, 1)):
        assert lengths[length] / 6000 == pytest.approx(share / 16, abs=0.02)
    counts = Counter(name for operations in drawn for name, _ in operations)
    assert counts.keys() == set(OPERATIONS)
    for count in counts.values():
        assert count / 12000 == pytest.approx(1 / 15, abs=0.01)
    assert any(len({name for name, _ in operations}) < len(operations) for operations in drawn)
    degrees = torch.tensor([value for operations in drawn for name, value in operations if name == "Rotate"])
    assert degrees.mean().abs().item() < 2.5
    assert degrees.abs().mean().item() == pytest.approx(21, abs=0.2)
    assert degrees.abs().std().item() == pytest.approx(1.5, abs=0.15)


def test_magnitudes_stay_in_range() -> None:
    drawn = RandAugment(magnitude_std=20, num_ops=2000, probability=1).draw(generator())
    degrees = {abs(value) for name, value in drawn if name == "Rotate"}
    assert (min(degrees), max(degrees)) == (0, 30)


def test_a_function_of_the_generator() -> None:
    augment = RandAugment(num_ops=8)
    assert augment(clip(), generator(5)).equal(augment(clip(), generator(5)))
    assert len({tuple(augment.draw(generator(seed))) for seed in range(20)}) == 20
    # As many numbers are drawn whatever is applied.
    rest = []
    for probability in (0.0, 1.0):
        draws = generator(5)
        RandAugment(probability=probability).draw(draws)
        rest.append(torch.rand((), generator=draws).item())
    assert rest[0] == rest[1]


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_frame_gets_the_same(name: str) -> None:
    """A clip of equal frames stays one, and each frame becomes what it would become alone."""
    augment = RandAugment(num_ops=1)
    argument = min(INCREASING_AT_7[name])
    frames = clip(9)
    together = augment.apply(frames, [(name, argument)])
    assert together.shape == frames.shape
    assert not together.equal(frames) or name == "AutoContrast"
    for index, frame in enumerate(together):
        assert frame.equal(augment.apply(frames[index : index + 1], [(name, argument)])[0])


def test_operations_follow_each_other_and_leave_the_clip_alone() -> None:
    augment, frames = RandAugment(), clip()
    before = frames.clone()
    both = augment.apply(frames, [("Invert", 0.0), ("ShearX", 0.2)])
    assert both.equal(augment.apply(~frames, [("ShearX", 0.2)]))
    assert not both.equal(~augment.apply(frames, [("ShearX", 0.2)]))  # the fill comes after
    assert frames.equal(before)
    assert augment.apply(frames, []) is frames


@pytest.mark.parametrize("num_channels", [1, 2, 4, 12])
def test_other_channels_than_rgb(num_channels: int) -> None:
    """Each operation does to a channel what it does to one of RGB; those that need gray take the mean."""
    frames = clip()[:, :1].expand(-1, num_channels, -1, -1).contiguous()
    gray = clip()[:, :1].expand(-1, 3, -1, -1).contiguous()
    for name in OPERATIONS:
        found = RandAugment().apply(frames, [(name, 0.3)])
        expected = RandAugment().apply(gray, [(name, 0.3)])
        assert found.shape == frames.shape
        assert (found.int() - expected[:, :1].int()).abs().max() <= 1, name


@pytest.mark.parametrize("wrong", [torch.zeros(4, 3, 8, 8), torch.zeros(3, 8, 8).byte(), clip()[:0]])
def test_clips_that_do_not_fit(wrong: Tensor) -> None:
    with pytest.raises(ShapeError, match=r"expected uint8 \(T, C, H, W\)"):
        RandAugment()(wrong, generator())
