"""Features of a frozen encoder, and a linear classifier on them.

    python examples/linear_classifier_on_features.py CLIPS --checkpoint pretrained

CLIPS: labelled videos with the folders train and val. `videomae probe` does the same with a search for the rate.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

import videomae


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--checkpoint", required=True)
    options = parser.parse_args(arguments)

    train = videomae.embed(options.data / "train", model=options.checkpoint, clips=2)
    val = videomae.embed(options.data / "val", model=options.checkpoint, clips=2)
    names = sorted(set(train.labels))
    mean, std = train.features.mean(axis=0), train.features.std(axis=0) + 1e-6

    def tensors(features: videomae.Features) -> tuple[torch.Tensor, torch.Tensor]:
        values = torch.from_numpy((features.features - mean) / std)
        return values, torch.tensor([names.index(label) for label in features.labels])

    x, y = tensors(train)
    layer = torch.nn.Linear(x.shape[1], len(names))
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=100)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(layer(x), y) + 1e-3 * layer.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    x, y = tensors(val)
    predicted = layer(x).argmax(dim=-1)
    top1 = float((predicted == y).float().mean())
    print(f"top-1 {top1:.1%} of {len(y)} videos")
    for number in np.flatnonzero((predicted != y).numpy()):
        print(f"  {val.paths[number]}: {names[int(predicted[number])]}")
    return top1


if __name__ == "__main__":
    main()
