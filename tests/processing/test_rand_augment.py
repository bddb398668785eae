"""RandAugment: its notation, what it draws, and that all frames of a clip get the same."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor

from videomae.core.errors import ConfigError, ShapeError
from videomae.processing import _rand_augment_ops as pixel_ops, rand_augment
from videomae.processing._rand_augment_ops import KINDS, TABLES, WARPS, as_kinds
from videomae.processing.rand_augment import OPERATIONS, Interpolation, RandAugment, _groups, can_augment_on

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
    assert set(OPERATIONS) == (TABLES.keys() | WARPS.keys() | KINDS.keys()) - {"Table", "Warp"}
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
    together = augment.apply(frames[None], [[(name, argument)]])[0]
    assert together.shape == frames.shape
    assert not together.equal(frames) or name == "AutoContrast"
    for index, frame in enumerate(together):
        assert frame.equal(augment.apply(frames[None, index : index + 1], [[(name, argument)]])[0, 0])


def test_operations_follow_each_other_and_leave_the_clip_alone() -> None:
    augment, frames = RandAugment(), clip()[None]
    before = frames.clone()
    both = augment.apply(frames, [[("Invert", 0.0), ("ShearX", 0.2)]])
    assert both.equal(augment.apply(~frames, [[("ShearX", 0.2)]]))
    assert not both.equal(~augment.apply(frames, [[("ShearX", 0.2)]]))  # the fill comes after
    assert frames.equal(before)
    assert augment.apply(frames, [[]]) is frames


SHAPES = [(5, 3, 24, 32), (3, 3, 17, 31), (2, 1, 9, 9), (1, 1, 1, 1), (2, 3, 1, 7), (1, 12, 5, 2)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("as_on_a_gpu", [False, True])
def test_a_batch_is_its_clips(
    shape: tuple[int, ...], interpolation: Interpolation, as_on_a_gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, each operation and mixtures of them, whatever the other clips of the batch get; also by the calls
    that a GPU is given.
    """
    augment = RandAugment(magnitude_std=2, num_ops=6, probability=0.7, interpolation=interpolation)
    drawn = [augment.draw(generator(seed)) for seed in range(12)]
    drawn += [[], *([(name, min(INCREASING_AT_7[name]))] for name in OPERATIONS)]
    assert {name for operations in drawn for name, _ in operations} == set(OPERATIONS)
    clips = torch.randint(0, 256, (len(drawn), *shape), dtype=torch.uint8, generator=generator())
    before = clips.clone()
    for module in (pixel_ops, rand_augment) if as_on_a_gpu else ():
        monkeypatch.setattr(module, "on_cpu", lambda clips: False)
    together = augment.apply(clips, drawn)
    monkeypatch.undo()
    alone = [augment.apply(one[None], [operations])[0] for one, operations in zip(clips, drawn, strict=True)]
    assert together.equal(torch.stack(alone))
    assert clips.equal(before)
    # One operation after the other, in the order drawn.
    for one, operations, found in zip(clips, drawn, together, strict=True):
        for operation in operations:
            one = augment.apply(one[None], [[operation]])[0]
        assert one.equal(found)


def test_clips_that_are_no_contiguous_memory() -> None:
    augment = RandAugment(num_ops=8, probability=1.0)
    frames = torch.randint(0, 256, (3, 4, 20, 30, 3), dtype=torch.uint8, generator=generator()).permute(0, 1, 4, 2, 3)
    drawn = [augment.draw(generator(seed)) for seed in range(3)]
    assert augment.apply(frames, drawn).equal(augment.apply(frames.contiguous(), drawn))


def test_clips_go_through_an_operation_together() -> None:
    """Few groups, each with a clip at most once, and each clip's operations in their order."""
    augment = RandAugment()
    drawn = [augment.draw(generator(seed)) for seed in range(32)]
    queues = [as_kinds(operations, 24, 32) for operations in drawn]
    found: list[list[str]] = [[] for _ in queues]
    groups = list(_groups(queues))
    for kind, rows, parameters in groups:
        assert len(set(rows.tolist())) == len(rows) == len(parameters)
        for row in rows.tolist():
            found[row].append(kind)
    assert found == [[kind for kind, _ in queue] for queue in queues]
    assert len(groups) < 16 < sum(map(len, queues)) / 2
    many = [len(rows) for _, rows, _ in _groups([as_kinds([("Color", 0.5)], 24, 32)] * 50)]
    assert many == [16, 16, 16, 2]


def test_nothing_waits_for_a_device() -> None:
    """No value is read back: on the device "meta" there are none."""
    augment = RandAugment(num_ops=6, probability=1.0)
    drawn = [augment.draw(generator(seed)) for seed in range(12)]
    assert {name for operations in drawn for name, _ in operations} == set(OPERATIONS)
    clips = torch.zeros((12, 4, 3, 24, 32), dtype=torch.uint8, device="meta")
    assert augment.apply(clips, drawn).shape == clips.shape


def test_a_device_without_the_operations() -> None:
    assert can_augment_on(torch.device("cpu"))
    assert not can_augment_on(torch.device("vulkan"))  # torch has no such backend here


@pytest.mark.parametrize("num_channels", [1, 2, 4, 12])
def test_other_channels_than_rgb(num_channels: int) -> None:
    """Each operation does to a channel what it does to one of RGB; those that need gray take the mean."""
    frames = clip()[:, :1].expand(-1, num_channels, -1, -1).contiguous()
    gray = clip()[:, :1].expand(-1, 3, -1, -1).contiguous()
    for name in OPERATIONS:
        found = RandAugment().apply(frames[None], [[(name, 0.3)]])[0]
        expected = RandAugment().apply(gray[None], [[(name, 0.3)]])[0]
        assert found.shape == frames.shape
        assert (found.int() - expected[:, :1].int()).abs().max() <= 1, name


@pytest.mark.parametrize("wrong", [torch.zeros(4, 3, 8, 8), torch.zeros(3, 8, 8).byte(), clip()[:0]])
def test_clips_that_do_not_fit(wrong: Tensor) -> None:
    with pytest.raises(ShapeError, match=r"expected uint8 \(N, T, C, H, W\)"):
        RandAugment()(wrong, generator())
