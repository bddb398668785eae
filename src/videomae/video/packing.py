"""Re-encoding one video for training: small frames, no audio, and a layout of frames that random clips decode cheaply.

Training reads 16 frames at a stride of 4 or so. The layout that serves it best has reference frames far apart with
B-frames between them to which nothing refers: a reader decodes the reference frames and the wanted B-frames and drops
the rest without a look. `benchmarks/pack_layouts.py` compares layouts; the default is what it found.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import ColorRange
from PIL import Image

from videomae.core.errors import ConfigError, VideoError
from videomae.core.files import write_atomically
from videomae.core.text import error_reason

from ._index import PacketIndex
from ._picture import Converter, picture_shape, to_rgb
from ._shrink import Shrinker, needs_padding, pad
from ._x264 import repeatable_params
from .frame_reader import FrameReader
from .reader import VideoReader
from .time_sampling import frames_between

SHORT_SIDE = 256
CRF = 23
_TICKS_PER_SECOND = 90_000  # for time stamps that no rate explains
_MAX_SIDE = 16_384  # libx264's limit
_MAX_OUT_OF_ORDER = 64  # frames held until the one before them has come
_NUM_CHECKED = 5
_MAX_PSNR = 100.0


@dataclass(frozen=True)
class FrameLayout:
    """How an encoder arranges frames.

    Attributes:
        codec: FFmpeg's name of the encoder.
        pixels: FFmpeg's name of the pixel format.
        options: the encoder's options; `{crf}` stands for the requested quality.
    """

    codec: str = "libx264"
    pixels: str = "yuv420p"
    options: Mapping[str, str] = field(default_factory=dict)


def x264_layout(
    *, key_distance: int, num_b_frames: int, preset: str = "medium", fast_decode: bool = True, extra: str = ""
) -> FrameLayout:
    """A fixed pattern: a key frame each `key_distance` frames, `num_b_frames` droppable frames between references.

    Args:
        key_distance: frames from one key frame to the next; groups are closed.
        num_b_frames: B-frames in a row; none of them is referred to.
        preset: x264's trade of time against size.
        fast_decode: no CABAC, no deblocking and no weighted prediction: about half the time to decode.
        extra: further x264 parameters, `name=value:…`.
    """
    pattern = f"keyint={key_distance}:min-keyint={key_distance}:scenecut=0:open-gop=0:bframes={num_b_frames}"
    parameters = f"{pattern}:b-adapt=0:b-pyramid=none:threads=1:sliced-threads=0"
    parameters = ":".join(part for part in (parameters, repeatable_params(), extra) if part)
    options = {"preset": preset, "crf": "{crf}", "x264-params": parameters}
    return FrameLayout(options=options | ({"tune": "fastdecode"} if fast_decode else {}))


# Raise the number with any change of the layout: files of another layout are recognized by it.
LAYOUT_NAME = "h264-1"
# How frames of the source are ordered. Version 1 went by time stamps, which are wrong in files that have none (AVI).
FRAME_ORDER = 2
LAYOUT = x264_layout(key_distance=32, num_b_frames=7)


@dataclass(frozen=True)
class PackedVideo:
    """What came out of packing one video.

    Attributes:
        num_frames: as many as the source, or the part of it, has.
        width: of a frame in pixels, even.
        height: of a frame in pixels, even.
        size_bytes: of the file.
        psnr: dB between the file and the source brought to its size, over several frames; at most 100.
        index: the file's packet index.
        damage: where and why the source is damaged, if it is; what FFmpeg shows of it was packed.
    """

    num_frames: int
    width: int
    height: int
    size_bytes: int
    psnr: float
    index: PacketIndex
    damage: str | None = None


def packed_size(width: int, height: int, *, short_side: int = SHORT_SIDE) -> tuple[int, int]:
    """Width and height after packing: the short side becomes `short_side`, never more than it was; both even.

    A side that is odd and needs no scaling grows by one pixel, which repeats the last row or column.
    """
    scale = short_side / min(width, height)
    if scale >= 1:
        return width + width % 2, height + height % 2
    return max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))


def pack_video(
    reader: FrameReader,
    target: str | os.PathLike[str],
    *,
    short_side: int = SHORT_SIDE,
    crf: int = CRF,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    part: range | None = None,
    layout: FrameLayout = LAYOUT,
    on_frame: Callable[[], None] | None = None,
) -> PackedVideo:
    """Write a video's frames, or those of a part, to `target`: H.264, 8 bit, 4:2:0 in an MP4 file (see `FrameLayout`).

    Frame i of the file is frame i of the source or of the part, shown at the same time after the first one, as the
    reader shows it: rotated, transparent parts flattened. The same input gives the same bytes. The file is decoded
    again before it gets its name, so it appears complete and sound, or not at all.

    Args:
        reader: the open video.
        target: the file to write; missing folders are made, a file already there is replaced.
        short_side: pixels of the frames' shorter side, an even number; smaller frames are not enlarged.
        crf: x264's constant rate factor, from 0 (largest file, best picture) to 51.
        start_seconds: where the part begins, in seconds after the first frame.
        end_seconds: where it ends.
        part: its frames, in place of seconds.
        layout: how frames are arranged.
        on_frame: called for each frame of the source, as a sign of life.

    Raises:
        ConfigError: an option out of range.
        VideoError: the source is damaged, its size changes midway, the part holds no frame, or the file that was
            written does not hold what it should.
        InputError: `target` cannot be written.
    """
    _check_options(short_side, crf)
    name, damage = reader.info.path, reader.info.damage
    times = reader.frame_times
    if part is None:
        part = frames_between(times, start_seconds=start_seconds, end_seconds=end_seconds, name=name)
    numbers = np.arange(part.start, part.stop)
    packed: list[PackedVideo] = []

    def write(aside: Path) -> None:
        frames = _Frames(reader, numbers, name, on_frame)
        size = _encode(aside, frames, times[numbers], short_side=short_side, crf=crf, layout=layout, name=name)
        packed.append(_verify(aside, frames.kept, len(numbers), size, name=name))

    write_atomically(target, write)
    return replace(packed[0], damage=damage)


def _check_options(short_side: int, crf: int) -> None:
    if not 16 <= short_side <= _MAX_SIDE or short_side % 2:
        raise ConfigError(
            f"short_side={short_side}", expected=f"an even number from 16 to {_MAX_SIDE}", hint="256 and 320 are common"
        )
    if not 0 <= crf <= 51:
        raise ConfigError(f"crf={crf}", expected="0 (best) to 51 (smallest)", hint=f"the default is {CRF}")


class _Frames:
    """The frames of a video in their order, however the decoder puts them out; RGB of a few is kept for checking.

    Args:
        reader: the open video.
        numbers: which, without gaps.
        name: of the video, for errors.
        on_frame: called for each.
    """

    def __init__(
        self, reader: FrameReader, numbers: np.ndarray, name: str, on_frame: Callable[[], None] | None
    ) -> None:
        self._reader = reader
        self._on_frame = on_frame or (lambda: None)
        self._numbers = numbers
        self._name = name
        places = np.linspace(0, len(numbers) - 1, min(_NUM_CHECKED, len(numbers)))
        self._checked = {int(numbers[place]) for place in places.round().astype(np.int64)}
        self.kept: dict[int, np.ndarray] = {}  # by place among `numbers`

    def __iter__(self) -> Iterator[Any]:
        """Yield decoded frames, or uint8 RGB (height, width, 3) where the reader has no others."""
        waiting: dict[int, Any] = {}
        expected, last = int(self._numbers[0]), int(self._numbers[-1])
        converter = Converter(self._name)
        first_shape = None
        for number, frame in _decoded(self._reader, self._numbers):
            self._on_frame()
            shape = frame.shape if isinstance(frame, np.ndarray) else picture_shape(frame)
            if isinstance(frame, np.ndarray) and shape[2] != 3:
                raise VideoError(
                    f"{self._name}, frames of {shape[2]} channels",
                    expected="RGB",
                    hint="leave the folder out: a video file cannot hold other channels",
                )
            first_shape = first_shape or shape
            if shape != first_shape:
                raise VideoError(
                    f"{self._name}, frame {number} ({shape[1]}x{shape[0]})",
                    expected=f"one size throughout, {first_shape[1]}x{first_shape[0]}",
                    hint="the size changes midway: cut the video where it does",
                )
            if number in self._checked:
                picture = frame if isinstance(frame, np.ndarray) else to_rgb(frame, converter)
                self.kept[number - int(self._numbers[0])] = picture
            waiting[number] = frame
            while expected in waiting:
                yield waiting.pop(expected)
                expected += 1
            if len(waiting) > _MAX_OUT_OF_ORDER:
                break
        if expected <= last:
            raise VideoError(
                f"frame {expected} of {self._name}",
                expected="frames in their order",
                hint="the file's time stamps are damaged",
            )


def _decoded(reader: FrameReader, numbers: np.ndarray) -> Iterator[tuple[int, Any]]:
    """As the decoder gives them where it is ours: their planes are better material than RGB made of them."""
    return reader.stream_decoded(numbers) if isinstance(reader, VideoReader) else reader.stream(numbers)


def _time_stamps(times: np.ndarray) -> tuple[Fraction, Fraction, list[int]]:
    """Rate, time base and time stamps (from 0, rising) that keep the source's times exactly."""
    times = times - times[0]
    span = float(times[-1])
    rate = Fraction(30)
    if span > 0:
        rate = Fraction((len(times) - 1) / span).limit_denominator(1001)
        rate = min(max(rate, Fraction(1, 1000)), Fraction(1000))
        if np.abs(times - np.arange(len(times)) / float(rate)).max() < 0.5e-3:
            return rate, 1 / rate, list(range(len(times)))
    elif len(times) == 1:
        return rate, 1 / rate, [0]
    stamps = np.round(times * _TICKS_PER_SECOND).astype(np.int64)
    stamps = np.maximum.accumulate(stamps - np.arange(len(stamps))) + np.arange(len(stamps))
    return rate, Fraction(1, _TICKS_PER_SECOND), stamps.tolist()


def _encode(
    path: Path,
    frames: Iterable[Any],
    times: np.ndarray,
    *,
    short_side: int,
    crf: int,
    layout: FrameLayout,
    name: str,
) -> tuple[int, int]:
    """Write the file; returns width and height."""
    rate, time_base, stamps = _time_stamps(times)
    options = {name: value.format(crf=crf) for name, value in layout.options.items()}
    shrinker: Shrinker | None = None
    stream: Any = None
    size = (0, 0)
    # The prefix keeps names with a colon from being taken for a protocol; `bitexact` omits versions and dates.
    muxing = {"movflags": "faststart", "fflags": "+bitexact"}
    try:
        with av.open(f"file:{os.fspath(path)}", "w", format="mp4", options=muxing) as container:
            for stamp, frame in zip(stamps, frames, strict=True):
                if shrinker is None:
                    size = _size_of(frame, short_side=short_side)
                    shrinker = Shrinker(size, frame, pixels=layout.pixels)
                    stream = _add_stream(container, layout, options, rate=rate, time_base=time_base, size=size)
                    stream.codec_context.colorspace = shrinker.matrix
                small = shrinker.shrink(frame)
                small.pts, small.time_base = stamp, time_base
                small.pict_type = PictureType.NONE  # else the encoder repeats the source's key frames
                container.mux(stream.encode(small))
            container.mux(stream.encode(None))
    except av.FFmpegError as error:
        if isinstance(error, OSError) and error.errno:  # full or failing disk, not a fault of the encoder
            raise OSError(error.errno, os.strerror(error.errno)) from error
        raise VideoError(
            f"{name} (the encoder fails: {error_reason(error)})",
            expected="a video that H.264 can hold",
            hint="leave it out, or convert it to a common size and rate",
        ) from error
    return size


def _add_stream(
    container: Any,
    layout: FrameLayout,
    options: dict[str, str],
    *,
    rate: Fraction,
    time_base: Fraction,
    size: tuple[int, int],
) -> Any:
    stream = container.add_stream(layout.codec, rate=rate, options=options)
    stream.width, stream.height = size
    stream.pix_fmt = layout.pixels
    stream.time_base = time_base
    context = stream.codec_context
    context.time_base = time_base
    context.thread_count = 1  # with more, the bytes would depend on how many
    context.color_range = ColorRange.MPEG
    return stream


def _size_of(frame: Any, *, short_side: int) -> tuple[int, int]:
    height, width = (frame.shape if isinstance(frame, np.ndarray) else picture_shape(frame))[:2]
    return packed_size(width, height, short_side=short_side)


def _resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if needs_padding(picture.shape, size):
        return pad(picture, size)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def _verify(
    path: Path, originals: dict[int, np.ndarray], num_frames: int, size: tuple[int, int], *, name: str
) -> PackedVideo:
    """Decode some frames of the file that was written, the first and the last among them, and compare."""
    with VideoReader(path) as written:
        numbers = sorted(originals)
        if written.num_frames != num_frames or written.index is None:
            raise _wrong(name, f"{written.num_frames} frames", f"{num_frames} frames")
        found = written.read(numbers)
        if found.shape[1:3] != (size[1], size[0]):
            raise _wrong(name, f"frames of {found.shape[2]}x{found.shape[1]}", f"{size[0]}x{size[1]}")
        errors = [
            np.square(frame.astype(np.float64) - _resized(originals[number], size)).mean()
            for number, frame in zip(numbers, found, strict=True)
        ]
        mean_error = float(np.mean(errors))
        psnr = min(_MAX_PSNR, 10 * np.log10(255**2 / mean_error)) if mean_error else _MAX_PSNR
        return PackedVideo(
            num_frames=num_frames,
            width=size[0],
            height=size[1],
            size_bytes=path.stat().st_size,
            psnr=float(psnr),
            index=written.index,
        )


def _wrong(name: str, found: str, expected: str) -> VideoError:
    return VideoError(
        f"{name} packed into {found}", expected=expected, hint="the file was not kept; please report this video"
    )
