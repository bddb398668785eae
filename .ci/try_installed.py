"""The README's first commands with the installed package, outside of its source tree, on tiny generated clips.

    ENVIRONMENT/bin/python .ci/try_installed.py

Everything lies in a temporary folder. The first command that fails ends it.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import numpy as np

COLORS = {"blue": (40, 60, 220), "red": (220, 50, 40)}
CLIP = ["--size", "tiny", "--image-size", "32", "--num-frames", "4", "--frame-stride", "1"]
RUN = ["--epochs", "2", "--batch-size", "4", "--device", "cpu", "--trackers", "none"]


def write_clip(path: Path, color: tuple[int, int, int], number: int) -> None:
    """8 frames of a shade that brightens, with stripes of a width of its own; written with PyAV alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stripes = 1 - 0.2 * (np.arange(48) // (number + 4) % 2)
        for time_index in range(8):
            picture = np.full((32, 48, 3), color) * stripes[:, None] * (0.5 + time_index / 16)
            frame = av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def videomae(*words: object) -> Any:
    """The document that a command prints with --json."""
    start = time.monotonic()
    command = [str(Path(sys.executable).with_name("videomae")), *map(str, words), "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"{shlex.join(command)} ended with {result.returncode}:\n{result.stderr}{result.stdout}")
    print(f"videomae {words[0]}: {time.monotonic() - start:.1f} s", flush=True)
    return json.loads(result.stdout)


def check_commands() -> None:
    for split, numbers in (("train", range(4)), ("val", range(4, 6))):
        for name, color in COLORS.items():
            for number in numbers:
                write_clip(Path("clips") / split / name / f"{number}.mp4", color, number)
    clip = Path("clips/val/red/4.mp4")
    found = videomae("scan", "clips")
    assert found["num_videos"] == 12, found
    assert found["broken"] == [], found
    videomae("pack", "clips", "packed", "--short-side", "32")
    videomae("pretrain", "packed", "--output", "pretrained", *CLIP, *RUN)
    videomae("finetune", "clips", "--init", "pretrained", "--output", "classifier", *RUN)
    found = videomae("evaluate", "clips", "--model", "classifier", "--clips", "2", "--crops", "1")
    assert found["num_videos"] == 4, found
    (found,) = videomae("predict", clip, "--model", "classifier")["videos"]
    assert {entry["label"] for entry in found["predictions"]} == set(COLORS), found
    videomae("reconstruct", clip, "--model", "pretrained", "--output", "rebuilt.png")
    assert Path("rebuilt.png").read_bytes().startswith(b"\x89PNG")
    videomae("embed", "clips", "--model", "pretrained", "--output", "features.npz")
    assert len(np.load("features.npz")["features"]) == 12


def check_reader() -> None:
    from videomae import read_video

    frames = read_video("clips/val/red/4.mp4", range(8))
    assert frames.shape == (8, 32, 48, 3), frames.shape
    brightness = frames.mean((1, 2, 3))
    assert (np.diff(brightness) > 0).all(), brightness


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["VIDEOMAE_CACHE"] = str(Path(folder) / "cache")
        check_commands()
        check_reader()
