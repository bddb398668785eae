"""Runs transformers' video pipeline on our objects, in an interpreter with any release of it.

Usage: PYTHON peer_objects.py MODEL_FOLDER VIDEO OUT.json; our package must be on PYTHONPATH.
"""

import json
import sys
from pathlib import Path

import transformers

import videomae


def main():
    folder, video, out = sys.argv[1:]
    model = videomae.VideoMAEForVideoClassification.from_pretrained(folder)
    processor = videomae.VideoMAEImageProcessor.from_pretrained(folder)
    classify = transformers.pipeline("video-classification", model=model, image_processor=processor)
    answers = {
        "one": classify(video, top_k=3),
        "many": classify([video] * 3, top_k=3, batch_size=2),
        "is_theirs": isinstance(model, transformers.PreTrainedModel),
        "transformers": transformers.__version__,
    }
    classify.save_pretrained(str(Path(out).with_suffix("")))
    Path(out).write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
