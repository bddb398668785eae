"""The learning rate against tables computed by hand."""

from __future__ import annotations

import pytest

from videomae.training.schedule import Schedule


def test_warm_up_and_cosine_by_hand() -> None:
    schedule = Schedule(total_steps=10, warmup_steps=4, peak=1.0, minimum=0.2, start=0.0)
    # Warm-up rises by a quarter a step; then 0.2 + 0.8 · (1 + cos(π · k / 6)) / 2.
    rates = [0.0, 0.25, 0.5, 0.75, 1.0, 0.9464101615, 0.8, 0.6, 0.4, 0.2535898385]
    assert [schedule.at(step) for step in range(10)] == pytest.approx(rates, abs=1e-9)


def test_the_minimum_is_reached_after_the_last_step_and_kept() -> None:
    schedule = Schedule(total_steps=10, warmup_steps=4, peak=1.0, minimum=0.2)
    assert schedule.at(10) == pytest.approx(0.2)
    assert schedule.at(1000) == pytest.approx(0.2)


def test_the_warm_up_begins_at_start() -> None:
    schedule = Schedule(total_steps=8, warmup_steps=2, peak=1.0, start=0.5)
    assert [schedule.at(step) for step in range(3)] == pytest.approx([0.5, 0.75, 1.0])


def test_without_warm_up_the_first_step_has_the_peak() -> None:
    schedule = Schedule(total_steps=4, warmup_steps=0, peak=2.0)
    assert [schedule.at(step) for step in range(5)] == pytest.approx([2.0, 1.7071067812, 1.0, 0.2928932188, 0.0])


def test_a_run_of_warm_up_alone_divides_by_no_zero() -> None:
    schedule = Schedule(total_steps=3, warmup_steps=3, peak=1.0, minimum=0.1)
    assert schedule.at(2) == pytest.approx(2 / 3)
    assert schedule.at(3) == pytest.approx(1.0)
    assert schedule.at(4) == pytest.approx(0.1)
