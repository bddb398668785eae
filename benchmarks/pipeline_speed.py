"""What surrounds the network: preprocessing, one video from file to label, import and start-up.

    python benchmarks/pipeline_speed.py [--device cuda] [--rows startup preprocess video] [--size base]
        [--row-seconds 10] [--video FILE]

preprocess: 16 frames of 640×360 to 224, beside transformers' processors. video: a file of 10 s to its label from 5 × 3
views, beside PyAV + transformers' processor and model with SDPA, which decodes once, or once for each view as V1 does.
startup: fresh processes. Peers take turns; rows go to benchmarks/results one by one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import data_files
import numpy as np
import torch
from limits import limit_seconds
from measuring import as_text, compare, machine
from model_peers import Row
from pipeline_peers import NUM_CLIPS, NUM_CROPS, REPORT_PEAK, processors, startup_codes, video_builds
from results import RESULTS, add_row

import videomae
from videomae.core.precision import choose_precision

Found = dict[str, Any]


def main() -> None:
    options = parse()
    device = torch.device(options.device)
    options.precision = choose_precision("auto", device).name
    with tempfile.TemporaryDirectory() as folder:
        if options.video is None and options.rows != ["preprocess"]:
            options.video = data_files.make_one_key_frame(None, Path(folder) / "made.mp4")
        for name in options.rows:
            try:
                for found in ROWS[name](options, device, Path(folder)):
                    print(as_text(found), flush=True)
                    add_row("pipeline_speed", device, machine(device), found, options.results)
            except Exception as error:  # one kind of rows costs no other one
                print(f"{name} failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    on_gpu = parser.parse_known_args()[0].device.startswith("cuda")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--size", default="base" if on_gpu else "small", help="of the row video")
    parser.add_argument("--row-seconds", type=float, default=10.0, help="of a row's rounds; at least two are made")
    parser.add_argument("--video", type=Path, help="by default one is made")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


def preprocess(options: argparse.Namespace, device: torch.device, folder: Path) -> Iterator[Found]:
    frames = data_files.drawn_frames(16, 360, 640)
    planes = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous()
    for title, clip in (("arrays", frames), ("a tensor", planes)):
        builds = {
            name: lambda process=process, clip=clip: lambda: process(clip, return_tensors="pt")
            for name, process in processors().items()
        }
        found = compare(builds, torch.device("cpu"), seconds=options.row_seconds)
        yield {"row": f"preprocess 16 frames of 640 × 360, {title}", **found, "memory": {}}


def video(options: argparse.Namespace, device: torch.device, folder: Path) -> Iterator[Found]:
    classifier = save_classifier(options.size, folder)
    found = compare(
        video_builds(options.video, classifier, device, options.precision), device, seconds=options.row_seconds
    )
    limit = NUM_CROPS * limit_seconds(Row("classify", options.size, options.precision, NUM_CLIPS), device)
    ours = found["seconds"].get("ours")
    title = f"file to label {options.size} {options.precision}, {NUM_CLIPS} × {NUM_CROPS} views"
    yield {"row": title, **found, "limit": limit, "share": limit / ours if ours else None}


def startup(options: argparse.Namespace, device: torch.device, folder: Path) -> Iterator[Found]:
    """Those of a prediction have the small model, and its time is among theirs."""
    codes = startup_codes(options.video, save_classifier("small", folder))
    for title, of_peers in codes.items():
        steps = {name: fresh(code) for name, code in of_peers.items()}
        builds = {name: lambda step=step: step for name, step in steps.items()}
        found = compare(builds, torch.device("cpu"), seconds=options.row_seconds)
        yield {"row": title, **found, "memory": {name: {"peak": 1024 * steps[name]()} for name in found["seconds"]}}


def save_classifier(size: str, folder: Path) -> Path:
    """Random weights."""
    config = videomae.VideoMAEConfig(**Row("classify", size, "fp32", 1).config)
    side = config.image_size
    videomae.VideoMAEForVideoClassification(config).save_pretrained(folder / size)
    processor = videomae.VideoMAEImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    processor.save_pretrained(folder / size)
    return folder / size


def fresh(code: str) -> Callable[[], int]:
    """Runs the code in a new process; returns its peak memory in KiB."""

    def step() -> int:
        command = [sys.executable, "-W", "ignore", "-c", REPORT_PEAK + code]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        return int(done.stdout.split()[-1])

    return step


ROWS = {"startup": startup, "preprocess": preprocess, "video": video}


if __name__ == "__main__":
    main()
