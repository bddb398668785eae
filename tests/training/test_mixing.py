"""Mixup and CutMix: what is drawn, what becomes of clips and targets, and that both tell of the same mixture."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from videomae.core.errors import ConfigError
from videomae.processing.transforms import CropBox
from videomae.training.mixing import Mix, Mixing, mix_clips_, soft_targets


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clips(*values: float) -> Tensor:
    """Clips (B, 2, 3, 4, 6) that hold one value each."""
    return torch.tensor(values)[:, None, None, None, None].expand(-1, 2, 3, 4, 6).clone()


def test_mixup_by_hand() -> None:
    batch = clips(0.0, 1.0, 2.0, 10.0)
    assert mix_clips_(batch, Mix(0.75)) is batch
    torch.testing.assert_close(batch, clips(2.5, 1.25, 1.75, 7.5))


def test_cutmix_by_hand() -> None:
    batch = clips(0.0, 1.0, 2.0)
    mix_clips_(batch, Mix(0.75, CropBox(1, 2, 3, 2)))
    expected = clips(0.0, 1.0, 2.0)
    expected[0, :, :, 1:4, 2:4] = 2
    expected[2, :, :, 1:4, 2:4] = 0
    assert batch.equal(expected)


def test_targets_by_hand() -> None:
    labels = torch.tensor([0, 1, 3])
    expected = torch.tensor([[0.75, 0, 0, 0.25], [0, 1, 0, 0], [0.25, 0, 0, 0.75]])
    torch.testing.assert_close(soft_targets(labels, 4, mix=Mix(0.75)), expected)
    smoothed = soft_targets(labels, 4, mix=Mix(0.75), label_smoothing=0.2)
    torch.testing.assert_close(smoothed, expected * 0.8 + 0.05)
    torch.testing.assert_close(smoothed.sum(1), torch.ones(3))


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_without_mixing_the_loss_is_that_of_the_labels(label_smoothing: float) -> None:
    logits, labels = torch.randn(5, 7, generator=generator()), torch.tensor([0, 6, 3, 3, 2])
    targets = soft_targets(labels, 7, mix=Mix(1.0), label_smoothing=label_smoothing)
    torch.testing.assert_close(
        F.cross_entropy(logits, targets), F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    )


def test_the_loss_of_a_mixture_is_the_mixture_of_losses() -> None:
    logits, labels = torch.randn(5, 7, generator=generator()), torch.tensor([0, 6, 3, 3, 2])
    own, partners = F.cross_entropy(logits, labels), F.cross_entropy(logits, labels.flip(0))
    found = F.cross_entropy(logits, soft_targets(labels, 7, mix=Mix(0.3)))
    torch.testing.assert_close(found, 0.3 * own + 0.7 * partners)


@pytest.mark.parametrize("mixing", [Mixing(cutmix=0), Mixing(mixup=0)])
@pytest.mark.parametrize("batch_size", [2, 5])
def test_clips_and_targets_tell_of_the_same_mixture(mixing: Mixing, batch_size: int) -> None:
    """A clip's mean value says how much of it is its partner's; so does its target."""
    for seed in range(20):
        mix = mixing.draw(4, 6, generator(seed))
        numbers = torch.arange(batch_size)
        mixed = mix_clips_(clips(*map(float, numbers)), mix)
        targets = soft_targets(numbers, batch_size, mix=mix)
        torch.testing.assert_close(mixed.mean(dim=(1, 2, 3, 4)), targets @ numbers.float())


def test_views_of_a_clip_are_mixed_with_those_of_another() -> None:
    """Views follow each other in the batch: the partner of a view is another clip's view."""
    labels = torch.tensor([0, 1, 2, 3]).repeat_interleave(2)
    targets = soft_targets(labels, 4, mix=Mix(0.5))
    assert (targets > 0).sum(1).tolist() == [2] * 8


def test_a_single_clip_is_not_mixed() -> None:
    batch, mix = clips(3.0), Mix(0.5, CropBox(0, 0, 2, 6))
    assert mix_clips_(batch.clone(), mix).equal(batch)
    assert mix_clips_(batch.clone(), Mix(0.5)).equal(batch)
    assert soft_targets(torch.tensor([1]), 3, mix=mix).tolist() == [[0, 1, 0]]


def test_what_is_drawn_how_often() -> None:
    draws = generator()
    mixes = [Mixing().draw(224, 160, draws) for _ in range(4000)]
    cut = [mix for mix in mixes if mix.box is not None]
    assert len(cut) / len(mixes) == pytest.approx(0.5, abs=0.03)
    for mix in cut:
        assert mix.box is not None
        assert mix.share == pytest.approx(1 - mix.box.height * mix.box.width / (224 * 160))
        assert mix.box.top + mix.box.height <= 224
        assert mix.box.left + mix.box.width <= 160
    shares = torch.tensor([mix.share for mix in mixes if mix.box is None])
    assert shares.mean().item() == pytest.approx(0.5, abs=0.02)
    assert shares.var().item() == pytest.approx(1 / (4 * (2 * 0.8 + 1)), rel=0.05)  # of Beta(0.8, 0.8)
    # The sides of CutMix's boxes are as those of the frame, where the border does not cut them off.
    inner = [mix.box for mix in cut if mix.box and 0 < mix.box.top < 224 - mix.box.height]
    inner = [box for box in inner if 0 < box.left < 160 - box.width and box.width > 20]
    assert all(abs(box.height / box.width - 224 / 160) < 0.15 for box in inner)


def test_only_one_kind_and_none() -> None:
    draws = generator()
    assert all(Mixing(cutmix=0).draw(32, 32, draws).box is None for _ in range(50))
    cut = [Mixing(mixup=0).draw(32, 32, draws) for _ in range(50)]
    assert all((mix.box is None) == (mix.share == 1) for mix in cut)
    assert Mixing(mixup=0, cutmix=0).draw(32, 32, draws) == Mix(1.0)


def test_a_function_of_the_generator() -> None:
    assert Mixing().draw(32, 32, generator(1)) == Mixing().draw(32, 32, generator(1))
    assert len({Mixing().draw(32, 32, generator(seed)) for seed in range(20)}) == 20


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"mixup": -0.1}, "mixup=-0.1"),
        ({"cutmix": float("nan")}, "cutmix=nan"),
        ({"cutmix_probability": 1.1}, "cutmix_probability=1.1"),
    ],
)
def test_numbers_out_of_range(options: dict[str, float], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Mixing(**options)
