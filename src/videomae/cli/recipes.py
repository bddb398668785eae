"""`videomae recipes [list]`, `videomae recipes show NAME`, `videomae recipes diff A B`."""

from __future__ import annotations

import dataclasses
import difflib
import shlex
from dataclasses import dataclass
from typing import Annotated, Any

from tyro.conf import Positional, arg

from videomae.cli.arguments import UsageError, parse
from videomae.cli.console import EXIT_DONE, print_json
from videomae.recipes.recipe import TrainingRecipe
from videomae.recipes.registry import RecipeEntry, changed_fields, entries, find_entry, kind_of
from videomae.recipes.stored import find_recipe

_ABSENT = "—"
_NO_ENTRY: dict[str, Any] = {}


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """List the recipes that --recipe takes; `recipes show NAME` prints one, `recipes diff A B` compares two."""

    json: bool = False
    """Print one JSON document on stdout."""


@dataclass(frozen=True, kw_only=True)
class ShowOptions:
    """Print all settings of a recipe; what differs from the recipe it derives from is marked with a star."""

    recipe: Annotated[Positional[str], arg(metavar="NAME")]
    """A name that `videomae recipes` lists, or a run's folder or recipe.json."""
    json: bool = False
    """Print one JSON document on stdout."""


@dataclass(frozen=True, kw_only=True)
class DiffOptions:
    """Print the settings in which two recipes differ."""

    first: Annotated[Positional[str], arg(metavar="A")]
    """A name that `videomae recipes` lists, or a run's folder or recipe.json."""
    second: Annotated[Positional[str], arg(metavar="B")]
    """The same of the other."""
    json: bool = False
    """Print one JSON document on stdout."""


def run(arguments: list[str]) -> int:
    """Parse, look up, print."""
    word = next((word for word in arguments if not word.startswith("-")), None)
    if word is None:
        return _list(parse(ListOptions, arguments, command="recipes"))
    rest = list(arguments)
    rest.remove(word)
    if word == "list":
        return _list(parse(ListOptions, rest, command="recipes list"))
    if word == "show":
        return _show(parse(ShowOptions, rest, command="recipes show"))
    if word == "diff":
        return _diff(parse(DiffOptions, rest, command="recipes diff"))
    close = difflib.get_close_matches(word, ("list", "show", "diff"), n=1)
    raise UsageError(
        f"recipes {word}",
        expected="list, show NAME or diff A B",
        hint=f"did you mean videomae recipes {close[0]}?"
        if close
        else f"write videomae recipes show {shlex.quote(word)}",
    )


def _list(options: ListOptions) -> int:
    listed = entries()
    if options.json:
        print_json({"recipes": [_described(entry) for entry in listed]})
        return EXIT_DONE
    heads = ("name", "data set", "size", "batch", "epochs", "top-1 / top-5")
    for kind, title in (("pretrain", "pre-training (accuracy after fine-tuning)"), ("finetune", "fine-tuning")):
        rows = [_row(entry) for entry in listed if entry.kind == kind]
        widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
        print(f"{title}\n{_line(heads, widths)}")
        print("\n".join(_line(row, widths) for row in rows), end="\n\n")
    print("videomae recipes show NAME shows all settings; any of them can be changed on the command line.")
    return EXIT_DONE


def _row(entry: RecipeEntry) -> tuple[str, ...]:
    recipe = entry.make()
    is_shared = entry.source and not recipe.size
    accuracy = _ABSENT if entry.top1 is None else f"{entry.top1:.1f} / {entry.top5:.1f}"
    counts = (_ABSENT, _ABSENT) if is_shared else (str(recipe.batch_size), str(recipe.epochs))
    return entry.name, entry.data_set or (_ABSENT if entry.source else "any"), recipe.size or _ABSENT, *counts, accuracy


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    return "  " + "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _described(entry: RecipeEntry) -> dict[str, Any]:
    values = {name: value for name, value in vars(entry).items() if name != "make"}
    return {**values, "recipe": entry.make().to_dict()}


def _show(options: ShowOptions) -> int:
    recipe = find_recipe(options.recipe)
    parent, entry = _parent_of(options.recipe, recipe)
    changed = changed_fields(parent.to_dict(), recipe.to_dict()) if parent is not None else []
    if options.json:
        described = _NO_ENTRY if entry is None else _described(entry)
        document = {"kind": kind_of(recipe), "parent": parent and parent.recipe, "differs": changed}
        print_json({**described, **document, "recipe": recipe.to_dict()})
        return EXIT_DONE
    print(f"{options.recipe}: for videomae {kind_of(recipe)}")
    if entry is not None:
        print(
            ". ".join(
                part for part in (entry.about, entry.data_set and f"Data: {entry.data_set}", entry.source) if part
            )
        )
        if entry.top1 is not None:
            print(f"published accuracy: top-1 {entry.top1:.1f} %, top-5 {entry.top5:.1f} %")
    if parent is not None:
        print(f"* differs from {parent.recipe}")
    before = {} if parent is None else parent.to_dict()
    width = max(len(field.name) for field in dataclasses.fields(recipe))
    for name, value in recipe.to_dict().items():
        was = f"  (there {_shown(before[name])})" if name in changed else ""
        print(f"{'*' if name in changed else ' '} {name:<{width}}  {_shown(value)}{was}")
    return EXIT_DONE


def _parent_of(source: str, recipe: TrainingRecipe) -> tuple[TrainingRecipe | None, RecipeEntry | None]:
    """What the recipe is compared with: of a named one its parent, of a run's the one that the run began with."""
    known = {entry.name for entry in entries()}
    if source == recipe.recipe and source in known:
        entry = find_entry(source)
        return (find_recipe(entry.parent) if entry.parent else None), entry
    return (find_recipe(recipe.recipe) if recipe.recipe in known else None), None


def _diff(options: DiffOptions) -> int:
    first, second = find_recipe(options.first), find_recipe(options.second)
    before, after = first.to_dict(), second.to_dict()
    changed = changed_fields(before, after)
    if options.json:
        print_json({"differs": {name: [before.get(name), after.get(name)] for name in changed}})
        return EXIT_DONE
    if not changed:
        print("no difference")
        return EXIT_DONE
    rows = [(name, *(_shown(side[name]) if name in side else "" for side in (before, after))) for name in changed]
    heads = ("", options.first, options.second)
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(3)]
    print("\n".join(_line(row, widths) for row in [heads, *rows]))
    return EXIT_DONE


def _shown(value: Any) -> str:
    if value is None:
        return _ABSENT
    return f"{value:g}" if isinstance(value, float) else str(value) or "''"
