"""Named recipes: functions that return frozen configurations and derive from one another."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from typing import Any, TypeVar

from videomae.core.errors import ConfigError
from videomae.recipes.finetune import FinetuneRecipe
from videomae.recipes.pretrain import PretrainRecipe
from videomae.recipes.recipe import TrainingRecipe

Recipe = TypeVar("Recipe", bound=TrainingRecipe)

KINDS: dict[str, type[TrainingRecipe]] = {"pretrain": PretrainRecipe, "finetune": FinetuneRecipe}


@dataclass(frozen=True, kw_only=True)
class RecipeEntry:
    """A named recipe and what is known about it.

    Args:
        name: of the recipe.
        parent: the recipe that it derives from; empty for a root.
        kind: "pretrain" or "finetune".
        about: what it is, in one line.
        data_set: that it was published with; empty where it is for any.
        source: the publication.
        top1: published accuracy in percent on the data set; of a pre-training, after fine-tuning. None: none published.
        top5: the same within the first five guesses.
        make: gives the recipe.
    """

    name: str
    parent: str
    kind: str
    about: str
    data_set: str
    source: str
    top1: float | None
    top5: float | None
    make: Callable[[], TrainingRecipe]


_entries: dict[str, RecipeEntry] = {}


def named(
    *,
    data_set: str = "",
    source: str = "",
    top1: float | None = None,
    top5: float | None = None,
) -> Callable[[Callable[[], Recipe]], Callable[[], Recipe]]:
    """Enter a function that returns a recipe under the function's name; its docstring is what it is about.

    The recipe that the function derives still has the name of the one that it was derived from: that is its parent.
    """

    def enter(function: Callable[[], Recipe]) -> Callable[[], Recipe]:
        name = function.__name__.replace("_", "-")
        derived = function()
        kind = kind_of(derived)

        @wraps(function)
        def make() -> Recipe:
            return dataclasses.replace(function(), recipe=name)

        _entries[name] = RecipeEntry(
            name=name,
            parent="" if derived.recipe == name else derived.recipe,
            kind=kind,
            about=(function.__doc__ or "").splitlines()[0].rstrip("."),
            data_set=data_set,
            source=source,
            top1=top1,
            top5=top5,
            make=make,
        )
        return make

    return enter


def entries() -> list[RecipeEntry]:
    """All named recipes: pre-training, then fine-tuning, each in the order of the tables that they are from."""
    _load_all()
    return sorted(_entries.values(), key=lambda entry: list(KINDS).index(entry.kind))


def find_entry(name: str) -> RecipeEntry:
    """The named recipe.

    Raises:
        ConfigError: if there is none; names the nearest.
    """
    _load_all()
    if name not in _entries:
        close = difflib.get_close_matches(name, _entries, n=1, cutoff=0.4)
        raise ConfigError(
            f"recipe {name!r}",
            expected="a name that `videomae recipes` lists, or a run's folder or recipe.json",
            hint=f"did you mean {close[0]}?" if close else "see videomae recipes",
        )
    return _entries[name]


def kind_of(recipe: TrainingRecipe) -> str:
    """The command that a recipe is for."""
    return next(kind for kind, made in KINDS.items() if isinstance(recipe, made))


def base_of(recipe: TrainingRecipe) -> RecipeEntry:
    """The named recipe that the settings are based on; of one that somebody made, the plain one of its kind."""
    try:
        return find_entry(recipe.recipe or kind_of(recipe))
    except ConfigError:
        return find_entry(kind_of(recipe))


def changed_fields(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Names of the fields that differ, those of which one has none too; which recipe it began as does not count."""
    names = list(dict.fromkeys((*after, *before)))
    absent = object()
    return [name for name in names if name != "recipe" and before.get(name, absent) != after.get(name, absent)]


def _load_all() -> None:
    for module in ("presets", "published_v1", "published_v2"):
        import_module(f"videomae.recipes.{module}")
