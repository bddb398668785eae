"""Orders for skewed classes: shares by hand, each clip its turn, a function of seed and epoch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from videomae.core.errors import ConfigError
from videomae.data.order import balanced_order, epoch_order

# 100 clips of class 5, 16 of class 2, 4 of class 9, in no order.
LABELS = np.random.default_rng(0).permutation([5] * 100 + [2] * 16 + [9] * 4)


def counts(order: np.ndarray) -> dict[int, int]:
    return Counter(LABELS[order].tolist())


@pytest.mark.parametrize(
    ("power", "shares"),
    [
        (1.0, {5: 40, 2: 40, 9: 40}),
        (0.5, {5: 75, 2: 30, 9: 15}),  # 10 : 4 : 2 of 120
        (0.25, {5: 31.6228, 2: 8, 9: 2.8284}),  # 100^0.75 : 16^0.75 : 4^0.75, not yet of 120
    ],
)
def test_shares_by_hand(power: float, shares: dict[int, float]) -> None:
    scale = 120 / sum(shares.values())
    totals: Counter[int] = Counter()
    for epoch in range(200):
        order = balanced_order(LABELS, seed=3, epoch=epoch, power=power)
        assert order.dtype == np.int64
        assert len(order) == 120
        found = counts(order)
        for label, share in shares.items():
            assert abs(found[label] - share * scale) < 1
        totals.update(found)
    for label, share in shares.items():
        assert totals[label] / 200 == pytest.approx(share * scale, abs=0.15)


def test_within_a_class_each_clip_has_its_turn() -> None:
    times: Counter[int] = Counter()
    for epoch in range(300):
        order = balanced_order(LABELS, seed=0, epoch=epoch, power=1.0)
        found = Counter(order.tolist())
        for index, label in enumerate(LABELS):
            assert found[index] in {5: (0, 1), 2: (2, 3), 9: (10,)}[int(label)]
        times.update(found)
    for index, label in enumerate(LABELS):
        assert times[index] / 300 == pytest.approx({5: 0.4, 2: 2.5, 9: 10}[int(label)], abs=0.12)


def test_classes_are_mixed() -> None:
    order = balanced_order(LABELS, seed=0, epoch=0, power=1.0)
    halves = [Counter(LABELS[half].tolist()) for half in np.split(order, 2)]
    assert all(number > 8 for half in halves for number in half.values())


def test_power_0_is_the_plain_order() -> None:
    found = balanced_order(LABELS, seed=7, epoch=2, power=0)
    assert np.array_equal(found, epoch_order(120, seed=7, epoch=2))


def test_equal_classes_come_each_clip_once() -> None:
    assert sorted(balanced_order([0, 1, 2] * 7, seed=1, epoch=1, power=1)) == list(range(21))


def test_a_function_of_seed_and_epoch() -> None:
    first = balanced_order(LABELS, seed=1, epoch=4, power=0.5)
    assert np.array_equal(first, balanced_order(LABELS.tolist(), seed=1, epoch=4, power=0.5))
    for seed, epoch in ((1, 5), (2, 4)):
        assert not np.array_equal(first, balanced_order(LABELS, seed=seed, epoch=epoch, power=0.5))


def test_more_classes_than_fit() -> None:
    """One clip of each class: each once; and nothing of nothing."""
    assert sorted(balanced_order(range(50), seed=0, epoch=0, power=1.0)) == list(range(50))
    assert len(balanced_order([], seed=0, epoch=0, power=1.0)) == 0


@pytest.mark.parametrize("power", [-0.1, 1.1, float("nan")])
def test_powers_out_of_range(power: float) -> None:
    with pytest.raises(ConfigError, match=r"power=.*class balance"):
        balanced_order([0, 1], seed=0, epoch=0, power=power)
