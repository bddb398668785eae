"""How a clip falls into tubelets, and what is said where it does not."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from videomae.core.errors import ConfigError
from videomae.core.grid import TubeletGrid, pair

BASE: dict[str, Any] = {"num_frames": 16, "image_size": 224, "tubelet_size": 2, "patch_size": 16, "num_channels": 3}


def test_the_published_grid() -> None:
    grid = TubeletGrid.of(**BASE)

    assert grid.shape == (8, 14, 14)
    assert grid.num_tokens == 1568
    assert grid.clip_shape == (16, 3, 224, 224)
    assert grid.pixels_per_tubelet == 512
    assert grid.values_per_tubelet == 1536


def test_every_axis_has_its_own_size() -> None:
    grid = TubeletGrid.of(num_frames=6, image_size=(8, 30), tubelet_size=3, patch_size=(4, 5), num_channels=2)

    assert grid.shape == (2, 2, 6)
    assert grid.num_tokens == 24
    assert grid.clip_shape == (6, 2, 8, 30)
    assert grid.pixels_per_tubelet == 60
    assert grid.values_per_tubelet == 120


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_frames": 15}, "num_frames=15 with tubelet_size=2: .*positive multiple of tubelet_size; choose .*=14"),
        ({"num_frames": 1}, "num_frames=1 with tubelet_size=2: .*choose num_frames=2"),
        ({"num_frames": 0}, "num_frames=0"),
        ({"num_frames": -16}, "num_frames=-16"),
        ({"image_size": 225}, "image_size=225 with patch_size=16: expected image_size to be a .*choose image_size=224"),
        ({"image_size": (224, 100)}, "image_size=100 with patch_size=16: .*choose image_size=96"),
        ({"image_size": (100, 224)}, "image_size=100"),
        ({"image_size": 8}, "image_size=8 with patch_size=16: .*choose image_size=16"),
        ({"patch_size": 0}, "patch_size=0: expected at least 1"),
        ({"tubelet_size": 0}, "tubelet_size=0: expected at least 1"),
        ({"tubelet_size": -2}, "tubelet_size=-2: expected at least 1"),
        ({"num_channels": 0}, "num_channels=0: expected at least 1 channel"),
        ({"image_size": (224, 224, 3)}, r"a size of \(224, 224, 3\): expected one whole number or a"),
        ({"image_size": "224"}, "a size of '224'"),
        ({"image_size": None}, "a size of None"),
        ({"patch_size": 16.5}, "a size of 16.5"),
    ],
)
def test_what_does_not_tile_is_refused_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        TubeletGrid.of(**{**BASE, **change})

    assert "\n" not in str(caught.value)


def test_the_hint_of_a_refused_size_is_itself_right() -> None:
    for size in range(1, 70):
        try:
            TubeletGrid.of(**{**BASE, "image_size": size})
        except ConfigError as error:
            advised = int(error.hint.split("image_size=")[1].split()[0])
            TubeletGrid.of(**{**BASE, "image_size": advised})


@pytest.mark.parametrize("size", [224, np.int64(224), (224, 224), [224, 224], (np.int32(224), 224)])
def test_pair_takes_numbers_and_pairs(size: Any) -> None:
    assert pair(size) == (224, 224)


def test_the_grid_loads_no_torch() -> None:
    code = "import sys, videomae.core.grid, videomae.core.errors; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
