"""`videomae recipes`, and `--recipe` of the training commands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import CLIP_WORDS, SPEED_WORDS, Commands, command_environment

from videomae.cli.finetune import FinetuneOptions
from videomae.cli.pretrain import PretrainOptions
from videomae.cli.recipe_options import parse_with_recipe
from videomae.core.errors import ConfigError
from videomae.recipes.registry import entries
from videomae.recipes.stored import find_recipe

FINETUNE = ["DATA", "--output", "out", "--init", "scratch"]


def test_the_list_has_all_recipes_with_what_was_published(commands: Commands) -> None:
    assert commands("recipes") == 0
    lines = [line.split() for line in commands.out.splitlines()]
    assert {line[0] for line in lines if line} >= {entry.name for entry in entries()}
    assert ["v1-finetune-ucf101-base", "UCF101", "base", "128", "100", "91.3", "/", "98.5"] in lines
    listed = commands.json("recipes")["recipes"]
    assert commands.json("recipes", "list")["recipes"] == listed
    assert [row["name"] for row in listed] == [entry.name for entry in entries()]
    assert all(row["recipe"]["recipe"] == row["name"] for row in listed)


def test_show_marks_what_differs_from_the_parent(commands: Commands) -> None:
    assert commands("recipes", "show", "v1-finetune-ssv2-small") == 0
    marked = {line.split()[1] for line in commands.out.splitlines() if line.startswith("*")}
    assert marked == {"differs", "size", "batch_size", "learning_rate", "epochs", "layer_decay"}
    assert "* differs from v1-finetune-ssv2" in commands.out
    assert "* layer_decay             0.7  (there 0.75)" in commands.out
    assert "top-1 66.8 %, top-5 90.3 %" in commands.out
    document = commands.json("recipes", "show", "v1-finetune-ssv2-small")
    assert set(document["differs"]) == marked - {"differs"}
    assert (document["parent"], document["kind"]) == ("v1-finetune-ssv2", "finetune")
    assert document["recipe"] == find_recipe("v1-finetune-ssv2-small").to_dict()


def test_a_root_differs_from_nothing(commands: Commands) -> None:
    assert commands("recipes", "show", "pretrain") == 0
    assert "*" not in commands.out


def test_runs_are_shown_and_compared_too(commands: Commands, tmp_path: Path) -> None:
    recipe = {**find_recipe("finetune-hundreds-gpu").to_dict(), "epochs": 3}
    (tmp_path / "recipe.json").write_text(json.dumps({"command": "finetune", "recipe": recipe}))
    assert commands("recipes", "show", tmp_path) == 0
    assert "* differs from finetune-hundreds-gpu" in commands.out
    assert [line.split()[1] for line in commands.out.splitlines() if line.startswith("*")] == ["differs", "epochs"]
    assert commands.json("recipes", "diff", "finetune-hundreds-gpu", tmp_path) == {"differs": {"epochs": [80, 3]}}
    assert commands("recipes", "diff", tmp_path / "recipe.json", tmp_path) == 0
    assert commands.out == "no difference\n"


def test_diff_of_two_kinds_lists_the_fields_of_one_only(commands: Commands) -> None:
    assert commands("recipes", "diff", "v1-finetune", "v1-pretrain") == 0
    rows = {line.split()[0]: line.split()[1:] for line in commands.out.splitlines()[1:]}
    assert rows["warmup_epochs"] == ["5", "40"]
    assert rows["drop_path"] == ["0.1"]
    assert rows["mask"] == ["tube"]
    assert rows["decoder_width"] == ["—"]


def test_what_recipes_refuses(commands: Commands) -> None:
    assert "did you mean v1-finetune?" in commands.refused("recipes", "show", "v1-finetun")
    assert "write videomae recipes show pretrain" in commands.refused("recipes", "pretrain")
    assert "did you mean videomae recipes show?" in commands.refused("recipes", "shwo", "pretrain")
    assert "without B" in commands.refused("recipes", "diff", "pretrain")
    assert "without NAME" in commands.refused("recipes", "show")


def test_a_named_recipe_is_where_the_options_begin() -> None:
    words = [*FINETUNE, "--recipe", "v1-finetune-ucf101-base", "--epochs", "3", "--rand-augment", "", "--no-flip"]
    options = parse_with_recipe(FinetuneOptions, words, kind="finetune")
    expected = {**find_recipe("v1-finetune-ucf101-base").to_dict(), "epochs": 3, "rand_augment": "", "flip": False}
    assert options.recipe.to_dict() == expected
    again = parse_with_recipe(
        FinetuneOptions, [*FINETUNE, "--recipe=v1-finetune", "--recipe=v2-finetune"], kind="finetune"
    )
    assert again.recipe == find_recipe("v2-finetune")


def test_without_a_name_the_defaults_are_taken() -> None:
    options = parse_with_recipe(PretrainOptions, ["DATA", "--output", "out"], kind="pretrain")
    assert options.recipe == find_recipe("pretrain")


def test_a_rate_replaces_the_recipes_stride() -> None:
    words = [*FINETUNE, "--recipe", "v1-finetune-k400-small", "--frame-rate", "7.5"]
    recipe = parse_with_recipe(FinetuneOptions, words, kind="finetune").recipe
    assert (recipe.frame_rate, recipe.frame_stride) == (7.5, None)


def test_a_runs_recipe_is_taken_with_the_name_that_it_began_with(tmp_path: Path) -> None:
    recipe = {**find_recipe("v2-pretrain-base").to_dict(), "epochs": 9}
    (tmp_path / "recipe.json").write_text(json.dumps({"command": "pretrain", "recipe": recipe}))
    words = ["DATA", "--output", "out", "--recipe", str(tmp_path)]
    assert parse_with_recipe(PretrainOptions, words, kind="pretrain").recipe.to_dict() == recipe


def test_recipe_names_that_do_not_fit_are_refused(commands: Commands) -> None:
    words = ["pretrain", "DATA", "--output", "out", "--recipe"]
    assert "this one is for videomae finetune" in commands.refused(*words, "v1-finetune")
    assert "did you mean v1-pretrain?" in commands.refused(*words, "v1-pretrian")
    assert "did you mean --mask-ratio?" in commands.refused(*words, "v1-pretrain", "--mask-rato", "0.5")
    assert "--recipe without a value" in commands.refused(*words)
    assert "pretrain without DATA and --output" in commands.refused("pretrain", "--recipe", "v1-pretrain")


def test_a_value_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match="drop_path=1"):
        parse_with_recipe(FinetuneOptions, [*FINETUNE, "--drop-path", "1"], kind="finetune")


def test_the_name_is_kept_with_the_run(commands: Commands, colors: Path, tmp_path: Path) -> None:
    run = [*CLIP_WORDS, *SPEED_WORDS, "--epochs", "1", "--batch-size", "18", "--views", "1", "--decoder-depth", "1"]
    run += ["--recipe", "v1-pretrain-ucf101-base"]
    assert commands("pretrain", colors, "--output", tmp_path, *run) == 0, commands.err
    stored = json.loads((tmp_path / "recipe.json").read_text())["recipe"]
    assert stored["recipe"] == "v1-pretrain-ucf101-base"
    assert stored["mask_ratio"] == 0.75
    differs = commands.json("recipes", "show", tmp_path)["differs"]
    assert {"epochs", "batch_size", "size", "num_frames", "decoder_depth"} <= set(differs)


def test_help_of_a_recipe_shows_its_values_and_loads_no_torch() -> None:
    code = (
        "import sys; from videomae.cli.main import main\n"
        "status = main(['finetune', '--recipe', 'v1-finetune-ucf101-base', '--help'])\n"
        "sys.exit('torch was loaded' if 'torch' in sys.modules else status)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code],
        env={**command_environment(), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert "(default: 0.35)" not in shown.stdout
    assert "v1-finetune-ucf101-base" in shown.stdout
    assert "128" in shown.stdout
