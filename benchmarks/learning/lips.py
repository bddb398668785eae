"""Does pre-training help to read words from lips? MIRACL-VC1's mouth crops: 15 speakers, 10 words, 10 phrases.

    python benchmarks/learning/lips.py CROPPED --output DIR [--seeds 0 1 2] [--arms …] [--device cuda …]

CROPPED is a folder SPEAKER/words|phrases/CLASS/TAKE/color_NNN.jpg of gray pictures (Rekik et al. 2014; the folder
`cropped` in the first commit of the public repository apoorvpatne10/fantastic-memory). It carries no license of its
own, so it is for measuring only and nothing of it may be published. The crops are 250 pixels wide and of any height, in
one clip too: they are padded onto one canvas, never stretched, and shrunk.

Pre-training sees all clips of 12 speakers, labels unused; fine-tuning their words; the test is the words of 3 speakers
whom nothing has seen. Chance is 10 %. What is compared, and how: see comparison.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from comparison import Clip, Experiment, add_options, run_experiment, with_options
from PIL import Image

from videomae.recipes.finetune import FinetuneRecipe
from videomae.recipes.pretrain import PretrainRecipe

CANVAS = (252, 168)  # width, height: 3 of 4 crops are lower than 148 pixels; of higher ones the middle is kept
KEPT = (96, 64)
TEST_SPEAKERS = ("F11", "M07", "M08")

PRETRAIN = PretrainRecipe(
    size="tiny",
    num_channels=1,
    num_frames=8,
    image_size=(32, 48),
    tubelet_size=4,
    decoder_width=64,
    sampling="uniform",  # a take is one word, whatever it lasts
    mask="tube",
    mask_ratio=0.9,
    norm_pix_loss=False,
    epochs=3,
    warmup_epochs=0.2,
    batch_size=4,
    views=4,
    learning_rate=9.6e-2,
    min_learning_rate=9.6e-4,
)
FINETUNE = FinetuneRecipe(
    epochs=4,
    warmup_epochs=0.2,
    batch_size=8,
    views=2,
    learning_rate=3.2e-2,
    min_learning_rate=3.2e-4,
    layer_decay=1.0,  # lower layers must not be held back where they start from nothing
    drop_path=0.0,
    min_crop_area=0.6,
    rand_augment="",
    erasing=0.0,
    init_scale=1.0,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cropped", type=Path)
    add_options(parser)
    options = parser.parse_args()
    clips = list(prepare(options.cropped, options.output / "clips"))
    if not clips:
        sys.exit(f"no SPEAKER/words/CLASS/TAKE/*.jpg in {options.cropped}")
    experiment = Experiment(
        name="lips",
        pretrain=PRETRAIN,
        finetune=FINETUNE,
        unlabeled=tuple(clip for clip in clips if clip.group not in TEST_SPEAKERS),
        labeled=tuple(clip for clip in clips if clip.label.startswith("word") and clip.group not in TEST_SPEAKERS),
        test=tuple(clip for clip in clips if clip.label.startswith("word") and clip.group in TEST_SPEAKERS),
        few_per_group=True,
        num_test_clips=2,
    )
    run_experiment(with_options(experiment, options), options, few=(1, 4))


def prepare(cropped: Path, folder: Path) -> Iterator[Clip]:
    """Write each take as a folder of equal gray pictures, unless it is there; a clip's group is its speaker."""
    for take in sorted(cropped.glob("*/*/*/*/")):
        speaker, kind, number, name = take.relative_to(cropped).parts
        target = folder / speaker / f"{kind.rstrip('s')}-{number}" / name
        pictures = sorted(take.glob("*.jpg"))
        if not (target / f"{len(pictures):03}.png").exists():
            target.mkdir(parents=True, exist_ok=True)
            for index, picture in enumerate(pictures, 1):
                with Image.open(picture) as image:
                    padded(image.convert("L")).save(target / f"{index:03}.png", compress_level=1)
        yield Clip(target.absolute(), target.parent.name, speaker)


def padded(picture: Image.Image) -> Image.Image:
    """The picture in the middle of a black canvas, cut where it is larger, at its own scale; then both shrunk."""
    canvas = Image.new("L", CANVAS)
    canvas.paste(picture, ((CANVAS[0] - picture.width) // 2, (CANVAS[1] - picture.height) // 2))
    return canvas.resize(KEPT, Image.Resampling.BOX)


if __name__ == "__main__":
    main()
