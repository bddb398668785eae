"""What transformers 4.34.0's own tests ask of its processor, asked of ours where `test_image_processor.py` does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from videomae.processing.image_processor import SETTINGS, VideoMAEImageProcessor

SIZES = {"size": {"shortest_edge": 18}, "crop_size": {"height": 18, "width": 20}}


def clips(kind: str, *, num_clips: int = 2, num_frames: int = 3) -> list[list[Any]]:
    """Clips of frames of different sizes, as images, arrays (H, W, C) or tensors (C, H, W)."""
    generator = np.random.default_rng(0)
    frames = []
    for _ in range(num_clips):
        height, width = generator.integers(30, 80, size=2)
        clip = generator.integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)
        if kind == "images":
            frames.append([Image.fromarray(frame) for frame in clip])
        elif kind == "arrays":
            frames.append(list(clip))
        else:
            frames.append(list(torch.from_numpy(clip).permute(0, 3, 1, 2)))
    return frames


@pytest.mark.parametrize("kind", ["images", "arrays", "tensors"])
@pytest.mark.parametrize("return_tensors", ["pt", "np"])
def test_one_clip_and_a_batch(kind: str, return_tensors: str) -> None:
    processor, videos = VideoMAEImageProcessor(**SIZES), clips(kind)

    batch = processor(videos, return_tensors=return_tensors).pixel_values
    single = processor(videos[0], return_tensors=return_tensors).pixel_values

    assert batch.shape == (2, 3, 3, 18, 20)
    assert single.shape == (1, 3, 3, 18, 20)
    np.testing.assert_array_equal(np.asarray(batch[:1]), np.asarray(single))
    expected = VideoMAEImageProcessor(**SIZES)(clips("arrays"), return_tensors="np").pixel_values
    np.testing.assert_array_equal(np.asarray(batch), expected)


def test_every_setting_is_an_attribute() -> None:
    processor = VideoMAEImageProcessor()

    assert all(hasattr(processor, name) for name in SETTINGS)
    assert list(processor.model_input_names) == ["pixel_values"]


def test_sizes_in_short() -> None:
    settings = VideoMAEImageProcessor(**SIZES).to_dict()

    assert VideoMAEImageProcessor.from_dict(settings).size == {"shortest_edge": 18}
    changed = VideoMAEImageProcessor.from_dict(settings, size=42, crop_size=84)
    assert changed.size == {"shortest_edge": 42}
    assert changed.crop_size == {"height": 84, "width": 84}


def test_text_and_files_hold_every_setting(tmp_path: Path) -> None:
    settings = {
        "do_resize": False,
        "size": {"height": 20, "width": 30},
        "resample": 3,
        "do_center_crop": False,
        "crop_size": {"height": 18, "width": 20},
        "do_rescale": False,
        "rescale_factor": 0.5,
        "do_normalize": False,
        "image_mean": [0.1, 0.2, 0.3],
        "image_std": [0.4, 0.5, 0.6],
    }
    processor = VideoMAEImageProcessor(**settings)

    assert settings.items() <= json.loads(processor.to_json_string()).items()
    processor.to_json_file(tmp_path / "one.json")
    processor.save_pretrained(tmp_path / "folder")
    for other in (
        VideoMAEImageProcessor.from_json_file(tmp_path / "one.json"),
        VideoMAEImageProcessor.from_pretrained(tmp_path / "folder"),
        VideoMAEImageProcessor.from_dict(processor.to_dict()),
    ):
        assert other.to_dict() == processor.to_dict()


def test_the_result_moves_and_changes_type() -> None:
    result = VideoMAEImageProcessor(**SIZES)(clips("images"), return_tensors="pt")

    assert result.to("cpu", torch.float16).pixel_values.dtype == torch.float16
    assert result.to(torch.bfloat16).pixel_values.dtype == torch.bfloat16
    assert result.to("meta").pixel_values.device.type == "meta"
