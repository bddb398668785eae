"""RandAugment of fine-tuning: what a view costs in a decode worker, and in a batch on the training device.

    python benchmarks/augmentation_speed.py [--device cuda] [--batch-size 32] [--image-size 224] [--rounds 15]

Clips are smooth pictures with noise, 16 frames of 3 channels. Workers and device take turns; a worker is one thread,
and its time is that of the processor, so that other work on the machine counts little. "launch" is how long the Python
thread is occupied with a batch before it can start the forward pass, "kernels" how many it starts. The last rows are
single operations, at the magnitude of the published fine-tuning. On a GPU, `loop_speed.py` has whole fine-tuning runs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from results import RESULTS, write_results
from torch import Tensor
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from videomae.core.device import synchronize
from videomae.processing.rand_augment import OPERATIONS, DrawnOperations, RandAugment

PUBLISHED = RandAugment.parse("rand-m7-n4-mstd0.5-inc1")


def smooth_clips(num_clips: int, size: int, generator: torch.Generator) -> Tensor:
    """Clips uint8 (num_clips, 16, 3, size, size) whose values are spread as those of photographs."""
    coarse = torch.randint(256, (num_clips * 16, 3, 28, 28), generator=generator).float()
    pixels = F.interpolate(coarse, size=(size, size), mode="bicubic")
    pixels += 4 * torch.randn(pixels.shape, generator=generator)
    return pixels.clamp_(0, 255).to(torch.uint8).view(num_clips, 16, 3, size, size)


def in_turns(clips: Tensor, on_device: Tensor, batches: list[list[DrawnOperations]]) -> dict[str, float]:
    """Milliseconds a view: of a worker, of the device with all it has been given done, and of the launches alone."""
    worker, device, launch = list[float](), list[float](), list[float]()
    for drawn in batches:
        begin = time.process_time()
        for clip, operations in zip(clips, drawn, strict=True):
            PUBLISHED.apply(clip[None], [operations])
        worker.append((time.process_time() - begin) / len(clips))
        synchronize(on_device.device)
        begin = time.perf_counter()
        PUBLISHED.apply(on_device, drawn)
        launch.append((time.perf_counter() - begin) / len(clips))
        synchronize(on_device.device)
        device.append((time.perf_counter() - begin) / len(clips))
    found = {"worker": worker, "device": device, "launch": launch}
    return {f"{name}_ms": 1e3 * statistics.median(values) for name, values in found.items()}


def kernels(step: Callable[[], Any], device: torch.device) -> int | None:
    """How many kernels a step starts; None where the device has none."""
    if device.type != "cuda":
        return None
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        step()
        synchronize(device)
    return sum(1 for event in found.events() if event.device_type == torch.autograd.DeviceType.CUDA)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch-size", type=int, default=32, help="views")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)  # as in a worker
    device = torch.device(options.device)
    generator = torch.Generator().manual_seed(0)
    clips = smooth_clips(options.batch_size, options.image_size, generator)
    on_device = clips.to(device)

    def drawn(augment: RandAugment) -> list[DrawnOperations]:
        return [augment.draw(generator) for _ in clips]

    batches = [drawn(PUBLISHED) for _ in range(options.rounds + 1)]
    in_turns(clips[:2], on_device[:2], [batches[0][:2]])
    rows = {"published": in_turns(clips, on_device, batches[1:])}
    rows["published"]["kernels_a_batch"] = kernels(lambda: PUBLISHED.apply(on_device, batches[0]), device)
    if device.type == "cuda":
        changed = PUBLISHED.apply(on_device, batches[0]).cpu().int()
        rows["published"]["largest_difference"] = int((changed - PUBLISHED.apply(clips, batches[0]).int()).abs().max())
    one = RandAugment(num_ops=100, probability=1.0)
    arguments = {name: argument for operations in drawn(one)[:1] for name, argument in operations}
    few = slice(0, min(8, options.batch_size))
    for name in OPERATIONS:
        batch = [[(name, arguments[name])] for _ in clips[few]]
        rows[name] = in_turns(clips[few], on_device[few], [batch] * max(3, options.rounds // 5))
    print(f"{'ms a view':14}{'worker':>9}{'device':>9}{'launch':>9}")
    for name, row in rows.items():
        print(f"{name:14}{row['worker_ms']:9.2f}{row['device_ms']:9.3f}{row['launch_ms']:9.3f}")
    print({key: value for key, value in rows["published"].items() if not key.endswith("_ms")})
    settings = {key: str(value) for key, value in vars(options).items() if key != "results"}
    write_results("augmentation_speed", device, {"settings": settings, "rows": rows}, options.results)


if __name__ == "__main__":
    main()
