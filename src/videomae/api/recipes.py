"""Recipes by name."""

from __future__ import annotations

from videomae.api._public import public
from videomae.recipes.recipe import TrainingRecipe
from videomae.recipes.registry import entries
from videomae.recipes.stored import find_recipe


@public
def get_recipe(name: str) -> TrainingRecipe:
    """All settings of a recipe, as a frozen dataclass; `dataclasses.replace` changes them.

    Args:
        name: one of `list_recipes()`, or the path of a run's folder or recipe.json.

    Returns:
        A `PretrainRecipe` or a `FinetuneRecipe`.

    Raises:
        ConfigError: if there is no such recipe.
    """
    return find_recipe(name)


def list_recipes() -> dict[str, str]:
    """The names of all recipes, each with a line about it."""
    return {entry.name: entry.about for entry in entries()}
