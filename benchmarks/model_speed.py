"""Forward, fine-tuning and pre-training step of VideoMAE beside its peers, and beside what the matrices alone cost.

    python benchmarks/model_speed.py [--device cuda] [--jobs classify pretrain] [--sizes base] [--batch-sizes 1 2 8]
        [--v1 FOLDER] [--v2 FOLDER] [--precisions fp32 bf16] [--compile] [--rounds 5] [--no-memory]

Peers: transformers with SDPA and eager attention, and, where FOLDERs with checkouts of MCG-NJU/VideoMAE (V1) and
OpenGVLab/VideoMAEv2 (V2) are given, those (pip install timm). All peers of a row take turns in one process; times are
medians, the ratio is the median over the rounds of the fastest peer's time by ours. The limit is what the row's matrix
products take at the rate that this machine multiplies matrices of these shapes. Peak memory is that of a process of its
own, above what it had before it built the model. Results go to benchmarks/results; performance_table.py puts them into
docs/performance.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from model_peers import FROM_PIXELS, Row, Step, peers
from results import write_results
from torch.nn import functional as F

from videomae.core.precision import choose_precision

JOBS = ("classify", "finetune", "pretrain", "dual")


def main() -> None:
    options = parse()
    device = torch.device(options.device)
    if options.only is not None:
        print(json.dumps(peak_memory(options, device)))
        return
    rows = []
    for row in rows_of(options, device):
        found = measure(row, options, device)
        rows.append(found)
        print(as_text(found), flush=True)
        document = {"options": {"rounds": options.rounds}, "machine": machine(device), "rows": rows}
        write_results("model_speed", device, document, quiet=True)
    write_results("model_speed", device, document)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=JOBS)
    parser.add_argument("--sizes", nargs="+", default=["base"])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1])
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--compile", action="store_true", help="also rows with torch.compile on both sides")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--v1", type=Path)
    parser.add_argument("--v2", type=Path)
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--only", help=argparse.SUPPRESS)  # a peer, in a process that measures its memory
    return parser.parse_args()


def rows_of(options: argparse.Namespace, device: torch.device) -> list[Row]:
    rows = []
    compiled = (False, True) if options.compile else (False,)
    for values in itertools.product(options.precisions, options.sizes, options.batch_sizes, options.jobs, compiled):
        precision, size, batch_size, job, is_compiled = values
        if precision == "bf16" and choose_precision("auto", device).name != "bf16":
            continue  # this machine does not multiply it
        rows.append(Row(job, size, batch_size, precision, is_compiled))
    return rows


def measure(row: Row, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Seconds per clip of each peer, the ratio, the limit, and peak memory."""
    built = {name: build(row, device) for name, build in peers(options.v1, options.v2).items()}
    seconds = interleaved({name: step for name, step in built.items() if step is not None}, options.rounds, device)
    built.clear()
    per_clip = {name: statistics.median(times) / row.batch_size for name, times in seconds.items()}
    others = {name: time for name, time in per_clip.items() if name != "ours"}
    best = min(others, key=lambda name: others[name]) if others else None
    ratios = [] if best is None else [b / a for a, b in zip(seconds["ours"], seconds[best], strict=True)]
    rate = matrix_rate(row, device)
    limit = flops(row) / rate
    memory = {}
    if not options.no_memory:
        memory = {name: memory_of(row, name, options) for name in per_clip}
    return {
        "row": str(row),
        **vars(row),
        "seconds_per_clip": per_clip,
        "spread": {name: [min(t) / row.batch_size, max(t) / row.batch_size] for name, t in seconds.items()},
        "best_peer": best,
        "ratio": statistics.median(ratios) if ratios else None,
        "matrix_flops_per_second": rate,
        "limit_seconds_per_clip": limit,
        "share_of_limit": limit / per_clip["ours"],
        "peak_memory_bytes": memory,
    }


def interleaved(steps: dict[str, Step], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each round; the order turns round by round, so that a noisy neighbor hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for number in range(rounds):
        for name in list(steps)[:: 1 if number % 2 == 0 else -1]:
            synchronize(device)
            begin = time.perf_counter()
            steps[name]()
            synchronize(device)
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def flops(row: Row) -> float:
    """Of the matrix products of one clip, a multiplication and an addition counting two; a backward pass twice that."""
    config = row.config
    patch = config.get("patch_size", 16)
    num_tokens = 8 * (224 // patch) ** 2
    values = 3 * 2 * patch * patch
    width, visible = config["hidden_size"], num_tokens
    if row.job not in FROM_PIXELS:
        visible = 8 * ((224 // patch) ** 2 - int(0.9 * (224 // patch) ** 2))
    total = 2 * visible * values * width + config["num_hidden_layers"] * block(
        visible, width, config["intermediate_size"]
    )
    if row.job in FROM_PIXELS:
        total += 2 * width * config["num_labels"]
    else:
        narrow = config["decoder_hidden_size"]
        rebuilt = num_tokens // 2 if row.job == "dual" else num_tokens - visible
        layer = block(visible + rebuilt, narrow, config["decoder_intermediate_size"])
        total += (
            2 * visible * width * narrow + config["decoder_num_hidden_layers"] * layer + 2 * rebuilt * narrow * values
        )
    return total if row.job == "classify" else 3 * total


def block(num_tokens: int, width: int, mlp_width: int) -> float:
    return 2 * num_tokens * (4 * width * width + 2 * width * mlp_width) + 4 * num_tokens * num_tokens * width


def matrix_rate(row: Row, device: torch.device) -> float:
    """Operations a second of the MLP's first product in the encoder: the best of some."""
    config = row.config
    patch = config.get("patch_size", 16)
    tokens = 8 * (224 // patch) ** 2 if row.job in FROM_PIXELS else 160
    dtype = torch.bfloat16 if row.precision == "bf16" else torch.float32
    x = torch.randn(row.batch_size * tokens, config["hidden_size"], device=device, dtype=dtype)
    weight = torch.randn(config["intermediate_size"], config["hidden_size"], device=device, dtype=dtype)
    repeats = 50 if device.type == "cuda" else 5
    times = []
    for _ in range(5):
        synchronize(device)
        begin = time.perf_counter()
        for _ in range(repeats):
            F.linear(x, weight)
        synchronize(device)
        times.append((time.perf_counter() - begin) / repeats)
    return 2 * x.shape[0] * weight.numel() / min(times[1:])


def memory_of(row: Row, name: str, options: argparse.Namespace) -> int | None:
    """Peak memory of one peer in a process of its own; None where it fails, which the other rows shall survive."""
    command = [sys.executable, __file__, "--only", name, "--device", options.device, "--jobs", row.job]
    command += ["--sizes", row.size, "--batch-sizes", str(row.batch_size), "--precisions", row.precision]
    command += [
        word for key in ("v1", "v2") if getattr(options, key) for word in (f"--{key}", str(getattr(options, key)))
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{row}: no memory of {name}: {done.stderr.strip().splitlines()[-1:]}")
        return None
    peak: int = json.loads(done.stdout.splitlines()[-1])
    return peak


def peak_memory(options: argparse.Namespace, device: torch.device) -> int:
    """Of two steps, above what the process had before."""
    (row,) = rows_of(options, device)
    build = peers(options.v1, options.v2)[options.only]
    before = 0 if device.type == "cuda" else memory_line("VmRSS")
    if device.type != "cuda":
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew: that of the parent process is inherited
    step = build(row, device)
    assert step is not None
    for _ in range(2):
        step()
    after = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else memory_line("VmHWM")
    return after - before


def memory_line(name: str) -> int:
    """A line of /proc/self/status (Linux), in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def machine(device: torch.device) -> dict[str, Any]:
    """What it ran on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    capability = torch.backends.cpu.get_cpu_capability()
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    if "transformers" in sys.modules:
        versions["transformers"] = sys.modules["transformers"].__version__
    return {"name": name, "cpu_capability": capability, "num_threads": torch.get_num_threads(), "versions": versions}


def cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def as_text(found: dict[str, Any]) -> str:
    times = "  ".join(f"{name} {seconds:.4g} s" for name, seconds in found["seconds_per_clip"].items())
    ratio = "" if found["ratio"] is None else f"  {found['ratio']:.2f} × {found['best_peer']}"
    memory = "  ".join(f"{name} {size / 2**30:.2f}" for name, size in found["peak_memory_bytes"].items() if size)
    limit = f"limit {found['limit_seconds_per_clip']:.4g} s, {found['share_of_limit']:.0%} of it"
    return f"{found['row']}: {times}{ratio}  {limit}" + (f"  GiB: {memory}" if memory else "")


if __name__ == "__main__":
    main()
