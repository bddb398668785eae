from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image
from video_files import moving_texture

from videomae.core.errors import VideoError
from videomae.video._limits import ReadLimits
from videomae.video.frame_folder import FrameFolderReader
from videomae.video.source import FrameFolder

FRAMES = moving_texture(12, 20, 16)


def write(folder, names, frames=FRAMES, **options):
    folder.mkdir(exist_ok=True)
    for name, frame in zip(names, frames, strict=False):
        Image.fromarray(frame).save(folder / name, **options)
    return FrameFolder(folder)


@pytest.mark.parametrize(
    "pattern", ["img_{:05}.png", "{}.png", "frame {}.BMP", "a1_{}_b2.png", "cam2.{}.png", "{}.webp"]
)
@pytest.mark.parametrize(("first", "step"), [(0, 1), (1, 1), (7, 5)])
def test_frames_come_in_the_order_of_their_numbers(tmp_path, pattern, first, step):
    names = [pattern.format(first + step * number) for number in range(12)]
    folder = write(tmp_path / "video", names, **({"lossless": True} if "webp" in pattern else {}))
    (tmp_path / "video" / "notes.txt").write_text("no frame")
    (tmp_path / "video" / "._img.png").write_text("no frame either")
    with FrameFolderReader(folder) as reader:
        assert (reader.num_frames, reader.index) == (12, None)
        for indices in ([0], [11, 0, 3, 3], list(range(12))):
            assert np.array_equal(reader.read(indices), FRAMES[indices])
        streamed = list(reader.stream([5, 2, 5]))
        assert [number for number, _ in streamed] == [2, 5]
        assert all(np.array_equal(picture, FRAMES[number]) for number, picture in streamed)
        assert reader.frame_times[[0, 11]].tolist() == [0.0, 11 / 30]


def test_info(tmp_path):
    info = FrameFolderReader(write(tmp_path / "video", [f"{i}.jpg" for i in range(3)])).info
    assert (info.num_frames, info.width, info.height, info.codec) == (3, 20, 16, "jpeg")
    assert (info.frames_per_second, info.duration_seconds, info.rotation_degrees) == (None, None, 0)


def test_a_part_of_the_folder(tmp_path):
    folder = write(tmp_path / "video", [f"{i}.png" for i in range(12)])
    with FrameFolderReader(FrameFolder(folder.path, first_frame=3, num_frames=4)) as reader:
        assert np.array_equal(reader.read([0, 3]), FRAMES[[3, 6]])
        assert reader.num_frames == 4
    assert FrameFolderReader(FrameFolder(folder.path, first_frame=10)).num_frames == 2
    for first, count in ((12, None), (3, 10), (-1, 3), (0, 0)):
        with pytest.raises(VideoError, match="a part of its 12 images"):
            FrameFolderReader(FrameFolder(folder.path, first_frame=first, num_frames=count))


def test_a_missing_frame_is_an_error_only_in_the_part_that_is_used(tmp_path):
    folder = write(tmp_path / "video", [f"{i}.png" for i in range(13) if i != 5])
    with pytest.raises(VideoError, match=r"after number 4 comes 6, 6\.png"):
        FrameFolderReader(folder)
    reader = FrameFolderReader(FrameFolder(folder.path, first_frame=5))
    assert np.array_equal(reader.read([0]), FRAMES[[5]])


def test_images_are_shown_upright(tmp_path):
    for orientation, turned in {1: FRAMES[0], 6: np.rot90(FRAMES[0], -1), 3: FRAMES[0][::-1, ::-1]}.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        folder = write(tmp_path / str(orientation), ["1.png"], exif=exif)
        with FrameFolderReader(folder) as reader:
            assert np.array_equal(reader.read([0])[0], turned)
            assert (reader.info.height, reader.info.width) == turned.shape[:2]
            assert reader.info.rotation_degrees == {1: 0, 6: 90, 3: 180}[orientation]


def test_images_of_any_kind_become_rgb(tmp_path):
    folder = tmp_path / "video"
    folder.mkdir()
    gray = FRAMES[0, ..., 0]
    Image.fromarray(gray.astype(np.uint16) << 8).save(folder / "1.png")
    Image.fromarray(gray).save(folder / "2.png")
    Image.fromarray(np.dstack([gray, gray, gray, gray // 2])).save(folder / "3.png")
    Image.fromarray(gray).convert("P").save(folder / "4.png")
    read = FrameFolderReader(FrameFolder(folder)).read(range(4))
    assert np.array_equal(read, np.broadcast_to(gray[..., None], read.shape))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "0 files, no image among them"),
        (["a.txt", "1.mp4"], "2 files, no image among them"),
        (["a.png"], "differ in one number only"),
        (["img_1.png", "img_2.png", "poster_1.png"], "differ in one number only"),
        (["1.png", "1.jpg", "2.png"], r"1\.jpg and 1\.png.*one image of each number"),
        (["a_1_1.png", "a_1_2.png", "a_2_1.png", "a_2_2.png"], "one image of each number"),
    ],
)
def test_folders_that_are_no_video(tmp_path, names, message):
    folder = tmp_path / "video"
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(b"")
    with pytest.raises(VideoError, match=message) as caught:
        FrameFolderReader(FrameFolder(folder))
    assert "\n" not in str(caught.value)


def test_no_folder(tmp_path):
    with pytest.raises(VideoError, match="an existing folder of frames"):
        FrameFolderReader(FrameFolder(tmp_path / "none"))
    (tmp_path / "file").write_text("")
    with pytest.raises(VideoError, match="cannot be opened"):
        FrameFolderReader(FrameFolder(tmp_path / "file"))


def test_images_that_cannot_be_read(tmp_path):
    folder = write(tmp_path / "video", [f"{i}.png" for i in range(8)])
    good = (folder.path / "0.png").read_bytes()
    (folder.path / "1.png").write_bytes(b"")
    (folder.path / "2.png").write_bytes(b"no image")
    (folder.path / "3.png").write_bytes(good[:-60])
    (folder.path / "4.png").unlink()
    os.mkfifo(folder.path / "4.png")
    (folder.path / "5.png").unlink()
    (folder.path / "5.png").symlink_to("5.png")
    (folder.path / "6.png").write_bytes(good[:50] + bytes([good[50] ^ 255]) + good[51:])
    with FrameFolderReader(folder) as reader:
        for number in range(1, 7):
            with pytest.raises(
                VideoError, match=rf"frame {number}, .*{number}\.png.*an image that can be read"
            ) as caught:
                reader.read([0, number])
            assert "\n" not in str(caught.value)
        (folder.path / "7.png").unlink()
        with pytest.raises(VideoError, match="it is gone"):
            reader.read([7])
        assert np.array_equal(reader.read([0]), FRAMES[:1])


def test_bytes_flipped_anywhere_give_frames_or_a_clear_error(tmp_path):
    generator = np.random.default_rng(0)
    num_refused = 0
    for suffix in ("jpg", "png", "webp", "bmp"):
        folder = write(tmp_path / suffix, [f"1.{suffix}"])
        path = folder.path / f"1.{suffix}"
        good = np.frombuffer(path.read_bytes(), dtype=np.uint8)
        for _ in range(150):
            bad = good.copy()
            bad[generator.integers(len(good), size=3)] ^= generator.integers(1, 256, size=3).astype(np.uint8)
            path.write_bytes(bad.tobytes()[: generator.integers(1, len(good) * 2)])
            try:
                picture = FrameFolderReader(folder, limits=ReadLimits(max_pixels=2**16)).read([0])
                assert picture.dtype == np.uint8
                assert picture.shape[0] == 1
                assert picture.shape[-1] == 3
            except VideoError:
                num_refused += 1
    assert 100 < num_refused < 600


def test_images_of_unequal_sizes(tmp_path):
    folder = write(tmp_path / "video", ["1.png", "2.png"], [FRAMES[0], FRAMES[1, :-2]])
    with FrameFolderReader(folder) as reader:
        with pytest.raises(VideoError, match=r"frame 1 .20x14.*the size of the frames read before, 20x16"):
            reader.read([0, 1])
        assert reader.read([1]).shape == (1, 14, 20, 3)


def test_limits(tmp_path):
    folder = write(tmp_path / "video", ["1.png"])
    with pytest.raises(VideoError, match="20x16 pixels are more than the 100 allowed"):
        FrameFolderReader(folder, limits=ReadLimits(max_pixels=100)).read([0])
    with pytest.raises(VideoError, match="still being read"):
        FrameFolderReader(folder, limits=ReadLimits(max_seconds=1e-9)).read([0])


@pytest.mark.parametrize("indices", [[], [12], [-1], [0.5], [[0]]])
def test_numbers_outside_the_video(tmp_path, indices):
    reader = FrameFolderReader(write(tmp_path / "video", [f"{i}.png" for i in range(12)]))
    with pytest.raises(VideoError):
        reader.read(indices)
