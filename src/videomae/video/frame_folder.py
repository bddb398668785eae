"""Reading a folder of numbered images as a video."""

from __future__ import annotations

import itertools
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from PIL import ExifTags, Image, ImageOps

from videomae.core.errors import VideoError
from videomae.core.text import error_reason, readable

from ._frame_arrays import ARRAY_SUFFIX, TIFF_SUFFIXES, fit_channels, read_array
from ._frame_numbers import check_indices, gather, size_text
from ._limits import ReadLimits, Stopwatch
from .reader import VideoInfo
from .source import FrameFolder

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ARRAY_SUFFIX}) | TIFF_SUFFIXES
ASSUMED_FRAMES_PER_SECOND = 30.0

_TURNS = {3: 180, 4: 180, 5: 90, 6: 90, 7: 270, 8: 270}  # clockwise, by EXIF orientation


class FrameFolderReader:
    """An open folder of frames, with the interface of `VideoReader`.

    The images are ordered by the number in their names (2.jpg before 10.jpg), whatever the numbers begin with and
    however far they are apart, as long as they are evenly spaced: a gap is a frame that was lost. Only the images asked
    for are opened. Pictures are turned as their EXIF data asks; transparency is dropped; of values of 16 bits the
    upper 8 are taken. NumPy arrays (`.npy`) and TIFF files may have any number of channels, as their last or first
    dimension: uint8, uint16, or floats from 0 to 1.

    Args:
        folder: the images, and which of them belong to the video.
        limits: what reading may cost.

    Attributes:
        index: None; there are no packets.
        damage: None; a damaged image is an error.
        images: the files, in the order of the frames.

    Raises:
        VideoError: no such folder, no images in it, images without numbers or with one missing, or fewer images than
            the list gives for the video.
    """

    index: None = None
    damage: None = None

    def __init__(
        self, folder: FrameFolder, *, limits: ReadLimits | None = None, num_channels: int | None = None
    ) -> None:
        self._num_channels = num_channels
        self._name = readable(folder.path)
        self._limits = limits or ReadLimits()
        self._stopwatch = Stopwatch(self._name, self._limits.max_seconds)
        images = _ordered(_list_images(folder.path, self._name), self._name)
        first, count = folder.first_frame, folder.num_frames
        last = len(images) if count is None else first + count
        if first < 0 or not first < last <= len(images):
            raise VideoError(
                f"{self._name}, {'all' if count is None else count} frames after the first {first}",
                expected=f"a part of its {len(images)} images",
                hint="correct the list of videos, or extract the frames again",
            )
        images = images[first:last]
        _check_even(images, self._name)
        self.images = [folder.path / name for _, name in images]

    @property
    def num_frames(self) -> int:
        """How many frames can be read."""
        return len(self.images)

    @property
    def frame_times(self) -> np.ndarray:
        """float64 (num_frames,): seconds from the first frame to each, at an assumed 30 frames per second."""
        return np.arange(self.num_frames) / ASSUMED_FRAMES_PER_SECOND

    @cached_property
    def info(self) -> VideoInfo:
        """Size and so on, from the first image; rate and duration are None."""
        picture, codec, rotation = self._load(0)
        height, width = picture.shape[:2]
        return VideoInfo(
            path=self._name,
            num_frames=self.num_frames,
            width=width,
            height=height,
            rotation_degrees=rotation,
            frames_per_second=None,
            duration_seconds=None,
            codec=codec,
        )

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Read frames.

        Args:
            indices: frame numbers in [0, num_frames), in any order, repeats allowed, at least one.

        Returns:
            uint8 (len(indices), height, width, channels), 0 to 255, in the order of `indices`.

        Raises:
            VideoError: a number outside the video, an image that cannot be read, images of unequal sizes.
        """
        return gather(self._check(indices), self.stream(indices), name=self._name)

    def stream(self, indices: Sequence[int] | np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Give frames out one by one.

        Args:
            indices: as for `read`.

        Yields:
            (frame number, uint8 (height, width, channels)) once for each distinct number, ascending.

        Raises:
            VideoError: a number outside the video, or an image that cannot be read.
        """
        self._stopwatch.start()
        for number in np.unique(self._check(indices)).tolist():
            self._stopwatch.check()
            picture, _, _ = self._load(number)
            if self._num_channels is not None:
                picture = fit_channels(picture, self._num_channels, self._name)
            seconds_left = self._stopwatch.pause()
            yield number, picture
            self._stopwatch.resume(seconds_left)

    def close(self) -> None:
        """Do nothing: no image stays open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        return check_indices(indices, num_frames=self.num_frames, name=self._name)

    def _load(self, number: int) -> tuple[np.ndarray, str, int]:
        """Return the picture as it is shown, the image's format, and by how many degrees it was turned clockwise."""
        suffix = self.images[number].suffix.lower()
        if suffix not in TIFF_SUFFIXES:
            if suffix != ARRAY_SUFFIX:
                return self._load_picture(number)
        elif self._num_channels in (None, 1, 3):
            try:
                return self._load_picture(number)
            except VideoError:  # Pillow knows few kinds of TIFF files; what is damaged fails again below
                pass
        return self._load_array(number), suffix.removeprefix("."), 0

    def _load_picture(self, number: int) -> tuple[np.ndarray, str, int]:
        with self._open(number) as image:
            try:
                rotation = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1), 0)
                upright = ImageOps.exif_transpose(image)
                if upright.mode.startswith("I"):  # 16 bits of gray, which PIL would clip to 8
                    upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
                has_four = self._num_channels == 4 and upright.mode in ("RGBA", "CMYK")
                picture = np.array(upright if has_four else upright.convert("RGB"))
                return picture, (image.format or "").lower(), rotation
            except Exception as error:  # which one depends on the format and on where it is damaged
                raise self._unreadable(number, error_reason(error)) from error

    def _load_array(self, number: int) -> np.ndarray:
        path = self._existing(number)
        try:
            return read_array(path, max_pixels=self._limits.max_pixels, num_channels=self._num_channels)
        except ImportError as error:
            raise VideoError(
                f"{readable(path)}, a TIFF file that Pillow does not read",
                expected="tifffile, which does",
                hint="pip install tifffile",
            ) from error
        except Exception as error:  # which one depends on where it is damaged
            raise self._unreadable(number, error_reason(error)) from error

    def _existing(self, number: int) -> Path:
        path = self.images[number]
        if not path.is_file():
            raise self._unreadable(number, "it is gone" if not path.exists() else "it is no regular file")
        return path

    def _open(self, number: int) -> Any:
        path = self._existing(number)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                image = Image.open(path)
        except Exception as error:
            raise self._unreadable(number, error_reason(error)) from error
        if image.width * image.height > self._limits.max_pixels:
            image.close()
            size = size_text((image.height, image.width))
            raise self._unreadable(number, f"its {size} pixels are more than the {self._limits.max_pixels} allowed")
        return image

    def _unreadable(self, number: int, reason: str) -> VideoError:
        return VideoError(
            f"frame {number}, {readable(self.images[number])}",
            expected=f"an image that can be read ({' '.join(reason.split())})",
            hint="extract the video's frames again, or leave the folder out",
        )


def _list_images(folder: Path, name: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            files = [entry.name for entry in entries]
    except FileNotFoundError:
        raise VideoError(name, expected="an existing folder of frames", hint="check the path") from None
    except (OSError, ValueError) as error:
        raise VideoError(
            name, expected="a readable folder of frames", hint=f"it cannot be opened: {error_reason(error)}"
        ) from error
    images = [
        file for file in files if os.path.splitext(file)[1].lower() in IMAGE_SUFFIXES and not file.startswith(".")
    ]
    if not images:
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
        raise VideoError(
            f"{name} ({len(files)} files, no image among them)",
            expected=f"a folder of numbered images ({suffixes})",
            hint="leave this folder out, or extract the video's frames into it",
        )
    return images


def _ordered(images: list[str], name: str) -> list[tuple[int, str]]:
    """Return (number, image), ascending. The number is the one by which the names differ."""
    pieces = [re.split("([0-9]+)", os.path.splitext(image)[0]) for image in images]
    for other, image in zip(pieces, images, strict=True):
        if other[::2] != pieces[0][::2] or len(other) == 1:
            raise VideoError(
                f"{name} ({readable(images[0])}, {readable(image)})",
                expected="images whose names differ in one number only, such as img_00001.jpg",
                hint="move other images out of the folder, one folder for each video",
            )
    columns = list(zip(*(map(int, piece[1::2]) for piece in pieces), strict=True))
    unique = [column for column in columns if len(set(column)) == len(images)]
    if not unique:
        number = next(number for number in columns[-1] if columns[-1].count(number) > 1)
        same = [image for image, other in zip(images, columns[-1], strict=True) if other == number]
        raise VideoError(
            f"{name} ({' and '.join(map(readable, sorted(same)[:2]))})",
            expected="one image of each number",
            hint="move the others out of the folder",
        )
    ordered = [sorted(zip(column, images, strict=True)) for column in unique]
    return next((order for order in ordered if _gap(order) is None), ordered[0])


def _check_even(images: list[tuple[int, str]], name: str) -> None:
    place = _gap(images)
    if place is not None:
        (before, _), (after, image) = images[place - 1 : place + 1]
        raise VideoError(
            f"{name} (after number {before} comes {after}, {readable(image)})",
            expected="evenly spaced numbers: a frame is missing",
            hint="extract the video's frames again, or leave the folder out",
        )


def _gap(images: list[tuple[int, str]]) -> int | None:
    """Return the place of the first image whose distance from the one before is larger than the smallest."""
    numbers = [number for number, _ in images]
    distances = [after - before for before, after in itertools.pairwise(numbers)]
    smallest = min(distances, default=0)
    return next((place for place, distance in enumerate(distances, 1) if distance > smallest), None)
