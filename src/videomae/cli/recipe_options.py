"""Options of the commands that take a recipe: `--recipe NAME` first, then every field by its own option."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeVar

from videomae.cli.arguments import parse, refuse_unknown_options
from videomae.recipes.finetune import ALL_LAYERS
from videomae.recipes.recipe import AUTOMATIC
from videomae.recipes.stored import find_recipe

Options = TypeVar("Options")

# Words for numbers, by option.
_NUMBERS = {("--batch-size", "auto"): AUTOMATIC, ("--freeze", "all"): ALL_LAYERS}


def parse_with_recipe(options: type[Options], arguments: list[str], *, kind: str) -> Options:
    """The options of a training command; those that are not given are the recipe's that `--recipe` names.

    Args:
        options: has the fields `data`, `output`, `recipe` and `dry_run`.
        arguments: of the command line.
        kind: the command, "pretrain" or "finetune".

    Raises:
        InputError: for unknown or missing options, another kind of recipe, or values out of range.
    """
    import tyro

    refuse_unknown_options(options, arguments, command=kind)
    arguments = _with_numbers(arguments)
    given: dict[str, Any] = {
        field.name: tyro.MISSING
        for field in dataclasses.fields(options)  # type: ignore[arg-type]
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    if "--dry-run" not in arguments:
        given["output"] = tyro.MISSING
    source = _value_of("recipe", arguments)
    started = None if source is None else find_recipe(source, kind=kind)
    if started is not None:
        given["recipe"] = _with_one_distance(started, arguments)
    parsed: Any = parse(options, arguments, command=kind, default=options(**given))
    if started is not None:
        parsed = dataclasses.replace(parsed, recipe=dataclasses.replace(parsed.recipe, recipe=started.recipe))
    parsed.recipe.validate()
    result: Options = parsed
    return result


def _with_numbers(arguments: list[str]) -> list[str]:
    """The arguments with the numbers that `--batch-size auto` and `--freeze all` stand for."""
    found = list(arguments)
    for index, word in enumerate(arguments):
        before, _, value = word.rpartition("=") if "=" in word else (arguments[index - 1] if index else "", "", word)
        number = _NUMBERS.get((before.replace("_", "-"), value))
        if number is not None:
            found[index] = f"{before}={number}" if "=" in word else str(number)
    return found


def _value_of(name: str, arguments: list[str]) -> str | None:
    """What follows the option, the last time it is given; a missing value is reported by the parser."""
    found = None
    for index, word in enumerate(arguments):
        if word.startswith(f"--{name}="):
            found = word.removeprefix(f"--{name}=")
        elif word == f"--{name}" and index + 1 < len(arguments):
            found = arguments[index + 1]
    return found


def _with_one_distance(recipe: Any, arguments: list[str]) -> Any:
    """The recipe without its stride where a rate is asked for, and the other way round: a clip has one of them."""
    if _value_of("frame-rate", arguments) is not None:
        return dataclasses.replace(recipe, frame_stride=None)
    if _value_of("frame-stride", arguments) is not None:
        return dataclasses.replace(recipe, frame_rate=None)
    return recipe


def require_output(output: Path | None) -> Path:
    """The output folder of a run; the parser has seen to it that there is one."""
    assert output is not None
    return output
