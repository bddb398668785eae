"""The token grid: how a clip falls into tubelets. No torch here, so that configurations and `--help` stay instant."""

from __future__ import annotations

import operator
from dataclasses import dataclass

from videomae.core.errors import ConfigError


@dataclass(frozen=True)
class TubeletGrid:
    """A clip cut into equal tubelets; tokens are ordered time first, then row, then column.

    Args:
        time: tokens along time (frames / tubelet_size).
        height: token rows (image height / patch height).
        width: token columns (image width / patch width).
        tubelet_size: frames in one tubelet.
        patch_height: pixel rows in one tubelet.
        patch_width: pixel columns in one tubelet.
        num_channels: color channels.
    """

    time: int
    height: int
    width: int
    tubelet_size: int
    patch_height: int
    patch_width: int
    num_channels: int

    @classmethod
    def of(
        cls,
        *,
        num_frames: int,
        image_size: int | tuple[int, int],
        tubelet_size: int,
        patch_size: int | tuple[int, int],
        num_channels: int,
    ) -> TubeletGrid:
        """The grid of a clip of `num_frames` frames of `image_size` (height, width) pixels.

        Raises:
            ConfigError: if the tubelets do not tile the clip exactly.
        """
        height, width = pair(image_size)
        patch_height, patch_width = pair(patch_size)
        for name, size, part_name, part in (
            ("num_frames", num_frames, "tubelet_size", tubelet_size),
            ("image_size", height, "patch_size", patch_height),
            ("image_size", width, "patch_size", patch_width),
        ):
            if part < 1:
                raise ConfigError(f"{part_name}={part}", expected="at least 1", hint=f"it divides {name}={size}")
            if size < part or size % part:
                raise ConfigError(
                    f"{name}={size} with {part_name}={part}",
                    expected=f"{name} to be a positive multiple of {part_name}",
                    hint=f"choose {name}={max(1, size // part) * part} or another {part_name}",
                )
        if num_channels < 1:
            raise ConfigError(f"num_channels={num_channels}", expected="at least 1 channel", hint="use 3 for RGB video")
        return cls(
            time=num_frames // tubelet_size,
            height=height // patch_height,
            width=width // patch_width,
            tubelet_size=tubelet_size,
            patch_height=patch_height,
            patch_width=patch_width,
            num_channels=num_channels,
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(time, height, width) in tokens."""
        return self.time, self.height, self.width

    @property
    def num_tokens(self) -> int:
        """Tokens in one clip."""
        return self.time * self.height * self.width

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        """(frames, channels, height, width) of one clip in pixels."""
        return (
            self.time * self.tubelet_size,
            self.num_channels,
            self.height * self.patch_height,
            self.width * self.patch_width,
        )

    @property
    def pixels_per_tubelet(self) -> int:
        """Pixels of one channel in one tubelet."""
        return self.tubelet_size * self.patch_height * self.patch_width

    @property
    def values_per_tubelet(self) -> int:
        """Numbers in one tubelet, all channels: the width of a reconstruction target."""
        return self.pixels_per_tubelet * self.num_channels


def pair(size: int | tuple[int, int] | list[int]) -> tuple[int, int]:
    """`size` as (height, width); one number means a square.

    Raises:
        ConfigError: if it is neither a whole number nor a pair of whole numbers.
    """
    sizes = tuple(size) if isinstance(size, list | tuple) else (size, size)
    try:
        height, width = (operator.index(number) for number in sizes)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"a size of {size!r}", expected="one whole number or a (height, width) pair", hint="for example 224"
        ) from error
    return height, width
