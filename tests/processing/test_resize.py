"""Resizing by axes: the same for all memory layouts and windows, and near Pillow's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from videomae.processing._chunks import chunks_of
from videomae.processing._process import resize_with_pillow
from videomae.processing._resize import resize_window, write_planes


def _frames(height: int, width: int, *, channels: int = 3, seed: int = 0) -> torch.Tensor:
    pixels = np.random.default_rng(seed).integers(0, 256, (2, height, width, channels), dtype=np.uint8)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)  # (2, C, H, W), channels innermost


def _layouts(frames: torch.Tensor) -> dict[str, torch.Tensor]:
    spread = torch.zeros(*frames.shape[:3], frames.shape[3] + 5, dtype=torch.uint8)
    spread[..., : frames.shape[3]] = frames
    return {
        "channels innermost": frames,
        "planes": frames.contiguous(),
        "part of wider planes": spread[..., : frames.shape[3]],
        "part of wider frames": spread.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)[..., : frames.shape[3]],
    }


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((90, 160), (56, 99)),
        ((160, 90), (99, 56)),
        ((91, 163), (56, 100)),
        ((60, 40), (45, 40)),  # one axis stays
        ((60, 40), (60, 30)),
        ((40, 60), (80, 120)),  # enlarged
        ((60, 32), (40, 33)),  # one shrinks, the other grows by one column
    ],
)
def test_layouts_and_windows_agree(old: tuple[int, int], new: tuple[int, int], channels: int) -> None:
    frames = _frames(*old, channels=channels)
    whole = resize_window(frames, new)
    assert whole.shape == (2, channels, *new)
    high, wide = new
    windows = [(0, 0, high, wide), (0, 0, 1, 1), (high - 1, wide - 1, 1, 1), (3, 5, high - 9, wide - 13)]
    for name, same_frames in _layouts(frames).items():
        for top, left, height, width in windows:
            part = resize_window(same_frames, new, (top, left, height, width))
            assert torch.equal(part, whole[:, :, top : top + height, left : left + width]), name


def test_windows_of_random_sizes_near_pillow() -> None:
    random = np.random.default_rng(0)
    for seed in range(60):
        old_high, old_wide = random.integers(20, 200, 2).tolist()
        high, wide = int(random.integers(4, old_high + 3)), int(random.integers(4, old_wide + 20))
        height, width = int(random.integers(1, high + 1)), int(random.integers(1, wide + 1))
        top, left = int(random.integers(0, high - height + 1)), int(random.integers(0, wide - width + 1))
        frames = _frames(old_high, old_wide, seed=seed)
        plain = resize_with_pillow(frames, (high, wide), Image.Resampling.BILINEAR)
        plain = plain[:, :, top : top + height, left : left + width]
        for layout in (frames, frames.contiguous()):
            part = resize_window(layout, (high, wide), (top, left, height, width))
            difference = (part.int() - plain.int()).abs()
            assert difference.max() <= 2
            assert (difference > 1).float().mean() <= 1e-3


def test_input_stays_as_it_is() -> None:
    for frames in _layouts(_frames(60, 80)).values():
        before = frames.clone()
        resize_window(frames, (30, 40)).zero_()
        assert torch.equal(frames, before)


def test_write_planes_mirrors() -> None:
    frames = _frames(6, 8)
    target = torch.zeros(2, 5, 6, 8, dtype=torch.uint8)
    write_planes(frames, target[:, 1:4], flip=True)
    assert torch.equal(target[:, 1:4], frames.flip(-1))
    assert target[:, [0, 4]].max() == 0


def test_chunks_cover_a_clip_once() -> None:
    for frames in (torch.empty(16, 3, 360, 640, dtype=torch.uint8), torch.empty(3, 3, 2160, 3840, dtype=torch.uint8)):
        chunks = list(chunks_of(frames))
        assert [number for chunk in chunks for number in range(len(frames))[chunk]] == list(range(len(frames)))
        assert len(chunks) > 1
