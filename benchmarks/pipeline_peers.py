"""What surrounds the network, by peers of transformers 5.x: `pipeline_speed.py` times it beside ours."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from data_peers import ReadClip, peer_readers, spec_reader
from measuring import Build, Step

import videomae
from videomae.core.precision import autocast
from videomae.video.sampling import ClipSampling

NUM_CLIPS, NUM_CROPS = 5, 3
VIEWS_AT_ONCE = 8  # as ours
# Printed by a fresh process when it ends: its peak memory in KiB.
REPORT_PEAK = (
    "import atexit; atexit.register(lambda: print([line for line in open('/proc/self/status') "
    "if line.startswith('VmHWM')][0].split()[1]))\n"
)
HELP = "import sys; sys.argv = ['videomae', '--help']; from videomae.cli.main import main; main()"
FIRST_OF_OURS = "import videomae; print(videomae.predict({video!r}, model={folder!r}, progress=False)[0].label)"
FIRST_OF_THEIRS = """import av, numpy as np, torch, transformers
model = transformers.VideoMAEForVideoClassification.from_pretrained({folder!r}).eval()
processor = transformers.VideoMAEVideoProcessor.from_pretrained({folder!r})
frames = []
with av.open({video!r}) as container:
    start = max(0, container.streams.video[0].frames - 61) // 2
    for number, frame in enumerate(container.decode(video=0)):
        if number > start + 60:
            break
        if number >= start and (number - start) % 4 == 0:
            frames.append(frame.to_ndarray(format="rgb24"))
with torch.inference_mode():
    logits = model(**processor(np.stack(frames), return_tensors="pt")).logits
print(model.config.id2label[logits.argmax().item()])
"""


def startup_codes(video: Path, folder: Path) -> dict[str, dict[str, str]]:
    """Row → peer → what a fresh Python runs."""
    places = {"video": str(video), "folder": str(folder)}
    named = "from {} import VideoMAEForVideoClassification"
    return {
        "import the package": {"ours": "import videomae", "transformers": "import transformers"},
        "import the classifier": {"ours": named.format("videomae"), "transformers": named.format("transformers")},
        "videomae --help": {"ours": HELP},
        "first prediction": {
            "ours": FIRST_OF_OURS.format(**places),
            "transformers": FIRST_OF_THEIRS.format(**places),
        },
    }


def processors() -> dict[str, Callable[..., Any]]:
    """Ours, and those of transformers: torchvision's operations, Pillow's, and the one for videos."""
    found: dict[str, Callable[..., Any]] = {"ours": videomae.VideoMAEImageProcessor()}
    transformers = importlib.import_module("transformers")
    for name, title in (
        ("VideoMAEImageProcessor", "transformers image"),
        ("VideoMAEImageProcessorPil", "transformers Pillow"),
        ("VideoMAEVideoProcessor", "transformers video"),
    ):
        if hasattr(transformers, name):
            found[title] = getattr(transformers, name)()
    return found


def video_builds(video: Path, folder: Path, device: torch.device, precision: str) -> dict[str, Build]:
    """The prediction of one video from 5 × 3 views: ours, and transformers' parts put together by hand.

    V1 decodes the video anew for each view; the last peer does so too.
    """

    def ours() -> Step:
        checkpoint = videomae.Checkpoint.open(folder)
        options: dict[str, Any] = {"clips": NUM_CLIPS, "crops": NUM_CROPS, "precision": precision, "progress": False}
        return lambda: checkpoint.predict(video, device=str(device), **options)

    def theirs(read: ReadClip, decodes: int) -> Build:
        return lambda: transformers_pipeline(video, folder, device, precision, read, decodes)

    builds: dict[str, Build] = {"ours": ours}
    for name, read in peer_readers().items():
        reader = "PyAV" if name == "spec" else name
        builds[f"transformers + {reader}"] = theirs(read, 1)
    builds["the same, decoded for each view"] = theirs(spec_reader, NUM_CLIPS * NUM_CROPS)
    return builds


def transformers_pipeline(
    video: Path, folder: Path, device: torch.device, precision: str, read: ReadClip, decodes: int
) -> Callable[[], torch.Tensor]:
    """Returns the mean of the views' probabilities."""
    transformers = importlib.import_module("transformers")
    transformers.utils.logging.disable_progress_bar()
    model = transformers.VideoMAEForVideoClassification.from_pretrained(folder, attn_implementation="sdpa")
    model.eval().to(device)
    processor = transformers.VideoMAEVideoProcessor.from_pretrained(folder, do_center_crop=False)
    side = model.config.image_size

    def step() -> torch.Tensor:
        with av.open(str(video)) as container:
            num_frames = container.streams.video[0].frames
        clips = ClipSampling().test_indices(num_frames, num_clips=NUM_CLIPS)
        wanted, places = np.unique(clips, return_inverse=True)
        for _ in range(decodes):
            frames = read(video, wanted)
        views = []
        for clip in places.reshape(clips.shape):
            pixels = processor(frames[clip], return_tensors="pt")["pixel_values"]  # (1, T, C, 224, W)
            spare = pixels.shape[-1] - side
            views += [pixels[..., left : left + side] for left in (0, spare // 2, spare)]
        scores = []
        with torch.inference_mode(), autocast(device, precision):
            for part in torch.cat(views).split(VIEWS_AT_ONCE):
                scores.append(model(part.to(device)).logits.float().softmax(-1))
        return torch.cat(scores).mean(0).cpu()

    return step
