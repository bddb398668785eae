"""Which positions lose less on clips of another length or size: interpolated, or those of the new grid's own table?

    python benchmarks/positions.py CHECKPOINT DATA [--num-frames 4 16] [--image-size 24 48 64]

Each row is one change of the clips, with the top-1 accuracy of a classifier, or the loss of a pre-training checkpoint,
under positions that are interpolated in 3-D from the grid of the checkpoint, and under those that the new grid's own
table has (transformers computes them so). The result, as JSON, goes to benchmarks/results.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from results import write_results

import videomae
from videomae.core.masks import random_mask
from videomae.data.clips import ViewClips
from videomae.datasets.manifest import read_manifest
from videomae.processing.transforms import normalize

POSITIONS = ("as adapted", "interpolated", "own table")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("data")
    parser.add_argument("--num-frames", type=int, nargs="*", default=[])
    parser.add_argument("--image-size", type=int, nargs="*", default=[])
    options = parser.parse_args()
    paths = [entry.path for entry in read_manifest(options.data).entries]
    changes: list[dict[str, Any]] = [{}, *({"num_frames": number} for number in options.num_frames)]
    changes += [{"image_size": size} for size in options.image_size]
    trained = videomae.Checkpoint.open(options.checkpoint).model.config.grid.shape
    rows = []
    for change in changes:
        row: dict[str, Any] = {"clips": change, "num_videos": len(paths)}
        for positions in POSITIONS:
            grid = (
                {} if positions == "as adapted" else {"position_grid": trained if positions == "interpolated" else None}
            )
            opened = videomae.Checkpoint.open(options.checkpoint, **change, **grid)
            if hasattr(opened.model, "classifier"):
                row[positions] = videomae.evaluate(options.data, model=opened, progress=False).top1
            else:
                row[positions] = mean_loss(opened, paths)
        rows.append(row)
        print(change or "as trained", " ".join(f"{name} {row[name]:.4f}" for name in POSITIONS), flush=True)
    name = f"positions-{Path(options.checkpoint).resolve().name}"
    write_results(
        name,
        torch.device("cpu"),
        {"options": {**vars(options), "checkpoint": name, "data": Path(options.data).name}, "rows": rows},
    )


@torch.inference_mode()
def mean_loss(checkpoint: videomae.Checkpoint, paths: list[Any]) -> float:
    """Over the center clips of the videos, three quarters of the tubelets hidden at random."""
    config = checkpoint.model.config
    views = ViewClips(paths, sampling=checkpoint.sampling, image_size=config.grid.clip_shape[2:])
    masks = random_mask(len(paths), config.grid.shape, 0.75, generator=torch.Generator().manual_seed(0))
    total = 0.0
    for index, mask in enumerate(masks):
        pixel_values = normalize(views.read(index)[0], checkpoint.processor.image_mean, checkpoint.processor.image_std)
        total += checkpoint.model(pixel_values, mask[None]).loss.item()
    return total / len(paths)


if __name__ == "__main__":
    main()
