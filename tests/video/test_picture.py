from __future__ import annotations

import multiprocessing

import av
import numpy as np
import pytest
from av.filter import Graph
from video_files import SHARED, encode, filter_graph_rgb

from videomae.core.errors import VideoError
from videomae.video._picture import Converter, picture_shape, rotation_degrees, to_rgb

SHARED_VIDEOS = sorted(path for path in (SHARED / "videos").glob("*") if path.stat().st_size)
PIXEL_FORMATS = """
yuv420p yuvj420p yuv422p yuvj422p yuv444p yuvj444p yuv411p yuv410p yuv440p yuva420p yuva444p nv12 nv21 yuyv422
uyvy422 yuv420p10le yuv422p10le yuv444p10le yuv420p12le yuv422p12le yuv444p12le yuva444p10le yuv444p16le p010le
gray gray10le gray16le ya8 monow monob pal8 rgb24 bgr24 rgba bgra argb rgb0 gbrp gbrp10le gbrp12le gbrap rgb48le
rgba64le rgb565le rgb555le rgb8 bgr8
""".split()  # noqa: SIM905
SIZES = [(64, 48), (63, 48), (64, 47), (33, 17), (1, 1), (1, 2), (2, 1), (2, 2), (17, 2)]
COLORSPACES = (0, 1, 2, 4, 5, 6, 7, 9)  # of those that FFmpeg converts; 2 is "unspecified"
RANGES = (0, 1, 2)  # unspecified, limited, full
LEFT, TOP_LEFT = "left", "topleft"


def noise(pixels: str, size: tuple[int, int], seed: int = 0) -> av.VideoFrame:
    frame = av.VideoFrame(*size, pixels)
    generator = np.random.default_rng(seed)
    bits = max(component.bits for component in frame.format.components)
    for plane in frame.planes:
        if 8 < bits < 16 and not pixels.startswith("p0"):
            samples = generator.integers(0, 2**bits, plane.buffer_size // 2, dtype=np.uint16).view(np.uint8)
        else:
            samples = generator.integers(0, 256, plane.buffer_size, dtype=np.uint8)
        content = np.zeros(plane.buffer_size, dtype=np.uint8)
        content[: len(samples)] = samples
        plane.update(content.tobytes())
    return frame


def marked(frame: av.VideoFrame, mark: str) -> av.VideoFrame:
    """The frame with a note of its own, as decoders make them; `mark` is an option of FFmpeg's setparams."""
    graph = Graph()
    source = graph.add(
        "buffer", video_size=f"{frame.width}x{frame.height}", pix_fmt=frame.format.name, time_base="1/25"
    )
    sink = graph.add("buffersink")
    graph.link_nodes(source, graph.add("setparams", mark), sink).configure()
    source.push(frame)
    return sink.pull()


def with_siting(frame: av.VideoFrame, siting: str) -> av.VideoFrame:
    """The frame with its chroma samples said to lie elsewhere."""
    return marked(frame, f"chroma_location={siting}")


@pytest.mark.parametrize("pixels", PIXEL_FORMATS)
def test_colors_are_those_of_the_filter_graph(pixels):
    converter = Converter()  # one for all: sizes and colors change midway
    everything = [(SIZES[0], space, kind) for space in COLORSPACES for kind in RANGES]
    for size, colorspace, color_range in everything + [(size, 1, kind) for size in SIZES[1:] for kind in (1, 2)]:
        frame = noise(pixels, size)
        frame.colorspace, frame.color_range = colorspace, color_range
        expected = filter_graph_rgb(frame)
        assert np.array_equal(to_rgb(frame, converter), expected), (size, colorspace, color_range)


@pytest.mark.parametrize("siting", [LEFT, TOP_LEFT])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuvj420p", "yuv422p", "yuv420p10le", "yuv422p10le", "nv12", "yuva420p"])
def test_where_chroma_samples_are_said_to_lie_changes_nothing(pixels, siting):
    converter = Converter()
    for size in SIZES:
        frame = noise(pixels, size)
        told = with_siting(frame, siting)
        expected = filter_graph_rgb(told)
        assert np.array_equal(to_rgb(told, converter), expected), size
        assert np.array_equal(to_rgb(frame, converter), expected), size


@pytest.mark.parametrize("pixels", ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv420p10le", "nv12", "rgba"])
def test_interlaced_frames_among_others(pixels):
    converter = Converter()
    for size in ((64, 48), (64, 46), (33, 47), (64, 48), (2, 2)):
        for mark in ("field_mode=tff", "field_mode=prog", "field_mode=bff", "field_mode=tff"):
            frame = marked(noise(pixels, size), mark)
            assert frame.interlaced_frame == ("prog" not in mark)
            assert np.array_equal(to_rgb(frame, converter), filter_graph_rgb(frame)), (size, mark)


def test_pyav_alone_would_be_far_off():
    """What the converter is there for: this fails when PyAV's own conversion has become the filter graph's."""
    frame = with_siting(noise("yuv420p10le", (64, 48)), LEFT)
    difference = frame.to_ndarray(format="rgb24").astype(int) - filter_graph_rgb(frame)
    assert np.abs(difference).max() > 50


@pytest.mark.skipif(not SHARED_VIDEOS, reason="no ../shared/videos beside the repository")
@pytest.mark.parametrize("path", SHARED_VIDEOS, ids=lambda path: path.name)
def test_colors_of_shared_videos(path):
    converter = Converter()
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % 40 == 0:
                plain = to_rgb(frame, converter)
                turned = np.rot90(filter_graph_rgb(frame), frame.rotation // 90)
                assert np.array_equal(plain, turned), number
            if number == 120:
                break


@pytest.mark.parametrize(
    ("codec", "pixels"),
    [("libx264", "yuv420p10le"), ("libx264", "yuv444p"), ("libx265", "yuv422p12le"), ("ffv1", "gbrp10le")],
)
@pytest.mark.parametrize("color_range", [1, 2])
def test_colors_of_encoded_videos(tmp_path, codec, pixels, color_range):
    path = encode(
        tmp_path / "video.mkv",
        codec,
        pixels=pixels,
        size=(66, 34),
        num_frames=3,
        options={"x265-params": "log-level=none"} if codec == "libx265" else {},
    )
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            frame.colorspace, frame.color_range = 1, color_range
            assert np.array_equal(to_rgb(frame, Converter()), filter_graph_rgb(frame))


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le"])
@pytest.mark.parametrize("field", ["color_primaries", "color_trc"])
def test_reserved_values_that_conversion_does_not_need_are_no_obstacle(pixels, field):
    frame = noise(pixels, (64, 48))
    expected = filter_graph_rgb(frame)
    setattr(frame, field, 3)
    with pytest.raises(OSError, match="not supported"):
        filter_graph_rgb(frame)
    assert np.array_equal(to_rgb(frame, Converter()), expected)


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le"])
@pytest.mark.parametrize(("colorspace", "color_range"), [(3, 1), (8, 1), (10, 1), (14, 2), (1, 7)])
def test_colors_that_ffmpeg_cannot_convert_are_an_error_and_the_next_frame_is_not(pixels, colorspace, color_range):
    frame = noise(pixels, (64, 48))
    frame.colorspace, frame.color_range = colorspace, color_range
    converter = Converter("odd.mp4")
    with pytest.raises(VideoError, match=r"odd\.mp4 .*color space") as caught:
        to_rgb(frame, converter)
    assert "\n" not in str(caught.value)
    frame.colorspace, frame.color_range = 1, 1
    assert np.array_equal(to_rgb(frame, converter), filter_graph_rgb(frame))


@pytest.mark.parametrize("size", [(1, 1), (17, 1), (1, 2)])
def test_a_mosaic_too_small_for_the_scaler_is_an_error(size):
    with pytest.raises(VideoError, match="mosaic"):
        to_rgb(av.VideoFrame(*size, "bayer_rggb8"), Converter())


@pytest.mark.parametrize("rotation", [None, (90, False, False), (180, False, False), (270, True, False)])
def test_writing_into_an_array(tmp_path, rotation):
    path = encode(tmp_path / "video.mp4", "libx264", size=(50, 34), num_frames=2, rotation=rotation)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    expected = to_rgb(frame, Converter())
    assert picture_shape(frame) == expected.shape
    assert (expected.shape == (50, 34, 3)) == (rotation_degrees(frame) % 180 == 90)
    clip = np.zeros((3, *picture_shape(frame)), dtype=np.uint8)
    to_rgb(frame, Converter(), out=clip[1])
    assert np.array_equal(clip[1], expected)
    assert not clip[[0, 2]].any()
    with pytest.raises(ValueError, match="out of shape"):
        to_rgb(frame, Converter(), out=np.empty((60, 60, 3), dtype=np.uint8))


def test_a_picture_is_no_window_into_the_frame():
    frame = noise("rgb24", (64, 48))
    before = bytes(frame.planes[0])
    to_rgb(frame, Converter())[:] = 0
    assert bytes(frame.planes[0]) == before


def test_a_forked_process_may_collect_a_converter():
    """Threads of a converter would be missing in the fork, and collecting it would wait for them forever."""
    converter = Converter()
    for pixels in ("yuv420p", "yuv420p10le"):
        to_rgb(noise(pixels, (640, 360)), converter)

    def collect() -> None:
        nonlocal converter
        del converter

    process = multiprocessing.get_context("fork").Process(target=collect)
    process.start()
    process.join(timeout=20)
    is_stuck = process.is_alive()
    if is_stuck:
        process.kill()
        process.join()
    assert not is_stuck
    assert process.exitcode == 0
