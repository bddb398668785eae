"""Runs transformers' video pipeline and its Trainer on our objects, in an interpreter with any release of it.

Usage: PYTHON peer_objects.py pipeline|trainer MODEL_FOLDER VIDEO_OR_FOLDER OUT.json; our package must be on PYTHONPATH.
"""

import json
import sys
from pathlib import Path

import torch
import transformers

import videomae


def use_pipeline(model, processor, video, out):
    classify = transformers.pipeline("video-classification", model=model, image_processor=processor)
    classify.save_pretrained(str(Path(out).with_suffix("")))
    return {"one": classify(video, top_k=3), "many": classify([video] * 3, top_k=3, batch_size=2)}


def use_trainer(model, processor, folder, out):
    clips = [{"pixel_values": torch.rand(4, 3, 16, 16) + label, "labels": label} for label in [0, 1, 2] * 4]
    arguments = (
        {"evaluation_strategy": "epoch"} if transformers.__version__.startswith("4.34") else {"eval_strategy": "epoch"}
    )
    trainer = transformers.Trainer(
        model=model,
        args=transformers.TrainingArguments(
            folder,
            num_train_epochs=2,
            per_device_train_batch_size=6,
            learning_rate=1e-2,
            save_strategy="epoch",
            load_best_model_at_end=True,
            report_to="none",
            use_cpu=True,
            **arguments,
        ),
        train_dataset=clips,
        eval_dataset=clips,
        data_collator=transformers.default_data_collator,
    )
    trainer.train()
    trainer.save_model()
    theirs = transformers.AutoModelForVideoClassification.from_pretrained(folder)
    pixel_values = torch.stack([clip["pixel_values"] for clip in clips])
    with torch.no_grad():
        logits = [each.eval()(pixel_values).logits for each in (trainer.model, theirs)]
    torch.save({"pixel_values": pixel_values, "logits": logits[0]}, Path(folder) / "outputs.pt")
    return {
        "difference": (logits[0] - logits[1]).abs().max().item(),
        "labels": theirs.config.id2label,
        "best": trainer.state.best_model_checkpoint,
    }


def main():
    job, folder, place, out = sys.argv[1:]
    model = videomae.VideoMAEForVideoClassification.from_pretrained(folder)
    processor = videomae.VideoMAEImageProcessor.from_pretrained(folder)
    found = {"pipeline": use_pipeline, "trainer": use_trainer}[job](model, processor, place, out)
    found["is_theirs"] = isinstance(model, transformers.PreTrainedModel)
    found["transformers"] = transformers.__version__
    Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
