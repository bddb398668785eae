"""Workers that crash, hang, raise or run out of memory cost their own item and nothing else."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pool_jobs
import pytest

from videomae.core.errors import VideoError
from videomae.curation.pool import WorkerFailure, run_in_workers


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_each_item_gives_its_result(num_workers: int) -> None:
    assert dict(run_in_workers(pool_jobs.double, range(20), num_workers=num_workers)) == {n: 2 * n for n in range(20)}


def test_no_items() -> None:
    assert list(run_in_workers(pool_jobs.double, [], num_workers=2)) == []


def test_a_partial_is_called_with_its_arguments() -> None:
    assert list(run_in_workers(partial(pow, exp=2), [5], num_workers=1)) == [(5, 25)]


def test_items_are_taken_as_workers_become_free() -> None:
    taken: list[int] = []

    def endless() -> Iterator[int]:
        for number in itertools.count():
            taken.append(number)
            yield number

    results = run_in_workers(pool_jobs.double, endless(), num_workers=2)
    assert taken == []
    for _ in range(10):
        next(results)
        assert len(taken) <= 10 + 2 * 2
    results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("word", "kind", "reason"),
    [
        ("raise", "exception", "'no such thing'"),
        ("SIGSEGV", "crash", "the process that worked on it was killed by SIGSEGV"),
        ("SIGKILL", "crash", "was killed by SIGKILL, as happens when memory runs out"),
        ("exit", "crash", "the process that worked on it ended with status 3"),
        ("memory", "memory", "memory ran out"),
        ("lambda", "exception", "misbehave.<locals>.<lambda>"),
        ("odd error", "exception", "1 and 2"),
    ],
)
def test_a_failure_costs_only_its_item(word: str, kind: str, reason: str) -> None:
    words = ["a", word, "b", "c"]
    results = dict(run_in_workers(pool_jobs.misbehave, words, num_workers=2, limit_bytes=2**30))
    failure = results.pop(word)
    assert results == {"a": "A", "b": "B", "c": "C"}
    assert isinstance(failure, WorkerFailure)
    assert (failure.item, failure.kind) == (word, kind)
    assert reason in failure.reason
    assert "\n" not in failure.reason


def test_a_hanging_worker_is_killed_at_the_limit() -> None:
    results = dict(run_in_workers(pool_jobs.misbehave, ["hang", "a", "b"], num_workers=1, limit_seconds=1.5))
    failure = results.pop("hang")
    assert isinstance(failure, WorkerFailure)
    assert (failure.kind, failure.reason) == ("time", "took longer than 1.5 seconds")
    assert results == {"a": "A", "b": "B"}


def test_a_result_that_waited_for_a_slow_caller_was_in_time() -> None:
    results = run_in_workers(pool_jobs.misbehave, ["a", "many", "b"], num_workers=1, limit_seconds=1.5)
    found = dict([next(results)])
    time.sleep(2)
    found |= dict(results)
    assert not any(isinstance(result, WorkerFailure) for result in found.values())
    assert len(found["many"]) == 5_000_000


def test_an_exception_comes_back_whole() -> None:
    ((_, failure),) = run_in_workers(pool_jobs.misbehave, ["raise"], num_workers=1)
    assert isinstance(failure, WorkerFailure)
    assert isinstance(failure.error, KeyError)
    assert "misbehave" in (failure.trace or "")


def test_an_input_error_keeps_its_parts() -> None:
    error = VideoError("x.mp4", expected="a video", hint="copy it again")
    ((_, failure),) = run_in_workers(partial(pool_jobs.fail_with, error), [0], num_workers=1)
    assert isinstance(failure, WorkerFailure)
    assert isinstance(failure.error, VideoError)
    assert (failure.error.value, failure.error.hint, failure.reason) == ("x.mp4", "copy it again", str(error))


def test_what_a_crashed_worker_said_last_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    ((_, failure),) = run_in_workers(pool_jobs.misbehave, ["SIGSEGV"], num_workers=1)
    assert isinstance(failure, WorkerFailure)
    assert "last words" in (failure.trace or "")
    assert "Segmentation fault" in (failure.trace or "")
    assert capfd.readouterr() == ("", "")


def test_what_is_printed_while_a_worker_starts_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os; os.write(1, bytes(range(256)))")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    assert list(run_in_workers(pool_jobs.double, [4], num_workers=1)) == [(4, 8)]


def test_a_worker_reads_nothing_and_prints_into_its_last_words() -> None:
    ((_, failure),) = run_in_workers(pool_jobs.read_and_print, [0], num_workers=1)
    assert isinstance(failure, WorkerFailure)
    assert (failure.trace or "").startswith("read: ''")


def test_a_crash_may_be_tried_again(tmp_path: Path) -> None:
    job = run_in_workers(pool_jobs.fail_once, [tmp_path / "flag"], num_workers=1, num_attempts=2)
    assert [result for _, result in job] == ["done"]
    ((_, failure),) = run_in_workers(pool_jobs.misbehave, ["SIGSEGV"], num_workers=1, num_attempts=3)
    assert isinstance(failure, WorkerFailure)


def test_without_workers_an_exception_is_a_failure_too() -> None:
    (_, failure), (_, result) = run_in_workers(pool_jobs.misbehave, ["raise", "a"], num_workers=0)
    assert isinstance(failure, WorkerFailure)
    assert isinstance(failure.error, KeyError)
    assert result == "A"


def test_what_workers_cannot_import_is_refused() -> None:
    with pytest.raises(TypeError, match="top level of a module"):
        run_in_workers(lambda item: item, [1], num_workers=1)
    with pytest.raises(ValueError, match="num_workers=-1"):
        run_in_workers(pool_jobs.double, [1], num_workers=-1)


def test_a_module_that_only_this_process_finds_is_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    results = run_in_workers(pool_jobs.double, [1], num_workers=1)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(Path(pool_jobs.__file__).parent)])
    with pytest.raises(RuntimeError, match=r"cannot import(.|\n)*pool_jobs"):
        next(results)


def test_closing_ends_the_workers(tmp_path: Path) -> None:
    files = [tmp_path / "a", tmp_path / "b"]
    results = run_in_workers(partial(pool_jobs.work_or_return, "now"), ["now", *files], num_workers=3)
    assert next(results) == ("now", "now")
    processes = [_wait_for(lambda file=file: int(file.read_text() or 0) if file.exists() else 0) for file in files]
    results.close()  # type: ignore[attr-defined]
    for process in processes:
        _wait_for(lambda process=process: not _is_alive(process))


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import pool_jobs; from pathlib import Path; from videomae.curation.pool import run_in_workers\n"
        f"next(run_in_workers(pool_jobs.tell_process, [Path({str(tmp_path / 'worker')!r})], num_workers=1))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as parent:
        file = tmp_path / "worker"
        worker = _wait_for(lambda: int(file.read_text() or 0) if file.exists() else 0)
        parent.kill()
    _wait_for(lambda: not _is_alive(worker))


def _wait_for(condition: Callable[[], Any], limit_seconds: float = 60) -> Any:
    end = time.monotonic() + limit_seconds
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return value


def _is_alive(process: int) -> bool:
    """Whether it runs; a dead one whose new parent has not asked for its status is no longer running."""
    status = Path(f"/proc/{process}/stat")
    if not Path("/proc/self/stat").exists():
        pytest.skip("no /proc")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"
