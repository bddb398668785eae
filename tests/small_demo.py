"""The demonstration in miniature: the same stages with few clips and one epoch each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from videomae.demo import main_job, report

NUM_UNLABELLED, NUM_TRAIN_PER_CLASS, NUM_VAL_PER_CLASS = 16, 2, 1
SHORT = {"epochs": 1, "warmup_epochs": 0.5, "batch_size": 8, "views": 1, "num_workers": 0, "log_every": 1}
SHORT |= {"precision": "fp32"}


def shrink_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the demonstration take seconds; everything but its size stays."""
    settings = {
        "NUM_UNLABELLED": NUM_UNLABELLED,
        "NUM_TRAIN_PER_CLASS": NUM_TRAIN_PER_CLASS,
        "NUM_VAL_PER_CLASS": NUM_VAL_PER_CLASS,
        **{name: replace(getattr(main_job, name), **SHORT) for name in ("PRETRAIN", "FINETUNE", "FROM_SCRATCH")},
    }
    monkeypatch.setattr(main_job, "estimate_seconds", lambda device: 200.0)
    for name, value in settings.items():
        monkeypatch.setattr(main_job, name, value)
    for name in ("PRETRAIN", "FINETUNE"):
        monkeypatch.setattr(report, name, settings[name])
