"""This checkout beside another one of this project: the same work in two processes, in turns.

    python benchmarks/revisions.py CHECKOUT [--rounds 7] [--videos DIR] [--size base] [--only models|videos]

Prints medians and the ratio (above 1: this checkout is faster) for a forward, a pre-training step, the processor and
random clips of each video, packet index known; writes benchmarks/results/*.json. Both use the libraries that are
installed here.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--videos", type=Path, default=HERE.parent / "shared/videos")
    parser.add_argument("--size", default="base")
    parser.add_argument("--only", choices=("models", "videos"), help="only these rows")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options)
        return
    workers = {name: Worker(folder, options) for name, folder in (("this", HERE), ("other", options.checkout))}
    rows = []
    models = () if options.only == "videos" else ("forward", "pre-training step", "processor")
    for job in (*models, *(() if options.only == "models" else video_files(options.videos))):
        seconds: dict[str, list[float]] = {name: [] for name in workers}
        for round_ in range(options.rounds + 1):
            for name, worker in workers.items():
                took = worker.seconds(job, round_)
                if round_ and took is not None:  # the first is a warm-up
                    seconds[name].append(took)
        if not all(len(values) == options.rounds for values in seconds.values()):
            print(f"{Path(job).name:<40} one of them cannot do it", flush=True)
            continue
        this, other = (statistics.median(values) for values in seconds.values())
        ratio = statistics.median(b / a for a, b in zip(*seconds.values(), strict=True))
        rows.append({"row": Path(job).name, "this_seconds": this, "other_seconds": other, "ratio": ratio})
        print(f"{Path(job).name:<40} this {this:9.4f} s   other {other:9.4f} s   ratio {ratio:.2f}", flush=True)
    ratios = [row["ratio"] for row in rows[len(models) :]]
    if ratios:
        print(f"videos: geometric mean {statistics.geometric_mean(ratios):.3f}, slowest {min(ratios):.2f}")
    import torch
    from results import write_results

    write_results("revisions", torch.device("cpu"), {"options": {"rounds": options.rounds}, "rows": rows})


class Worker:
    """A process that imports the package of one checkout."""

    def __init__(self, checkout: Path, options: argparse.Namespace) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(checkout), "--work", "--size", options.size],
            env={**os.environ, "PYTHONPATH": str(checkout / "src")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def seconds(self, job: str, round_: int) -> float | None:
        """How long the job took; None where it cannot be done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([job, round_]), file=self._process.stdin, flush=True)
        answer: float | None = json.loads(self._process.stdout.readline())
        return answer


def work(options: argparse.Namespace) -> None:
    """Do what is asked for, and answer with the seconds."""
    import videomae
    from videomae.core.errors import VideoError

    assert str(Path(videomae.__file__).resolve()).startswith(str(options.checkout.resolve())), videomae.__file__
    jobs: dict[str, Callable[[int], object]] = {}
    for line in sys.stdin:
        job, round_ = json.loads(line)
        try:
            if job not in jobs:
                jobs[job] = prepared(job, options.size)
            begin = time.perf_counter()
            jobs[job](round_)
            print(json.dumps(time.perf_counter() - begin), flush=True)
        except VideoError:
            print("null", flush=True)


def prepared(job: str, size: str) -> Callable[[int], object]:
    """The job as a function of the round, with all that is done once behind it."""
    import torch

    import videomae
    from videomae.recipes.sizes import size_keywords
    from videomae.video.reader import VideoReader

    torch.manual_seed(0)
    pixel_values = torch.randn(1, 16, 3, 224, 224)
    if job == "forward":
        classifier = videomae.VideoMAEForVideoClassification(videomae.VideoMAEConfig(**size_keywords(size))).eval()
        return lambda _: torch.no_grad()(classifier)(pixel_values)
    if job == "pre-training step":
        config = videomae.VideoMAEConfig(**size_keywords(size), use_mean_pooling=False)
        model = videomae.VideoMAEForPreTraining(config).train()
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        mask = videomae.tube_mask(1, (8, 14, 14), 0.9, generator=torch.Generator().manual_seed(0))

        def step(_: int) -> None:
            model(pixel_values, bool_masked_pos=mask).loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        return step
    if job == "processor":
        processor = videomae.VideoMAEImageProcessor()
        frames = list(np.random.default_rng(0).integers(0, 256, (16, 360, 640, 3), dtype=np.uint8))
        return lambda _: processor(frames, return_tensors="pt")
    with VideoReader(job) as reader:
        index, num_frames = reader.index, reader.num_frames

    def read(round_: int) -> Any:
        start = np.random.default_rng(round_).integers(max(1, num_frames - 61))
        with VideoReader(job, index=index) as again:
            return again.read(np.minimum(start + 4 * np.arange(16), num_frames - 1))

    return read


def video_files(folder: Path) -> list[str]:
    """The videos of a folder, hostile ones included."""
    return sorted(str(path) for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


if __name__ == "__main__":
    main()
