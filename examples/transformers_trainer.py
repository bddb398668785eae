"""Fine-tune with the Trainer of transformers: our model and data set are what it expects.

    pip install transformers accelerate
    python examples/transformers_trainer.py CLIPS --checkpoint pretrained --output classifier

CLIPS: labelled videos with the splits train and val.
"""

from __future__ import annotations

import argparse

import torch
from transformers import Trainer, TrainingArguments

import videomae


def main(arguments: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args(arguments)

    names = videomae.VideoDataset(options.data, split="train").class_names
    checkpoint = videomae.Checkpoint.open(options.checkpoint, task="classification", class_names=names)
    config = checkpoint.model.config
    clip = {"num_frames": config.num_frames, "image_size": config.image_size}
    clip["frame_stride"] = checkpoint.sampling.frame_stride
    trainer = Trainer(
        model=checkpoint.model,
        args=TrainingArguments(
            output_dir=options.output,
            num_train_epochs=options.epochs,
            learning_rate=1e-3,
            per_device_train_batch_size=4,
            dataloader_pin_memory=torch.cuda.is_available(),
            eval_strategy="epoch",
            save_strategy="epoch",
            save_total_limit=1,
            load_best_model_at_end=True,
            metric_for_best_model="top1",
            report_to=[],
            remove_unused_columns=False,
        ),
        train_dataset=videomae.VideoDataset(options.data, split="train", **clip),
        eval_dataset=videomae.VideoDataset(options.data, split="val", training=False, **clip),
        processing_class=checkpoint.processor,  # saved beside the model
        compute_metrics=lambda found: {"top1": float((found.predictions.argmax(-1) == found.label_ids).mean())},
    )
    trainer.train()
    trainer.save_model()  # a checkpoint, as is each checkpoint-N in the folder
    metrics: dict[str, float] = trainer.evaluate()
    print(f"validation top-1 {metrics['eval_top1']:.1%}")
    return metrics


if __name__ == "__main__":
    main()
