"""Waiting for clips: told once, when it lasts, and with what helps in this case."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import Recorder, tiny_pretrain_recipe

from videomae.training import metrics_log
from videomae.training.metrics_log import DataWaitWatch, list_remedies
from videomae.training.pretrain import pretrain


def told(steps: list[tuple[float, float]]) -> list[tuple[int, float]]:
    watch = DataWaitWatch()
    shares = [watch.add(waited_seconds=waited, step_seconds=seconds) for waited, seconds in steps]
    return [(number, share) for number, share in enumerate(shares) if share is not None]


def test_it_is_told_once_and_only_after_enough_steps_and_seconds() -> None:
    assert told([(0.5, 1.0)] * 100) == [(20, pytest.approx(0.5))]
    assert told([(0.125, 0.25)] * 100) == [(40, pytest.approx(0.5))]
    assert told([(0.5, 1.0)] * 20) == []


def test_waiting_for_workers_to_start_does_not_count() -> None:
    assert told([(60.0, 60.5), *[(0.0, 0.5)] * 200]) == []


def test_a_share_up_to_a_fifth_is_fine() -> None:
    assert told([(0.19, 1.0)] * 200) == []
    assert len(told([(0.21, 1.0)] * 200)) == 1


def test_only_the_last_steps_count() -> None:
    """Fast for long, then slow: the beginning does not hide it."""
    ((number, share),) = told([(0.0, 1.0)] * 1000 + [(0.9, 1.0)] * 30)

    assert number == 1004
    assert share == pytest.approx(0.225)


CASE = {"data": "my videos", "num_workers": 4, "num_cores": 4, "num_views": 1, "is_packed": False}


def test_the_remedies_fit_the_case() -> None:
    views = "--views 2 (more crops of each decode)"
    pack = "`videomae pack 'my videos' OUT` (decoding several times cheaper)"
    assert list_remedies(**CASE) == [pack, views]  # type: ignore[arg-type]
    few = list_remedies(**{**CASE, "num_workers": 1})  # type: ignore[arg-type]
    assert few == ["--num-workers 4", pack, views]
    packed = list_remedies(**{**CASE, "is_packed": True, "num_views": 4})  # type: ignore[arg-type]
    assert packed == ["--views 8 (more crops of each decode)"]


@pytest.fixture
def _slow_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock on which every look takes a second: half of a step is waiting."""
    seconds = iter(range(10**6))
    monkeypatch.setattr(metrics_log.time, "perf_counter", lambda: float(next(seconds)))


@pytest.mark.usefixtures("_slow_files")
def test_a_run_says_so_in_one_line(colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_log, "usable_cores", lambda: 6)
    monitor = Recorder()

    pretrain(colors, tmp_path, tiny_pretrain_recipe(epochs=10, batch_size=6), monitor=monitor)

    (line,) = [note for note in monitor.notes if "data wait" in note]
    assert "over the last steps; try: --num-workers 6, or `videomae pack" in line
    assert line.endswith(f"`videomae bench-data {colors}` measures it")
    assert "\n" not in line


def test_every_step_has_its_share(colors: Path, tmp_path: Path) -> None:
    monitor = Recorder()
    pretrain(colors, tmp_path, tiny_pretrain_recipe(), monitor=monitor)

    assert len(monitor.reports) == 6
    assert all(0 <= report.data_wait_share <= 1 for report in monitor.reports)
    assert any(report.data_wait_share > 0 for report in monitor.reports)
