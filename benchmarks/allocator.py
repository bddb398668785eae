"""What keeping freed memory is worth on the CPU: training steps in turns of kept and given back, in one process.

Run: python benchmarks/allocator.py [--size small] [--batch-size N] [--turns N]
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from results import RESULTS, write_results

from videomae.core.allocator import freed_memory_kept
from videomae.core.masks import tube_mask
from videomae.core.precision import autocast
from videomae.models.config import VideoMAEConfig
from videomae.models.modeling import VideoMAEForPreTraining
from videomae.recipes.sizes import size_keywords

STEPS = 4  # of a turn; the first one is not counted


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", default="small")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    config = VideoMAEConfig(**size_keywords(arguments.size), use_mean_pooling=False)
    model = VideoMAEForPreTraining(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    clips = torch.randn(arguments.batch_size, *config.grid.clip_shape)
    mask = tube_mask(len(clips), config.grid.shape, 0.9)

    def turn(memory: AbstractContextManager[None]) -> float:
        seconds = []
        with memory:
            for _ in range(STEPS):
                begin = time.perf_counter()
                with autocast(torch.device("cpu"), arguments.precision):
                    loss = model(clips, mask).loss
                loss.backward()
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                seconds.append(time.perf_counter() - begin)
        return statistics.median(seconds[1:])

    turn(nullcontext())
    pairs = [(turn(nullcontext()), turn(freed_memory_kept())) for _ in range(arguments.turns)]
    results = {
        "settings": {key: str(value) for key, value in vars(arguments).items() if key != "results"},
        "given_back_seconds": statistics.median(plain for plain, _ in pairs),
        "kept_seconds": statistics.median(kept for _, kept in pairs),
        "speedup": statistics.median(plain / kept for plain, kept in pairs),
    }
    for name in ("given_back_seconds", "kept_seconds", "speedup"):
        print(f"{name:>20}  {results[name]:.4f}")
    write_results("allocator", "cpu", results, arguments.results)


if __name__ == "__main__":
    main()
