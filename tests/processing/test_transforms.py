"""Boxes by tables and by their distribution, pixels against Pillow."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from videomae.core.errors import ConfigError, InputError, ShapeError
from videomae.processing import transforms
from videomae.processing.transforms import (
    CropBox,
    center_crop_box,
    crop_and_resize,
    multi_scale_crop,
    normalize,
    random_flip,
    random_resized_crop,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (240, 320, (0, 40, 240, 240)),
        (320, 240, (40, 0, 240, 240)),
        (224, 224, (0, 0, 224, 224)),
        (5, 8, (0, 1, 5, 5)),
        (1, 1, (0, 0, 1, 1)),
    ],
)
def test_center_crop_box(height: int, width: int, expected: tuple[int, int, int, int]) -> None:
    assert center_crop_box(height, width) == CropBox(*expected)


@pytest.mark.parametrize(
    ("height", "width", "num_crops", "expected"),
    [
        (240, 320, 1, [(0, 40)]),
        (240, 320, 3, [(0, 0), (0, 40), (0, 80)]),
        (320, 240, 3, [(0, 0), (40, 0), (80, 0)]),
        (320, 240, 2, [(0, 0), (80, 0)]),
        (224, 224, 3, [(0, 0)] * 3),
        (224, 229, 3, [(0, 0), (0, 2), (0, 5)]),
        (100, 400, 4, [(0, 0), (0, 100), (0, 200), (0, 300)]),
    ],
)
def test_evaluation_crop_boxes(height: int, width: int, num_crops: int, expected: list[tuple[int, int]]) -> None:
    side = min(height, width)
    assert transforms.evaluation_crop_boxes(height, width, num_crops) == [
        CropBox(*place, side, side) for place in expected
    ]


class TestMultiScaleCrop:
    def test_all_choices_and_no_others(self) -> None:
        source = generator()
        boxes = [multi_scale_crop(256, 340, source) for _ in range(6000)]
        sides = (256, 224, 192, 168)
        steps = [(256, 256), (256, 224), (224, 256), (224, 224), (224, 192), (192, 224), (192, 192)]
        steps += [(192, 168), (168, 192), (168, 168)]
        shapes = Counter((box.height, box.width) for box in boxes)
        assert set(shapes) == set(steps)
        assert all(abs(count - 600) < 5 * 600**0.5 for count in shapes.values())
        assert {box.height for box in boxes} == set(sides)
        places = Counter((box.top, box.left) for box in boxes if (box.height, box.width) == (168, 192))
        # Free space: 88 rows, 148 columns.
        assert set(places) == {
            *((0, 0), (0, 74), (0, 148), (44, 0), (44, 74), (44, 148), (88, 0), (88, 74), (88, 148)),
            *((22, 37), (22, 111), (66, 37), (66, 111)),
        }
        assert min(places.values()) > 15
        assert not any(box.flip for box in boxes)

    def test_same_seed_same_box(self) -> None:
        first, again = ([multi_scale_crop(99, 61, source) for _ in range(5)] for source in (generator(3), generator(3)))
        assert first == again
        assert len(set(first)) > 1

    def test_tiny_frames(self) -> None:
        assert multi_scale_crop(1, 1, generator()) == CropBox(0, 0, 1, 1)


class TestRandomResizedCrop:
    def test_range_and_spread(self) -> None:
        source = generator()
        boxes = [random_resized_crop(240, 320, source) for _ in range(4000)]
        shares = np.array([box.height * box.width / (240 * 320) for box in boxes])
        ratios = np.array([box.width / box.height for box in boxes])
        assert shares.min() > 0.075
        assert shares.min() < 0.1
        assert shares.max() <= 1
        assert ratios.min() > 0.74
        assert ratios.max() < 1.36
        # Large boxes that are high fit less often into these frames than wide ones.
        assert abs(np.log(ratios[shares < 0.5]).mean()) < 0.015
        assert abs(np.median(shares[shares < 0.5]) - 0.29) < 0.02
        assert all(box.top + box.height <= 240 and box.left + box.width <= 320 for box in boxes)
        small = [box for box in boxes if box.height < 100]
        assert min(box.top for box in small) < 10
        assert max(box.top + box.height for box in small) > 230

    @pytest.mark.parametrize(
        ("height", "width", "expected"),
        [(100, 1000, (0, 433, 100, 133)), (1000, 100, (433, 0, 133, 100)), (100, 100, (0, 0, 100, 100))],
    )
    def test_nothing_fits(self, height: int, width: int, expected: tuple[int, int, int, int]) -> None:
        # More area than a box of such a ratio can have, or exactly all of it.
        assert random_resized_crop(
            height, width, generator(), area=(1.0, 1.0), ratio=(3 / 4, 4 / 3) if height != width else (1.0, 1.0)
        ) == CropBox(*expected)

    @pytest.mark.parametrize("bad", [{"area": (0.0, 1.0)}, {"area": (0.5, 1.1)}, {"ratio": (2.0, 1.0)}])
    def test_senseless_ranges(self, bad: dict) -> None:
        with pytest.raises(ConfigError, match="0 < low <= high"):
            random_resized_crop(10, 10, generator(), **bad)


def test_random_flip() -> None:
    source = generator()
    box = CropBox(1, 2, 3, 4)
    flips = [random_flip(box, source) for _ in range(1000)]
    assert abs(sum(each.flip for each in flips) - 500) < 80
    assert {(each.top, each.left, each.height, each.width) for each in flips} == {(1, 2, 3, 4)}
    assert random_flip(box, source, probability=1.0).flip
    assert not random_flip(box, source, probability=0.0).flip
    assert not random_flip(CropBox(1, 2, 3, 4, flip=True), source, probability=1.0).flip


class TestCropAndResize:
    frames = np.random.default_rng(0).integers(0, 256, (3, 60, 80, 3), dtype=np.uint8)

    @pytest.mark.parametrize("flip", [False, True])
    @pytest.mark.parametrize(
        ("box", "size"),
        [
            ((0, 0, 60, 80), 32),
            ((7, 11, 41, 52), 32),
            ((7, 11, 41, 52), (24, 40)),
            ((30, 50, 20, 25), 64),
            ((5, 6, 32, 32), 32),
            ((59, 79, 1, 1), 8),
        ],
    )
    def test_equals_pillow(self, box: tuple[int, int, int, int], size: int | tuple[int, int], flip: bool) -> None:
        top, left, height, width = box
        high, wide = (size, size) if isinstance(size, int) else size
        for frames in (self.frames, torch.from_numpy(self.frames)):
            clip = crop_and_resize(frames, CropBox(*box, flip=flip), size)
            assert clip.shape == (3, 3, high, wide)
            assert clip.dtype == torch.uint8
            assert clip.is_contiguous()
            for frame, result in zip(self.frames, clip, strict=True):
                image = Image.fromarray(frame).crop((left, top, left + width, top + height)).resize((wide, high), 2)
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else image
                difference = np.abs(np.asarray(image).astype(int) - result.permute(1, 2, 0).numpy().astype(int))
                assert difference.max() <= 2
                assert (difference > 1).mean() <= 1e-3

    def test_result_has_its_own_memory(self) -> None:
        frames = self.frames.copy()
        crop_and_resize(frames, CropBox(0, 0, 60, 80), (60, 80)).zero_()
        np.testing.assert_array_equal(frames, self.frames)

    def test_read_only_frames(self) -> None:
        frames = self.frames.copy()
        frames.flags.writeable = False
        assert crop_and_resize(frames, CropBox(0, 0, 60, 60), 16).shape == (3, 3, 16, 16)

    @pytest.mark.parametrize("flip", [False, True])
    def test_frame_by_frame_into_given_memory(self, flip: bool) -> None:
        box = CropBox(3, 5, 41, 50, flip=flip)
        whole = crop_and_resize(self.frames, box, (24, 32))
        clips = torch.zeros(2, len(self.frames), 3, 24, 32, dtype=torch.uint8)
        for number in range(len(self.frames)):
            frame, place = self.frames[number : number + 1], clips[1, number : number + 1]
            assert crop_and_resize(frame, box, (24, 32), out=place) is place
        assert torch.equal(clips[1], whole)
        assert clips[0].max() == 0

    @pytest.mark.parametrize("out", [torch.zeros(1, 3, 16, 16, dtype=torch.uint8), torch.zeros(3, 3, 16, 16)])
    def test_memory_that_does_not_fit(self, out: torch.Tensor) -> None:
        with pytest.raises(ShapeError, match=r"out of type .* expected uint8 \(3, 3, 16, 16\)"):
            crop_and_resize(self.frames, CropBox(0, 0, 40, 40), 16, out=out)

    def test_one_channel(self) -> None:
        clip = crop_and_resize(self.frames[..., :1], CropBox(1, 2, 40, 40), 16)
        assert torch.equal(clip, crop_and_resize(self.frames, CropBox(1, 2, 40, 40), 16)[:, :1])

    @pytest.mark.parametrize(
        ("frames", "box", "size", "message"),
        [
            (frames, CropBox(30, 0, 31, 10), 8, "expected a box inside 60×80 pixels"),
            (frames, CropBox(0, 71, 10, 10), 8, "expected a box inside 60×80 pixels"),
            (frames[0], CropBox(0, 0, 1, 1), 8, r"expected uint8 \(T, H, W, C\)"),
            (frames.astype(np.float32), CropBox(0, 0, 1, 1), 8, "float32 frames"),
            (torch.zeros(1, 4, 4, 3), CropBox(0, 0, 1, 1), 8, "torch.float32 frames"),
            (frames[:0], CropBox(0, 0, 1, 1), 8, "shape \\(0, 60, 80, 3\\)"),
            (frames, CropBox(0, 0, 1, 1), 0, "size=0"),
        ],
    )
    def test_errors(self, frames: np.ndarray, box: CropBox, size: int, message: str) -> None:
        with pytest.raises(InputError, match=message) as caught:
            crop_and_resize(frames, box, size)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("numbers", [(-1, 0, 2, 2), (0, -1, 2, 2), (0, 0, 0, 2), (0, 0, 2, 0)])
    def test_senseless_boxes(self, numbers: tuple[int, int, int, int]) -> None:
        with pytest.raises(ShapeError, match="at least one pixel inside the frame"):
            CropBox(*numbers)


class TestNormalize:
    clips = torch.arange(256, dtype=torch.uint8).reshape(2, 2, 4, 4, 4)

    def test_values(self) -> None:
        mean, std = [0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]
        result = normalize(self.clips, mean, std)
        expected = (self.clips.double() / 255 - torch.tensor(mean).double().view(4, 1, 1)) / torch.tensor(
            std
        ).double().view(4, 1, 1)
        assert result.dtype == torch.float32
        torch.testing.assert_close(result, expected.float(), atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(normalize(self.clips, 0.5, 0.5), self.clips / 127.5 - 1, atol=1e-6, rtol=1e-6)

    def test_equals_the_image_processor(self) -> None:
        from videomae.processing.image_processor import VideoMAEImageProcessor

        frames = TestCropAndResize.frames
        mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        processor = VideoMAEImageProcessor(size=32, crop_size=32, image_mean=mean, image_std=std, do_resize=False)
        expected = processor(frames, return_tensors="pt").pixel_values[0]
        clip = crop_and_resize(frames, CropBox(14, 24, 32, 32), 32)
        torch.testing.assert_close(normalize(clip, mean, std), expected, atol=1e-6, rtol=1e-6)

    def test_stays_on_its_device(self) -> None:
        assert normalize(self.clips.to("meta"), 0.5, 0.5).device.type == "meta"

    @pytest.mark.parametrize(
        ("clips", "mean", "std", "message"),
        [
            (clips.float(), 0.5, 0.5, "expected uint8"),
            (clips[0, 0, 0], 0.5, 0.5, "expected uint8"),
            (clips, [0.5] * 3, 0.5, "mean of 3 numbers: expected one number, or 4"),
            (clips, 0.5, [0.5] * 2, "std of 2 numbers"),
            (clips, 0.5, [0.5, 0.5, 0.0, 0.5], "numbers above 0"),
        ],
    )
    def test_errors(self, clips: torch.Tensor, mean: object, std: object, message: str) -> None:
        with pytest.raises(InputError, match=message):
            normalize(clips, mean, std)


@pytest.mark.parametrize(("height", "width"), [(0, 5), (5, 0), (-1, 5)])
def test_frames_without_pixels(height: int, width: int) -> None:
    for draw in (
        lambda: center_crop_box(height, width),
        lambda: transforms.evaluation_crop_boxes(height, width, 3),
        lambda: multi_scale_crop(height, width, generator()),
        lambda: random_resized_crop(height, width, generator()),
    ):
        with pytest.raises(ShapeError, match="expected at least one pixel"):
            draw()


def test_no_crops() -> None:
    with pytest.raises(ConfigError, match="num_crops=0: expected at least 1"):
        transforms.evaluation_crop_boxes(10, 10, 0)
