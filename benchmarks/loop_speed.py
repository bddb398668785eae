"""Whole training runs from packed files: speed, data wait, how busy the GPU is.

    python benchmarks/loop_speed.py [--device cuda] [--rows pretrain/1 pretrain/4 finetune/2] [--size base]
        [--batch-size 64] [--steps 60] [--num-workers N]

A row is JOB/VIEWS: `pretrain` or `finetune` (with the published augmentation), with so many views of each decoded
clip; `finetune/2/workers`, `/device` and `/whole` say where RandAugment runs. Videos of 640×360 are made and packed
before; each is read many times. Seconds are per view; the limit is that of the matrix products (limits.py). "data wait"
is the share of the time in which the device had nothing to do for want of clips, "GPU busy" what nvidia-smi reports.
The first sixth of a run, in which workers start and kernels are chosen, does not count. `loop_overhead.py` has what the
loop adds to bare steps on clips in memory, `inference_speed.py` the prediction of many videos.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import data_files
import torch
from limits import limit_seconds
from measuring import as_text, machine, summary
from model_peers import Row
from results import RESULTS, add_row

import videomae
from videomae.core.machine import usable_cores
from videomae.core.precision import choose_precision
from videomae.training.metrics_log import speed_of_run

NUM_VIDEOS = 4
PUBLISHED = {"init": "scratch", "mixup": 0.8, "cutmix": 1.0, "min_crop_area": 0.08}  # of fine-tuning
# Where RandAugment is to run: otherwise on a GPU; "whole" is in the workers, on whole frames, as published.
AUGMENTED: dict[str, dict[str, Any]] = {
    "": {},
    "workers": {"augment_on": "workers"},
    "device": {"augment_on": "device"},
    "whole": {"augment_before_crop": True},
}
Found = dict[str, Any]


def main() -> None:
    options = parse()
    device = torch.device(options.device)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        packed = make_packed(folder)
        for text in options.rows:
            job, views, *options.augmented = text.split("/")
            try:
                found = training(job, int(views), options, device, packed, folder / text.replace("/", "-"))
            except Exception as error:  # one row costs no other one
                print(f"{text} failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                continue
            waits = {key: found[key] for key in ("clips_per_second", "data_wait_share", "gpu_busy")}
            print(as_text(found), waits, flush=True)
            add_row("loop_speed", device, machine(device), found, options.results)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    on_gpu = parser.parse_known_args()[0].device.startswith("cuda")
    parser.add_argument("--rows", nargs="+", default=["pretrain/1", "pretrain/4", "finetune/2"])
    parser.add_argument("--size", default="base" if on_gpu else "small")
    parser.add_argument("--batch-size", type=int, default=64 if on_gpu else 4, help="views; half of it in fine-tuning")
    parser.add_argument("--steps", type=int, default=120 if on_gpu else 12, help="of a run")
    parser.add_argument("--num-workers", type=int, default=usable_cores() if on_gpu else -1)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    options.precision = choose_precision("auto", torch.device(options.device)).name
    return options


def make_packed(folder: Path) -> Path:
    """Packed videos of two classes, 300 frames each."""
    first = data_files.make_one_key_frame(None, folder / "made.mp4")
    for number in range(NUM_VIDEOS):
        (folder / "videos" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        os.link(first, folder / "videos" / "ab"[number % 2] / f"{number}.mp4")
    videomae.pack(folder / "videos", folder / "packed", progress=False)
    return folder / "packed"


def repeat(packed: Path, number: int) -> None:
    """List the videos again and again, so that an epoch has so many."""
    table = packed / "videos.csv"
    head, *lines = table.read_text(encoding="utf-8").splitlines()
    lines = (lines * (number // len(lines) + 1))[: max(number, NUM_VIDEOS)]  # both classes
    table.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")


def training(
    job: str, views: int, options: argparse.Namespace, device: torch.device, packed: Path, output: Path
) -> Found:
    """One epoch of a run."""
    at_once = options.batch_size if job == "pretrain" else options.batch_size // 2
    batch_size = max(1, at_once // views)
    repeat(packed, options.steps * batch_size)
    row = Row(job, options.size, options.precision, batch_size * views)
    where = options.augmented[0] if options.augmented else ""

    def lines() -> list[dict[str, Any]]:
        path = output / "metrics.jsonl"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]

    with Utilization(device, lambda: bool(lines())) as utilization:
        getattr(videomae, job)(
            packed,
            output=output,
            size=row.size,
            image_size=row.config["image_size"],
            views=views,
            batch_size=batch_size,
            epochs=1,
            log_every=max(1, options.steps // 6),
            save_minutes=1e9,
            trackers=(),
            device=str(device),
            precision=options.precision,
            num_workers=options.num_workers,
            progress=False,
            **(PUBLISHED if job == "finetune" else {}),
            **AUGMENTED[where],
        )
    speed = speed_of_run(lines()[1:])
    title = f"{job} run {row.size} {row.precision} batch {batch_size} × {views} views {where}".strip()
    return as_row(title, speed.clips_per_second * views, row, device, utilization, speed.data_wait_share)


def as_row(
    title: str,
    clips_per_second: float,
    row: Row,
    device: torch.device,
    utilization: Utilization,
    data_wait_share: float | None,
) -> Found:
    limit = limit_seconds(row, device) / row.batch_size
    return {
        "row": title,
        **summary({"ours": [1 / clips_per_second]}),
        "memory": {},
        "failed": {},
        "limit": limit,
        "share": limit * clips_per_second,
        "clips_per_second": clips_per_second,
        "data_wait_share": data_wait_share,
        "gpu_busy": utilization.mean,
    }


class Utilization:
    """How busy nvidia-smi finds a GPU, asked twice a second while `counts()`; `mean` is None without one."""

    def __init__(self, device: torch.device, counts: Callable[[], bool]) -> None:
        self._samples: list[float] = []
        self._counts, self._ended = counts, threading.Event()
        self._thread = threading.Thread(target=self._sample, args=(device,), daemon=True)
        if device.type == "cuda":
            self._thread.start()

    @property
    def mean(self) -> float | None:
        return sum(self._samples) / len(self._samples) if self._samples else None

    def _sample(self, device: torch.device) -> None:
        gpu = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        command = ["nvidia-smi", "-i", gpu, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not self._ended.wait(0.5):
            answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
            if self._counts() and answer.isdigit():
                self._samples.append(int(answer) / 100)

    def __enter__(self) -> Utilization:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()


if __name__ == "__main__":
    main()
