"""What int8 and merged tokens gain in speed, and what they cost in accuracy.

    python benchmarks/faster_inference.py [--device cpu] [--size base] [--batch-size 1] [--rounds 5]
        [--merge-tokens 32 65 100] [--model CKPT --data DATA --model-merge-tokens 2 4 8 16]

Speed: one forward of a network of `--size` with new weights, 16 × 224 × 224; all settings take turns in one process,
and ratios are medians over the rounds against the plain model in the same round. Deviation: of its logits, relative to
them. Accuracy: of `--model`, a trained classifier, on `--data`, one view of each video; `make demo` leaves both
(demo-run/classifier and demo-run/clips/finetune).
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from measuring import machine, synchronize
from results import RESULTS, write_results
from torch import Tensor

import videomae
from videomae.core.precision import autocast
from videomae.models.inference_copy import inference_copy
from videomae.recipes.sizes import size_keywords


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", default="base")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--merge-tokens", type=int, nargs="*", default=[32, 65, 100])
    parser.add_argument("--model", help="a trained classifier")
    parser.add_argument("--data", help="labelled videos for it")
    parser.add_argument("--model-merge-tokens", type=int, nargs="*", default=[2, 4, 8, 16])
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    device = torch.device(options.device)
    results: dict[str, Any] = {"machine": machine(device), "speed": speed(options, device)}
    if options.model is not None:
        results["accuracy"] = accuracy(options)
    shown = {name: value for name, value in vars(options).items() if name not in ("model", "data", "results")}
    write_results("faster_inference", device, {"options": shown, **results}, options.results)


def settings_of(merge_tokens: list[int], device: torch.device) -> dict[str, dict[str, Any]]:
    """Name → keywords of `inference_copy`. Int8 is for CPUs."""
    found: dict[str, dict[str, Any]] = {"layers as they are": {}}
    on_cpu = device.type == "cpu"
    if on_cpu:
        found["int8"] = {"int8": True}
    for number in merge_tokens:
        found[f"merge {number}"] = {"merge_tokens": number}
        if on_cpu:
            found[f"int8, merge {number}"] = {"int8": True, "merge_tokens": number}
    return found


@torch.inference_mode()
def speed(options: argparse.Namespace, device: torch.device) -> dict[str, dict[str, Any]]:
    torch.manual_seed(0)
    config = videomae.VideoMAEConfig(**size_keywords(options.size), num_labels=400)
    plain = videomae.VideoMAEForVideoClassification(config).eval().to(device)
    clips = torch.randn(options.batch_size, 16, 3, 224, 224).to(device)
    settings = settings_of(options.merge_tokens, device)
    models = {"plain": plain, **{name: inference_copy(plain, **keywords) for name, keywords in settings.items()}}
    seconds: dict[str, list[float]] = {name: [] for name in models}
    logits: dict[str, Tensor] = {}
    for number in range(options.rounds + 1):
        for name in list(models)[:: 1 if number % 2 == 0 else -1]:
            synchronize(device)
            begin = time.perf_counter()
            with autocast(device, "auto"):
                logits[name] = models[name](clips).logits.float()
            synchronize(device)
            if number:  # the first round is for warming up
                seconds[name].append(time.perf_counter() - begin)
    found = {}
    for name, times in seconds.items():
        ratios = [a / b for a, b in zip(seconds["plain"], times, strict=True)]
        found[name] = {
            "seconds_per_clip": statistics.median(times) / options.batch_size,
            "faster_by": statistics.median(ratios),
            "faster_by_spread": [min(ratios), max(ratios)],
            "logit_deviation": float((logits[name] - logits["plain"]).norm() / logits["plain"].norm()),
        }
        print(
            f"{options.size} {name}: {found[name]['seconds_per_clip']:.4g} s a clip, {found[name]['faster_by']:.2f} ×,"
            f" logits differ by {found[name]['logit_deviation']:.2%}",
            flush=True,
        )
    return found


def accuracy(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    logging.disable()
    device = torch.device(options.device)
    found = {}
    names: dict[str, dict[str, Any]] = {"plain": {}, **settings_of(options.model_merge_tokens, device)}
    del names["layers as they are"]
    for name, keywords in names.items():
        evaluation = videomae.evaluate(
            options.data,
            model=options.model,
            clips=1,
            crops=1,
            device=options.device,
            precision="int8" if keywords.get("int8") else "auto",
            merge_tokens=keywords.get("merge_tokens", 0),
            progress=False,
        )
        metrics = evaluation.metrics
        found[name] = {"num_videos": metrics.num_videos, "top1": evaluation.top1, "loss": metrics.loss}
        print(f"{options.model} {name}: top-1 {evaluation.top1:.1%}, loss {metrics.loss:.4f}", flush=True)
    return found


if __name__ == "__main__":
    main()
