"""Errors in the words of whoever called: parameters in Python, options at the command line.

Code below writes what both have in common as options (`--num-workers 4`); this module, and no other, maps them.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from videomae.core.errors import InputError

# Words for Python → words for the command line; where there is no such option, the clause is dropped.
_PHRASES = {
    "or pass local_files_only=True to use only what is cached": "or set HF_HUB_OFFLINE=1 to use only what is cached",
    "pass token=": "run `hf auth login`, or set HF_TOKEN",
    "log in or run `hf auth login`": "run `hf auth login`",
}
_OPTIONS = {"num_clips": "--clips", "num_crops": "--crops", "num_neighbors": "--neighbors", "num_seeds": "--seeds"}
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


def in_command_words(hint: str, command: str, options: Collection[str]) -> str:
    """A hint as `videomae COMMAND` gives it: with its options for Python's parameters, without what it lacks.

    Args:
        hint: of an InputError.
        command: such as "finetune".
        options: all that the command has, such as `--output`.
    """
    for python, words in _PHRASES.items():
        hint = hint.replace(python, words)
    if not ("--" in hint or "_" in hint or _CODE.search(hint) or _PYTHON_NAMES.search(hint)):
        return hint
    names = {option.removeprefix("--").replace("-", "_"): option for option in options if "-" in option[2:]}
    for name, option in {**names, **{key: option for key, option in _OPTIONS.items() if option in options}}.items():
        hint = re.sub(_WORD.format(name), option, hint)
    sentences = [_joined([c for c in re.split(r", (?=\S)", part) if _fits(c, options)]) for part in hint.split("; ")]
    return "; ".join(filter(None, sentences)) or f"see videomae {command} --help"


def _fits(clause: str, options: Collection[str]) -> bool:
    if _OTHER_PROGRAMS.search(clause) and "help(videomae" not in clause:
        return True
    if _CODE.search(_ENVIRONMENT.sub("", clause)) or _PYTHON_NAMES.search(clause):
        return False
    return all(option in options for option in re.findall(r"--[a-z][\w-]*", clause))


def _joined(clauses: list[str]) -> str:
    """Alternatives in one sentence, of which some may have been dropped."""
    return ", ".join(clauses).removeprefix("or ")


# `--name`, with the value that follows it where it is a value and not the next word of the sentence.
_OPTION = re.compile(
    r"(?<![\w/-])--([a-z][a-z0-9-]*)"
    r"(?:[ =](\d[\w.]*|[A-Z][A-Z_.]*\b|(?:auto|fp32|bf16|fp16|int8|cpu|none|linear|dense)\b))?"
)
# Commands that are functions in Python; the words in capitals behind them are their arguments.
_COMMAND = re.compile(
    r"`?\bvideomae (pretrain|finetune|evaluate|probe|predict|embed|reconstruct|scan|pack|recipes)\b(?! --)"
    r"((?: [A-Z]{3,}\b)*+)(?! --)`?"
)
# Parameters that are True or False.
_FLAGS = {"count_broken_as_wrong", "overwrite", "resume_anyway", "windows"}
_HELP = re.compile(r"\bvideomae (\w+) --help")


def in_python_words(error: InputError) -> InputError:
    """The error as a Python program reads it: `--num-workers 4` becomes `num_workers=4`."""
    value, expected, hint = map(_as_parameters, (error.value, error.expected, error.hint))
    return type(error)(value, expected=expected, hint=hint)


def _as_parameters(text: str) -> str:
    # Commands of a shell stay as they are: other things in backticks, and the options of other programs.
    text = _COMMAND.sub(_call, text)
    return "".join(
        piece if piece.startswith("`") else "; ".join(map(_clause_as_parameters, piece.split("; ")))
        for piece in re.split(r"(`[^`]*`)", text)
    )


def _clause_as_parameters(clause: str) -> str:
    clause = _HELP.sub(r"help(videomae.\1)", clause)
    if _OTHER_PROGRAMS.search(clause) and "help(videomae" not in clause:
        return clause
    return _OPTION.sub(_parameter, clause)


def _call(found: re.Match[str]) -> str:
    if found[1] == "recipes":
        return "`videomae.list_recipes()`"
    return f"`videomae.{found[1]}({', '.join(found[2].lower().split())})`"


def _parameter(found: re.Match[str]) -> str:
    name, value = found[1], found[2]
    if name.startswith("no-"):
        return f"{name.removeprefix('no-').replace('-', '_')}=False"
    name = name.replace("-", "_")
    if value is None:
        return f"{name}=True" if name in _FLAGS else name
    return f"{name}={value}" if value[0].isdigit() or value.isupper() else f'{name}="{value}"'
