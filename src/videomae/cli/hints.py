"""Hints in the words of the command line: the code below it knows the parameters of Python too."""

from __future__ import annotations

import dataclasses
import re
from importlib import import_module

from videomae.cli.arguments import option_names
from videomae.core.errors import InputError

# What Python says → what a person at the command line can do; where that is nothing, the clause is dropped.
_PHRASES = {
    "or pass local_files_only=True to use only what is cached": "or set HF_HUB_OFFLINE=1 to use only what is cached",
    "pass token=": "run `hf auth login`, or set HF_TOKEN",
    "log in or run `hf auth login`": "run `hf auth login`",
}
_OPTIONS = {"num_clips": "--clips", "num_crops": "--crops", "num_neighbours": "--neighbours", "num_seeds": "--seeds"}
# Code, as `name=value` and `name(…)`, and names that mean nothing at the command line.
_CODE = re.compile(r"\b[A-Za-z_][\w.]*(=|\()|\*\*\w")
# Not as a part of a path.
_WORD = r"(?<![\w/.\\'\"-])(?:{})(?![\w/.\\'\"-])"
_PYTHON_NAMES = re.compile(
    _WORD.format(
        r"evaluate_classifier|evaluate_multi_label|frame_times|from_pretrained|image_processor|input_data_format"
        r"|num_[a-z_]+|problem_type|random_mask|read_video|return_tensors|sample_frame_indices|save_pretrained"
        r"|state_dict|torch|tube_mask|crop_and_resize"
    )
)
_OTHER_PROGRAMS = re.compile(r"\b(videomae|torchrun|accelerate|docker|pip|git)\b")
_ENVIRONMENT = re.compile(r"\b[A-Z][A-Z_]+=")


def options_of(command: str) -> set[str]:
    """All options of a command, those of its subcommands too."""
    module = import_module(f"videomae.cli.{command.replace('-', '_')}")
    found = [value for value in vars(module).values() if isinstance(value, type) and dataclasses.is_dataclass(value)]
    return {"--help"}.union(*(option_names(kind) for kind in found if kind.__module__ == module.__name__))


def in_command_words(hint: str, command: str) -> str:
    """A hint as `videomae COMMAND` gives it: with its options for Python's parameters, without what it lacks."""
    for python, words in _PHRASES.items():
        hint = hint.replace(python, words)
    if not ("--" in hint or "_" in hint or _CODE.search(hint) or _PYTHON_NAMES.search(hint)):
        return hint
    options = options_of(command)
    names = {option.removeprefix("--").replace("-", "_"): option for option in options if "-" in option[2:]}
    for name, option in {**names, **{key: option for key, option in _OPTIONS.items() if option in options}}.items():
        hint = re.sub(_WORD.format(name), option, hint)
    sentences = [_joined([c for c in re.split(r", (?=\S)", part) if _fits(c, options)]) for part in hint.split("; ")]
    return "; ".join(filter(None, sentences)) or f"see videomae {command} --help"


def _fits(clause: str, options: set[str]) -> bool:
    if _OTHER_PROGRAMS.search(clause):
        return True
    if _CODE.search(_ENVIRONMENT.sub("", clause)) or _PYTHON_NAMES.search(clause):
        return False
    return all(option in options for option in re.findall(r"--[a-z][\w-]*", clause))


def _joined(clauses: list[str]) -> str:
    """Alternatives in one sentence, of which some may have been dropped."""
    return ", ".join(clauses).removeprefix("or ")


def adapted(error: InputError, command: str) -> InputError:
    """The error with its hint in the words of `videomae COMMAND`."""
    return type(error)(error.value, expected=error.expected, hint=in_command_words(error.hint, command))
