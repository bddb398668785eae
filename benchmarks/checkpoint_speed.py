"""Opening checkpoints: time and peak memory, beside transformers and beside the least that opening can cost.

    python benchmarks/checkpoint_speed.py [--rounds 15] [--folder DIR]

Writes random weights of VideoMAE base (0.35 GB) and large (1.2 GB) into DIR, which is removed afterwards, and reads
them from the page cache. "least" is `safetensors.torch.load_file` (for .pth a mapped `torch.load`) and building the
model on the meta device. Times are medians of rounds that take turns; memory is the peak above what the process had
after opening a tiny checkpoint, each in a process of its own. Writes benchmarks/results/*.json.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from results import write_results
from safetensors.torch import load_file

import videomae
from videomae.recipes.sizes import size_keywords

TINY = {"image_size": 32, "patch_size": 16, "num_frames": 2, "hidden_size": 32, "num_hidden_layers": 1}
TINY |= {"num_attention_heads": 2, "intermediate_size": 32}
CLIP = {"num_frames": 16, "image_size": 224}


def write_checkpoints(root: Path) -> None:
    for name, keywords in (("tiny", TINY), ("base", size_keywords("base")), ("large", size_keywords("large"))):
        config = videomae.VideoMAEConfig(**keywords, num_labels=400)
        videomae.VideoMAEForVideoClassification(config).save_pretrained(root / name)
        videomae.VideoMAEImageProcessor().save_pretrained(root / name)
        videomae.convert(root / name, root / f"{name}.pth", layout="original")


def least(source: Path) -> object:
    """What opening cannot do without: a mapping of the tensors, and the modules."""
    folder = source.with_suffix("")
    is_file = source.suffix == ".pth"
    state = torch.load(source, mmap=True, weights_only=True) if is_file else load_file(source / "model.safetensors")
    config = videomae.VideoMAEConfig.from_pretrained(folder)
    with torch.device("meta"):
        return state, videomae.VideoMAEForVideoClassification(config)


def ours(source: Path) -> object:
    return videomae.VideoMAEForVideoClassification.from_pretrained(source)


def ours_open(source: Path) -> object:
    return videomae.Checkpoint.open(source)


def theirs(source: Path) -> object:
    import transformers

    return transformers.VideoMAEForVideoClassification.from_pretrained(source)


JOBS: dict[str, Callable[[Path], object]] = {
    "least": least,
    "ours from_pretrained": ours,
    "ours Checkpoint.open": ours_open,
    "transformers from_pretrained": theirs,
}
SPEED_ROWS = {"base": [*JOBS], "base.pth": ["least", "ours Checkpoint.open"]}
MEMORY_ROWS = {**SPEED_ROWS, "large": [*JOBS][1:], "large.pth": ["ours Checkpoint.open"]}


def seconds_of_turns(jobs: list[str], source: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of each round; the order turns round by round, so that a noisy neighbor hits all alike."""
    seconds: dict[str, list[float]] = {job: [] for job in jobs}
    for job in jobs:
        JOBS[job](source)
    for number in range(rounds):
        for job in jobs if number % 2 == 0 else jobs[::-1]:
            begin = time.perf_counter()
            opened = JOBS[job](source)
            seconds[job].append(time.perf_counter() - begin)
            wait_for_looking()
            del opened
    return seconds


def wait_for_looking() -> None:
    """Ours looks for NaN in large weights after it has opened them; the next job is not to share the cores with it."""
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and thread.name.startswith("videomae"):
            thread.join()


def peak_mb(job: str, source: Path) -> float:
    """The most memory that opening takes, files in the page cache that it maps included."""
    command = [sys.executable, __file__, "--child", job, str(source)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def child(job: str, source: Path) -> None:
    JOBS[job](source.with_name("tiny" + source.suffix))
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _status("VmRSS")
    opened = JOBS[job](source)
    wait_for_looking()
    print((_status("VmHWM") - before) / 1024)
    del opened


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], Path(options.child[1]))
        return
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        write_checkpoints(Path(folder))
        for source, jobs in SPEED_ROWS.items():
            seconds = seconds_of_turns(jobs, Path(folder) / source, options.rounds)
            for job, times in seconds.items():
                ratio = statistics.median(a / b for a, b in zip(times, seconds["least"], strict=True))
                row = {"source": source, "job": job, "seconds": statistics.median(times), "fastest": min(times)}
                rows.append({**row, "times_least": ratio})
                print(f"{source:<10} {job:<30} {row['seconds']:.3f} s   {ratio:.2f} × least", flush=True)
        for source, jobs in MEMORY_ROWS.items():
            path = Path(folder) / source
            size = (path / "model.safetensors" if path.is_dir() else path).stat().st_size / 2**20
            for job in jobs:
                peak = peak_mb(job, path)
                rows.append({"source": source, "job": job, "peak_mb": peak, "times_file": peak / size})
                print(f"{source:<10} {job:<30} {peak:7.0f} MB   {peak / size:.2f} × file", flush=True)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    results = {"options": {"rounds": options.rounds}, "versions": versions, "rows": rows}
    write_results("checkpoint_speed", "cpu", results)


if __name__ == "__main__":
    main()
