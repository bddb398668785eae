"""Does a single frame of the demonstration clips tell the class? Trains classifiers on frames and finds out.

A small convolutional network is trained on single frames of many clips and tested on held-out clips: on frames of all
positions, on the first, middle and last alone, and on frames that went through MP4 files, where the encoder could have
left a trace of the motion. Chance is 12.5 %; each row must lie within 3 standard deviations of it. The last row is the
same network given eight frames at once, which must learn the classes: so the single-frame rows are not merely weak.

Run: python benchmarks/single_frame.py [--results DIR]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from results import RESULTS, write_results
from torch import Tensor, nn
from torch.nn import functional as F

from videomae.demo.clips import CRF, FRAMES_PER_SECOND, MOTIONS, NUM_FRAMES, SIZE, render_clip
from videomae.video.reader import read_video
from videomae.video.writer import write_video

CHANCE = 1 / len(MOTIONS)
BATCH_SIZE = 128
STACKED = range(4, 20, 2)


def render(split: str, num_clips: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Clips uint8 (num_clips, T, 3, H, W) and their classes (num_clips,), balanced."""
    clips = np.empty((num_clips, NUM_FRAMES, SIZE, SIZE, 3), np.uint8)
    for index in range(num_clips):
        clips[index] = render_clip(seed=seed, split=split, index=index, motion=MOTIONS[index % len(MOTIONS)])
    return torch.from_numpy(clips).permute(0, 1, 4, 2, 3), torch.arange(num_clips) % len(MOTIONS)


def through_mp4(clips: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """The clips as they come back from the files of the demonstration."""
    back = torch.empty_like(clips)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        for index, clip in enumerate(clips):
            write_video(path, clip.permute(0, 2, 3, 1).numpy(), frames_per_second=FRAMES_PER_SECOND, crf=CRF)
            back[index] = torch.from_numpy(read_video(path, range(NUM_FRAMES))).permute(0, 3, 1, 2)
    return back, classes


def network(in_channels: int) -> nn.Module:
    """Three strided convolutions and a linear layer: enough to tell texture, place, size and angle."""
    layers: list[nn.Module] = []
    for width, out in ((in_channels, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(width, out, 3, stride=2, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.2), nn.Linear(128 * (SIZE // 8) ** 2, len(MOTIONS)))


def pick(clips: Tensor, chosen: Tensor, frames: list[int], *, stack: bool, generator: torch.Generator) -> Tensor:
    """One random frame of `frames` of each chosen clip (B, 3, H, W), or all of them stacked, floats from -1 to 1."""
    if stack:
        taken = clips[chosen][:, frames].flatten(1, 2)
    else:
        position = torch.tensor(frames)[torch.randint(len(frames), (len(chosen),), generator=generator)]
        taken = clips[chosen, position]
    return taken.float() / 127.5 - 1


def accuracy(
    train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], frames: list[int], *, stack: bool, steps: int, seed: int
) -> float:
    """Held-out accuracy, one frame (or stack) a clip, of a network trained on frames at the given positions."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    clips, classes = train
    model = network(3 * len(frames) if stack else 3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(steps):
        chosen = torch.randint(len(clips), (BATCH_SIZE,), generator=generator)
        logits = model(pick(clips, chosen, frames, stack=stack, generator=generator))
        optimizer.zero_grad()
        F.cross_entropy(logits, classes[chosen]).backward()
        optimizer.step()
        schedule.step()
    model.eval()
    with torch.no_grad():
        everything = torch.arange(len(test[0]))
        right = [
            model(pick(test[0], part, frames, stack=stack, generator=generator)).argmax(1) == test[1][part]
            for part in everything.split(256)
        ]
    return torch.cat(right).float().mean().item()


def measure(*, num_train: int, num_test: int, steps: int, seed: int) -> list[dict[str, object]]:
    """The rows of the table."""
    train, test = render("benchmark-train", num_train, seed=seed), render("benchmark-test", num_test, seed=seed)
    packed_train, packed_test = through_mp4(*train), through_mp4(*test)
    every = list(range(NUM_FRAMES))
    plan = [
        ("one frame, any position", train, test, every, False),
        ("one frame, the first", train, test, [0], False),
        ("one frame, the middle", train, test, [NUM_FRAMES // 2], False),
        ("one frame, the last", train, test, [NUM_FRAMES - 1], False),
        ("one frame, any position, through mp4", packed_train, packed_test, every, False),
        ("one frame, the last, through mp4", packed_train, packed_test, [NUM_FRAMES - 1], False),
        (f"{len(STACKED)} frames at once", train, test, list(STACKED), True),
    ]
    sigma = (CHANCE * (1 - CHANCE) / num_test) ** 0.5
    rows: list[dict[str, object]] = []
    for name, fit, held_out, frames, stack in plan:
        started = time.perf_counter()
        top1 = accuracy(fit, held_out, frames, stack=stack, steps=steps, seed=seed)
        rows.append(
            {
                "input": name,
                "num_train_clips": len(fit[0]),
                "num_test_clips": num_test,
                "top1": round(top1, 4),
                "sigmas_from_chance": round((top1 - CHANCE) / sigma, 2),
                "expected": "learned" if stack else "chance",
                "as_expected": bool(top1 > 3 * CHANCE if stack else abs(top1 - CHANCE) <= 3 * sigma),
                "seconds": round(time.perf_counter() - started, 1),
            }
        )
        row = rows[-1]
        print(f"{name:40} {top1:7.1%} {row['sigmas_from_chance']:+8} σ   expected: {row['expected']}", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--train-clips", type=int, default=3200)
    parser.add_argument("--test-clips", type=int, default=2400)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows = measure(
        num_train=arguments.train_clips,
        num_test=arguments.test_clips,
        steps=arguments.steps,
        seed=arguments.seed,
    )
    results = {
        "torch": torch.__version__,
        "chance": CHANCE,
        "steps": arguments.steps,
        "batch_size": BATCH_SIZE,
        "seed": arguments.seed,
        "rows": rows,
    }
    write_results("single_frame", "cpu", results, arguments.results)
    if not all(row["as_expected"] for row in rows):
        raise SystemExit("a row is not as expected")


if __name__ == "__main__":
    main()
