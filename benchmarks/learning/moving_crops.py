"""Does pre-training help to see motion in real footage? Crops that move over real videos: labels come with the pixels.

    python benchmarks/learning/moving_crops.py VIDEO_OR_FOLDER… --output DIR [--seeds 0 1 2] [--arms …] [--device cuda]

From each video clips are cut by a window that moves while the video runs: it pans in four directions, zooms in or out,
or turns to either side; that is the class (chance 12.5 %). The window's place, angle (of all directions) and size in
the middle of a clip are drawn alike for all classes, so that a single frame hardly tells it; what moves in the video
itself disturbs. Videos that cannot be read, or are too short, are skipped and listed. Pre-training sees many clips,
labels unused, fine-tuning few; the test clips are of other sources: a source is a file, or with --group all files whose
path has the same text in the group of that pattern. What is compared, and how: see comparison.py.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from comparison import Clip, Experiment, add_options, run_experiment, with_options

from videomae.core.errors import InputError
from videomae.datasets.manifest import read_manifest
from videomae.recipes.finetune import FinetuneRecipe
from videomae.recipes.pretrain import PretrainRecipe
from videomae.video.opening import open_video

# What a window does in each frame: it moves by a share of its side along its own axes (x right, y down), its side
# grows by a factor, it turns by degrees (clockwise on the screen).
MOTIONS = {
    "pan_right": (1, 0, 0, 0),
    "pan_left": (-1, 0, 0, 0),
    "pan_down": (0, 1, 0, 0),
    "pan_up": (0, -1, 0, 0),
    "zoom_out": (0, 0, 1, 0),
    "zoom_in": (0, 0, -1, 0),
    "turn_clockwise": (0, 0, 0, 1),
    "turn_counterclockwise": (0, 0, 0, -1),
}
_PAN, _ZOOM, _TURN = (0.03, 0.07), (0.04, 0.08), (4.0, 9.0)  # least and greatest speed a frame
NUM_FRAMES = 8
SIDE = 32
# A window's side in the middle of a clip, as a share of the frame's shorter side.
_SIDE_SHARE = (0.18, 0.28)
# Videos are shrunk to this short side first. A pixel of a clip is then about one of it: smooth pictures, whose hidden
# patches the visible ones can foretell.
_SHORT_SIDE = 144
_MAX_FRAMES = 96  # of one video: more are not read
NUM_UNLABELED = 1600
NUM_LABELED_PER_CLASS = 12
NUM_TEST_PER_CLASS = 40
TEST_SHARE = 0.25  # of the sources

PRETRAIN = PretrainRecipe(
    size="tiny",
    num_channels=1,
    num_frames=NUM_FRAMES,
    image_size=SIDE,
    decoder_width=64,
    frame_stride=1,
    # At 4 × 4 patches a tube of 90 % leaves too little to rebuild from.
    mask="random",
    mask_ratio=0.75,
    norm_pix_loss=False,
    crop="center",
    epochs=3,
    warmup_epochs=0.2,
    batch_size=4,
    views=4,
    learning_rate=9.6e-2,
    min_learning_rate=9.6e-4,
)
FINETUNE = FinetuneRecipe(
    epochs=16,
    warmup_epochs=1.0,
    batch_size=8,
    views=2,
    learning_rate=4.8e-2,
    min_learning_rate=4.8e-4,
    layer_decay=1.0,  # lower layers must not be held back where they start from nothing
    drop_path=0.0,
    flip=False,
    min_crop_area=0.6,
    rand_augment="",
    erasing=0.0,
    init_scale=1.0,
)


@dataclass(frozen=True)
class Window:
    """A square that looks at a frame.

    Args:
        x: of its center, in pixels of the frame.
        y: the same, downwards.
        side: in pixels.
        degrees: by which it is turned clockwise.
    """

    x: float
    y: float
    side: float
    degrees: float

    def moved(self, motion: str, speed: float, frames: float) -> Window:
        """Where it is so many frames later; speed in the unit of its kind of motion."""
        right, down, grows, turns = MOTIONS[motion]
        angle, way = np.deg2rad(self.degrees), self.side * speed * frames
        return Window(
            self.x + way * (right * np.cos(angle) - down * np.sin(angle)),
            self.y + way * (right * np.sin(angle) + down * np.cos(angle)),
            self.side * (1 + speed) ** (grows * frames),
            self.degrees + turns * speed * frames,
        )

    def look(self, frame: Image.Image) -> Image.Image:
        """What it shows of a frame, SIDE × SIDE."""
        scale, angle = self.side / SIDE, np.deg2rad(self.degrees)
        cos, sin, middle = scale * np.cos(angle), scale * np.sin(angle), SIDE / 2
        to_frame = (cos, -sin, self.x - middle * (cos - sin), sin, cos, self.y - middle * (sin + cos))
        return frame.transform((SIDE, SIDE), Image.Transform.AFFINE, to_frame, Image.Resampling.BILINEAR)


def speeds(motion: str) -> tuple[float, float]:
    """Least and greatest speed of a motion."""
    return _PAN if motion.startswith("pan") else _ZOOM if motion.startswith("zoom") else _TURN


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--group", default=None, help="pattern whose first group names a source, such as '/(s[0-9]+)_'")
    add_options(parser)
    options = parser.parse_args()
    folder = options.output / "clips"
    if not (folder / "done").exists():
        write_clips(read_sources(options.data, options.group), folder)
        (folder / "done").touch()
    parts = {
        part: tuple(Clip(path.absolute(), path.parent.name, "") for path in sorted((folder / part).glob("*/*")))
        for part in ("unlabeled", "labeled", "test")
    }
    experiment = Experiment("moving_crops", PRETRAIN, FINETUNE, **parts)
    run_experiment(with_options(experiment, options), options, few=(1, 4))


def read_sources(data: Sequence[Path], group: str | None) -> dict[str, list[list[Image.Image]]]:
    """The gray frames of all readable videos, shrunk, by source; prints what is skipped."""
    sources: dict[str, list[list[Image.Image]]] = defaultdict(list)
    for entry in (entry for path in data for entry in read_manifest(path).entries):
        found = re.search(group, str(entry.path)) if group else None
        try:
            with open_video(entry.path) as reader:
                numbers = range(0, min(reader.num_frames, _MAX_FRAMES))
                if len(numbers) < NUM_FRAMES:
                    print(f"skipped: {entry.path} has {len(numbers)} frames")
                    continue
                frames = [_shrunk(frame) for _, frame in reader.stream(np.array(numbers))]
        except InputError as error:
            print(f"skipped: {error}")
            continue
        if min(frames[0].size) < 2 * SIDE:
            print(f"skipped: {entry.path} has {frames[0].width}x{frames[0].height} pixels")
        elif len({frame.size for frame in frames}) > 1:
            print(f"skipped: {entry.path} changes its size")
        else:
            sources[found[1] if found else str(entry.path)].append(frames)
    return sources


def split(sources: Sequence[str], test_share: float) -> tuple[list[str], list[str]]:
    """Sources for training and for the test, by chance but always the same."""
    order = np.random.default_rng(0).permutation(len(sources))
    number = max(1, round(test_share * len(sources)))
    return [sources[index] for index in order[number:]], [sources[index] for index in order[:number]]


def write_clips(sources: dict[str, list[list[Image.Image]]], folder: Path) -> None:
    """Clips as folders of pictures: PART/MOTION/NUMBER."""
    train, test = split(sorted(sources), TEST_SHARE)
    print(f"{len(train)} sources to train on, {len(test)} to test on: {', '.join(test)}")
    parts = {
        "unlabeled": (train, NUM_UNLABELED // len(MOTIONS)),
        "labeled": (train, NUM_LABELED_PER_CLASS),
        "test": (test, NUM_TEST_PER_CLASS),
    }
    for seed, (part, (names, number)) in enumerate(parts.items()):
        generator = np.random.default_rng(seed)
        for motion in MOTIONS:
            for index in range(number):
                videos = sources[names[generator.integers(len(names))]]
                clip = render(videos[generator.integers(len(videos))], motion, generator)
                target = folder / part / motion / f"{index:04}"
                target.mkdir(parents=True, exist_ok=True)
                for time, picture in enumerate(clip):
                    picture.save(target / f"{time}.png", compress_level=1)


def render(frames: Sequence[Image.Image], motion: str, generator: np.random.Generator) -> list[Image.Image]:
    """NUM_FRAMES pictures of a window that moves over a part of the video drawn at random."""
    first = int(generator.integers(len(frames) - NUM_FRAMES + 1))
    middle = (NUM_FRAMES - 1) / 2
    while True:  # until the window stays inside
        side = float(generator.uniform(*_SIDE_SHARE)) * min(frames[0].size)
        place = generator.uniform(0, 1, 2) * frames[0].size
        start = Window(float(place[0]), float(place[1]), side, float(generator.uniform(0, 360)))
        speed = float(generator.uniform(*speeds(motion)))
        windows = [start.moved(motion, speed, time - middle) for time in range(NUM_FRAMES)]
        # One reach for all motions, so that the place does not tell which it is.
        reach = side * 0.5 * (2**0.5 + 2 * _PAN[1] * middle) * 1.1
        if all(reach <= at <= size - reach for at, size in zip(place, frames[0].size, strict=True)):
            return [
                window.look(frame) for window, frame in zip(windows, frames[first : first + NUM_FRAMES], strict=True)
            ]


def _shrunk(frame: np.ndarray) -> Image.Image:
    picture = Image.fromarray(frame).convert("L")
    share = min(1.0, _SHORT_SIDE / min(picture.size))
    width, height = (max(1, round(share * side)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BOX)


if __name__ == "__main__":
    main()
