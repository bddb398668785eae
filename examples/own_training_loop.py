"""Train a classifier in a plain PyTorch loop, with the package's data set and model.

    python examples/own_training_loop.py CLIPS --checkpoint pretrained --output classifier

CLIPS: labelled videos with the splits train and val, such as CLIPS/train/jump/1.mp4.
"""

from __future__ import annotations

import argparse

import torch
from torch.utils.data import DataLoader

import videomae


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--num-workers", type=int, default=2)
    options = parser.parse_args(arguments)

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    names = videomae.VideoDataset(options.data, split="train").class_names
    checkpoint = videomae.Checkpoint.open(options.checkpoint, task="classification", class_names=names)
    model = checkpoint.model.to(device)
    clip = {"num_frames": model.config.num_frames, "image_size": model.config.image_size}
    clip["frame_stride"] = checkpoint.sampling.frame_stride
    train = videomae.VideoDataset(options.data, split="train", **clip)
    val = videomae.VideoDataset(options.data, split="val", training=False, **clip)
    loader = {"batch_size": options.batch_size, "num_workers": options.num_workers}

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    steps = options.epochs * -(-len(train) // options.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(options.epochs):
        train.set_epoch(epoch)  # before the loader's workers start: other clips in each epoch
        model.train()
        for batch in DataLoader(train, shuffle=True, **loader):
            loss = model(**{name: value.to(device) for name, value in batch.items()}).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        top1 = accuracy(model, DataLoader(val, **loader), device)
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}, validation top-1 {top1:.1%}")

    model.save_pretrained(options.output)
    checkpoint.processor.save_pretrained(options.output)  # with the sampling, so that `videomae predict` reads it
    return top1


@torch.inference_mode()
def accuracy(model: torch.nn.Module, loader: DataLoader, device: torch.device) -> float:
    model.eval()
    right = total = 0
    for batch in loader:
        predicted = model(batch["pixel_values"].to(device)).logits.argmax(dim=-1).cpu()
        right += int((predicted == batch["labels"]).sum())
        total += len(predicted)
    return right / total


if __name__ == "__main__":
    main()
