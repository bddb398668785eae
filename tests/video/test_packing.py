"""Packing one video: the same frames, at the same times, in the same colors, in a layout that is cheap to read."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from video_files import SHARED, encode, moving_texture

from videomae.core.errors import ConfigError, InputError, VideoError
from videomae.video.packing import FrameLayout, PackedVideo, pack_video, packed_size, x264_layout
from videomae.video.reader import VideoReader, read_video


def pack(source: Path, target: Path, **options: object) -> PackedVideo:
    with VideoReader(source) as reader:
        return pack_video(reader, target, **options)  # type: ignore[arg-type]


def mean_difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(float) - second).mean())


@pytest.mark.parametrize(
    ("width", "height", "short_side", "expected"),
    [
        (640, 360, 256, (456, 256)),  # 455.1
        (360, 640, 256, (256, 456)),
        (320, 240, 256, (320, 240)),
        (341, 255, 256, (342, 256)),
        (1, 1, 256, (2, 2)),
        (1920, 1080, 320, (568, 320)),
        (4000, 16, 256, (4000, 16)),
        (16, 6000, 16, (16, 6000)),
    ],
)
def test_size(width: int, height: int, short_side: int, expected: tuple[int, int]) -> None:
    assert packed_size(width, height, short_side=short_side) == expected


@pytest.mark.parametrize(
    ("codec", "suffix", "pixels", "options"),
    [
        ("libx264", ".mp4", "yuv420p", {}),
        ("libx264", ".mkv", "yuv444p", {}),
        ("libx265", ".mp4", "yuv420p10le", {"x265-params": "log-level=none"}),
        ("libvpx-vp9", ".webm", "yuv420p", {}),
        ("mpeg4", ".avi", "yuv420p", {"qscale": "2"}),
        ("mjpeg", ".avi", "yuvj420p", {"qscale": "2"}),
        ("gif", ".gif", "rgb8", {}),
    ],
)
def test_frames_are_those_of_the_source(
    codec: str, suffix: str, pixels: str, options: dict[str, str], tmp_path: Path
) -> None:
    source = encode(tmp_path / f"source{suffix}", codec, num_frames=37, pixels=pixels, options=options)
    packed = pack(source, tmp_path / "packed.mp4", crf=8)
    before, after = read_video(source, range(37)), read_video(tmp_path / "packed.mp4", range(37))
    assert (packed.num_frames, packed.width, packed.height) == (37, 64, 48)
    assert packed.psnr > (20 if codec == "gif" else 26)  # its dither is color noise, which 4:2:0 does not keep
    own = [mean_difference(before[i], after[i]) for i in range(37)]
    neighbors = [mean_difference(before[i], after[i + 1]) for i in range(36)]
    assert max(own) < min(neighbors)  # frame i is frame i
    assert np.abs((after.astype(float) - before).mean(axis=(0, 1, 2))).max() < 2  # colors are not shifted


@pytest.mark.parametrize("matrix", [1, 5, 6, 9])
def test_the_color_matrix_is_kept(matrix: int, tmp_path: Path) -> None:
    source = encode(tmp_path / "a.mp4", "libx264", num_frames=4, options={"colorspace": str(matrix), "crf": "5"})
    pack(source, tmp_path / "b.mp4", crf=5)
    difference = read_video(tmp_path / "b.mp4", range(4)).astype(float) - read_video(source, range(4))
    assert np.abs(difference.mean(axis=(0, 1, 2))).max() < 0.5


def test_no_frame_between_reference_frames_is_referred_to(tmp_path: Path) -> None:
    source = encode(tmp_path / "a.mp4", "libx264", num_frames=80)
    index = pack(source, tmp_path / "b.mp4").index
    assert index.entries.tolist() == [0, 32, 64]
    shown = index.packet_frames
    assert sorted(shown[~index.is_droppable].tolist()) == [0, 8, 16, 24, 31, 32, 40, 48, 56, 63, 64, 72, 79]


def test_frames_of_another_rate_and_irregular_ones_keep_their_times(tmp_path: Path) -> None:
    times = [0, 4, 8, 20, 24, 50, 51, 52, 60, 100, 104]
    source = encode(tmp_path / "a.mkv", "libx264", num_frames=len(times), times=times)
    pack(source, tmp_path / "b.mp4")
    with VideoReader(source) as before, VideoReader(tmp_path / "b.mp4") as after:
        np.testing.assert_allclose(after.frame_times, before.frame_times, atol=1e-3)
        np.testing.assert_allclose(after.frame_times, np.array(times) / 100, atol=1e-3)


@pytest.mark.parametrize("rotation", [(90, False, False), (180, False, False), (270, False, False), (90, True, False)])
def test_rotation_is_applied(rotation: tuple[float, bool, bool], tmp_path: Path) -> None:
    source = encode(tmp_path / "a.mp4", "libx264", num_frames=5, size=(96, 48), rotation=rotation, options={"crf": "5"})
    pack(source, tmp_path / "b.mp4", crf=5)
    before, after = read_video(source, range(5)), read_video(tmp_path / "b.mp4", range(5))
    assert before.shape == after.shape
    assert mean_difference(before, after) < 6
    with VideoReader(tmp_path / "b.mp4") as reader:
        assert reader.info.rotation_degrees == 0


def test_frames_are_scaled_down(tmp_path: Path) -> None:
    source = encode(tmp_path / "a.mp4", "libx264", num_frames=5, size=(128, 96))
    packed = pack(source, tmp_path / "b.mp4", short_side=32, crf=5)
    assert (packed.width, packed.height) == (42, 32)
    assert packed.psnr > 20
    assert read_video(tmp_path / "b.mp4", [4]).shape == (1, 32, 42, 3)


def test_odd_sides_grow_by_a_pixel(tmp_path: Path) -> None:
    picture = moving_texture(1, 33, 21)[0]
    with av.open(str(tmp_path / "a.gif"), "w") as container:
        stream = container.add_stream("gif", rate=10)
        stream.width, stream.height, stream.pix_fmt = 33, 21, "rgb8"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="rgb8")))
        container.mux(stream.encode(None))
    packed = pack(tmp_path / "a.gif", tmp_path / "b.mp4", crf=0)
    assert (packed.width, packed.height) == (34, 22)
    after = read_video(tmp_path / "b.mp4", [0])[0]
    assert mean_difference(after[:, 33], after[:, 32]) < 12


def test_a_part(tmp_path: Path) -> None:
    source = encode(tmp_path / "a.mp4", "libx264", num_frames=50)  # 25 a second
    packed = pack(source, tmp_path / "b.mp4", start_seconds=0.4, end_seconds=1.2, crf=5)
    assert packed.num_frames == 20
    before, after = read_video(source, range(50)), read_video(tmp_path / "b.mp4", range(20))
    assert mean_difference(before[10:30], after) < mean_difference(before[11:31], after) / 2
    with pytest.raises(VideoError, match="part"):
        pack(source, tmp_path / "c.mp4", start_seconds=3.0)
    assert not (tmp_path / "c.mp4").exists()


def test_the_same_bytes_each_time_and_no_sound(tmp_path: Path) -> None:
    source = encode(tmp_path / "a.mp4", "libx264", num_frames=40, size=(232, 72))  # no multiple of 16
    contents = set()
    for number in range(3):
        pack(source, tmp_path / f"{number}.mp4")
        contents.add((tmp_path / f"{number}.mp4").read_bytes())
    assert len(contents) == 1


def test_sound_is_left_out(tmp_path: Path) -> None:
    source = tmp_path / "a.mp4"
    with av.open(str(source), "w") as container:
        video, audio = container.add_stream("libx264", rate=25), container.add_stream("aac", rate=8000)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for picture in moving_texture(5, 64, 48):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 8000
        container.mux(audio.encode(silence))
        container.mux([*video.encode(None), *audio.encode(None)])
    pack(source, tmp_path / "b.mp4")
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]


class Pictures:
    """What a reader of another kind (a folder of frames) offers."""

    def __init__(self, pictures: list[tuple[int, np.ndarray]]) -> None:
        self._pictures = pictures
        self.num_frames = len(pictures)
        self.frame_times = np.arange(len(pictures)) / 10
        self.info = type("Info", (), {"path": "frames", "damage": None})()

    def stream(self, indices: np.ndarray):
        yield from self._pictures


def test_readers_without_decoded_frames(tmp_path: Path) -> None:
    pictures = moving_texture(9, 64, 48)
    order = [1, 0, 2, 4, 3, 5, 6, 8, 7]  # as a decoder may put them out
    packed = pack_video(Pictures([(i, pictures[i]) for i in order]), tmp_path / "a.mp4", crf=5)
    assert packed.psnr > 28
    after = read_video(tmp_path / "a.mp4", range(9))
    assert all(mean_difference(after[i], pictures[i]) < mean_difference(after[i], pictures[i - 1]) for i in range(1, 9))


def test_sizes_that_change_are_refused(tmp_path: Path) -> None:
    pictures = [(0, np.zeros((48, 64, 3), np.uint8)), (1, np.zeros((48, 32, 3), np.uint8))]
    with pytest.raises(VideoError, match=r"frame 1 \(32x48\).*64x48"):
        pack_video(Pictures(pictures), tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


def test_a_file_that_lost_frames_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = encode(tmp_path / "a.mp4", "libx264", num_frames=10)
    monkeypatch.setattr("videomae.video.packing.VideoReader.num_frames", 9)
    with pytest.raises(VideoError, match=r"10 frames|9 frames"):
        pack(source, tmp_path / "b.mp4")
    assert not (tmp_path / "b.mp4").exists()


def test_a_source_that_breaks_off_is_packed_up_to_there(tmp_path: Path) -> None:
    source = encode(tmp_path / "a.mp4", "libx264", num_frames=60, options={"crf": "10"})
    content = bytearray(source.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = b"\xff" * 400
    source.write_bytes(content)
    packed = pack(source, tmp_path / "b.mp4", crf=5)
    with VideoReader(source) as reader:
        assert packed.num_frames == reader.num_frames < 60
        assert packed.damage == reader.info.damage
        assert "cannot be decoded" in str(packed.damage)


def test_damage_found_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    def stream():
        yield 0, moving_texture(1, 64, 48)[0]
        raise VideoError("frame 1", expected="undamaged data", hint="copy it again")

    reader = Pictures([(0, moving_texture(1, 64, 48)[0])] * 2)
    reader.stream = lambda indices: stream()  # type: ignore[method-assign]
    with pytest.raises(VideoError, match="frame 1: expected undamaged data"):
        pack_video(reader, tmp_path / "b.mp4")
    assert not list(tmp_path.iterdir())


def test_options_out_of_range(tmp_path: Path) -> None:
    source = encode(tmp_path / "a.mp4", "libx264", num_frames=2)
    for options in ({"short_side": 255}, {"short_side": 0}, {"crf": 52}, {"crf": -1}):
        with pytest.raises(ConfigError):
            pack(source, tmp_path / "b.mp4", **options)


def test_a_target_that_cannot_be_written(tmp_path: Path) -> None:
    source = encode(tmp_path / "a.mp4", "libx264", num_frames=2)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot write") as caught:
        pack(source, tmp_path / "file" / "b.mp4")
    assert not isinstance(caught.value, VideoError)


@pytest.mark.parametrize(
    "layout",
    [
        x264_layout(key_distance=8, num_b_frames=0),
        x264_layout(key_distance=16, num_b_frames=3, fast_decode=False, preset="ultrafast"),
        FrameLayout(codec="mjpeg", pixels="yuvj420p", options={"qmin": "4", "qmax": "4"}),
    ],
)
def test_other_layouts(layout: FrameLayout, tmp_path: Path) -> None:
    source = encode(tmp_path / "a.mp4", "libx264", num_frames=20)
    assert pack(source, tmp_path / "b.mp4", layout=layout).num_frames == 20


@pytest.mark.parametrize("name", ["video_90.mov", "transparent.webm", "unordered.mov", "bitmap.mp4", "circle.gif"])
def test_files_of_the_wild(name: str, tmp_path: Path) -> None:
    source = SHARED / "videos" / name
    if not source.exists():
        pytest.skip("shared/videos is not there")
    packed = pack(source, tmp_path / "a.mp4", crf=10, short_side=128)
    assert packed.psnr > 33
