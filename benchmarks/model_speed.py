"""One pre-training step and one forward of VideoMAE base, ours beside transformers', interleaved in one run.

    python benchmarks/model_speed.py [--device cuda] [--rounds 7] [--batch-size 2]

Prints seconds per clip (medians), the ratio (above 1: ours is faster) and writes benchmarks/results/*.json.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import transformers
from results import write_results

import videomae
from videomae.core.precision import choose_precision

ROWS = ("forward fp32", "forward bf16", "pre-training step fp32", "pre-training step bf16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch-size", type=int, default=2)
    options = parser.parse_args()
    device = torch.device(options.device)
    rows = []
    for row in ROWS:
        if row.endswith("bf16") and choose_precision("auto", device).name != "bf16":
            print(f"{row:<24} not run: this {device.type} does not multiply bf16", flush=True)
            continue
        job = row.removesuffix(" fp32").removesuffix(" bf16")
        steps = {name: _job(module, job, row.endswith("bf16"), options.batch_size, device) for name, module in PEERS}
        seconds = _interleaved(steps, options.rounds, device)
        ours, theirs = (statistics.median(seconds[name]) / options.batch_size for name, _ in PEERS)
        ratio = statistics.median(b / a for a, b in zip(*seconds.values(), strict=True))
        rows.append(
            {"row": row, "ours_seconds_per_clip": ours, "transformers_seconds_per_clip": theirs, "ratio": ratio}
        )
        print(f"{row:<24} ours {ours:.4f} s/clip   transformers {theirs:.4f} s/clip   ratio {ratio:.2f}", flush=True)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    write_results("model_speed", device, {"options": vars(options), "versions": versions, "rows": rows})


PEERS: tuple[tuple[str, Any], ...] = (("ours", videomae), ("transformers", transformers))


def _job(module: Any, job: str, bf16: bool, batch_size: int, device: torch.device) -> Callable[[], None]:
    """A function that does the job once, on the same weights and inputs for both."""
    pixel_values = torch.randn(batch_size, 16, 3, 224, 224, generator=torch.Generator().manual_seed(0)).to(device)
    mask = videomae.tube_mask(batch_size, (8, 14, 14), 0.9, generator=torch.Generator().manual_seed(1)).to(device)
    config = module.VideoMAEConfig(use_mean_pooling=job == "forward", num_labels=400)
    if module is transformers:
        config._attn_implementation = "sdpa"
    torch.manual_seed(0)
    autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16)
    if job == "forward":
        classifier = module.VideoMAEForVideoClassification(config).to(device).eval()

        def forward() -> None:
            with torch.inference_mode(), autocast:
                classifier(pixel_values)

        return forward
    model = module.VideoMAEForPreTraining(config).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        with autocast:
            loss = model(pixel_values, bool_masked_pos=mask).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _interleaved(steps: dict[str, Callable[[], None]], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each round; the order turns round by round, so that a noisy neighbor hits both alike."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for number in range(rounds):
        names = list(steps) if number % 2 == 0 else list(steps)[::-1]
        for name in names:
            _synchronize(device)
            begin = time.perf_counter()
            steps[name]()
            _synchronize(device)
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
