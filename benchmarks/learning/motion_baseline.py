"""What twelve numbers about motion and light tell of each video: the yardstick beside `actions.py`'s networks.

    python benchmarks/learning/motion_baseline.py DATA

A logistic regression on statistics of the differences between frames (every other one, averaged over blocks of 8 × 8
pixels), fitted on the train split of DATA (packed data will do) and judged on its val split.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from videomae.datasets.manifest import Manifest, read_manifest
from videomae.video.opening import open_video

BLOCK = 8


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    data = read_manifest(parser.parse_args().data)
    train, val = (_statistics(data.take_split(split), data.class_names) for split in ("train", "val"))
    mean, deviation = train[0].mean(0), train[0].std(0)
    features = [torch.from_numpy((values - mean) / deviation).float() for values, _ in (train, val)]
    labels = [torch.tensor(labels) for _, labels in (train, val)]
    torch.manual_seed(0)
    model = torch.nn.Linear(features[0].shape[1], len(data.class_names))
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=200)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(model(features[0]), labels[0]) + 0.01 * model.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    for split, values, truth in zip(("train", "val"), features, labels, strict=True):
        print(f"{split:<5}  {float((model(values).argmax(1) == truth).float().mean()):.1%} of {len(truth)} videos")
    share = float(torch.bincount(labels[1]).max()) / len(labels[1])
    print(f"always the most frequent class: {share:.1%} of val")


def _statistics(manifest: Manifest, class_names: Sequence[str]) -> tuple[np.ndarray, list[int]]:
    rows = []
    for entry in manifest.entries:
        with open_video(entry.path) as reader:
            frames = reader.read(range(0, reader.num_frames, 2)).astype(np.float32).mean(-1)
        height, width = (side // BLOCK * BLOCK for side in frames.shape[1:])
        blocks = frames[:, :height, :width].reshape(len(frames), height // BLOCK, BLOCK, width // BLOCK, BLOCK)
        light = blocks.mean((2, 4))
        moved = np.abs(np.diff(light, axis=0))
        largest, place = np.quantile(moved, 0.99), moved.mean(0)
        rows.append(
            [
                *(moved.mean(), moved.std(), largest, np.log(moved.mean() + 0.1), np.log(largest + 0.1)),
                *((moved > 10).mean(), moved.mean((1, 2)).std(), np.quantile(place, 0.9) / (place.mean() + 0.1)),
                *(light.mean(), light.std(), len(frames), height / width),
            ]
        )
    return np.array(rows), [class_names.index(str(entry.label)) for entry in manifest.entries]


if __name__ == "__main__":
    main()
