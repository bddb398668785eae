"""Each operation beside Pillow's, frame by frame; and where pixels go."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor
from torch.nn import functional as F

from videomae.processing.rand_augment import Interpolation, RandAugment

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


def change(clip: Tensor, name: str, argument: float, interpolation: Interpolation = "bicubic") -> Tensor:
    """One operation of one clip."""
    return RandAugment(interpolation=interpolation).apply(clip[None], [[(name, argument)]])[0]


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
@pytest.mark.parametrize(("name", "argument", "pillow"), COLOR_CASES)
def test_colors_are_pillows(
    clip: Tensor, name: str, argument: float, pillow: Callable[[Image.Image], Image.Image]
) -> None:
    before = clip.clone()
    found = change(clip, name, argument)
    assert found.equal(with_pillow(clip, pillow))
    assert clip.equal(before)


def test_brightening_dark_values_alone() -> None:
    clip = torch.tensor([0, 20, 127, 128, 255], dtype=torch.uint8).expand(1, 3, 2, 5)
    expected = torch.tensor([110, 130, 237, 128, 255], dtype=torch.uint8).expand(1, 3, 2, 5)
    assert change(clip, "SolarizeAdd", 110).equal(expected)


def test_no_bits_are_black() -> None:
    assert not change(CLIPS["noise"], "Posterize", 0).any()


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
def test_pixels_move_as_with_pillow(clip: Tensor, name: str, interpolation: Interpolation) -> None:
    """Up to rounding, the fill included."""
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
        found = change(clip, name, argument, interpolation)
        assert found.is_contiguous()
        assert (found.int() - expected.int()).abs().max() <= 1
    assert clip.equal(before)


def test_shifts_of_whole_pixels_by_hand() -> None:
    clip = torch.arange(12, dtype=torch.uint8).reshape(1, 1, 3, 4)
    for interpolation in ("bilinear", "bicubic"):
        left = change(clip, "TranslateX", 0.25, interpolation)
        assert left.tolist() == [[[[1, 2, 3, 128], [5, 6, 7, 128], [9, 10, 11, 128]]]]
        down = change(clip, "TranslateY", -1 / 3, interpolation)
        assert down.tolist() == [[[[128] * 4, [0, 1, 2, 3], [4, 5, 6, 7]]]]
        gone = change(clip, "TranslateX", 7.0, interpolation)
        assert (gone == 128).all()
        sheared = change(clip, "ShearX", 2.0, interpolation)  # rows move by 1, 3 and 5
        assert sheared.tolist() == [[[[1, 2, 3, 128], [7, 128, 128, 128], [128] * 4]]]
        turned = change(clip[..., :3], "Rotate", 90, interpolation)
        assert turned.tolist() == [[[[2, 6, 10], [1, 5, 9], [0, 4, 8]]]]
