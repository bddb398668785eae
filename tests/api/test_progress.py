"""Progress on a terminal and in a log."""

from __future__ import annotations

import io
import logging
import re

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
    monitor.start("training", total_steps=100, first_step=0, steps_per_epoch=10)
    for step in range(1, 101):
        monitor.step(_report(step))
    monitor.finish()
    lines = text.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == [f"{epoch}/10" for epoch in range(1, 11)]
    assert lines[0] == "epoch 1/10 · step 10/10 · loss 0.500 · lr 0.001 · 12.3 clips/s · data wait 0%"


def test_a_long_run_soon_tells_how_long_it_takes_without_many_lines() -> None:
    console, text = _console(False)
    now = [1000.0]
    monitor = ProgressMonitor(console, clock=lambda: now[0])
    monitor.start("training", total_steps=1500, first_step=500, steps_per_epoch=10)
    for step in range(501, 600):
        now[0] += 20.0
        monitor.step(_report(step))
    lines = text.getvalue().splitlines()
    steps = [10 * (int(epoch) - 1) + int(step) for epoch, step in (re.findall(r" (\d+)/", line) for line in lines)]
    assert steps == [503, 509, 521, 545, 593]
    assert lines[0].startswith("epoch 51/150 · step 3/10 · ")
    assert lines[0].endswith(" · data wait 0% · 5.5 hours left")


def test_a_run_that_goes_on_counts_from_where_it_was() -> None:
    console, text = _console(False)
    monitor = ProgressMonitor(console)
    monitor.start("training", total_steps=100, first_step=55, steps_per_epoch=10)
    for step in range(56, 101):
        monitor.step(_report(step))
    assert text.getvalue().splitlines()[0].startswith("epoch 6/10 · step 10/10")
    assert len(text.getvalue().splitlines()) == 5


def test_a_loss_that_was_not_read_leaves_the_last_one() -> None:
    console, text = _console(False)
    monitor = ProgressMonitor(console)
    monitor.start("training", total_steps=3, first_step=0, steps_per_epoch=10)
    monitor.step(_report(1, loss=None))
    monitor.step(_report(2, loss=0.25))
    monitor.step(_report(3, loss=None, wait=0.5))
    first, second, third = text.getvalue().splitlines()
    assert "loss …" in first
    assert "loss 0.250" in second
    assert "loss 0.250" in third
    assert third.endswith("data wait 50%")


def test_a_second_run_starts_without_the_loss_of_the_first() -> None:
    console, text = _console(False)
    monitor = ProgressMonitor(console)
    for loss in (0.5, None):
        monitor.start("training", total_steps=1, first_step=0, steps_per_epoch=10)
        monitor.step(_report(1, loss=loss))
        monitor.finish()
    first, second = text.getvalue().splitlines()
    assert "loss 0.500" in first
    assert "loss …" in second


def test_a_terminal_gets_bars(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    console, text = _console(True)
    monitor = ProgressMonitor(console)
    monitor.start("fine-tuning", total_steps=10, first_step=2, steps_per_epoch=10)
    monitor.step(_report(3))
    monitor.note("broken: clips/[a].mp4")
    monitor.start_part("validating", total=2)
    monitor.advance_part()
    monitor.advance_part()
    monitor.step(_report(10))
    monitor.finish()
    monitor.finish()
    shown = text.getvalue()
    for part in ("fine-tuning", "10/10", "epoch 1/1", "step 3/10", "loss 0.500", "12.3 clips/s", "validating", "left"):
        assert part in shown, part
    assert caplog.messages == ["broken: clips/[a].mp4"]


def test_stages_are_shown_where_a_bar_will_be_and_leave_nothing() -> None:
    for is_terminal in (False, True):
        console, text = _console(is_terminal)
        monitor = ProgressMonitor(console)
        monitor.stage("reading the list of videos")
        monitor.stage("building [the] model")
        assert ("building [the] model …" in text.getvalue()) == is_terminal
        monitor.finish()  # an error ends the run here
        assert "building [the] model …" not in text.getvalue().rpartition("\x1b[2K")[2]


def test_the_numbers_fit_a_narrow_terminal_whole() -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=50, color_system=None)
    monitor = ProgressMonitor(console)
    monitor.start("fine-tuning", total_steps=30, first_step=0, steps_per_epoch=10)
    monitor.step(_report(13))
    monitor.finish()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text.getvalue()).replace("\r", "\n")
    assert all(len(line.rstrip()) <= 50 for line in shown.split("\n"))
    assert "epoch 2/3 · step 3/10 · loss 0.500 · lr 0.001 · 12.3 clips/s · data wait 0%" in " ".join(shown.split())


def test_lines_wrap_at_words_in_a_terminal_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _console_module._console.cache_clear()
    console = _console_module.stderr_console()
    words = " ".join(f"word{number}" for number in range(40))
    console.print(words, markup=False)
    assert capsys.readouterr().err == f"{words}\n"
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "20")
    _console_module._console.cache_clear()
    console = _console_module.stderr_console()
    monkeypatch.setattr(type(console), "is_terminal", True)
    console.print(words, markup=False)
    lines = capsys.readouterr().err.splitlines()
    _console_module._console.cache_clear()
    assert len(lines) > 5
    assert " ".join(lines).split() == words.split()


@pytest.mark.parametrize(("level", "style"), [(logging.INFO, ""), (logging.WARNING, "33"), (logging.ERROR, "31")])
@pytest.mark.parametrize("no_color", ["", "1"])
def test_warnings_are_yellow_and_errors_red(
    level: int, style: str, no_color: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    _console_module._console.cache_clear()
    try:
        with _console_module.notices_shown(always=True):
            logging.getLogger("videomae").log(level, "clips/:smile:.mp4 [x] is odd")
    finally:
        _console_module._console.cache_clear()
    shown = capsys.readouterr().err
    assert "clips/:smile:.mp4 [x] is odd" in shown
    assert (f"\x1b[{style}m" in shown) == bool(style and not no_color)


@pytest.mark.parametrize("has_widgets", [True, False])
def test_a_notebook_gets_a_bar_where_it_has_widgets(has_widgets: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_console_module, "find_spec", lambda name: object() if has_widgets else None)
    notebook = Console(file=io.StringIO(), force_jupyter=True, width=120)
    assert not notebook.is_terminal
    assert can_show_bars(notebook) == has_widgets
    monitor = ProgressMonitor(notebook)
    started = []
    monkeypatch.setattr(Progress, "start", lambda bar: started.append(bar))
    monitor.start("training", total_steps=100, first_step=0, steps_per_epoch=10)
    assert len(started) == has_widgets
