"""Signals as a request to stop."""

from __future__ import annotations

import signal

import pytest

from videomae.training import stop_signal
from videomae.training.stop_signal import StopSignal


def test_a_second_signal_acts_at_once() -> None:
    with StopSignal() as stop:
        assert not stop.requested
        signal.raise_signal(signal.SIGINT)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_signal_that_a_launcher_passes_on_too_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setenv("WORLD_SIZE", "2")
    clock = 100.0
    monkeypatch.setattr(stop_signal.time, "monotonic", lambda: clock)
    with StopSignal() as stop:
        signal.raise_signal(signal.SIGINT)
        clock += 4
        signal.raise_signal(signal.SIGINT)
        assert stop.requested
        clock += 2
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == before
