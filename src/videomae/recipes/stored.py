"""A recipe by its name, or as a run stored it."""

from __future__ import annotations

import dataclasses
import difflib
import json
import logging
from pathlib import Path
from typing import Any

from videomae.core.errors import ConfigError
from videomae.recipes.recipe import TrainingRecipe
from videomae.recipes.registry import KINDS, find_entry

RECIPE_NAME = "recipe.json"

logger = logging.getLogger("videomae")


def find_recipe(source: str, *, kind: str | None = None) -> TrainingRecipe:
    """A named recipe, or the one that a run's folder or recipe.json holds.

    Args:
        source: name or path.
        kind: "pretrain" or "finetune", where the recipe must be for that; None takes both.

    Raises:
        ConfigError: if there is no such recipe, it is for the other command, or the file is damaged.
    """
    path = Path(source)
    if path.is_dir():
        path = path / RECIPE_NAME
    if path.is_file():
        found_kind, recipe = _read(path)
    else:
        entry = find_entry(source)
        found_kind, recipe = entry.kind, entry.make()
    if kind not in (None, found_kind):
        raise ConfigError(
            f"recipe {source!r} for {kind}",
            expected=f"a recipe for {kind}",
            hint=f"this one is for videomae {found_kind}; `videomae recipes` lists all",
        )
    return recipe


def _read(path: Path) -> tuple[str, TrainingRecipe]:
    try:
        stored: Any = json.loads(path.read_text(encoding="utf-8"))
        kind, values = stored["command"], dict(stored["recipe"])
        made = KINDS[kind]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}, which describes no run",
            expected=f"the {RECIPE_NAME} that pretrain and finetune write, with command and recipe",
            hint="give a run's folder, or a name that `videomae recipes` lists",
        ) from error
    drop_removed_fields(values, path)
    known = [field.name for field in dataclasses.fields(made)]
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise ConfigError(
                f"{name} in {path}",
                expected=f"fields of {kind}",
                hint=f"did you mean {close[0]}?" if close else f"see videomae {kind} --help",
            )
    recipe = made(**values)
    recipe.validate()
    return kind, recipe


def drop_removed_fields(values: Any, path: Path) -> None:
    """Remove fields of earlier versions from a stored recipe, and log one notice where that changes what is used.

    Args:
        values: the recipe as JSON gave it; anything but a dict is left alone.
        path: the file it was read from, for the notice.
    """
    if not isinstance(values, dict) or values.get("decoder") not in ("pyav", "torchcodec"):
        return
    if values.pop("decoder") == "torchcodec":
        logger.warning("%s: decoder=torchcodec was removed; the videos are decoded with PyAV, to the same frames", path)
