"""Progress on a terminal and in a log."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console
from rich.progress import Progress

from videomae.api import _console as _console_module
from videomae.api._console import can_show_bars
from videomae.api.progress import ProgressMonitor
from videomae.training.monitor import StepReport


def _report(step: int, loss: float | None = 0.5, wait: float = 0.0) -> StepReport:
    return StepReport(step, (step - 1) // 10 + 1, loss, 1e-3, 12.34, wait)


def _console(is_terminal: bool) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, force_terminal=is_terminal, width=120, highlight=False, soft_wrap=True), text


def test_a_log_gets_a_line_for_each_tenth() -> None:
    console, text = _console(False)
    monitor = ProgressMonitor(console)
    monitor.start("training", total_steps=100, first_step=0)
    for step in range(1, 101):
        monitor.step(_report(step))
    monitor.finish()
    lines = text.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == [f"{step}/100" for step in range(10, 101, 10)]
    assert lines[0] == "step 10/100  epoch 1  loss 0.500  12.3 clips/s  0% data wait"


def test_a_long_run_soon_tells_how_long_it_takes_without_many_lines() -> None:
    console, text = _console(False)
    now = [1000.0]
    monitor = ProgressMonitor(console, clock=lambda: now[0])
    monitor.start("training", total_steps=1500, first_step=500)
    for step in range(501, 600):
        now[0] += 20.0
        monitor.step(_report(step))
    lines = text.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["503/1500", "509/1500", "521/1500", "545/1500", "593/1500"]
    assert lines[0].endswith("data wait  about 5.5 hours left")


def test_a_run_that_goes_on_counts_from_where_it_was() -> None:
    console, text = _console(False)
    monitor = ProgressMonitor(console)
    monitor.start("training", total_steps=100, first_step=55)
    for step in range(56, 101):
        monitor.step(_report(step))
    assert text.getvalue().splitlines()[0].startswith("step 60/100")
    assert len(text.getvalue().splitlines()) == 5


def test_a_loss_that_was_not_read_leaves_the_last_one() -> None:
    console, text = _console(False)
    monitor = ProgressMonitor(console)
    monitor.start("training", total_steps=3, first_step=0)
    monitor.step(_report(1, loss=None))
    monitor.step(_report(2, loss=0.25))
    monitor.step(_report(3, loss=None, wait=0.5))
    first, second, third = text.getvalue().splitlines()
    assert "loss …" in first
    assert "loss 0.250" in second
    assert "loss 0.250" in third
    assert third.endswith("50% data wait")


def test_a_second_run_starts_without_the_loss_of_the_first() -> None:
    console, text = _console(False)
    monitor = ProgressMonitor(console)
    for loss in (0.5, None):
        monitor.start("training", total_steps=1, first_step=0)
        monitor.step(_report(1, loss=loss))
        monitor.finish()
    first, second = text.getvalue().splitlines()
    assert "loss 0.500" in first
    assert "loss …" in second


def test_a_terminal_gets_bars(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    console, text = _console(True)
    monitor = ProgressMonitor(console)
    monitor.start("fine-tuning", total_steps=10, first_step=2)
    monitor.step(_report(3))
    monitor.note("broken: clips/[a].mp4")
    monitor.start_part("validating", total=2)
    monitor.advance_part()
    monitor.advance_part()
    monitor.step(_report(10))
    monitor.finish()
    monitor.finish()
    shown = text.getvalue()
    for part in ("fine-tuning", "10/10", "loss 0.500", "12.3 clips/s", "validating"):
        assert part in shown, part
    assert caplog.messages == ["broken: clips/[a].mp4"]


@pytest.mark.parametrize("has_widgets", [True, False])
def test_a_notebook_gets_a_bar_where_it_has_widgets(has_widgets: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_console_module, "find_spec", lambda name: object() if has_widgets else None)
    notebook = Console(file=io.StringIO(), force_jupyter=True, width=120)
    assert not notebook.is_terminal
    assert can_show_bars(notebook) == has_widgets
    monitor = ProgressMonitor(notebook)
    started = []
    monkeypatch.setattr(Progress, "start", lambda bar: started.append(bar))
    monitor.start("training", total_steps=100, first_step=0)
    assert len(started) == has_widgets
