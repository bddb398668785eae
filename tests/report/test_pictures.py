import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from videomae.core.errors import InputError, ShapeError
from videomae.report.pictures import (
    contact_sheet,
    encode_gif,
    encode_png,
    reconstruction_animation,
    reconstruction_sheet,
    save_gif,
    save_picture,
    save_png,
    spaced_indices,
)

COLORS = {"original": (200, 30, 30), "masked": (30, 200, 30), "rebuilt": (30, 30, 200)}
CAPTION = "Rebuilt tubelets use the input's own patch mean and variance (norm_pix_loss)."


def plain_clip(color: tuple[int, int, int], *, num_frames: int = 4, height: int = 32, width: int = 32) -> np.ndarray:
    return np.broadcast_to(np.array(color, dtype=np.uint8), (num_frames, height, width, 3)).copy()


def three_clips(**size: int) -> list[np.ndarray]:
    return [plain_clip(color, **size) for color in COLORS.values()]


def box_of(image: np.ndarray, color: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Top, bottom (exclusive), left, right (exclusive) of all pixels of exactly this color."""
    rows, columns = np.nonzero((image == np.array(color)).all(-1))
    return int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1


@pytest.mark.parametrize(
    ("num_frames", "max_count", "expected"),
    [
        (1, 8, [0]),
        (5, 8, [0, 1, 2, 3, 4]),
        (8, 8, list(range(8))),
        (16, 4, [0, 5, 10, 15]),
        (16, 8, [0, 2, 4, 6, 9, 11, 13, 15]),
        (64, 1, [0]),
        (3, 2, [0, 2]),
    ],
)
def test_spaced_indices(num_frames: int, max_count: int, expected: list[int]) -> None:
    assert spaced_indices(num_frames, max_count) == expected


def test_sheet_has_the_three_rows_in_order_and_equal_columns() -> None:
    sheet = reconstruction_sheet(*three_clips(num_frames=4), caption=CAPTION)

    assert sheet.dtype == np.uint8
    assert sheet.ndim == 3
    boxes = [box_of(sheet, color) for color in COLORS.values()]
    assert boxes[0][1] < boxes[1][0] < boxes[1][1] < boxes[2][0]
    assert len({box[2:] for box in boxes}) == 1
    for (top, bottom, left, right), color in zip(boxes, COLORS.values(), strict=True):
        assert bottom - top == 128  # 32 pixels enlarged four times
        assert (sheet[top:bottom, left:right] == np.array(color)).all(-1).sum() == 4 * 128 * 128


def test_small_frames_are_enlarged_pixel_by_pixel() -> None:
    clip = np.random.default_rng(0).integers(1, 255, (1, 32, 32, 3), dtype=np.uint8)
    clip[..., 0] = 7  # a value that no text or background has

    sheet = reconstruction_sheet(clip, clip, clip, caption="")

    rows, columns = np.nonzero(sheet[..., 0] == 7)
    top, left = rows.min(), columns.min()
    tile = sheet[top : top + 128, left : left + 128]
    np.testing.assert_array_equal(tile, clip[0].repeat(4, 0).repeat(4, 1))


@pytest.mark.parametrize(
    ("height", "width", "tile"), [(360, 640, (126, 224)), (224, 224, (224, 224)), (8, 8, (112, 112))]
)
def test_tiles_have_a_readable_size(height: int, width: int, tile: tuple[int, int]) -> None:
    sheet = reconstruction_sheet(*three_clips(num_frames=1, height=height, width=width), caption=CAPTION)

    top, bottom, left, right = box_of(sheet, COLORS["rebuilt"])
    assert (bottom - top, right - left) == tile


def test_long_clips_show_at_most_max_columns() -> None:
    clips = three_clips(num_frames=64)
    clips[0][:] = np.arange(64, dtype=np.uint8)[:, None, None, None]
    clips[0][..., 0] = 201

    sheet = reconstruction_sheet(*clips, caption=CAPTION, max_columns=3)

    shown = np.unique(sheet[(sheet[..., 0] == 201) & (sheet[..., 1] < 64)][:, 1])
    assert shown.tolist() == [0, 32, 63]


def test_frame_numbers_and_captions_are_drawn() -> None:
    clips = three_clips(num_frames=2)

    plain = reconstruction_sheet(*clips, caption="")
    numbered = reconstruction_sheet(*clips, caption="", frame_numbers=[3, 88])
    captioned = reconstruction_sheet(*clips, caption=CAPTION)
    long = reconstruction_sheet(*clips, caption=" ".join([CAPTION] * 4))

    assert plain.shape == numbered.shape
    assert (plain != numbered).any()
    assert plain.shape[1] == captioned.shape[1] == long.shape[1]
    assert plain.shape[0] < captioned.shape[0] < long.shape[0]
    top = box_of(captioned, COLORS["rebuilt"])[1]
    assert (captioned[top:] < 100).any()


@pytest.mark.parametrize("num_frames", [1, 2, 16])
def test_nothing_is_cut_off(num_frames: int) -> None:
    sheet = reconstruction_sheet(*three_clips(num_frames=num_frames), caption=" ".join([CAPTION] * 3))

    edges = [sheet[:4], sheet[-4:], sheet[:, :4], sheet[:, -4:]]
    assert all((edge == 255).all() for edge in edges)


def test_gray_clips_are_drawn() -> None:
    clip = np.full((2, 32, 32, 1), 77, dtype=np.uint8)

    sheet = reconstruction_sheet(clip, clip, clip, caption="")

    assert (sheet == 77).all(-1).sum() == 3 * 2 * 128 * 128


def test_wrong_clips_are_named() -> None:
    original, masked, rebuilt = three_clips()

    with pytest.raises(ShapeError, match=r"the rebuilt clip is float64 \(4, 32, 32, 3\)"):
        reconstruction_sheet(original, masked, rebuilt / 255, caption="")
    with pytest.raises(ShapeError, match=r"the masked clip is uint8 \(4, 3, 32, 32\)"):
        reconstruction_sheet(original, masked.transpose(0, 3, 1, 2), rebuilt, caption="")
    with pytest.raises(ShapeError, match=r"rebuilt \(2, 32, 32, 3\): expected three clips of one shape"):
        reconstruction_animation(original, masked, rebuilt[:2], caption="")
    with pytest.raises(ShapeError, match="3 frame numbers: expected 4"):
        reconstruction_sheet(original, masked, rebuilt, caption="", frame_numbers=[1, 2, 3])
    with pytest.raises(ShapeError, match="nothing of it empty"):
        reconstruction_sheet(original[:0], masked[:0], rebuilt[:0], caption="")


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47), (224, 224), (360, 640)])
def test_animation_has_a_frame_per_frame_of_even_size(height: int, width: int) -> None:
    animation = reconstruction_animation(*three_clips(num_frames=3, height=height, width=width), caption=CAPTION)

    assert animation.dtype == np.uint8
    assert animation.shape[0] == 3
    assert animation.shape[1] % 2 == animation.shape[2] % 2 == 0
    boxes = [box_of(animation[1], color) for color in COLORS.values()]
    assert boxes[0][3] < boxes[1][2] < boxes[1][3] < boxes[2][2]
    assert len({box[:2] for box in boxes}) == 1


def test_animation_shows_each_frame_in_turn() -> None:
    clips = three_clips(num_frames=12)
    clips[2][:, ..., 1] = np.arange(12, dtype=np.uint8)[:, None, None] * 10

    animation = reconstruction_animation(*clips, caption=CAPTION)

    for index, frame in enumerate(animation):
        assert box_of(frame, (30, index * 10, 200))


def test_animation_prints_the_numbers_it_is_given() -> None:
    clips = three_clips(num_frames=2)

    plain = reconstruction_animation(*clips, caption=CAPTION)
    numbered = reconstruction_animation(*clips, caption=CAPTION, frame_numbers=[0, 123456])

    assert plain.shape == numbered.shape
    assert (plain[0] == numbered[0]).all()
    assert (plain[1] != numbered[1]).any()
    with pytest.raises(ShapeError, match="1 frame numbers: expected 2"):
        reconstruction_animation(*clips, caption=CAPTION, frame_numbers=[0])


def test_narrow_clips_leave_room_for_their_headings() -> None:
    clips = three_clips(num_frames=12, height=200, width=8)

    sheet = reconstruction_sheet(*clips, caption=CAPTION, frame_numbers=range(99_990, 100_002), max_columns=2)
    animation = reconstruction_animation(*clips, caption=CAPTION, frame_numbers=range(99_990, 100_002))

    top, _, left, right = box_of(sheet, COLORS["original"])
    columns = np.flatnonzero((sheet[: top - 1, left - 60 :] < 200).any((0, 2)))
    assert np.diff(columns).max() > 10, "the two headings stand apart"
    assert right < sheet.shape[1] - 10
    assert animation.shape[0] == 12
    assert (animation[:, -4:] == 255).all()


def test_contact_sheet_takes_clips_of_different_sizes() -> None:
    clips = [
        plain_clip((9, 90, 0), num_frames=2),
        plain_clip((0, 9, 90), num_frames=20, height=360, width=640),
        plain_clip((90, 0, 9), num_frames=1, height=64, width=48),
    ]
    sheet = contact_sheet(clips, ["left", "a class name that is far too long for one line of the sheet", "x"])

    boxes = [box_of(sheet, tuple(clip[0, 0, 0].tolist())) for clip in clips]
    assert boxes[0][1] <= boxes[1][0] < boxes[1][1] <= boxes[2][0]
    assert (sheet[-4:] == 255).all()
    assert (sheet[:, -4:] == 255).all()


def test_contact_sheet_wants_a_label_for_each_clip() -> None:
    with pytest.raises(ShapeError, match="1 clips and 2 labels"):
        contact_sheet([plain_clip((1, 2, 3))], ["a", "b"])
    with pytest.raises(ShapeError, match="at least one clip"):
        contact_sheet([], [])
    with pytest.raises(ShapeError, match="clip 0 is int64"):
        contact_sheet([plain_clip((1, 2, 3)).astype(np.int64)], ["a"])


def test_png_holds_the_picture(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)

    path = save_png(tmp_path / "new" / "picture.png", image)

    np.testing.assert_array_equal(np.asarray(Image.open(path)), image)
    assert path.read_bytes() == encode_png(image)


def test_png_of_floats_is_refused() -> None:
    with pytest.raises(ShapeError, match="the picture is float64"):
        encode_png(np.zeros((4, 4, 3)))


def test_captions_of_moving_pictures_are_one_line() -> None:
    """As tall as with no caption but the number of the frame."""
    clips = three_clips(num_frames=2)
    short = "90% hidden · loss 0.412 · their mean and variance pasted in"
    captioned, plain = (reconstruction_animation(*clips, caption=text, frame_numbers=[7, 128]) for text in (short, ""))
    assert captioned.shape == plain.shape
    assert (captioned != plain).any()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_pictures_by_suffix(tmp_path: Path, suffix: str) -> None:
    image = np.zeros((32, 48, 3), dtype=np.uint8)
    image[:, 24:] = (200, 30, 40)
    with Image.open(save_picture(tmp_path / f"x{suffix}", image)) as found:
        assert np.abs(np.asarray(found.convert("RGB")).astype(int) - image).max() < 40
    with pytest.raises(InputError, match=r"expected .png, .jpg or .webp"):
        save_picture(tmp_path / "x.bmp", image)


def test_gif_holds_the_frames_and_plays_for_ever(tmp_path: Path) -> None:
    clips = three_clips(num_frames=8)
    clips[2][:, ..., 1] = np.arange(8, dtype=np.uint8)[:, None, None] * 20
    frames = reconstruction_animation(*clips, caption=CAPTION)

    path = save_gif(tmp_path / "new" / "clip.gif", frames, frames_per_second=7.5)

    with Image.open(path) as gif:
        assert gif.n_frames == 8
        assert gif.info["loop"] == 0
        duration = 0
        for index in range(8):
            gif.seek(index)
            duration += gif.info["duration"]
            error = np.abs(np.asarray(gif.convert("RGB")).astype(int) - frames[index])
            assert error.mean() < 2
        assert duration == round(8 / 7.5 * 100) * 10


@pytest.mark.parametrize(("rate", "total_ms"), [(30, 330), (25, 400), (240, 200), (0.5, 20000)])
def test_gif_keeps_the_time_over_all_frames(rate: float, total_ms: int) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), dtype=np.uint8)

    with Image.open(io.BytesIO(encode_gif(frames, frames_per_second=rate))) as gif:
        durations = []
        for index in range(gif.n_frames):
            gif.seek(index)
            durations.append(gif.info["duration"])
    assert sum(durations) == total_ms
    assert max(durations) - min(durations) <= 10


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_gif_wants_a_rate_above_zero(rate: float) -> None:
    with pytest.raises(InputError, match="frames_per_second="):
        encode_gif(plain_clip((1, 2, 3)), frames_per_second=rate)
