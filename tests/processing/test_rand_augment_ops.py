"""Each operation beside Pillow's, frame by frame; and where pixels go."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor
from torch.nn import functional as F

from videomae.processing import _rand_augment_ops as pixel_ops
from videomae.processing._rand_augment_ops import COLOR_OPS, WARPS

FACTORS = (0.1, 0.37, 1.0, 1.63, 1.9)


def _random(low: int, high: int, *shape: int) -> Tensor:
    return torch.randint(low, high, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(low))


CLIPS = {
    "noise": _random(40, 230, 3, 3, 30, 41),
    "smooth": F.interpolate(_random(0, 255, 3, 3, 5, 6), size=(40, 52), mode="bicubic"),  # not contiguous
    "few values": _random(40, 45, 2, 3, 20, 25),
    "one value": torch.full((1, 3, 9, 8), 9, dtype=torch.uint8),
    "two pixels": _random(0, 255, 2, 3, 1, 2),
}


def with_pillow(clip: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    frames = [Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy()) for frame in clip]
    return torch.stack([torch.from_numpy(np.array(change(frame))).permute(2, 0, 1) for frame in frames])


def enhance(name: str, factor: float) -> Callable[[Image.Image], Image.Image]:
    return lambda frame: getattr(ImageEnhance, name)(frame).enhance(factor)


COLOR_CASES: list[tuple[str, float, Callable[[Image.Image], Image.Image]]] = [
    ("AutoContrast", 0, ImageOps.autocontrast),
    ("Equalize", 0, ImageOps.equalize),
    ("Invert", 0, ImageOps.invert),
    *(("Posterize", bits, lambda frame, bits=bits: ImageOps.posterize(frame, bits)) for bits in (1, 2, 4, 7, 8)),
    *(("Solarize", at, lambda frame, at=at: ImageOps.solarize(frame, at)) for at in (0, 1, 77, 255, 256)),
    *((name, f, enhance(name, f)) for name in ("Color", "Contrast", "Brightness", "Sharpness") for f in FACTORS),
]


@pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS.keys())
@pytest.mark.parametrize(("name", "argument", "change"), COLOR_CASES)
def test_colors_are_pillows(
    clip: Tensor, name: str, argument: float, change: Callable[[Image.Image], Image.Image]
) -> None:
    before = clip.clone()
    found = COLOR_OPS[name](clip, argument)
    assert found.equal(with_pillow(clip, change))
    assert clip.equal(before)


def test_brightening_dark_values_alone() -> None:
    clip = torch.tensor([0, 20, 127, 128, 255], dtype=torch.uint8).expand(1, 3, 2, 5)
    expected = torch.tensor([110, 130, 237, 128, 255], dtype=torch.uint8).expand(1, 3, 2, 5)
    assert COLOR_OPS["SolarizeAdd"](clip, 110).equal(expected)


def test_no_bits_are_black() -> None:
    assert not COLOR_OPS["Posterize"](CLIPS["noise"], 0).any()


WARP_CASES = {
    "Rotate": (21.0, -30.0, 0.0),
    "ShearX": (0.21, -0.3),
    "ShearY": (0.21, -0.3),
    "TranslateX": (0.213, -0.45),
    "TranslateY": (0.213, -0.45),
}


def affine(name: str, argument: float, height: int, width: int) -> tuple[float, ...]:
    """Of Pillow: which point (a·x + b·y + c, d·x + e·y + f) of the frame a pixel shows."""
    return {
        "ShearX": (1, argument, 0, 0, 1, 0),
        "ShearY": (1, 0, 0, argument, 1, 0),
        "TranslateX": (1, 0, argument * width, 0, 1, 0),
        "TranslateY": (1, 0, 0, 0, 1, argument * height),
    }[name]


@pytest.mark.parametrize("clip", [CLIPS["smooth"], CLIPS["noise"], CLIPS["two pixels"]], ids=["smooth", "noise", "two"])
@pytest.mark.parametrize("name", WARP_CASES)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_pixels_move_as_with_pillow(clip: Tensor, name: str, interpolation: str) -> None:
    """Up to rounding, the fill included; only the bicubic rotation has another kernel."""
    height, width = clip.shape[-2:]
    options = {"resample": Image.Resampling[interpolation.upper()], "fillcolor": (128, 128, 128)}
    before = clip.clone()
    for argument in WARP_CASES[name]:
        if name == "Rotate":
            expected = with_pillow(clip, lambda frame, a=argument: frame.rotate(a, **options))
        else:
            data = affine(name, argument, height, width)
            kind = Image.Transform.AFFINE
            expected = with_pillow(clip, lambda frame, d=data, k=kind: frame.transform(frame.size, k, d, **options))
        found = WARPS[name](clip, argument, interpolation, 128)
        assert found.is_contiguous()
        difference = (found.int() - expected.int()).abs()
        if name == "Rotate" and interpolation == "bicubic":
            assert difference.max() <= 24
            assert difference.float().mean() < 5
        else:
            assert difference.max() <= 1
    assert clip.equal(before)


def test_shifts_of_whole_pixels_by_hand() -> None:
    clip = torch.arange(12, dtype=torch.uint8).reshape(1, 1, 3, 4)
    for interpolation in ("bilinear", "bicubic"):
        left = pixel_ops.translate_x(clip, 0.25, interpolation, 99)
        assert left.tolist() == [[[[1, 2, 3, 99], [5, 6, 7, 99], [9, 10, 11, 99]]]]
        down = pixel_ops.translate_y(clip, -1 / 3, interpolation, 99)
        assert down.tolist() == [[[[99] * 4, [0, 1, 2, 3], [4, 5, 6, 7]]]]
        gone = pixel_ops.translate_x(clip, 7.0, interpolation, 99)
        assert (gone == 99).all()
        sheared = pixel_ops.shear_x(clip, 2.0, interpolation, 99)  # rows move by 1, 3 and 5
        assert sheared.tolist() == [[[[1, 2, 3, 99], [7, 99, 99, 99], [99] * 4]]]
        turned = pixel_ops.rotate(clip[..., :3], 90, interpolation)
        assert turned.tolist() == [[[[2, 6, 10], [1, 5, 9], [0, 4, 8]]]]
