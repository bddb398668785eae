"""Clips as pictures: reconstructions in rows or moving side by side, sheets of what the data look like.

A clip here is an array of uint8, shape (T, H, W, 3), values 0–255 in red, green, blue; (T, H, W, 1) is drawn gray, and
of other channels the first three.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from videomae.core.errors import InputError, ShapeError
from videomae.core.files import write_bytes
from videomae.report.text import Font, line_height, load_font, printable, wrap_text

Pixels = NDArray[np.uint8]

ROW_NAMES = ("original", "masked", "rebuilt")

_BACKGROUND = (255, 255, 255)
_INK = (24, 24, 27)
_FAINT_INK = (88, 88, 96)
_MAX_TILE = 224
_MIN_SHEET_WIDTH = 520  # so that the caption of a single small frame is not a column of single words
_MIN_CAPTION_SIZE = 11
_MIN_GIF_DELAY_MS = 20  # browsers play anything faster at a tenth of a second a frame


def reconstruction_sheet(
    original: Pixels,
    masked: Pixels,
    rebuilt: Pixels,
    *,
    caption: str,
    max_columns: int = 8,
    frame_numbers: Sequence[int] | None = None,
) -> Pixels:
    """Three labelled rows (original, masked, rebuilt) whose columns are frames, with a caption below.

    Frames under 112 pixels are enlarged by a whole factor without smoothing, so that the patches stay visible; frames
    over 224 pixels are shrunk to that.

    Args:
        original: the clip as the model got it, uint8 (T, H, W, 3).
        masked: the same with the hidden tubelets painted over, same shape.
        rebuilt: the model's picture, same shape.
        caption: what was rebuilt and what was pasted in from the input; wrapped to the width of the sheet.
        max_columns: of longer clips, this many evenly spaced frames are drawn, the first and the last among them.
        frame_numbers: T numbers to print above the columns, such as positions in the video; default 0 … T−1.

    Returns:
        The picture, uint8 (height, width, 3).

    Raises:
        ShapeError: if a clip is not uint8 (T, H, W, 3), or the three differ in shape.
    """
    clips = _check_same_shape(original, masked, rebuilt)
    columns = spaced_indices(len(clips[0]), max_columns)
    numbers = _check_frame_numbers(frame_numbers, num_frames=len(clips[0]))
    rows = [[_to_tile(clip[column], min_side=112) for column in columns] for clip in clips]
    headings = [f"frame {numbers[column]}" for column in columns]
    return _draw_grid(rows, row_labels=ROW_NAMES, headings=headings, caption=caption)


def contact_sheet(clips: Sequence[Pixels], labels: Sequence[str], *, caption: str = "", max_columns: int = 8) -> Pixels:
    """One clip per row with its title at the left: what the data look like.

    Clips may differ in length and size; of each, up to `max_columns` evenly spaced frames are drawn.

    Args:
        clips: uint8 (T, H, W, 3) each.
        labels: one title per clip; long ones are wrapped.
        caption: text below the rows.
        max_columns: the most frames drawn of one clip.

    Returns:
        The picture, uint8 (height, width, 3).

    Raises:
        ShapeError: if there is no clip, a clip is not uint8 (T, H, W, 3), or the labels are not one per clip.
    """
    if not clips or len(clips) != len(labels):
        raise ShapeError(
            f"{len(clips)} clips and {len(labels)} labels",
            expected="at least one clip, and one label for each",
            hint="pass as many labels as clips",
        )
    checked = [_check_clip(clip, name=f"clip {index}") for index, clip in enumerate(clips)]
    rows = [
        [_to_tile(clip[column], min_side=96, max_side=160) for column in spaced_indices(len(clip), max_columns)]
        for clip in checked
    ]
    return _draw_grid(rows, row_labels=labels, headings=[], caption=caption)


def reconstruction_animation(
    original: Pixels, masked: Pixels, rebuilt: Pixels, *, caption: str, frame_numbers: Sequence[int] | None = None
) -> Pixels:
    """The three clips moving side by side, labelled, with the caption below: frames for a GIF or a video file.

    Arguments and errors are those of `reconstruction_sheet`.

    Returns:
        uint8 (T, height, width, 3); height and width are even, as H.264 wants them.
    """
    clips = _check_same_shape(original, masked, rebuilt)
    numbers = _check_frame_numbers(frame_numbers, num_frames=len(clips[0]))
    tiles = [[_to_tile(clip[index], min_side=168) for clip in clips] for index in range(len(clips[0]))]
    frames = [
        _draw_grid(
            [row],
            row_labels=[],
            headings=ROW_NAMES,
            caption=f"frame {number} · {caption}" if caption else f"frame {number}",
            min_width=0,
            shrinks_caption=True,
        )
        for number, row in zip(numbers, tiles, strict=True)
    ]
    # Under very narrow clips a caption with a longer number can take a line more: the tallest frame sets the size.
    height, width = max(frame.shape[0] for frame in frames), frames[0].shape[1]
    height, width = height + height % 2, width + width % 2
    animation = np.full((len(frames), height, width, 3), _BACKGROUND, dtype=np.uint8)
    for index, frame in enumerate(frames):
        animation[index, : frame.shape[0], : frame.shape[1]] = frame
    return animation


def spaced_indices(num_frames: int, max_count: int) -> list[int]:
    """Up to `max_count` evenly spaced indices of `num_frames`, the first and the last among them, none twice.

    Raises:
        ShapeError: if either number is below 1.
    """
    if num_frames < 1 or max_count < 1:
        raise ShapeError(
            f"{max_count} of {num_frames} frames", expected="at least one of each", hint="pass a clip that has frames"
        )
    count = min(num_frames, max_count)
    if count == 1:
        return [0]
    return [(2 * step * (num_frames - 1) + count - 1) // (2 * (count - 1)) for step in range(count)]


def encode_png(image: Pixels) -> bytes:
    """One picture, uint8 (H, W, 3), as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(_check_clip(image[None], name="the picture")[0]).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def encode_webp(image: Pixels, *, quality: int = 85) -> bytes:
    """One picture, uint8 (H, W, 3), as the bytes of a WebP file: a tenth of a PNG's where it shows frames.

    Args:
        image: the picture.
        quality: 1–100.
    """
    buffer = io.BytesIO()
    Image.fromarray(_check_clip(image[None], name="the picture")[0]).save(buffer, format="WEBP", quality=quality)
    return buffer.getvalue()


def filmstrip_jpeg(frames: Pixels, *, height: int = 120) -> bytes:
    """Frames side by side as the bytes of a small JPEG file, for a gallery.

    Args:
        frames: uint8 (T, H, W, 3), T above 0.
        height: of the strip in pixels.

    Raises:
        ShapeError: if `frames` is not uint8 (T, H, W, 3).
    """
    clip = _check_clip(frames, name="the strip")
    width = max(1, round(clip.shape[2] * height / clip.shape[1]))
    gap = 2
    strip = Image.new("RGB", (len(clip) * (width + gap) - gap, height), _BACKGROUND)
    for column, frame in enumerate(clip):
        strip.paste(
            Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS), (column * (width + gap), 0)
        )
    buffer = io.BytesIO()
    strip.save(buffer, format="JPEG", quality=85, optimize=True)
    return buffer.getvalue()


def encode_gif(frames: Pixels, *, frames_per_second: float) -> bytes:
    """Frames, uint8 (T, H, W, 3), as the bytes of a GIF file that plays for ever.

    GIF counts time in hundredths of a second: single frames are up to 5 ms off, the whole is not. Browsers play at most
    50 frames a second, so faster clips are slowed to that.

    Raises:
        InputError: if `frames_per_second` is not a number above 0.
        ShapeError: if `frames` is not uint8 (T, H, W, 3).
    """
    if not (math.isfinite(frames_per_second) and frames_per_second > 0):
        raise InputError(
            f"frames_per_second={frames_per_second}", expected="a number above 0", hint="pass the clip's frame rate"
        )
    images = [Image.fromarray(frame).quantize(256) for frame in _check_clip(frames, name="the animation")]
    buffer = io.BytesIO()
    images[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=_gif_delays_ms(len(images), frames_per_second),
        loop=0,
    )
    return buffer.getvalue()


def save_png(path: str | os.PathLike[str], image: Pixels) -> Path:
    """Write one picture, uint8 (H, W, 3), to a PNG file in one step; missing folders are made.

    Raises:
        InputError: if the place cannot be written.
    """
    return write_bytes(path, encode_png(image))


def save_picture(path: str | os.PathLike[str], image: Pixels) -> Path:
    """Write one picture, uint8 (H, W, 3), in the format of its suffix, .png, .jpg, .jpeg or .webp, in one step.

    Raises:
        InputError: if the place cannot be written, or the suffix is another one.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".png":
        return save_png(path, image)
    if suffix == ".webp":
        return write_bytes(path, encode_webp(image, quality=92))
    if suffix not in (".jpg", ".jpeg"):
        raise InputError(path, expected=".png, .jpg or .webp", hint="change the ending of its name")
    buffer = io.BytesIO()
    # Patches have sharp edges in color too, so colors keep their resolution.
    Image.fromarray(_check_clip(image[None], name="the picture")[0]).save(
        buffer, format="JPEG", quality=92, subsampling=0, optimize=True
    )
    return write_bytes(path, buffer.getvalue())


def save_gif(path: str | os.PathLike[str], frames: Pixels, *, frames_per_second: float) -> Path:
    """Write frames, uint8 (T, H, W, 3), to a GIF file in one step; missing folders are made. See `encode_gif`.

    Raises:
        InputError: if the place cannot be written, or `frames_per_second` is not a number above 0.
    """
    return write_bytes(path, encode_gif(frames, frames_per_second=frames_per_second))


@dataclass(frozen=True)
class _Measures:
    """Sizes in pixels that follow from the size of a tile."""

    tile: int
    label_font: Font
    small_size: int
    gap: int
    margin: int

    @property
    def small_font(self) -> Font:
        """For headings and captions."""
        return load_font(self.small_size)

    @classmethod
    def for_tile(cls, tile: int) -> _Measures:
        # Sheets are often seen shrunk, in a report or a README: the text grows with the tiles.
        size = min(max(round(tile * 0.12), 15), 27)
        return cls(tile, load_font(size), max(14, round(size * 0.85)), max(4, tile // 28), size)


def _draw_grid(
    rows: Sequence[Sequence[Image.Image]],
    *,
    row_labels: Sequence[str],
    headings: Sequence[str],
    caption: str,
    min_width: int = _MIN_SHEET_WIDTH,
    shrinks_caption: bool = False,
) -> Pixels:
    """Rows of tiles with labels at the left, headings above the columns and a caption below.

    The caption wraps, or is written smaller where it may shrink: down to a size that can still be read.
    """
    widest = max(tile.width for row in rows for tile in row)
    heights = [max(tile.height for tile in row) for row in rows]
    sizes = _Measures.for_tile(max(widest, *heights))
    tile_width = max(widest, *(math.ceil(sizes.small_font.getlength(printable(heading))) for heading in headings), 0)
    labels = [wrap_text(label, sizes.label_font, max(140, round(sizes.tile * 1.2))) for label in row_labels]
    line, small_line = line_height(sizes.label_font), line_height(sizes.small_font)
    label_width = max((math.ceil(sizes.label_font.getlength(text)) for lines in labels for text in lines), default=0)
    left = sizes.margin + (label_width + sizes.margin if label_width else 0)
    num_columns = max(len(row) for row in rows)
    width = max(left + num_columns * (tile_width + sizes.gap) - sizes.gap + sizes.margin, min_width)
    caption_size = sizes.small_size
    while shrinks_caption and caption_size > _MIN_CAPTION_SIZE:
        if load_font(caption_size).getlength(printable(caption)) <= width - 2 * sizes.margin:
            break
        caption_size -= 1
    caption_font = load_font(caption_size)
    captions = wrap_text(caption, caption_font, width - 2 * sizes.margin)

    top = sizes.margin + (small_line + sizes.gap if headings else 0)
    # A title of many lines may be taller than its row of frames.
    heights = [max(h, len(labels[i]) * line if labels else 0) for i, h in enumerate(heights)]
    grid_bottom = top + sum(heights) + sizes.gap * (len(rows) - 1)
    height = grid_bottom + (sizes.margin * 2 // 3 + len(captions) * small_line if captions else 0) + sizes.margin
    sheet = Image.new("RGB", (width, height), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for column, heading in enumerate(headings):
        center = left + column * (tile_width + sizes.gap) + tile_width // 2
        draw.text((center, sizes.margin), printable(heading), fill=_FAINT_INK, font=sizes.small_font, anchor="ma")
    y = top
    for index, row in enumerate(rows):
        if labels:
            _draw_lines(draw, labels[index], x=sizes.margin, center_y=y + heights[index] // 2, font=sizes.label_font)
        for column, tile in enumerate(row):
            x = left + column * (tile_width + sizes.gap)
            sheet.paste(tile, (x + (tile_width - tile.width) // 2, y + (heights[index] - tile.height) // 2))
        y += heights[index] + sizes.gap
    for index, text in enumerate(captions):
        y = grid_bottom + sizes.margin * 2 // 3 + index * small_line
        draw.text((sizes.margin, y), text, fill=_INK, font=caption_font)
    return np.asarray(sheet)


def _draw_lines(draw: ImageDraw.ImageDraw, lines: Sequence[str], *, x: int, center_y: int, font: Font) -> None:
    """Lines of text at the left, the block centered at a height."""
    step = line_height(font)
    for index, text in enumerate(lines):
        y = center_y + round((index - (len(lines) - 1) / 2) * step)
        draw.text((x, y), text, fill=_INK, font=font, anchor="lm")


def _to_tile(frame: Pixels, *, min_side: int, max_side: int = _MAX_TILE) -> Image.Image:
    """One frame as a tile: small ones enlarged by a whole factor without smoothing, large ones shrunk smoothly."""
    image = Image.fromarray(frame)
    longest = max(image.size)
    if longest > max_side:
        scale = max_side / longest
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        return image.resize(size, Image.Resampling.LANCZOS)
    factor = math.ceil(min_side / longest)
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _gif_delays_ms(num_frames: int, frames_per_second: float) -> list[int]:
    """How long each frame stands, in multiples of 10 ms whose running sum follows the true time."""
    delay = max(1000 / frames_per_second, _MIN_GIF_DELAY_MS)
    ends = [round(delay * (index + 1) / 10) * 10 for index in range(num_frames)]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def _check_frame_numbers(frame_numbers: Sequence[int] | None, *, num_frames: int) -> list[int]:
    numbers = list(range(num_frames)) if frame_numbers is None else list(frame_numbers)
    if len(numbers) != num_frames:
        raise ShapeError(
            f"{len(numbers)} frame numbers", expected=f"{num_frames}, one for each frame", hint="pass one per frame"
        )
    return numbers


def _check_same_shape(original: Pixels, masked: Pixels, rebuilt: Pixels) -> list[Pixels]:
    clips = [
        _check_clip(clip, name=f"the {name} clip")
        for name, clip in zip(ROW_NAMES, (original, masked, rebuilt), strict=True)
    ]
    if len({clip.shape for clip in clips}) > 1:
        shapes = ", ".join(f"{name} {clip.shape}" for name, clip in zip(ROW_NAMES, clips, strict=True))
        raise ShapeError(shapes, expected="three clips of one shape", hint="pass the three in the size of the original")
    return clips


def _check_clip(clip: Pixels, *, name: str) -> Pixels:
    """The clip in RGB, after making sure that it can be drawn."""
    array = np.asarray(clip)
    is_turned = array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[-1] not in (1, 3)  # channels first
    if array.dtype != np.uint8 or array.ndim != 4 or 0 in array.shape or is_turned:
        raise ShapeError(
            f"{name} is {array.dtype} {array.shape}",
            expected="uint8 (frames, height, width, channels), nothing of it empty",
            hint="clip to 0–255, convert to uint8 and put the channels last",
        )
    return as_rgb(array)


def as_rgb(pixels: Pixels) -> Pixels:
    """Pixels (…, channels) as they are drawn, (…, 3): one channel gray, of several the first three."""
    if pixels.shape[-1] == 1:
        return np.repeat(pixels, 3, axis=-1)
    if pixels.shape[-1] == 2:
        return np.concatenate([pixels, np.zeros_like(pixels[..., :1])], axis=-1)
    return pixels[..., :3]
