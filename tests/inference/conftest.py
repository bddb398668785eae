"""A tiny classifier, a tiny pre-trained model, and videos for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from videomae.checkpoint import Checkpoint, new_processor
from videomae.models.config import VideoMAEConfig
from videomae.models.modeling import VideoMAEForPreTraining, VideoMAEForVideoClassification
from videomae.video.sampling import ClipSampling
from videomae.video.writer import write_video

TINY: dict[str, Any] = {
    "image_size": 16,
    "patch_size": 4,
    "num_frames": 4,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "decoder_hidden_size": 12,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 3,
    "decoder_intermediate_size": 24,
}


def make_checkpoint(model_class: Any, *, seed: int = 0, **changes: Any) -> Checkpoint:
    """New weights, wide enough that clips differ in their scores."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = model_class(VideoMAEConfig(**{**TINY, "initializer_range": 0.3, **changes})).eval()
    sampling = ClipSampling("dense", num_frames=4, frame_stride=2)
    return Checkpoint(model, new_processor(model.config, sampling), sampling)


@pytest.fixture
def classifier() -> Checkpoint:
    return make_checkpoint(VideoMAEForVideoClassification, id2label=dict(enumerate("abcdefg")))


@pytest.fixture
def pretrained() -> Checkpoint:
    return make_checkpoint(VideoMAEForPreTraining, use_mean_pooling=False)


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four videos of 20 frames of 24 × 40 pixels, smooth and unlike one another."""
    folder = tmp_path_factory.mktemp("videos")
    t, y, x = np.mgrid[0:20, 0:24, 0:40]
    for number in range(4):
        waves = [np.sin(x / (3 + number) + t / 3), np.cos(y / 4 - t / (2 + number)), np.sin((x + y) / 9 + number)]
        frames = (127 + 110 * np.stack(waves, axis=-1)).astype(np.uint8)
        write_video(folder / f"{number}.mp4", frames, frames_per_second=10)
    return sorted(folder.iterdir())


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "broken.mp4"
    path.write_text("no video")
    return path
