"""Pre-training runs: what they learn, what they leave, what they refuse."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import Recorder, losses, stop_after, tiny_pretrain_recipe, write_clip, write_data_set

import videomae
from videomae.core.errors import ConfigError, DataError, InputError
from videomae.recipes.pretrain import PretrainRecipe
from videomae.training.pretrain import PretrainResult, pretrain
from videomae.training.tasks.pretraining import PretrainingTask, draw_masks
from videomae.training.trainer import TrainingStopped


def test_the_folder_is_a_checkpoint(pretrained: PretrainResult) -> None:
    names = {path.name for path in pretrained.folder.iterdir()}
    assert names == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "recipe.json",
        "metrics.jsonl",
        "state",
        "report.html",
        "README.md",
        "pictures",
        "last",
        "log.txt",
        "metrics.csv",
        "charts",
    }
    model, info = videomae.VideoMAEForPreTraining.from_pretrained(pretrained.folder, output_loading_info=True)
    assert not any(info.values())
    assert not model.training
    assert (model.config.num_frames, model.config.image_size) == (4, 32)
    processor = videomae.VideoMAEImageProcessor.from_pretrained(pretrained.folder)
    assert processor.sampling == {"method": "dense", "num_frames": 4, "frame_stride": 1}
    stored = json.loads((pretrained.folder / "preprocessor_config.json").read_text())
    assert stored["sampling"] == processor.sampling
    assert stored["image_mean"] == [0.485, 0.456, 0.406]
    pixels = processor([[torch.zeros(3, 32, 32, dtype=torch.uint8)] * 4], return_tensors="pt")["pixel_values"]
    assert pixels.shape == (1, 4, 3, 32, 32)


def test_the_recipe_is_resolved(pretrained: PretrainResult, colors: Path) -> None:
    description = json.loads((pretrained.folder / "recipe.json").read_text())
    assert {key: description[key] for key in ("command", "data", "num_videos", "init")} == {
        "command": "pretrain",
        "data": str(colors),
        "num_videos": 18,
        "init": None,
    }
    assert description["recipe"] == tiny_pretrain_recipe().for_new_network().to_dict()


def _build(recipe: PretrainRecipe) -> Any:
    """A new model, and the recipe with nothing left open."""
    return PretrainingTask("no data", recipe)._build_model(recipe)[:2]


def test_published_frames_and_pixels_where_the_recipe_names_none() -> None:
    recipe = tiny_pretrain_recipe(num_frames=None, image_size=None)
    model, resolved = _build(recipe)
    assert (model.config.num_frames, model.config.image_size) == (16, 224)
    assert (resolved.num_frames, resolved.image_size) == (16, 224)


def test_only_the_train_split_is_used_and_labels_are_not_needed(tmp_path: Path) -> None:
    for split, number in (("train", 3), ("val", 2)):
        for index in range(number):
            write_clip(tmp_path / "data" / split / f"{index}.mp4", (200, 100, 50), phase=index)
    assert pretrain(tmp_path / "data", tmp_path / "run", tiny_pretrain_recipe(epochs=1)).num_videos == 3


def test_the_loss_falls_on_easy_clips(tmp_path: Path) -> None:
    data = write_data_set(tmp_path / "data", per_class=6)
    recipe = tiny_pretrain_recipe(epochs=10, learning_rate=0.1, warmup_epochs=1.0, norm_pix_loss=False)
    pretrain(data, tmp_path / "run", recipe)
    values = losses(tmp_path / "run")
    assert sum(values[-3:]) / 3 < 0.5 * sum(values[:3]) / 3


@pytest.mark.parametrize(
    "changes",
    [
        {"decoder_mask_ratio": 0.5},
        {"decoder_mask_ratio": 0.5, "mask_ratio": 0.5},
        {"mask": "random"},
        {"mask": "random", "decoder_mask_ratio": 0.25},
        {"norm_pix_loss": False},
        {"crop": "center"},
        {"sampling": "uniform"},
        {"sampling": "linspace"},
        {"views": 2},
        {"batch_size": 100},
        {"image_size": 48, "num_frames": 2},
    ],
    ids=str,
)
def test_every_option_trains_and_leaves_a_report(colors: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    result = pretrain(colors, tmp_path, tiny_pretrain_recipe(epochs=1, **changes))
    assert result.loss is not None
    assert 0 < result.loss < 10
    assert (tmp_path / "report.html").exists()
    assert videomae.VideoMAEForPreTraining.from_pretrained(tmp_path).config.norm_pix_loss == changes.get(
        "norm_pix_loss", True
    )


def test_the_decoder_mask_changes_the_loss_and_not_the_encoders_mask(colors: Path, tmp_path: Path) -> None:
    pretrain(colors, tmp_path / "all", tiny_pretrain_recipe(epochs=1))
    pretrain(colors, tmp_path / "half", tiny_pretrain_recipe(epochs=1, decoder_mask_ratio=0.5))
    assert losses(tmp_path / "all")[0] != losses(tmp_path / "half")[0]
    config = videomae.VideoMAEConfig(image_size=32, patch_size=8, num_frames=4)
    plain, _ = draw_masks(tiny_pretrain_recipe(), config.grid.shape, 6, 3)
    hidden, not_rebuilt = draw_masks(tiny_pretrain_recipe(decoder_mask_ratio=0.5), config.grid.shape, 6, 3)
    assert torch.equal(plain, hidden)
    assert not_rebuilt is not None
    assert not_rebuilt.float().mean() == 0.5


def test_masks_are_a_function_of_seed_and_step() -> None:
    config = videomae.VideoMAEConfig(image_size=32, patch_size=8, num_frames=4)
    draw = partial(draw_masks, tiny_pretrain_recipe(), config.grid.shape)
    assert torch.equal(draw(6, 3)[0], draw(6, 3)[0])
    assert not torch.equal(draw(6, 3)[0], draw(6, 4)[0])
    other = partial(draw_masks, tiny_pretrain_recipe(seed=1), config.grid.shape)
    assert not torch.equal(draw(6, 3)[0], other(6, 3)[0])


def test_going_on_from_a_checkpoint(pretrained: PretrainResult, colors: Path, tmp_path: Path) -> None:
    """--init brings its own network, frames, pixels and sampling, where the recipe names none."""
    recipe = tiny_pretrain_recipe(epochs=1, size=None, num_frames=None, image_size=None, frame_stride=None)
    pretrain(colors, tmp_path, recipe, init=str(pretrained.folder))
    assert videomae.VideoMAEConfig.from_pretrained(tmp_path).hidden_size == 128
    stored = json.loads((tmp_path / "recipe.json").read_text())
    assert stored["init"] == str(pretrained.folder)
    assert (stored["recipe"]["num_frames"], stored["recipe"]["image_size"]) == (4, 32)
    assert stored["recipe"]["frame_stride"] == tiny_pretrain_recipe().for_new_network().frame_stride
    assert stored["recipe"]["size"] is None


def test_a_finished_run_may_become_longer_but_not_shorter(colors: Path, tmp_path: Path) -> None:
    pretrain(colors, tmp_path, tiny_pretrain_recipe(epochs=2))
    described = (tmp_path / "recipe.json").read_bytes()
    with pytest.raises(ConfigError, match=r"a run of 3 steps, where .* has done 6: .*raise --epochs"):
        pretrain(colors, tmp_path, tiny_pretrain_recipe(epochs=1), resume_anyway=True)
    assert (tmp_path / "recipe.json").read_bytes() == described
    longer = pretrain(colors, tmp_path, tiny_pretrain_recipe(epochs=3), resume_anyway=True)
    assert (longer.steps, longer.was_finished) == (9, False)
    assert len(losses(tmp_path)) == 9


def test_another_size_than_the_checkpoints_is_refused(pretrained: PretrainResult, colors: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the checkpoint's own size"):
        pretrain(colors, tmp_path / "run", tiny_pretrain_recipe(size="base"), init=str(pretrained.folder))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mask_ratio": 1.0}, "mask_ratio=1.0: expected a share between 0 and 1"),
        ({"mask_ratio": 0.001}, "hides none: expected at least one hidden tubelet"),
        ({"decoder_mask_ratio": 0.4}, "0, 0.25, 0.5 or 0.75"),
        ({"num_frames": 3}, "num_frames=3"),
        ({"image_size": 30}, "image_size=30"),
        ({"epochs": 0}, "epochs=0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"max_broken": 1.5}, "max_broken=1.5"),
    ],
)
def test_settings_that_fit_no_run_leave_no_folder(
    colors: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        pretrain(colors, tmp_path / "run", tiny_pretrain_recipe(**changes))
    assert not (tmp_path / "run").exists()


def test_other_settings_on_the_same_folder_are_refused(
    pretrained: PretrainResult, colors: Path, tmp_path: Path
) -> None:
    before = (pretrained.folder / "recipe.json").read_text()
    with pytest.raises(ConfigError, match="seed=0, not 7"):
        pretrain(colors, pretrained.folder, tiny_pretrain_recipe(seed=7))
    with pytest.raises(ConfigError, match=r"mask_ratio=0\.75, not 0\.9"):
        pretrain(colors, pretrained.folder, tiny_pretrain_recipe(mask_ratio=0.9))
    assert (pretrained.folder / "recipe.json").read_text() == before


def test_a_data_set_that_has_grown_is_refused(tmp_path: Path) -> None:
    """The order of the clips depends on their number: going on would show some of them twice and others never."""
    data = write_data_set(tmp_path / "data", per_class=2)
    with pytest.raises(TrainingStopped):
        pretrain(data, tmp_path / "run", tiny_pretrain_recipe(batch_size=2), monitor=stop_after(2))
    write_clip(data / "red" / "one_more.mp4", (200, 0, 0))
    with pytest.raises(ConfigError, match="num_videos=6, not 7"):
        pretrain(data, tmp_path / "run", tiny_pretrain_recipe(batch_size=2))


def test_a_folder_that_holds_another_model_is_refused(colors: Path, tmp_path: Path) -> None:
    config = videomae.VideoMAEConfig(image_size=32, patch_size=8, num_frames=4, hidden_size=48, num_hidden_layers=1)
    videomae.VideoMAEModel(config).save_pretrained(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match="of another model or program"):
        pretrain(colors, tmp_path, tiny_pretrain_recipe())
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_a_folder_without_videos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="without videos"):
        pretrain(tmp_path / "empty", tmp_path / "run", tiny_pretrain_recipe())
    assert not (tmp_path / "run").exists()


def test_the_run_says_what_it_does(colors: Path, tmp_path: Path) -> None:
    monitor = Recorder()
    pretrain(colors, tmp_path, tiny_pretrain_recipe(epochs=1), monitor=monitor)
    assert len(monitor.notes) == 1
    for part in ("18 videos", "1 epoch = 3 steps of 6 clips", "on cpu in fp32", "0.0015 × 6 / 256 = 3.52e-05"):
        assert part in monitor.notes[0]


def test_new_weights_follow_from_the_seed_and_do_not_disturb_the_callers_randomness() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, _ = _build(tiny_pretrain_recipe())
    assert torch.equal(torch.rand(3), expected)
    second, _ = _build(tiny_pretrain_recipe())
    other, _ = _build(tiny_pretrain_recipe(seed=1))
    assert torch.equal(first.decoder.head.weight, second.decoder.head.weight)
    assert not torch.equal(first.decoder.head.weight, other.decoder.head.weight)
