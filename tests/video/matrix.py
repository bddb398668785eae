"""The files of the matrix: each container and each coding that people have, with the odd times and faults they have.

A file's name says what it holds: `h264_pyramid.avi`. Frame number t shows, besides a texture that moves, a flat gray of
`LEVEL_OF_FIRST + LEVEL_STEP * t`, so that `frame_numbers` can read off decoded pictures which frames they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from av.codec.context import Flags
from video import matrix_files as files
from video.matrix_files import ALL, NUM_FRAMES, write
from video_files import remux


@dataclass(frozen=True)
class Case:
    """One file.

    Attributes:
        make: writes it to the path given.
        shows: the numbers of the frames that it shows, in order; None where that is for FFmpeg alone to say.
        needs: the demuxer without which FFmpeg cannot read it; "" where every release can.
        undefined: frames whose pixels FFmpeg leaves to what its memory held before, by place in the video.
        needs_one_thread: with several decoder threads FFmpeg gives other frames, as it does of damaged data.
        tells_numbers: the coding keeps the grays well enough for `frame_numbers`.
    """

    make: Callable[[Path], object]
    shows: Sequence[int] | None = ALL
    tells_numbers: bool = True
    needs: str = ""
    undefined: Sequence[int] = ()
    needs_one_thread: bool = False


def _case(codec: str, *, shows: Sequence[int] | None = ALL, tells_numbers: bool = True, **how: Any) -> Case:
    how.setdefault("key_distance", 8)
    return Case(partial(write, codec=codec, **how), shows, tells_numbers)


def _bits(stream: Any) -> None:
    stream.bit_rate = 3_000_000


def _interlaced(stream: Any) -> None:
    _bits(stream)
    stream.codec_context.flags |= Flags.interlaced_dct | Flags.interlaced_me


def _x264(params: str = "bframes=0", **how: Any) -> Case:
    params = "keyint=8:min-keyint=8:scenecut=0:b-adapt=0:" + params
    return _case("libx264", options={"preset": "veryfast", "x264-params": params}, **how)


def _x265(params: str = "bframes=0", **how: Any) -> Case:
    params = "log-level=none:pools=none:frame-threads=1:keyint=8:min-keyint=8:scenecut=0:b-adapt=0:" + params
    how.setdefault("size", (64, 64))
    return _case("libx265", options={"preset": "ultrafast", "x265-params": params}, **how)


def _mpeg(codec: str, b: int = 0, **how: Any) -> Case:
    return _case(codec, num_b_frames=b, **{"prepare": _bits} | how)


def _vpx(codec: str, **how: Any) -> Case:
    options = {"deadline": "realtime", "cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "10", "crf": "4"}
    return _case(codec, options=options, **{"prepare": _bits} | how)


def _av1(**how: Any) -> Case:
    return _case("libsvtav1", size=(64, 64), options={"preset": "12", "crf": "20"}, **how)


PYRAMID, OPEN = "bframes=3:b-pyramid=normal", "bframes=3:open-gop=1"
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
FULL_RANGE = {"pixels": "yuvj420p"}


def _in_each(name: str, suffixes: str, case: Case) -> dict[str, Case]:
    return {f"{name}.{suffix}": case for suffix in suffixes.split()}


H264 = {
    **_in_each("h264", "mp4 mov mkv avi ts m2ts mpg flv wmv nut mxf 3gp 3g2 m4v f4v h264", _x264()),
    **_in_each("h264_b", "mp4 mkv avi", _x264("bframes=2:b-pyramid=none")),
    **_in_each("h264_pyramid", "mp4 mov mkv avi ts m2ts mpg vob flv wmv nut mxf 3gp h264", _x264(PYRAMID)),
    **_in_each("h264_open_groups", "mp4 mkv avi ts flv h264", _x264(OPEN)),
    **_in_each("h264_intra_refresh", "mp4 mkv ts h264", _x264("intra-refresh=1:bframes=0")),
    **_in_each("h264_interlaced", "mp4 mkv avi ts h264", _x264("tff=1:bframes=2", prepare=_interlaced)),
    **_in_each("h264_10_bit", "mp4 mkv avi", _x264(PYRAMID, pixels="yuv420p10le")),
    "h264_4_2_2_10_bit.mov": _x264(PYRAMID, pixels="yuv422p10le"),
    "h264_4_4_4.mp4": _x264(PYRAMID, pixels="yuv444p"),
    "h264_4_4_4_odd_size.mkv": _x264(PYRAMID, pixels="yuv444p", size=(33, 25)),
    "h264_full_range.mp4": _x264(PYRAMID, **FULL_RANGE),
    "h264_gray.mp4": _x264(PYRAMID, pixels="gray", tells_numbers=False),
    "h264_lossless.mp4": _x264("qp=0:bframes=0"),
    "h264_all_key_frames.mp4": _x264("keyint=1:min-keyint=1:bframes=0"),
    "h264_slices.ts": _x264(PYRAMID + ":slices=3"),
    "h264_fragments.mp4": _x264(PYRAMID, container_options=FRAGMENTS),
    "h264_fragments_each_frame.mp4": _x264(container_options={"movflags": "frag_every_frame+empty_moov"}),
    "h264_negative_offsets.mp4": _x264(PYRAMID, container_options={"movflags": "negative_cts_offsets"}),
    "h264_fast_start.mp4": _x264(PYRAMID, container_options={"movflags": "faststart"}),
}
H265 = {
    **_in_each("h265", "mp4 mkv", _x265()),
    **_in_each("h265_pyramid", "mp4 mov mkv ts flv hevc", _x265("bframes=3:b-pyramid=1:open-gop=0")),
    **_in_each("h265_open_groups", "mp4 mkv ts hevc", _x265("bframes=3:open-gop=1")),
    "h265_intra_refresh.mp4": _x265("bframes=0:intra-refresh=1"),
    "h265_10_bit.mkv": _x265("bframes=3", pixels="yuv420p10le"),
    "h265_4_4_4_12_bit.mp4": _x265("bframes=3", pixels="yuv444p12le"),
    "h265_full_range.mp4": _x265("bframes=3", **FULL_RANGE),
    # Each field is a picture of its own: FFmpeg shows both, at half the height.
    "h265_fields.mkv": _x265("bframes=0:interlace=tff", shows=None),
}
MPEG = {
    **_in_each("mpeg1_b", "mpg ts m1v avi mkv", _mpeg("mpeg1video", 2)),
    **_in_each("mpeg2", "mpg mkv", _mpeg("mpeg2video")),
    **_in_each("mpeg2_b", "mpg vob ts m2ts m2v mkv mp4 mov avi mxf nut wtv", _mpeg("mpeg2video", 2)),
    **_in_each("mpeg2_interlaced", "mpg ts mxf mkv", _mpeg("mpeg2video", 2, prepare=_interlaced)),
    "mpeg2_4_2_2.mxf": _mpeg("mpeg2video", 2, pixels="yuv422p"),
    **_in_each("mpeg4", "mp4 avi 3gp", _mpeg("mpeg4")),
    **_in_each("mpeg4_b", "mp4 mov avi mkv ts nut wmv m4v 3gp", _mpeg("mpeg4", 2)),
    "mpeg4_interlaced.avi": replace(_mpeg("mpeg4", 2, prepare=_interlaced), needs_one_thread=True),
    "mpeg4_packed.avi": Case(files.packed_b_frames),
    "mpeg4_packed.mkv": Case(files.packed_b_frames, None),  # FFmpeg does not undo the packing there
    "mpeg4_packed_odd_size.avi": Case(partial(files.packed_b_frames, size=(50, 38))),
    **_in_each("msmpeg4v2", "avi", _mpeg("msmpeg4v2")),
    **_in_each("msmpeg4v3", "avi wmv", _mpeg("msmpeg4")),
    **_in_each("wmv1", "wmv asf avi", _mpeg("wmv1")),
    **_in_each("wmv2", "wmv asf avi", _mpeg("wmv2")),
    **_in_each("flv1", "flv", _mpeg("flv")),
    **_in_each("h263", "3gp avi", _mpeg("h263", size=(128, 96))),
    "rv20.rm": _mpeg("rv20"),
    "svq1.mov": _mpeg("svq1", pixels="yuv410p"),
}
WEB = {
    **_in_each("vp8", "webm mkv ivf ogv avi", _vpx("libvpx")),
    **_in_each("vp9", "webm mkv mp4 ivf", _vpx("libvpx-vp9")),
    "vp8_odd_size.webm": _vpx("libvpx", size=(33, 25)),
    "vp9_odd_size.webm": _vpx("libvpx-vp9", size=(33, 25)),
    "vp9_4_4_4.webm": _vpx("libvpx-vp9", pixels="yuv444p"),
    "vp9_alpha.webm": _vpx("libvpx-vp9", pixels="yuva420p"),
    **_in_each("av1", "mp4 webm mkv ivf obu", _av1()),
    "av1_10_bit.mp4": _av1(pixels="yuv420p10le"),
    "av1.avif": replace(_av1(), shows=None),  # ffmpeg picks the still picture in it, as the first of equals
    "theora.ogv": Case(files.theora),
    "gray.gif": _case("gif", pixels="gray"),
    "color.gif": _case("gif", pixels="rgb8", tells_numbers=False),
    "png.apng": _case("apng", pixels="rgb24"),
    "animated.webp": replace(_case("libwebp_anim", pixels="bgra", options={"lossless": "1"}), needs="webp_anim"),
}
INTRA = {
    **_in_each("mjpeg", "avi mov mp4 mkv nut mjpeg", _case("mjpeg", pixels="yuvj420p", prepare=_bits)),
    "mjpeg_4_4_4_odd_size.avi": _case("mjpeg", pixels="yuvj444p", size=(33, 25), prepare=_bits),
    **_in_each("prores", "mov mkv mxf", _case("prores_ks", pixels="yuv422p10le")),
    "prores_4_4_4_4.mov": _case("prores_ks", pixels="yuva444p10le"),
    "dnxhr.mov": _case("dnxhd", pixels="yuv422p", size=(256, 128), options={"profile": "dnxhr_lb"}),
    **_in_each("ffv1", "mkv avi nut", _case("ffv1")),
    "ffv1_16_bit.mkv": _case("ffv1", pixels="yuv422p16le"),
    "huffyuv.avi": _case("huffyuv", pixels="yuv422p"),
    "huffyuv_rgb.avi": _case("huffyuv", pixels="rgb24"),
    "ffvhuff.avi": _case("ffvhuff"),
    "utvideo.avi": _case("utvideo"),
    "magicyuv.avi": _case("magicyuv"),
    **_in_each("raw", "avi mkv nut y4m", _case("rawvideo")),
    "raw_rgb.avi": _case("rawvideo", pixels="bgr24", size=(33, 25)),
    "raw_packed.mov": _case("rawvideo", pixels="uyvy422"),
    "raw_4_4_4.y4m": _case("wrapped_avframe", pixels="yuv444p", size=(33, 25)),
    **_in_each("png", "mov avi", _case("png", pixels="rgb24")),
    "png_alpha.mov": _case("png", pixels="rgba"),
    "jpeg2000.mxf": _case("jpeg2000", pixels="yuv422p"),
    "animation.mov": _case("qtrle", pixels="rgb24"),
    "cinepak.avi": _case("cinepak", pixels="rgb24", frames=range(8), shows=range(8)),
    "screen_capture.avi": _case("zmbv", pixels="bgr0"),
    "screen_capture.flv": _case("flashsv", pixels="bgr24"),
    "dv.avi": _case("dvvideo", pixels="yuv411p", size=(720, 480), rate=30, frames=range(4), shows=range(4)),
    "dv.dv": _case("dvvideo", size=(720, 576), frames=range(4), shows=range(4)),
    "palette.avi": Case(partial(files.palette_avi, is_gray=False), tells_numbers=False),
    "palette_gray.avi": Case(partial(files.palette_avi, is_gray=True)),
}
VARIABLE = [3 * t + t % 3 + (40 if t > 12 else 0) for t in ALL]
LATE = [1000 + 4 * t for t in ALL]


def _cut_start(path: Path) -> None:
    source = path.with_suffix(".tmp.mp4")
    _x264(PYRAMID).make(source)
    remux(source, path, delay=-7 * 512, options={"use_editlist": "1", "avoid_negative_ts": "disabled"})


def _edited(*edits: tuple[int | None, int]) -> Case:
    shown = [first + count for first, number in edits if first is not None for count in range(number)]
    return Case(partial(files.edited, write=_x264(PYRAMID).make, edits=list(edits)), shown)


def _changed(case: Case, change: Callable[[bytes], bytes]) -> Case:
    return Case(partial(files.altered, write=case.make, change=change))


def _stretched(stream: Any) -> None:
    _bits(stream)
    stream.codec_context.sample_aspect_ratio = Fraction(4, 3)


def _turned(degrees: int, *, flips: tuple[bool, bool] = (False, False), size: tuple[int, int] = (64, 48)) -> Case:
    return _x264(PYRAMID, rotation=(degrees, *flips), size=size, tells_numbers=False)


TIMES = {
    **_in_each("variable_rate", "mp4 mov mkv webm flv ts nut", _x264(PYRAMID, times=VARIABLE)),
    **_in_each("late_start", "mp4 mkv ts flv", _x264(PYRAMID, times=LATE)),
    "variable_rate.webm": _vpx("libvpx-vp9", times=VARIABLE),
    "wrapping_times.ts": _x264(PYRAMID, container_options={"output_ts_offset": "95442.7"}),
    "colliding_times.mkv": _x264(PYRAMID, rate=4000),
    "colliding_times.flv": _x264(rate=4000),
    "edit_list_cuts_start.mp4": Case(_cut_start, range(7, NUM_FRAMES)),
    "edit_list_two_parts.mp4": _edited((12, 8), (3, 6)),
    "edit_list_repeats.mp4": _edited((4, 6), (4, 6)),
    "edit_list_pause.mp4": _edited((None, 10), (0, NUM_FRAMES)),
    "copied_from_avi.mp4": Case(partial(files.copied_from_avi, write=_x264(PYRAMID).make)),
    "copied_from_avi.mkv": Case(partial(files.copied_from_avi, write=_x264(PYRAMID).make)),
    "some_times.ts": _changed(_x264(PYRAMID), partial(files.drop_ts_times, keep_every=3)),
    "some_times_mpeg2.ts": _changed(_mpeg("mpeg2video", 2), partial(files.drop_ts_times, keep_every=3)),
    "no_times.ts": _changed(_x264(PYRAMID), partial(files.drop_ts_times, keep_every=0)),
    "no_times_mpeg2.ts": _changed(_mpeg("mpeg2video", 2), partial(files.drop_ts_times, keep_every=0)),
    **_in_each("reordering_not_noted", "h264 mkv mp4 ts", _changed(_x264(PYRAMID), files.drop_reordering_note)),
    **_in_each("one_frame", "mp4 mkv avi ts flv", _x264(frames=range(1), shows=range(1))),
    "one_frame.gif": _case("gif", pixels="gray", frames=range(1), shows=range(1)),
    "one_frame.png": _case("png", pixels="rgb24", container_format="image2pipe", frames=range(1), shows=range(1)),
    "two_frames.mkv": _x264("bframes=1", frames=range(2), shows=range(2)),
    "turned_90.mp4": _turned(90),
    "turned_180.mov": _turned(180),
    "turned_270.mp4": _turned(-90),
    "turned_270.mkv": _turned(-90),
    "mirrored.mp4": _turned(0, flips=(True, False)),
    "upside_down.mp4": _turned(0, flips=(False, True)),
    "mirrored_and_turned.mp4": _turned(90, flips=(True, False)),
    "stretched.mp4": _x264(PYRAMID, prepare=_stretched),
    "stretched.mkv": _x264(PYRAMID, prepare=_stretched),
    "stretched.mpg": _mpeg("mpeg2video", 2, prepare=_stretched),
    "odd_size.avi": _mpeg("mpeg4", 2, size=(50, 38)),
    "odd_size.mp4": _mpeg("mpeg4", 0, size=(33, 25)),
}


def _joined(case: Case, *, shows: Sequence[int] | None = ALL) -> Case:
    return Case(partial(files.joined, write=case.make), shows)


JOINED = {
    "joined.ts": _joined(_x264(PYRAMID)),
    "joined.m2ts": _joined(_x264(PYRAMID)),
    "joined.mpg": _joined(_mpeg("mpeg2video", 2)),
    "joined.vob": _joined(_mpeg("mpeg2video", 2)),
    "joined.flv": _joined(_mpeg("flv"), shows=None),
    "joined_h264.flv": _joined(_x264(PYRAMID), shows=None),
    "joined.webm": _joined(_vpx("libvpx-vp9")),
    "joined.mkv": _joined(_x264(PYRAMID)),
    "joined.h264": _joined(_x264(PYRAMID)),
    "joined.hevc": _joined(_x265("bframes=3")),
    "joined.m2v": _joined(_mpeg("mpeg2video", 2)),
    "joined.m4v": _joined(_mpeg("mpeg4", 2), shows=None),
    "joined.mjpeg": _joined(_case("mjpeg", pixels="yuvj420p", prepare=_bits)),
    "joined.ogv": _joined(_vpx("libvpx")),
    "joined.nut": _joined(_mpeg("mpeg4", 2), shows=None),
    "joined.mp4": _joined(_x264(PYRAMID), shows=None),
    "joined.avi": _joined(_mpeg("mpeg4", 2), shows=None),
    "joined.wmv": _joined(_mpeg("wmv2"), shows=None),
    "joined_fragments.mp4": _joined(_x264(PYRAMID, container_options=FRAGMENTS), shows=None),
}


def _damaged(case: Case, change: Callable[[bytes], bytes]) -> Case:
    return Case(partial(files.altered, write=case.make, change=change), None, needs_one_thread=True)


_CUT_PICTURES = {"one_cut": (11,), "last_bytes_lost": range(3, NUM_FRAMES, 5)}
DAMAGED = {
    **{
        f"packet_lost_{kind}.ts": _damaged(_x264(PYRAMID), partial(files.lose_ts_packet, kind=kind))
        for kind in ("early", "late", "key_frame", "tables")
    },
    "packet_lost_open_groups.ts": _damaged(_x264(OPEN), partial(files.lose_ts_packet, kind="late")),
    "packet_lost_mpeg2.ts": _damaged(_mpeg("mpeg2video", 2), partial(files.lose_ts_packet, kind="late")),
    "packet_lost_h265.ts": _damaged(_x265("bframes=3"), partial(files.lose_ts_packet, kind="late")),
    **{
        f"cut_off.{suffix}": _damaged(_x264(PYRAMID), files.cut_off)
        for suffix in ("mkv", "avi", "ts", "flv", "mpg", "wmv", "nut", "h264")
    },
    "cut_off.mp4": _damaged(_x264(PYRAMID, container_options={"movflags": "faststart"}), files.cut_off),
    "cut_off_fragments.mp4": _damaged(_x264(PYRAMID, container_options=FRAGMENTS), files.cut_off),
    "cut_off_mpeg4.avi": _damaged(_mpeg("mpeg4", 2), files.cut_off),
    "cut_off_mjpeg.mov": _damaged(
        _case("mjpeg", pixels="yuvj420p", container_options={"movflags": "faststart"}), files.cut_off
    ),
    "cut_off.webm": _damaged(_vpx("libvpx-vp9"), files.cut_off),
    "cut_off.ogv": _damaged(_vpx("libvpx"), files.cut_off),
    "cut_off.ivf": _damaged(_vpx("libvpx"), files.cut_off),
    "cut_off.gif": _damaged(_case("gif", pixels="gray"), files.cut_off),
    "cut_off.y4m": _damaged(_case("wrapped_avframe"), files.cut_off),
    "starts_late.ts": _damaged(_x264(PYRAMID), files.cut_start),
    "starts_late_open_groups.ts": _damaged(_x264(OPEN), files.cut_start),
    "starts_late_intra_refresh.ts": _damaged(_x264("intra-refresh=1:bframes=0"), files.cut_start),
    "starts_late.mpg": _damaged(_mpeg("mpeg2video", 2), files.cut_start),
    "starts_late.h264": _damaged(_x264(PYRAMID), files.cut_start),
    "starts_late.m4v": _damaged(_mpeg("mpeg4", 2), files.cut_start),
    "zeros_in_the_midst.mp4": _damaged(_x264(PYRAMID), files.zero_midst),
    "zeros_in_the_midst.mkv": _damaged(_x264(PYRAMID), files.zero_midst),
    "zeros_in_the_midst.avi": _damaged(_mpeg("mpeg4", 2), files.zero_midst),
    "zeros_in_the_midst.mpg": _damaged(_mpeg("mpeg2video", 2), files.zero_midst),
    "zeros_in_the_midst_h265.mp4": _damaged(_x265("bframes=3"), files.zero_midst),
    "zeros_in_the_midst.webm": _damaged(_vpx("libvpx-vp9"), files.zero_midst),
    "zeros_in_the_midst_vp8.webm": _damaged(_vpx("libvpx"), files.zero_midst),
    **{
        f"mjpeg_{kind}.avi": Case(partial(files.mjpeg_avi, kind=kind), None, undefined=_CUT_PICTURES.get(kind, ()))
        for kind in files.MJPEG_FAULTS
    },
}

STREAMS = {
    "default_second.mkv": Case(partial(files.two_streams, kind="default_second")),
    "larger_second.avi": Case(partial(files.two_streams, kind="larger_second")),
    "cover.mp4": Case(partial(files.two_streams, kind="cover")),
    "cover.mkv": Case(partial(files.two_streams, kind="cover")),
}
CASES: dict[str, Case] = H264 | H265 | MPEG | WEB | INTRA | TIMES | JOINED | DAMAGED | STREAMS
REFUSED: dict[str, Callable[[Path], object]] = {
    "text.mp4": lambda path: path.write_text("This is not a video.\n" * 50),
    "text.avi": lambda path: path.write_text("This is not a video.\n" * 50),
    "noise.mp4": lambda path: path.write_bytes(np.random.default_rng(0).bytes(20_000)),
    "sound.mp4": files.sound_only,
    "sound.mkv": files.sound_only,
    "no_header.mp4": partial(files.altered, write=_x264(PYRAMID).make, change=files.cut_off),
    "nothing_whole.mkv": partial(files.altered, write=_x264(PYRAMID).make, change=lambda data: data[:600]),
}
