"""Tiny real videos, written once for the whole run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from videomae.video.writer import write_video


def gradient_frames(num_frames: int, height: int, width: int, shade: int) -> np.ndarray:
    """uint8 (T, H, W, 3): a gradient that brightens frame by frame, so that frames and places can be told apart."""
    t, y, x = np.mgrid[0:num_frames, 0:height, 0:width]
    return np.stack([40 + 6 * t, 200 * y // height, 200 * x // width + shade], axis=-1).astype(np.uint8)


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Six videos of 30 frames of 32 × 48 pixels."""
    folder = tmp_path_factory.mktemp("videos")
    paths = [folder / f"{number}.mp4" for number in range(6)]
    for number, path in enumerate(paths):
        write_video(path, gradient_frames(30, 32, 48, 8 * number), frames_per_second=10)
    return paths


@pytest.fixture
def place(videos: list[Path], tmp_path: Path) -> Callable[..., Path]:
    """Puts a video, or what is given, at each of the paths below a new folder, and returns that folder."""

    def at(*names: str, content: bytes | None = None) -> Path:
        for name in names:
            target = tmp_path / "data" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                shutil.copy(videos[0], target)
            else:
                target.write_bytes(content)
        return tmp_path / "data"

    return at
