"""What this machine has, and what its processes use: asked here only, since each system answers in its own way."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
# Of a container, in version 2 and in version 1 of cgroups: the limit, and what is used.
_CGROUP_FILES = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)


def usable_cores() -> int:
    """Processor cores that this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    import psutil

    process = psutil.Process()
    if hasattr(process, "cpu_affinity"):  # Windows
        return len(process.cpu_affinity())
    return os.cpu_count() or 1


def is_main_process() -> bool:
    """Whether this process prints and writes: of several that a launcher started, the first."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"


def total_memory_bytes() -> int:
    """Memory of the whole machine."""
    import psutil

    return int(psutil.virtual_memory().total)


def available_memory_bytes() -> int:
    """Memory that this process can still take: of the machine, of its container, and by its own limit (`ulimit -v`)."""
    import psutil

    found = [int(psutil.virtual_memory().available)]
    for names in _CGROUP_FILES:
        limit, used = (_number_in(_CGROUP / name) for name in names)
        if limit is not None and used is not None:
            found.append(limit - used)
    if sys.platform != "win32":
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            found.append(limit - int(psutil.Process().memory_info().vms))
    return max(0, min(found))


def _number_in(path: Path) -> int | None:
    """What a file of the kernel's holds; None where there is no such file, or no limit in it."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def peak_memory_bytes() -> int | None:
    """The most memory that this process had so far, without its workers; None where the system keeps no record."""
    if sys.platform == "win32":
        import psutil

        return getattr(psutil.Process().memory_info(), "peak_wset", None)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def cpu_flags() -> frozenset[str]:
    """The processor's features as Linux names them (`avx512bw`); none elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return frozenset(next((line for line in file if line.startswith(("flags", "Features"))), "").split())
    except OSError:
        return frozenset()


def command_line_of(process: int) -> list[str]:
    """The words that a process was started with; none where the system does not show them."""
    import psutil

    try:
        return list(psutil.Process(process).cmdline())
    except psutil.Error:
        return []
