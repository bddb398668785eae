"""Fine-tune only a few low-rank matrices with PEFT: query and value of each layer, and the head.

    pip install peft
    python examples/lora.py CLIPS --checkpoint pretrained --output adapter

CLIPS: labelled videos; a folder of class folders will do.
"""

from __future__ import annotations

import argparse

import torch
from peft import LoraConfig, get_peft_model
from torch.utils.data import DataLoader

import videomae


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args(arguments)

    names = videomae.VideoDataset(options.data).class_names
    checkpoint = videomae.Checkpoint.open(options.checkpoint, task="classification", class_names=names)
    config = checkpoint.model.config
    dataset = videomae.VideoDataset(
        options.data,
        num_frames=config.num_frames,
        image_size=config.image_size,
        frame_stride=checkpoint.sampling.frame_stride,
    )
    lora = LoraConfig(r=8, lora_alpha=16, target_modules=["query", "value"], modules_to_save=["classifier", "fc_norm"])
    model = get_peft_model(checkpoint.model, lora)
    model.print_trainable_parameters()
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-3)
    for epoch in range(options.epochs):
        dataset.set_epoch(epoch)
        model.train()
        for batch in DataLoader(dataset, batch_size=4, shuffle=True):
            loss = model(**batch).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}")
    model.save_pretrained(options.output)
    return loss.item()


if __name__ == "__main__":
    main()
