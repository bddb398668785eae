"""The published recipes against a table made by hand, field by field."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from videomae.core.errors import ConfigError
from videomae.recipes.finetune import FinetuneRecipe
from videomae.recipes.pretrain import PretrainRecipe
from videomae.recipes.recipe import TrainingRecipe
from videomae.recipes.registry import KINDS, changed_fields, entries, find_entry
from videomae.recipes.sizes import SIZES
from videomae.recipes.stored import find_recipe

# name: size, batch, epochs, stride, decoder depth
V1_PRETRAIN = {
    "v1-pretrain-k400-small": ("small", 1024, 1600, 4, 4),
    "v1-pretrain-k400-base-800": ("base", 2048, 800, 4, 4),
    "v1-pretrain-k400-base-1600": ("base", 2048, 1600, 4, 4),
    "v1-pretrain-k400-large": ("large", 512, 1600, 4, 12),
    "v1-pretrain-k400-huge": ("huge", 1024, 1600, 4, 12),
    "v1-pretrain-ssv2-small": ("small", 2048, 2400, 2, 4),
    "v1-pretrain-ssv2-base-800": ("base", 2048, 800, 2, 4),
    "v1-pretrain-ssv2-base-2400": ("base", 2048, 2400, 2, 4),
    "v1-pretrain-ucf101-base": ("base", 192, 3200, 4, 4),
}
V1_PRETRAIN_ALL = {
    "beta1": 0.9,
    "beta2": 0.95,
    "learning_rate": 1.5e-4,
    "weight_decay": 0.05,
    "min_learning_rate": 1e-5,
    "start_learning_rate": 1e-6,
    "warmup_epochs": 40,
    "clip_grad": 0,
    "ema_decay": 0,
    "crop": "multi-scale",
    "image_size": 224,
    "num_frames": 16,
    "mask": "tube",
    "mask_ratio": 0.9,
    "decoder_mask_ratio": 0,
    "decoder_width": None,
    "norm_pix_loss": True,
    "sampling": "dense",
    "views": 1,
}
# name: size, batch, epochs, learning rate, clipping, decoder width
V2_PRETRAIN = {
    "v2-pretrain-base": ("base", 1024, 200, 1e-3, 0, None),
    "v2-pretrain-large": ("large", 1536, 300, 1e-3, 0, None),
    "v2-pretrain-huge": ("huge", 2048, 300, 1e-3, 0, 512),
    "v2-pretrain-giant": ("giant", 2048, 300, 6e-4, 0.02, None),
}
V2_PRETRAIN_ALL = {
    "beta1": 0.9,
    "beta2": 0.95,
    "weight_decay": 0.05,
    "mask": "tube",
    "mask_ratio": 0.9,
    "decoder_mask_ratio": 0.5,
    "decoder_depth": 4,
    "views": 4,
    "norm_pix_loss": True,
    "crop": "multi-scale",
    "sampling": "dense",
    "frame_stride": 4,
}
FINETUNE_ALL = {
    "beta1": 0.9,
    "beta2": 0.999,
    "weight_decay": 0.05,
    "warmup_epochs": 5,
    "min_learning_rate": 1e-6,
    "start_learning_rate": 1e-6,
    "layer_decay": 0.75,
    "drop_path": 0.1,
    "head_dropout": 0,
    "clip_grad": 0,
    "rand_augment": "rand-m7-n4-mstd0.5-inc1",
    "augment_before_crop": True,
    "min_crop_area": 0.08,
    "max_crop_ratio": 4 / 3,
    "flip": True,
    "label_smoothing": 0.1,
    "mixup": 0.8,
    "cutmix": 1.0,
    "cutmix_probability": 0.5,
    "erasing": 0.25,
    "init_scale": 0.001,
    "views": 2,
    "sampling": "dense",
    "frame_stride": 4,
    "class_balance": 0,
    "ema_decay": 0,
    "num_frames": None,
    "image_size": None,
}
SSV2 = {"sampling": "uniform", "flip": False}
SMALL_SET = {"drop_path": 0.2, "head_dropout": 0.5, "min_learning_rate": 1e-5, "start_learning_rate": 1e-8}
# name: size, batch, learning rate, epochs, what differs
FINETUNE: dict[str, tuple[str, int, float, int, dict[str, Any]]] = {
    "v1-finetune-k400-small": ("small", 384, 5e-4, 150, {}),
    "v1-finetune-k400-base-800": ("base", 512, 1e-3, 100, {"views": 1}),
    "v1-finetune-k400-base-1600": ("base", 384, 5e-4, 75, {}),
    "v1-finetune-k400-large": ("large", 128, 2e-3, 35, {}),
    "v1-finetune-k400-huge": ("huge", 512, 1e-3, 50, SMALL_SET),
    "v1-finetune-ssv2-small": ("small", 384, 1e-3, 40, {**SSV2, "layer_decay": 0.7}),
    "v1-finetune-ssv2-base-800": ("base", 512, 5e-4, 50, {**SSV2, "views": 1}),
    "v1-finetune-ssv2-base-2400": ("base", 384, 5e-4, 30, SSV2),
    "v1-finetune-ucf101-base": ("base", 128, 5e-4, 100, {**SMALL_SET, "layer_decay": 0.7}),
    "v2-finetune-k400-base": ("base", 512, 7e-4, 90, {}),
    "v2-finetune-ssv2-base": ("base", 256, 2e-3, 25, {**SSV2, "layer_decay": 0.65}),
    "v2-finetune-k400-large": ("large", 192, 2e-3, 35, {"drop_path": 0.2}),
    "v2-finetune-ssv2-large": ("large", 192, 5e-4, 20, {**SSV2, "drop_path": 0.2}),
    "v2-finetune-k400-huge": (
        *("huge", 128, 1e-3, 40),
        {"layer_decay": 0.8, "drop_path": 0.2, "head_dropout": 0.5},
    ),
    "v2-finetune-ssv2-huge": (
        *("huge", 128, 5e-4, 20),
        {**SSV2, "layer_decay": 0.8, "drop_path": 0.2, "head_dropout": 0.5},
    ),
    "v2-finetune-k710-giant": (
        *("giant", 96, 1e-3, 35),
        {"layer_decay": 0.9, "drop_path": 0.3, "weight_decay": 0.1, "clip_grad": 5},
    ),
    "v2-finetune-k400-giant": (
        *("giant", 192, 1e-3, 30),
        {"layer_decay": 0.9, "drop_path": 0.2, "weight_decay": 0.1},
    ),
    "v2-finetune-ssv2-giant": ("giant", 96, 3e-4, 20, {**SSV2, "layer_decay": 0.9, "drop_path": 0.25}),
    "v2-finetune-ucf101-giant": (
        *("giant", 24, 1e-3, 50),
        {"layer_decay": 0.9, "drop_path": 0.35, "head_dropout": 0.5},
    ),
    "v2-finetune-hmdb51-giant": (
        *("giant", 24, 5e-4, 15),
        {"layer_decay": 0.9, "drop_path": 0.35, "head_dropout": 0.5, "frame_stride": 2},
    ),
}
ACCURACY = {
    "v1-finetune-k400-small": (79.0, 93.8),
    "v1-finetune-k400-base-1600": (81.5, 95.1),
    "v1-finetune-k400-large": (85.2, 96.8),
    "v1-finetune-k400-huge": (86.6, 97.1),
    "v1-finetune-ssv2-small": (66.8, 90.3),
    "v1-finetune-ssv2-base-2400": (70.8, 92.4),
    "v1-finetune-ucf101-base": (91.3, 98.5),
    "v2-finetune-k400-giant": (87.2, 97.4),
    "v2-finetune-ssv2-giant": (77.0, 95.9),
}
NAMES = [entry.name for entry in entries()]


def _check(name: str, expected: dict[str, Any]) -> None:
    found = find_recipe(name).to_dict()
    assert {field: found[field] for field in expected} == expected


@pytest.mark.parametrize("name", V1_PRETRAIN)
def test_pretraining_of_v1(name: str) -> None:
    size, batch, epochs, stride, depth = V1_PRETRAIN[name]
    own = {"size": size, "batch_size": batch, "epochs": epochs, "frame_stride": stride, "decoder_depth": depth}
    ucf101 = {"mask_ratio": 0.75, "learning_rate": 3e-4} if "ucf101" in name else {}
    _check(name, {**V1_PRETRAIN_ALL, **own, **ucf101})


@pytest.mark.parametrize("name", V2_PRETRAIN)
def test_pretraining_of_v2(name: str) -> None:
    size, batch, epochs, rate, clipping, width = V2_PRETRAIN[name]
    own = {"size": size, "batch_size": batch, "epochs": epochs, "learning_rate": rate, "clip_grad": clipping}
    _check(name, {**V2_PRETRAIN_ALL, **own, "decoder_width": width})
    assert 20 <= find_recipe(name).warmup_epochs <= 30


@pytest.mark.parametrize("name", FINETUNE)
def test_finetuning(name: str) -> None:
    size, batch, rate, epochs, different = FINETUNE[name]
    own = {"size": size, "batch_size": batch, "learning_rate": rate, "epochs": epochs}
    _check(name, {**FINETUNE_ALL, **own, **different})


@pytest.mark.parametrize("name", ACCURACY)
def test_published_accuracy(name: str) -> None:
    entry = find_entry(name)
    assert (entry.top1, entry.top5) == ACCURACY[name]


def test_every_published_run_is_in_the_tables() -> None:
    listed = {*V1_PRETRAIN, *V2_PRETRAIN, *FINETUNE}
    runs = {name for name in NAMES if re.match(r"v\d-.*-(small|base|large|huge|giant)", name)}
    assert runs == listed
    assert {entry.name for entry in entries() if entry.kind == "finetune" and entry.top1} == set(ACCURACY)


def test_there_are_presets_for_few_clips_and_for_no_gpu() -> None:
    wanted = {
        f"{kind}-{amount}-{machine}"
        for kind in KINDS
        for amount in ("hundreds", "thousands")
        for machine in ("cpu", "gpu")
    }
    assert wanted < set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_named_recipe_is_whole(name: str) -> None:
    entry, recipe = find_entry(name), find_recipe(name)
    recipe.validate()
    assert recipe.recipe == name
    assert isinstance(recipe, KINDS[entry.kind])
    assert entry.about
    assert json.loads(json.dumps(recipe.to_dict())) == recipe.to_dict()
    assert recipe.size is None or recipe.size in SIZES
    if entry.parent:
        assert find_entry(entry.parent).kind == entry.kind
    else:
        assert recipe == KINDS[entry.kind]()


def test_what_a_recipe_changes_of_its_parent() -> None:
    before, after = find_recipe("v1-pretrain-k400-large"), find_recipe("v1-pretrain-k400-huge")
    assert find_entry(after.recipe).parent == before.recipe
    assert changed_fields(before.to_dict(), after.to_dict()) == ["batch_size", "size"]
    assert changed_fields({"a": 1, "b": 2}, {"b": 2, "c": None}) == ["c", "a"]


def test_the_roots_are_the_defaults() -> None:
    assert [entry.name for entry in entries() if not entry.parent] == ["pretrain", "finetune"]
    assert PretrainRecipe().recipe == "pretrain"
    assert FinetuneRecipe().recipe == "finetune"


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"recipe 'v1-finetune-k400-bas-800': .*did you mean v1-finetune-k400-base-800"
    ):
        find_recipe("v1-finetune-k400-bas-800")
    with pytest.raises(ConfigError, match="see videomae recipes"):
        find_recipe("zzzz")


def test_a_recipe_of_the_other_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"recipe 'v2-finetune' for pretrain.*this one is for videomae finetune"):
        find_recipe("v2-finetune", kind="pretrain")


def _stored(folder: Path, recipe: TrainingRecipe, **changes: Any) -> Path:
    values = {"command": "finetune", "recipe": {**recipe.to_dict(), **changes}}
    (folder / "recipe.json").write_text(json.dumps(values))
    return folder


def test_a_stored_recipe_is_read_from_folder_and_file(tmp_path: Path) -> None:
    recipe = FinetuneRecipe(epochs=7)
    _stored(tmp_path, recipe)
    assert find_recipe(str(tmp_path)) == find_recipe(str(tmp_path / "recipe.json"), kind="finetune") == recipe


@pytest.mark.parametrize(("decoder", "num_notices"), [("pyav", 0), ("torchcodec", 1)])
def test_the_removed_decoder_of_a_stored_recipe(
    decoder: str, num_notices: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = FinetuneRecipe(epochs=7)
    _stored(tmp_path, recipe, decoder=decoder)
    assert find_recipe(str(tmp_path)) == recipe
    assert len(caplog.messages) == num_notices
    assert all("decoder=torchcodec was removed" in message for message in caplog.messages)


def test_an_unknown_decoder_of_a_stored_recipe_is_refused(tmp_path: Path) -> None:
    _stored(tmp_path, FinetuneRecipe(), decoder="decord")
    with pytest.raises(ConfigError, match="decoder in"):
        find_recipe(str(tmp_path))


def test_damaged_stored_recipes_are_refused(tmp_path: Path) -> None:
    _stored(tmp_path, FinetuneRecipe(), epoch=3)
    with pytest.raises(ConfigError, match=r"epoch in .*did you mean epochs"):
        find_recipe(str(tmp_path))
    _stored(tmp_path, FinetuneRecipe(), epochs=0)
    with pytest.raises(ConfigError, match="epochs=0"):
        find_recipe(str(tmp_path))
    _stored(tmp_path, FinetuneRecipe(), epochs="many")
    with pytest.raises(ConfigError, match="epochs='many': expected a whole number"):
        find_recipe(str(tmp_path))
    for text in ("{", "[]", "{}", '{"command": "evaluate", "recipe": {}}', '{"command": "finetune", "recipe": 3}'):
        (tmp_path / "recipe.json").write_text(text)
        with pytest.raises(ConfigError, match="describes no run"):
            find_recipe(str(tmp_path))


def test_named_recipes_load_no_torch() -> None:
    code = (
        "import sys; from videomae.recipes.registry import entries; entries()\n"
        "sys.exit(', '.join({'torch', 'numpy', 'rich', 'tyro'} & set(sys.modules)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
