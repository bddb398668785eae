"""Recipes: ranges, sizes, and no torch."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import math
import subprocess
import sys
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints

import pytest

from videomae.core.errors import ConfigError
from videomae.recipes.finetune import FinetuneRecipe
from videomae.recipes.pretrain import PretrainRecipe
from videomae.recipes.recipe import TrainingRecipe
from videomae.recipes.sizes import SIZES, require_size, size_keywords
from videomae.video._sampling_common import METHODS

RECIPES = (PretrainRecipe, FinetuneRecipe)


@pytest.mark.parametrize("recipe", RECIPES)
def test_defaults_are_valid_and_plain(recipe: type[TrainingRecipe]) -> None:
    recipe().validate()

    assert json.loads(json.dumps(recipe().to_dict())) == recipe().to_dict()
    assert recipe(**recipe().to_dict()) == recipe()


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_cannot_be_changed_nor_misspelt(recipe: type[TrainingRecipe]) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe().epochs = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        recipe(epoch=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        recipe(3)  # type: ignore[misc]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", -1),
        ("batch_size", 0),
        ("frame_stride", 0),
        ("log_every", 0),
        ("learning_rate", -1e-9),
        ("learning_rate", math.nan),
        ("learning_rate", math.inf),
        ("min_learning_rate", -1.0),
        ("weight_decay", -0.1),
        ("clip_grad", -0.1),
        ("warmup_epochs", -1.0),
        ("warmup_epochs", math.inf),
        ("num_workers", -2),
        ("max_broken", 1.01),
        ("frame_rate", 0.0),
        ("frame_rate", math.nan),
        ("read_limit_seconds", 0.0),
        ("read_limit_seconds", math.inf),
        ("max_broken", math.nan),
        ("seed", -1),
        ("seed", 2**32),
        ("sampling", "sparse"),
        ("precision", "int8"),
        ("size", "enormous"),
    ],
)
def test_what_all_recipes_refuse(recipe: type[TrainingRecipe], name: str, value: Any) -> None:
    option = "--" + name.replace("_", "-")
    with pytest.raises(ConfigError, match=rf"^{name}={value!r}: expected .+; change {option}$"):
        recipe(**{name: value}).validate()


@pytest.mark.parametrize(
    ("recipe", "name", "value"),
    [
        (PretrainRecipe, "num_frames", 0),
        (PretrainRecipe, "image_size", 0),
        (PretrainRecipe, "mask", "block"),
        (PretrainRecipe, "mask_ratio", 0.0),
        (PretrainRecipe, "mask_ratio", 1.0),
        (PretrainRecipe, "decoder_mask_ratio", 0.6),
        (PretrainRecipe, "crop", "centre"),
        (PretrainRecipe, "epochs", "3"),
        (PretrainRecipe, "epochs", 3.0),
        (PretrainRecipe, "epochs", True),
        (PretrainRecipe, "learning_rate", "1e-3"),
        (PretrainRecipe, "norm_pix_loss", 1),
        (PretrainRecipe, "num_frames", "16"),
        (FinetuneRecipe, "device", None),
        (FinetuneRecipe, "num_frames", 0),
        (FinetuneRecipe, "image_size", -224),
        (FinetuneRecipe, "layer_decay", 0.0),
        (FinetuneRecipe, "layer_decay", 1.1),
        (FinetuneRecipe, "label_smoothing", 1.0),
        (FinetuneRecipe, "min_crop_area", 0.0),
        (FinetuneRecipe, "min_crop_area", 1.5),
        (FinetuneRecipe, "val_every", 0),
    ],
)
def test_what_one_recipe_refuses(recipe: type[TrainingRecipe], name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{name}={value!r}: expected"):
        recipe(**{name: value}).validate()


@pytest.mark.parametrize(
    ("recipe", "values"),
    [
        (PretrainRecipe, {"decoder_mask_ratio": 0.5, "mask": "random", "crop": "center", "clip_grad": 0.02}),
        (PretrainRecipe, {"learning_rate": 0.0, "warmup_epochs": 0.0, "max_broken": 1.0, "num_workers": 0}),
        (FinetuneRecipe, {"layer_decay": 1.0, "label_smoothing": 0.0, "min_crop_area": 1.0, "num_frames": 8}),
        (FinetuneRecipe, {"seed": 2**32 - 1, "precision": "fp16", "sampling": "uniform"}),
    ],
)
def test_the_ends_of_the_ranges_are_good(recipe: type[TrainingRecipe], values: dict[str, Any]) -> None:
    recipe(**values).validate()


@pytest.mark.parametrize("recipe", RECIPES)
def test_choices_are_those_of_the_floors_that_use_them(recipe: type[TrainingRecipe]) -> None:
    hints = get_type_hints(recipe)

    # Both may be left open: the hint is one choice or None.
    assert set(get_args(get_args(hints["sampling"])[0])) == set(METHODS)
    assert get_args(get_args(hints["size"])[0]) == tuple(SIZES)


def test_what_a_recipe_leaves_open_is_filled_and_nothing_else() -> None:
    new = PretrainRecipe(num_frames=8).for_new_network()
    assert (new.size, new.num_frames, new.image_size, new.sampling, new.frame_stride) == ("small", 8, 224, "dense", 4)

    found = {"num_frames": 8, "image_size": 64, "sampling": "uniform", "frame_stride": 2}
    fitted = FinetuneRecipe().fitted_to_checkpoint(**found)
    assert {name: getattr(fitted, name) for name in found} == found
    assert fitted.size is None
    assert FinetuneRecipe(frame_stride=3).fitted_to_checkpoint(**found).frame_stride == 3


def test_a_rate_takes_the_place_of_a_stride() -> None:
    new = PretrainRecipe(frame_rate=7.5).for_new_network()
    assert (new.frame_rate, new.frame_stride) == (7.5, None)
    assert PretrainRecipe().for_new_network().frame_rate is None

    by_rate = {"sampling": "dense", "frame_stride": None, "frame_rate": 7.5}
    clip = {"num_frames": 8, "image_size": 64}
    fitted = FinetuneRecipe().fitted_to_checkpoint(**clip, **by_rate)
    assert (fitted.frame_rate, fitted.frame_stride) == (7.5, None)
    fitted = FinetuneRecipe(frame_stride=2).fitted_to_checkpoint(**clip, **by_rate)
    assert (fitted.frame_rate, fitted.frame_stride) == (None, 2)
    by_stride = {"sampling": "dense", "frame_stride": 4, "frame_rate": None}
    fitted = FinetuneRecipe(frame_rate=5.0).fitted_to_checkpoint(**clip, **by_stride)
    assert (fitted.frame_rate, fitted.frame_stride) == (5.0, None)


@pytest.mark.parametrize("more", [{"frame_stride": 4}, {"sampling": "uniform"}])
def test_a_rate_goes_with_neither_a_stride_nor_other_sampling(more: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"frame_rate=5.*leave --\w+[-\w]* or --frame-rate out"):
        FinetuneRecipe(frame_rate=5.0, **more).validate()


def test_another_size_than_the_checkpoints_is_refused() -> None:
    network = SimpleNamespace(**size_keywords("tiny"))
    require_size("tiny", network)
    require_size(None, network)
    with pytest.raises(ConfigError, match="size 'base' with a checkpoint of hidden_size=128"):
        require_size("base", network)


def test_linear_scaling() -> None:
    assert PretrainRecipe(batch_size=256).scaled(1.5e-4) == 1.5e-4
    assert PretrainRecipe(batch_size=64).scaled(1e-3) == pytest.approx(2.5e-4)


@pytest.mark.parametrize("recipe", [TrainingRecipe, *RECIPES])
def test_every_field_says_what_it_is(recipe: type[TrainingRecipe]) -> None:
    """The command line shows each field's own docstring; without one its help would be empty."""
    (definition,) = ast.parse(inspect.getsource(recipe)).body
    assert isinstance(definition, ast.ClassDef)
    for field, following in itertools.pairwise(definition.body):
        if isinstance(field, ast.AnnAssign):
            told = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            assert told, f"{ast.unparse(field)} says nothing"


def test_importing_recipes_loads_no_torch() -> None:
    code = (
        "import sys, videomae.recipes.pretrain, videomae.recipes.finetune, videomae.recipes.sizes\n"
        "heavy = {'torch', 'numpy', 'av', 'matplotlib', 'safetensors'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) if heavy else 0)"
    )

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr
