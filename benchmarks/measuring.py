"""Peers in turns: times, memory and faults. What `model_speed.py` and `pipeline_speed.py` share."""

from __future__ import annotations

import ctypes
import gc
import math
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

Step = Callable[[], Any]
Build = Callable[[], Step | None]  # None where a peer has no such job

LEAST_ROUNDS, MOST_ROUNDS = 2, 25
TURN_SECONDS = 0.2  # short steps are repeated within a turn


def compare(builds: Mapping[str, Build], device: torch.device, *, seconds: float, clips: int = 1) -> dict[str, Any]:
    """A row of results: peers take turns in this process, in an order that turns round by round.

    Args:
        builds: name → what builds a step; the first is ours. One that fails is left out and named under "failed".
        device: where the steps compute.
        seconds: of all rounds together; at least two rounds are made.
        clips: that a step takes; times are per clip.
    """
    steps: dict[str, Step] = {}
    memory: dict[str, dict[str, int]] = {}
    failed: dict[str, str] = {}
    repeats: dict[str, int] = {}
    for name, build in builds.items():
        try:
            step, memory_of, second = built(build, device)
            if step is None:
                continue
            repeats[name] = min(50, math.ceil(TURN_SECONDS / max(second, 1e-6)))
        except Exception as error:  # whatever a peer throws is a result, and costs no other row
            failed[name] = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            error.__traceback__ = None  # it holds the tensors
            tidy(device)
            continue
        steps[name], memory[name] = step, memory_of
    times: dict[str, list[float]] = {name: [] for name in steps}
    begin = time.perf_counter()
    for number in range(MOST_ROUNDS if steps else 0):
        for name in list(steps)[:: 1 if number % 2 == 0 else -1]:
            times[name].append(turn(steps[name], repeats[name], device) / clips)
        if number + 1 >= LEAST_ROUNDS and time.perf_counter() - begin > seconds:
            break
    steps.clear()
    tidy(device)
    return {**summary(times), "memory": {name: sizes for name, sizes in memory.items() if sizes}, "failed": failed}


def turn(step: Step, repeats: int, device: torch.device) -> float:
    """Seconds of one step: the mean of `repeats` of them."""
    synchronize(device)
    begin = time.perf_counter()
    for _ in range(repeats):
        step()
    synchronize(device)
    return (time.perf_counter() - begin) / repeats


def summary(times: Mapping[str, list[float]]) -> dict[str, Any]:
    """Medians, spread, and how much faster ours is than the fastest of the others: the median over the rounds."""
    medians = {name: statistics.median(values) for name, values in times.items()}
    others = {name: value for name, value in medians.items() if name != "ours"}
    best = min(others, key=lambda name: others[name]) if others and "ours" in medians else None
    ratios = [b / a for a, b in zip(times["ours"], times[best], strict=True)] if best else []
    return {
        "seconds": medians,
        "spread": {name: [min(values), max(values)] for name, values in times.items()},
        "rounds": max(map(len, times.values()), default=0),
        "best_peer": best,
        "ratio": statistics.median(ratios) if ratios else None,
    }


def built(build: Build, device: torch.device) -> tuple[Step | None, dict[str, int], float]:
    """A step that has run twice, in bytes the memory of it all and of one step, and the seconds of the second.

    `peak` is above what there was before the model was built, `step` above what stands between two steps (weights and
    the optimizer's state): in training, activations and gradients.
    """
    tidy(device)
    before = memory_now(device)
    forget_peak(device)
    step = build()
    if step is None:
        return None, {}, 0.0
    turn(step, 1, device)
    highest = memory_peak(device)
    tidy(device)
    standing = memory_now(device)
    forget_peak(device)
    seconds = turn(step, 1, device)
    peak = memory_peak(device)
    sizes = {"peak": max(highest, peak) - before, "step": peak - standing} if peak else {}
    return step, sizes, seconds


def tidy(device: torch.device) -> None:
    """Give freed memory back, so that what a process has is what it holds."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


def memory_now(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else status_bytes("VmRSS")


def memory_peak(device: torch.device) -> int:
    """Since the last `forget_peak`: what torch allocated on a GPU, else what the process had in memory."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else status_bytes("VmHWM")


def forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def status_bytes(name: str) -> int:
    """A line of /proc/self/status; 0 where there is no such file."""
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def machine(device: torch.device) -> dict[str, Any]:
    """What it ran on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    if "transformers" in sys.modules:
        versions["transformers"] = sys.modules["transformers"].__version__
    return {
        "name": name,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "num_threads": torch.get_num_threads(),
        "versions": versions,
    }


def cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def as_text(row: dict[str, Any]) -> str:
    """One line of a row, to watch."""
    times = "  ".join(f"{name} {seconds:.4g} s" for name, seconds in row["seconds"].items())
    ratio = f"  {row['ratio']:.2f} × {row['best_peer']}" if row["ratio"] else ""
    limit = f"  limit {row['limit']:.4g} s, {row['share']:.0%} of it" if row.get("share") else ""
    memory = "  ".join(f"{name} {sizes['peak'] / 2**30:.2f}" for name, sizes in row["memory"].items())
    faults = "".join(f"\n    {name} failed: {text}" for name, text in row["failed"].items())
    return f"{row['row']}: {times}{ratio}{limit}" + (f"  GiB: {memory}" if memory else "") + faults
