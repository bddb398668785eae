"""What VideoInfo says of pixels that are not square, of interlaced fields and of high dynamic range."""

from __future__ import annotations

from fractions import Fraction

import pytest
from av.codec.context import Flags
from av.video.reformatter import ColorTrc
from video_files import encode

from videomae.video.reader import VideoReader


def traits(path):
    with VideoReader(path) as reader:
        info, index = reader.info, reader.index
    with VideoReader(path, index=index) as reader:  # opened without probing
        assert reader.info == info
    return info.sample_aspect_ratio, info.is_interlaced, info.is_hdr


def stretched(stream):
    stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
    stream.bit_rate = 2_000_000


def interlaced(stream):
    stream.codec_context.flags |= Flags.interlaced_dct | Flags.interlaced_me


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.ts", "libx264"), ("a.mov", "mpeg4"), ("a.mpg", "mpeg2video")],
)
def test_pixels_that_are_not_square(tmp_path, name, codec):
    path = encode(tmp_path / name, codec, num_frames=4, prepare=stretched)
    assert traits(path) == (pytest.approx(4 / 3), False, False)
    with VideoReader(path) as reader:
        assert reader.read([0]).shape == (1, 48, 64, 3)


def test_the_ratio_is_that_of_the_picture_as_shown(tmp_path):
    path = encode(tmp_path / "a.mp4", "libx264", num_frames=2, prepare=stretched, rotation=(90, False, False))
    assert traits(path)[0] == pytest.approx(3 / 4)


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mpg", "mpeg2video"), ("a.ts", "mpeg2video")])
def test_interlaced_frames(tmp_path, name, codec):
    options = {"x264-params": "tff=1"} if codec == "libx264" else {}
    assert traits(encode(tmp_path / name, codec, num_frames=4, prepare=interlaced, options=options)) == (1, True, False)


@pytest.mark.parametrize(
    ("transfer", "is_hdr"),
    [(ColorTrc.SMPTE2084, True), (ColorTrc.ARIB_STD_B67, True), (ColorTrc.BT709, False), (ColorTrc.BT2020_10, False)],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_high_dynamic_range(tmp_path, name, transfer, is_hdr):
    def colored(stream):
        stream.codec_context.color_trc = transfer

    path = encode(tmp_path / name, "libx264", num_frames=2, pixels="yuv420p10le", prepare=colored)
    assert traits(path) == (1, False, is_hdr)


def test_what_says_nothing_is_plain(tmp_path):
    assert traits(encode(tmp_path / "a.gif", "gif", num_frames=2, pixels="rgb8")) == (1, False, False)
    assert traits(encode(tmp_path / "a.avi", "mjpeg", num_frames=2, pixels="yuvj420p")) == (1, False, False)
