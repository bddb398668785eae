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
from videomae.training import lock
from videomae.training.lock import FolderLock

HOLD = """
import sys
from pathlib import Path
from videomae.training.lock import FolderLock
with FolderLock(Path(sys.argv[1]), Path("folder")):
    print("held", flush=True)
    sys.stdin.read()
"""


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
        FolderLock(path, Path("folder")).__enter__()
    assert f"folder, where another process is at work (process {process.pid} on " in str(caught.value)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with FolderLock(path, Path("folder")):
        assert f'"pid": {os.getpid()}' in path.read_text()


def test_the_same_process_is_refused_too_until_the_end(tmp_path: Path) -> None:
    with FolderLock(tmp_path / "lock", tmp_path), pytest.raises(InputError, match=f"process {os.getpid()} on "):
        FolderLock(tmp_path / "lock", tmp_path).__enter__()
    with FolderLock(tmp_path / "lock", tmp_path):
        pass


def test_a_lock_without_a_name_is_respected(tmp_path: Path) -> None:
    with FolderLock(tmp_path / "lock", tmp_path):
        (tmp_path / "lock").write_text("")
        with pytest.raises(InputError, match="unknown which"):
            FolderLock(tmp_path / "lock", tmp_path).__enter__()


def test_a_worker_does_not_inherit_the_lock(tmp_path: Path) -> None:
    """Else a folder would stay refused while the workers of a killed run are still about to end."""
    context = multiprocessing.get_context("fork")
    begun, go_on = context.Event(), context.Event()

    def work() -> None:
        begun.set()
        go_on.wait()

    with FolderLock(tmp_path / "lock", tmp_path):
        worker = context.Process(target=work)
        worker.start()
        assert begun.wait(60)
    try:
        with FolderLock(tmp_path / "lock", tmp_path):
            assert worker.is_alive()
    finally:
        go_on.set()
        worker.join()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks_refuses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock.fcntl, "flock", no_locks)
    with FolderLock(tmp_path / "lock", tmp_path), FolderLock(tmp_path / "lock", tmp_path):
        pass


def test_a_folder_that_cannot_be_written_is_left_to_the_writer(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with FolderLock(tmp_path / "file" / "state" / "lock", tmp_path):
        pass
