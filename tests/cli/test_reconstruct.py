"""`videomae reconstruct`: pictures that open again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_runs import Commands, write_clip

import videomae
from videomae.training.finetune import FinetuneResult
from videomae.training.pretrain import PretrainResult
from videomae.video.reader import VideoReader

CPU = ["--device", "cpu"]


@pytest.fixture
def clip(colors: Path) -> Path:
    return colors / "val" / "red" / "red_0.mp4"


def test_png(commands: Commands, pretrained: PretrainResult, clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "new folder" / "rows.png"
    assert commands("reconstruct", clip, "--model", pretrained.folder, "--output", output, *CPU) == 0
    assert commands.out == ""
    with Image.open(output) as picture:
        picture.load()
        # Three rows of four frames of 32 pixels, enlarged alike, with captions.
        assert picture.width >= 4 * 32
        assert picture.height >= 3 * 32
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 50


def test_gif(commands: Commands, pretrained: PretrainResult, clip: Path, tmp_path: Path) -> None:
    assert commands("reconstruct", clip, "--model", pretrained.folder, "--output", tmp_path / "x.gif", *CPU) == 0
    with Image.open(tmp_path / "x.gif") as picture:
        assert picture.format == "GIF"
        assert getattr(picture, "n_frames", 1) == 4
        assert picture.width >= 3 * 32


@pytest.mark.parametrize(("name", "kind"), [("x.jpg", "JPEG"), ("x.JPEG", "JPEG"), ("x.webp", "WEBP")])
def test_other_pictures(
    commands: Commands, pretrained: PretrainResult, clip: Path, tmp_path: Path, name: str, kind: str
) -> None:
    words = ("reconstruct", clip, "--model", pretrained.folder, *CPU)
    assert commands(*words, "--output", tmp_path / name) == 0
    assert commands(*words, "--output", tmp_path / "x.png") == 0
    with Image.open(tmp_path / name) as picture, Image.open(tmp_path / "x.png") as exact:
        assert picture.format == kind
        error = np.abs(np.asarray(picture.convert("RGB")).astype(int) - np.asarray(exact.convert("RGB")))
        assert error.mean() < 3


def test_moving_pictures_have_the_clips_own_speed(
    commands: Commands, pretrained: PretrainResult, clip: Path, tmp_path: Path
) -> None:
    """The clip has 10 frames a second, and the model takes every one."""
    words = ("reconstruct", clip, "--model", pretrained.folder, *CPU)
    assert commands(*words, "--output", tmp_path / "x.gif") == 0
    with Image.open(tmp_path / "x.gif") as picture:
        picture.seek(1)
        assert picture.info["duration"] == 100
    assert commands(*words, "--output", tmp_path / "x.mp4") == 0
    with VideoReader(tmp_path / "x.mp4") as reader:
        assert reader.info.frames_per_second == pytest.approx(10)


def test_mp4(commands: Commands, pretrained: PretrainResult, clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "new folder" / "x.mp4"
    assert commands("reconstruct", clip, "--model", pretrained.folder, "--output", output, *CPU) == 0
    assert [path.name for path in output.parent.iterdir()] == ["x.mp4"]
    with VideoReader(output) as reader:
        assert reader.num_frames == 4
    frames = videomae.read_video(output, [0, 3])
    assert frames.shape[2] >= 3 * 32
    assert not np.array_equal(frames[0], frames[1])


def test_the_caption_says_what_was_pasted_in(
    commands: Commands, pretrained: PretrainResult, clip: Path, tmp_path: Path
) -> None:
    output = tmp_path / "x.png"
    words = ["reconstruct", clip, "--model", pretrained.folder, "--output", output, *CPU, "--mask-ratio", "0.5"]
    document = commands.json(*words)
    assert set(document) == {"path", "output", "loss", "mask_ratio", "frame_indices", "caption"}
    assert (document["path"], document["output"]) == (str(clip), str(output))
    assert document["mask_ratio"] == 0.5
    assert document["frame_indices"] == [2, 3, 4, 5]  # the center of 8
    assert "the mean and the variance of each hidden tubelet were pasted in from the input" in document["caption"]
    assert commands.err == f"{output}: {document['caption']}\n"


@pytest.mark.parametrize("mask", ["tube", "random"])
def test_the_seed_draws_the_mask(
    commands: Commands, pretrained: PretrainResult, clip: Path, tmp_path: Path, mask: str
) -> None:
    words = ["reconstruct", clip, "--model", pretrained.folder, *CPU, "--mask", mask, "--mask-ratio", "0.5"]
    pictures = []
    for number, seed in enumerate((1, 1, 2)):
        assert commands(*words, "--seed", seed, "--output", tmp_path / f"{number}.png") == 0
        pictures.append((tmp_path / f"{number}.png").read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


def test_a_negative_seed(commands: Commands, pretrained: PretrainResult, clip: Path, tmp_path: Path) -> None:
    words = ["reconstruct", clip, "--model", pretrained.folder, "--output", tmp_path / "x.png", *CPU]
    assert "--seed -1: expected 0 or more" in commands.refused(*words, "--seed", "-1")
    assert "--seed -1: expected 0 or more" in commands.refused("demo", "--seed", "-1")


def test_the_video_itself_is_not_replaced(
    commands: Commands, pretrained: PretrainResult, clip: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "a.mp4"
    copy.write_bytes(clip.read_bytes())
    (tmp_path / "b.mp4").symlink_to(copy)
    for output in (copy, tmp_path / "b.mp4"):
        words = ["reconstruct", copy, "--model", pretrained.folder, "--output", output, *CPU]
        assert "which is VIDEO: expected another file" in commands.refused(*words)
    assert copy.read_bytes() == clip.read_bytes()
    assert commands("reconstruct", copy, "--model", pretrained.folder, "--output", tmp_path / "c.gif", *CPU) == 0
    assert "c.gif lies beside VIDEO: with this folder as DATA it is one of its videos" in commands.err


def test_a_classifier_rebuilds_nothing(
    commands: Commands, finetuned: FinetuneResult, clip: Path, tmp_path: Path
) -> None:
    words = ["reconstruct", clip, "--model", finetuned.folder, "--output", tmp_path / "x.png", *CPU]
    assert "a classifier has no decoder" in commands.refused(*words)
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "audio"])
def test_files_that_are_no_video(
    commands: Commands, pretrained: PretrainResult, bad_files: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    words = ["reconstruct", bad_files[kind], "--model", pretrained.folder, "--output", tmp_path / "x.png", *CPU]
    assert commands.refused(*words).startswith(f"videomae: {bad_files[kind]}")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_no_video(commands: Commands, pretrained: PretrainResult, colors: Path, tmp_path: Path) -> None:
    words = ["reconstruct", colors, "--model", pretrained.folder, "--output", tmp_path / "x.png", *CPU]
    assert str(colors) in commands.refused(*words)


@pytest.mark.parametrize("suffix", ["png", "gif", "mp4"])
def test_an_output_that_cannot_be_written(
    commands: Commands, pretrained: PretrainResult, clip: Path, tmp_path: Path, suffix: str
) -> None:
    (tmp_path / "file").touch()
    for output in (tmp_path / "file" / f"x.{suffix}", tmp_path / f"folder.{suffix}"):
        (tmp_path / f"folder.{suffix}").mkdir(exist_ok=True)
        line = commands.refused("reconstruct", clip, "--model", pretrained.folder, "--output", output, *CPU)
        assert str(output) in line


@pytest.mark.parametrize("suffix", ["mp4", "gif"])
def test_a_whole_video(
    commands: Commands, pretrained: PretrainResult, tmp_path: Path, colors: Path, suffix: str
) -> None:
    video = tmp_path / "long.mp4"
    write_clip(video, (200, 40, 40), num_frames=30)  # 3 s: 8 clips of 4 frames, the last one ends with the video
    output = tmp_path / "out" / f"x.{suffix}"
    words = ["reconstruct", video, "--model", pretrained.folder, "--output", output, *CPU, "--whole"]
    document = commands.json(*words)
    assert (document["num_clips"], document["num_frames"]) == (8, 32)
    assert document["frames_per_second"] == 10
    assert document["ended"] is None
    assert [path.name for path in output.parent.iterdir()] == [output.name]
    if suffix == "gif":
        with Image.open(output) as picture:
            assert getattr(picture, "n_frames", 1) == 32
    else:
        with VideoReader(output) as reader:
            assert reader.num_frames == 32
            assert reader.info.frames_per_second == 10
    before = output.read_bytes()
    assert commands(*words) == 0
    assert output.read_bytes() == before
    assert commands.json(*words, "--max-seconds", "1")["num_clips"] == 3


def test_options_of_whole_videos(
    commands: Commands, pretrained: PretrainResult, clip: Path, bad_files: dict[str, Path], tmp_path: Path
) -> None:
    words = ["--model", pretrained.folder, *CPU, "--whole", "--output"]
    assert "x.png: expected .mp4 or .gif" in commands.refused("reconstruct", clip, *words, tmp_path / "x.png")
    line = commands.refused("reconstruct", bad_files["text"], *words, tmp_path / "x.mp4")
    assert line.startswith(f"videomae: {bad_files['text']}")
    assert list(tmp_path.iterdir()) == []
    words = ["reconstruct", clip, "--model", pretrained.folder, "--output", tmp_path / "x.png", "--max-seconds", "1"]
    assert "--max-seconds 1 without --whole" in commands.refused(*words)


def test_a_gif_that_would_be_too_long(commands: Commands, pretrained: PretrainResult, tmp_path: Path) -> None:
    video = tmp_path / "long.mp4"
    write_clip(video, (200, 40, 40), num_frames=700)
    words = ["reconstruct", video, "--model", pretrained.folder, "--output", tmp_path / "x.gif", *CPU, "--whole"]
    assert "of 700 frames: expected at most 600 in a GIF; write an .mp4, or give --max-seconds" in commands.refused(
        *words
    )
    assert [path.name for path in tmp_path.iterdir()] == ["long.mp4"]
