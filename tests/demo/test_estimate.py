"""How long the demonstration will take."""

from __future__ import annotations

import os

import pytest
import torch

from videomae.demo import estimate


# 1800 steps of pre-training and 2 × 120 of fine-tuning, which count double; 1616 clips written, 22,080 read.
@pytest.mark.parametrize(
    ("kind", "seconds"),
    [("cpu", 1616 * 0.01 + 2280 * 0.05 * 1.15 + 22_080 * 0.01 / 2), ("meta", 1616 * 0.01 + 22_080 * 0.01)],
)
def test_steps_and_clips_add_up(monkeypatch: pytest.MonkeyPatch, kind: str, seconds: float) -> None:
    monkeypatch.setattr(estimate, "choose_device", lambda name: torch.device(name))
    monkeypatch.setattr(estimate, "_step_seconds", lambda device: 0.05)
    monkeypatch.setattr(estimate, "_clip_seconds", lambda: 0.01)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert estimate.estimate_seconds(kind) == pytest.approx(seconds)


def test_what_it_rests_on_is_measured() -> None:
    assert 0 < estimate._step_seconds(torch.device("cpu")) < 60
    assert 0 < estimate._clip_seconds() < 60
