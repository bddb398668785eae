"""One process at a time in a folder."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import command_environment

from videomae.core.errors import InputError
from videomae.core.lock import FolderLock

HOLD = """
import sys
from pathlib import Path
from videomae.core.lock import FolderLock
with FolderLock(Path(sys.argv[1]), ValueError):
    print("held", flush=True)
    sys.stdin.read()
"""


def _lock(path: Path) -> FolderLock:
    return FolderLock(path, lambda owner: InputError(f"held by {owner}", expected="none", hint="wait"))


def _holder(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        env=command_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_another_process_is_refused_until_the_first_one_dies(tmp_path: Path) -> None:
    path = tmp_path / "state" / "lock"
    process = _holder(path)
    with pytest.raises(InputError) as caught:
        _lock(path).__enter__()
    assert f"held by process {process.pid} on " in str(caught.value)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with _lock(path):
        assert f'"pid": {os.getpid()}' in path.read_text()


def test_the_same_process_is_refused_too_until_the_end(tmp_path: Path) -> None:
    with _lock(tmp_path / "lock"), pytest.raises(InputError, match=f"process {os.getpid()} on "):
        _lock(tmp_path / "lock").__enter__()
    with _lock(tmp_path / "lock"):
        pass


def test_a_lock_without_a_name_is_respected(tmp_path: Path) -> None:
    with _lock(tmp_path / "lock"):
        (tmp_path / "lock").write_text("")
        with pytest.raises(InputError, match="unknown which"):
            _lock(tmp_path / "lock").__enter__()


def test_a_worker_does_not_inherit_the_lock(tmp_path: Path) -> None:
    """Else a folder would stay refused while the workers of a killed run are still about to end."""
    context = multiprocessing.get_context("fork")
    begun, go_on = context.Event(), context.Event()

    def work() -> None:
        begun.set()
        go_on.wait()

    with _lock(tmp_path / "lock"):
        worker = context.Process(target=work)
        worker.start()
        assert begun.wait(60)
    try:
        with _lock(tmp_path / "lock"):
            assert worker.is_alive()
    finally:
        go_on.set()
        worker.join()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_refuses_nothing_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", no_locks)
    with _lock(tmp_path / "lock"), _lock(tmp_path / "lock"):
        pass
    assert len(caplog.messages) == 2
    assert caplog.messages[0].startswith(f"{tmp_path} cannot be locked ({os.strerror(number)}): ")


def test_a_folder_that_cannot_be_written_is_left_to_the_writer(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with _lock(tmp_path / "file" / "state" / "lock"):
        pass
