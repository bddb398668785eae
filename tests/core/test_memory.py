"""Memory that runs out is recognized, and told in one line."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch

from videomae.core import machine, memory
from videomae.core.memory import OutOfMemory, gigabytes, is_out_of_memory, memory_errors_explained

CUDA = "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 139.80 GiB of which 1.20 GiB is …"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError(CUDA),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 12 bytes."),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 12 bytes."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17.9 GB)"),
        RuntimeError("std::bad_alloc"),
        MemoryError(),
        RuntimeError("could not create a primitive descriptor for a matmul primitive"),  # of oneDNN
        OSError(12, "Cannot allocate memory", "a_module.py"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    ],
)
def test_what_memory_errors_look_like(error: Exception) -> None:
    assert is_out_of_memory(error)
    with pytest.raises(OutOfMemory, match="32 clips, out of memory"), memory_errors_explained("32 clips", hint="less"):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: device-side assert"),
        ValueError("out of memory"),
        ImportError("no module"),
        OSError(2, "No such file"),
    ],
)
def test_what_they_do_not_look_like(error: Exception) -> None:
    assert not is_out_of_memory(error)
    with pytest.raises(type(error), match=re.escape(str(error))), memory_errors_explained("32 clips", hint="less"):
        raise error


def test_the_line_has_what_was_asked_for_and_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda _: 3 * 2**29)
    monkeypatch.setattr(memory, "used_bytes", lambda _: 77 * 2**30)
    found = memory.out_of_memory(
        torch.OutOfMemoryError(CUDA), "32 clips", hint="try 16", device=torch.device("cuda", 1)
    )
    assert found.value == ("32 clips, out of memory on cuda:1 (2.50 GiB more asked for, 77.0 GiB in use, 1.5 GiB free)")
    assert found.hint == "try 16"


def test_memory_that_torch_keeps_on_a_gpu_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = {"mem_get_info": (5, 100), "memory_reserved": 60, "memory_allocated": 20}
    for name, number in numbers.items():
        monkeypatch.setattr(torch.cuda, name, lambda _, number=number: number)
    assert memory.available_bytes(torch.device("cuda", 0)) == 45


def test_a_container_s_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = machine.available_memory_bytes()
    assert whole > 2**20
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    assert machine.available_memory_bytes() == 600
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.available_memory_bytes() > 2**20


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
def test_this_process_own_limit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    import psutil

    limit = psutil.Process().memory_info().vms + 5 * 2**20
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert machine.available_memory_bytes() < 100 * 2**20


def test_sizes_for_people() -> None:
    assert [gigabytes(n) for n in (3 * 2**29, 2**20, 2**27)] == ["1.5 GiB", "1 MiB", "0.1 GiB"]
