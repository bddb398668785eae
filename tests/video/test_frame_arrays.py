"""Frames with any number of channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from videomae.core.errors import VideoError
from videomae.video import FrameFolder, ReadLimits, fit_channels, open_video, pack_video, probe_video
from videomae.video._frame_arrays import to_frame


def pixels(num_channels: int, seed: int = 0, size: tuple[int, int] = (12, 20)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, num_channels), dtype=np.uint8)


def folder_of(path: Path, arrays: list[np.ndarray]) -> FrameFolder:
    path.mkdir()
    for index, array in enumerate(arrays):
        np.save(path / f"frame_{index:03d}.npy", array)
    return FrameFolder(path)


@pytest.mark.parametrize("num_channels", [1, 2, 3, 4, 12])
@pytest.mark.parametrize("is_first", [False, True])
@pytest.mark.parametrize("is_asked", [False, True])
def test_numpy_frames_have_their_channels(tmp_path: Path, num_channels: int, is_first: bool, is_asked: bool) -> None:
    frames = [pixels(num_channels, seed) for seed in range(3)]
    folder = folder_of(tmp_path / "video", [np.moveaxis(f, -1, 0) if is_first else f for f in frames])

    with open_video(folder, num_channels=num_channels if is_asked else None) as reader:
        found = reader.read([2, 0, 2])

    assert np.array_equal(found, np.stack([frames[2], frames[0], frames[2]]))
    assert probe_video(folder).codec == "npy"
    assert (probe_video(folder).height, probe_video(folder).width) == (12, 20)


def test_a_frame_that_is_wider_than_its_channels_are_many_is_told_by_the_number_asked_for() -> None:
    array = np.zeros((4, 20, 6), dtype=np.uint8)

    assert to_frame(array, num_channels=6).shape == (4, 20, 6)
    assert to_frame(array, num_channels=4).shape == (20, 6, 4)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[0, 255, 256, 65535]], dtype=np.uint16), [0, 0, 1, 255]),
        (np.array([[0, 255, 256, 65535]], dtype=">u2"), [0, 0, 1, 255]),
        (np.array([[0, 0.5, 1.0, 0.001]], dtype=np.float32), [0, 128, 255, 0]),
        (np.array([[0, 0.5, 1.0, 0.002]], dtype=np.float64), [0, 128, 255, 1]),
        (np.array([[0, 7, 255, 1]], dtype=np.uint8), [0, 7, 255, 1]),
    ],
)
def test_values_become_eight_bits(array: np.ndarray, expected: list[int]) -> None:
    frame = to_frame(array, num_channels=None)

    assert frame.dtype == np.uint8
    assert frame.shape == (1, 4, 1)
    assert frame[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((4, 4, 3), dtype=np.int16), "values of type int16"),
        (np.zeros((4, 4, 3), dtype=np.complex64), "values of type complex64"),
        (np.full((4, 4, 3), 200.0), "floats from 200 to 200, where 0 to 1"),
        (np.full((4, 4, 3), np.nan), "where 0 to 1"),
        (np.full((4, 4, 3), -0.1), "where 0 to 1"),
        (np.zeros(768, dtype=np.float32), r"shape \(768,\), where \(height, width, channels\)"),
        (np.zeros((2, 4, 4, 3), dtype=np.uint8), r"shape \(2, 4, 4, 3\)"),
        (np.zeros((0, 4, 3), dtype=np.uint8), "without a pixel"),
        (np.array([{}], dtype=object), "Python objects|allow_pickle"),
    ],
)
def test_arrays_that_are_no_frames(tmp_path: Path, array: np.ndarray, reason: str) -> None:
    folder = folder_of(tmp_path / "video", [array] * 2)

    with open_video(folder) as reader, pytest.raises(VideoError, match=reason) as caught:
        reader.read([0])
    assert "\n" not in str(caught.value)
    assert "frame_000.npy" in str(caught.value)


def test_damaged_arrays(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "video", [pixels(4)] * 3)
    whole = (tmp_path / "video" / "frame_001.npy").read_bytes()
    (tmp_path / "video" / "frame_000.npy").write_bytes(b"")
    (tmp_path / "video" / "frame_001.npy").write_bytes(whole[:-7])

    with open_video(folder, num_channels=4) as reader:
        for number in (0, 1):
            with pytest.raises(VideoError, match=f"frame {number}, "):
                reader.read([number])
        assert reader.read([2]).shape == (1, 12, 20, 4)


def test_a_huge_array_is_refused_before_it_is_read(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "video", [pixels(3)] * 2)
    header = np.lib.format.header_data_from_array_1_0(np.zeros((1, 1, 3), dtype=np.uint8))
    with (tmp_path / "video" / "frame_000.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {**header, "shape": (100_000, 100_000, 3)})
        file.truncate(30_000_000_000 + file.tell())  # a hole: no disk is used

    with open_video(folder) as reader, pytest.raises(VideoError, match="100000x100000 pixels are more than"):
        reader.read([0])


def test_limits_hold_for_arrays(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "video", [pixels(12)] * 2)

    limited = open_video(folder, limits=ReadLimits(max_pixels=239), num_channels=12)
    with limited as reader, pytest.raises(VideoError, match="20x12 pixels are more than the 239 allowed"):
        reader.read([0])


# --- TIFF -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_channels", [1, 2, 3, 4, 12])
@pytest.mark.parametrize("is_planar", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_frames(tmp_path: Path, num_channels: int, is_planar: bool, dtype: type) -> None:
    tifffile = pytest.importorskip("tifffile")
    frame = pixels(num_channels)
    stored = frame if dtype == np.uint8 else frame.astype(np.uint16) << 8 | 7
    tmp_path.joinpath("video").mkdir()
    for index in range(2):
        shown = np.moveaxis(stored, -1, 0) if is_planar else stored
        tifffile.imwrite(
            tmp_path / "video" / f"{index}.tif",
            shown[..., 0] if num_channels == 1 and not is_planar else shown,
            photometric="minisblack",
            planarconfig=None if num_channels == 1 else "separate" if is_planar else "contig",
        )

    with open_video(FrameFolder(tmp_path / "video"), num_channels=num_channels) as reader:
        assert np.array_equal(reader.read([1])[0], frame)


def test_tiff_pictures_are_read_without_tifffile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    (tmp_path / "video").mkdir()
    frame = pixels(3)
    Image.fromarray(frame).save(tmp_path / "video" / "1.tiff")

    with open_video(FrameFolder(tmp_path / "video")) as reader:
        assert np.array_equal(reader.read([0])[0], frame)
    with (
        open_video(FrameFolder(tmp_path / "video"), num_channels=4) as reader,
        pytest.raises(VideoError, match="expected tifffile, which does; pip install tifffile"),
    ):
        reader.read([0])


# --- other channels than the file has ---------------------------------------------------------------------------------


def test_gray_is_that_of_pillow() -> None:
    frame = pixels(3)

    assert np.array_equal(fit_channels(frame, 1, "a video")[..., 0], np.asarray(Image.fromarray(frame).convert("L")))
    assert np.array_equal(fit_channels(frame[..., :1], 3, "a video"), np.repeat(frame[..., :1], 3, axis=-1))
    assert fit_channels(frame, 3, "a video") is frame


@pytest.mark.parametrize(("found", "wanted"), [(4, 3), (3, 4), (12, 1), (1, 2), (2, 3)])
def test_which_channel_would_be_which_is_not_guessed(found: int, wanted: int) -> None:
    with pytest.raises(VideoError, match=rf"a video \({found} channels\): expected {wanted}, as the model reads"):
        fit_channels(pixels(found), wanted, "a video")


@pytest.mark.parametrize(
    ("mode", "num_channels"), [("RGB", 1), ("RGB", 3), ("L", 3), ("L", 1), ("RGBA", 4), ("RGBA", 3)]
)
def test_pictures_for_other_channels(tmp_path: Path, mode: str, num_channels: int) -> None:
    (tmp_path / "video").mkdir()
    image = Image.fromarray(pixels(4), mode="RGBA").convert(mode)
    image.save(tmp_path / "video" / "1.png")
    expected = image if num_channels == 4 else image.convert({1: "L", 3: "RGB"}[num_channels])

    with open_video(FrameFolder(tmp_path / "video"), num_channels=num_channels) as reader:
        found = reader.read([0])[0]
    assert np.array_equal(found, np.atleast_3d(np.asarray(expected)))


def test_packing_refuses_other_channels(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "video", [pixels(4)] * 3)

    with open_video(folder) as reader, pytest.raises(VideoError, match="frames of 4 channels: expected RGB"):
        pack_video(reader, tmp_path / "packed.mp4")
