"""What a line of metrics.jsonl tells of several steps."""

from __future__ import annotations

import pytest
import torch

from videomae.training.metrics_log import Outcomes


def test_the_mean_loss_counts_clips_and_leaves_out_skipped_steps() -> None:
    outcomes = Outcomes(torch.device("cpu"), capacity=4)
    for step, (loss, skipped, num_clips) in enumerate([(1.0, 0.0, 16), (3.0, 0.0, 1), (float("nan"), 1.0, 16)]):
        outcomes.add(torch.tensor([loss, skipped]), step, [torch.arange(num_clips)], num_clips=num_clips)
    assert outcomes.mean_loss is None  # nothing was read yet
    assert outcomes.read() == [(2, list(range(16)))]
    assert outcomes.mean_loss == pytest.approx((16 * 1.0 + 3.0) / 17)
    later = Outcomes(torch.device("cpu"), capacity=4)
    later.load_state_dict(outcomes.state_dict())
    assert later.mean_loss == outcomes.mean_loss
    outcomes.begin_line()
    assert outcomes.mean_loss is None
