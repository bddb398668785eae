"""Checkpoints that go on with clips of another length, size, tubelet or number of channels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import Commands, Recorder, losses, tiny_finetune_recipe, tiny_pretrain_recipe

import videomae
from videomae.core.errors import CheckpointError, ConfigError, VideoError
from videomae.inference.reconstruct import reconstruct_video
from videomae.training.finetune import FinetuneResult, finetune
from videomae.training.pretrain import PretrainResult, pretrain
from videomae.video import FrameFolder

CHANGES: list[dict[str, Any]] = [
    {"num_frames": 8},
    {"num_frames": 2},
    {"image_size": 16},
    {"image_size": (16, 24)},
    {"num_frames": 8, "tubelet_size": 4},
    {"num_channels": 1},
]


def names(changes: dict[str, Any]) -> str:
    return ",".join(f"{name}={value}" for name, value in changes.items())


@pytest.mark.parametrize("changes", CHANGES, ids=names)
def test_pretraining_goes_on_with_other_clips(
    pretrained: PretrainResult, colors: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    recipe = tiny_pretrain_recipe(**{"num_frames": None, "image_size": None, "size": None, "epochs": 1, **changes})
    result = pretrain(colors, tmp_path / "run", recipe, init=str(pretrained.folder))

    opened = videomae.Checkpoint.open(result.folder)
    for name, value in changes.items():
        assert getattr(opened.model.config, name) in (value, list(value) if isinstance(value, tuple) else value)
    assert opened.sampling.num_frames == opened.model.config.num_frames
    assert np.isfinite(losses(result.folder)).all()
    assert (result.folder / "report.html").exists()


@pytest.mark.parametrize("changes", [CHANGES[0], CHANGES[3], CHANGES[5]], ids=names)
def test_finetuning_goes_on_with_other_clips(
    pretrained: PretrainResult, colors: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    recipe = tiny_finetune_recipe(**{"num_frames": None, "image_size": None, "size": None, "epochs": 1, **changes})
    result = finetune(colors, tmp_path / "run", recipe, init=str(pretrained.folder))

    evaluated = videomae.evaluate(colors, model=result.folder, progress=False, num_workers=0)
    assert evaluated.top1 == pytest.approx(result.best_top1)
    grid = videomae.Checkpoint.open(result.folder).model.config.grid
    stored = json.loads((result.folder / "preprocessor_config.json").read_text())
    assert stored["crop_size"] == {"height": grid.clip_shape[2], "width": grid.clip_shape[3]}
    assert stored["sampling"]["num_frames"] == grid.clip_shape[0]
    assert len(stored["image_mean"]) == grid.num_channels


def test_what_is_adapted_is_reported(
    pretrained: PretrainResult, colors: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = tiny_finetune_recipe(epochs=1, num_frames=8, image_size=64)
    with caplog.at_level("INFO", logger="videomae"):
        finetune(colors, tmp_path / "run", recipe, init=str(pretrained.folder))

    said = [record.getMessage() for record in caplog.records if record.getMessage().startswith("adapting")]
    changes = "4 → 8 frames; 32×32 → 64×64 px; positions 2×4×4 → 4×8×8, interpolated"
    assert said == [f"adapting {pretrained.folder}: {changes}"]


def test_an_adapted_run_resumes(pretrained: PretrainResult, colors: Path, tmp_path: Path) -> None:
    recipe = tiny_finetune_recipe(epochs=1, image_size=(16, 24), num_channels=1)
    finetune(colors, tmp_path / "run", recipe, init=str(pretrained.folder))

    again = finetune(colors, tmp_path / "run", recipe, init=str(pretrained.folder))

    assert again.was_finished


@pytest.mark.parametrize("changes", [{"num_frames": 8}, {"image_size": (24, 48)}], ids=names)
def test_a_model_is_used_on_other_clips(finetuned: FinetuneResult, colors: Path, changes: dict[str, Any]) -> None:
    adapted = videomae.Checkpoint.open(finetuned.folder, **changes)
    size = adapted.model.config.grid.clip_shape
    for given in (
        videomae.evaluate(colors, model=adapted, progress=False, num_workers=0),
        videomae.evaluate(colors, model=finetuned.folder, progress=False, num_workers=0, **changes),
    ):
        assert given.top1 > 0.5  # colors stay colors
    video = next((colors / "val").rglob("*.mp4"))
    predicted = videomae.predict(video, model=finetuned.folder, num_workers=0, **changes)[0]
    assert predicted.label == adapted.predict(video, num_workers=0)[0].label
    features = videomae.embed(video, model=finetuned.folder, num_workers=0, dense=True, progress=False, **changes)
    assert features.feature_shape == (*adapted.model.config.grid.shape, 128)
    assert adapted.processor.crop_size == {"height": size[2], "width": size[3]}


def test_the_command_line_takes_other_clips(finetuned: FinetuneResult, colors: Path, commands: Commands) -> None:
    video = str(next((colors / "val").rglob("*.mp4")))
    options = ["--model", str(finetuned.folder), "--num-workers", "0", "--json"]

    assert commands("predict", "--image-size", "24x48", "--num-frames", "8", video, *options) == 0
    document = json.loads(commands.out)
    adapted = videomae.Checkpoint.open(finetuned.folder, image_size=(24, 48), num_frames=8)
    best = document["videos"][0]["predictions"][0]
    expected = adapted.predict(video, num_workers=0)[0]
    assert (best["label"], best["probability"]) == (expected.label, pytest.approx(expected.probability))


@pytest.mark.parametrize("size", ["24x", "x24", "24x48x3", "large", "24 x 48"])
def test_image_sizes_that_are_none(finetuned: FinetuneResult, commands: Commands, size: str) -> None:
    assert commands("predict", "a.mp4", "--model", finetuned.folder, "--image-size", size) == 2
    assert f"--image-size {size}: expected a number of pixels, or height and width, such as 192x320" in commands.err


def test_an_opened_checkpoint_is_not_adapted_behind_its_back(finetuned: FinetuneResult, colors: Path) -> None:
    opened = videomae.Checkpoint.open(finetuned.folder)
    with pytest.raises(ConfigError, match=r"num_frames with an opened Checkpoint.*give them to Checkpoint\.open"):
        opened.predict(next(colors.rglob("*.mp4")), num_frames=8)


# --- frames of other channels -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/ and val/ with folders of frames of four channels; the classes differ in the fourth alone."""
    folder = tmp_path_factory.mktemp("bands")
    generator = np.random.default_rng(0)
    for split, number in (("train", 4), ("val", 2)):
        for label, value in (("dark", 40), ("light", 200)):
            for index in range(number):
                place = folder / split / label / f"clip_{index}"
                place.mkdir(parents=True)
                color = generator.integers(0, 256, 4, dtype=np.uint8)
                color[3] = color[3] // 8 + value
                for time in range(6):
                    frame = np.broadcast_to(color, (24, 32, 4))
                    np.save(place / f"{time:03d}.npy", frame)
    return folder


def test_frames_of_four_channels_from_pretraining_to_prediction(bands: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    recipe = tiny_pretrain_recipe(num_channels=4, epochs=1, batch_size=4)
    pretrained = pretrain(bands, tmp_path / "pretrained", recipe, monitor=recorder)
    opened = videomae.Checkpoint.open(pretrained.folder)
    frames = np.concatenate([np.load(path)[None] for path in sorted((bands / "train").rglob("*.npy"))]) / 255
    mean, std = opened.model.config.pixel_statistics
    np.testing.assert_allclose(mean, frames.mean(axis=(0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(std, frames.std(axis=(0, 1, 2)), atol=1e-4)
    assert (tuple(opened.processor.image_mean), tuple(opened.processor.image_std)) == (mean, std)
    assert any(note.startswith("4 channels, mean and deviation measured on 8 videos: ") for note in recorder.notes)

    recipe = tiny_finetune_recipe(
        epochs=1, batch_size=8, size=None, rand_augment="rand-m7-n4-mstd0.5-inc1", min_crop_area=0.9
    )
    result = finetune(bands, tmp_path / "classifier", recipe, init=str(pretrained.folder))
    predictions = videomae.predict(bands / "val", model=result.folder, num_workers=0, progress=False)
    assert len(predictions) == 4
    assert not predictions.errors
    reconstruction = reconstruct_video(
        opened,
        FrameFolder(bands / "val" / "dark" / "clip_0"),
        generator=torch.Generator().manual_seed(0),
        device=torch.device("cpu"),
    )
    assert reconstruction.original.shape == (4, 32, 32, 4)
    assert reconstruction.save(tmp_path / "rebuilt.png").exists()


def test_a_model_of_rgb_goes_on_with_four_channels(bands: Path, pretrained: PretrainResult, tmp_path: Path) -> None:
    recipe = tiny_finetune_recipe(epochs=1, batch_size=4, num_channels=4)
    result = finetune(bands, tmp_path / "classifier", recipe, init=str(pretrained.folder))

    opened = videomae.Checkpoint.open(result.folder)
    assert opened.model.config.num_channels == 4
    assert opened.processor.image_mean[3] == pytest.approx((40 + 15.5 + 200 + 15.5) / 2 / 255, abs=0.05)


def test_videos_without_the_channels_of_the_model(bands: Path, colors: Path, tmp_path: Path) -> None:
    recipe = tiny_pretrain_recipe(num_channels=4, epochs=1, batch_size=4)
    with pytest.raises(VideoError, match=r"\.mp4 \(3 channels\): expected 4, as the model reads"):
        pretrain(colors, tmp_path / "run", recipe)
    assert not (tmp_path / "run" / "config.json").exists()
    with pytest.raises(VideoError, match="of 8 videos cannot be read"):
        pretrain(bands, tmp_path / "other", tiny_pretrain_recipe(epochs=1, batch_size=4))


def test_gray_clips_of_a_color_video(colors: Path, tmp_path: Path) -> None:
    recipe = tiny_pretrain_recipe(num_channels=1, epochs=1)
    result = pretrain(colors, tmp_path / "run", recipe)

    opened = videomae.Checkpoint.open(result.folder)
    assert opened.model.config.num_channels == 1
    assert 0 < opened.processor.image_mean[0] < 1


def test_weights_that_are_no_numbers(
    finetuned: FinetuneResult, pretrained: PretrainResult, colors: Path, tmp_path: Path
) -> None:
    video = next((colors / "val").rglob("*.mp4"))
    for start in (finetuned, pretrained):
        opened = videomae.Checkpoint.open(start.folder)
        with torch.no_grad():
            next(iter(opened.model.videomae.encoder.layer)).output.dense.weight[0, 0] = torch.nan
        opened.save(tmp_path / start.folder.name)
    classifier, encoder = tmp_path / finetuned.folder.name, tmp_path / pretrained.folder.name

    with pytest.raises(CheckpointError, match="scores that are NaN or infinite"):
        videomae.predict(video, model=classifier, num_workers=0)
    with pytest.raises(CheckpointError, match="scores that are NaN or infinite"):
        videomae.evaluate(colors, model=classifier, num_workers=0, progress=False)
    with pytest.raises(CheckpointError, match="features that are NaN or infinite"):
        videomae.embed(video, model=encoder, num_workers=0)
    with pytest.raises(CheckpointError, match=r"NaN or infinity in .*layer\.0\.output\.dense\.weight"):
        finetune(colors, tmp_path / "run", tiny_finetune_recipe(), init=str(encoder))
    with pytest.raises(CheckpointError, match="NaN or infinity in"):
        pretrain(colors, tmp_path / "run", tiny_pretrain_recipe(), init=str(encoder))
    assert not (tmp_path / "run").exists()
