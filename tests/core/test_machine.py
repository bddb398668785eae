"""What the machine has, beside what the system's own files say; and how processes end."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import psutil  # noqa: F401 - before a test pretends to be on another system, where it refuses to be loaded
import pytest

from videomae.core import machine
from videomae.core.child_process import away_from_terminal, how_it_ended

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="compares with what Linux alone has")


@linux_only
def test_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    one = min(os.sched_getaffinity(0))
    code = "from videomae.core.machine import usable_cores; print(usable_cores())"
    limited = ["taskset", "--cpu-list", str(one), sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    assert subprocess.run(limited, env=environment, capture_output=True, text=True, check=True).stdout == "1\n"
    # As on Windows, where psutil alone knows, and on macOS, where nobody does.
    here = len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    assert machine.usable_cores() == here
    monkeypatch.delattr("psutil.Process.cpu_affinity")
    assert machine.usable_cores() == os.cpu_count()


@linux_only
def test_memory_is_the_machines() -> None:
    line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:"))
    assert machine.total_memory_bytes() == int(line.split()[1]) * 1024


@linux_only
def test_peak_memory_is_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def kept_by_the_system() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    before, peak, after = kept_by_the_system(), machine.peak_memory_bytes(), kept_by_the_system()
    assert peak is not None
    assert before <= peak <= after
    monkeypatch.setattr(sys, "platform", "win32")
    assert machine.peak_memory_bytes() is None  # psutil knows it on Windows alone


def test_a_command_line_is_the_words_of_the_process() -> None:
    words = [sys.executable, "-c", "print('begun', flush=True); input()", "two words", ""]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **away_from_terminal()) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"  # while it is being started it has no words yet
        assert machine.command_line_of(process.pid) == words
        assert os.getpgid(process.pid) != os.getpgid(0)
        process.communicate(b"\n")
    assert machine.command_line_of(process.pid) == []


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "ended with status 0"),
        (3, "ended with status 3"),
        (None, "ended with status None"),
        (-11, "was killed by SIGSEGV"),
        (-9, "was killed by SIGKILL, as happens when memory runs out"),
        (-99, "was killed by signal 99"),
        (0xC0000005, "crashed with 0xC0000005"),
    ],
)
def test_how_a_process_ended(status: int | None, words: str) -> None:
    assert how_it_ended(status) == words
