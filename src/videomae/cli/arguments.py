"""Parsing the options of a command, with errors of one line."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import itertools
import re
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from videomae.api.error_wording import in_command_words
from videomae.core.choices import ImageSize
from videomae.core.errors import InputError

if TYPE_CHECKING:
    from tyro.constructors import ConstructorRegistry

Options = TypeVar("Options")

HELP = frozenset({"-h", "--help", "--help-all"})
_KINDS = {"INT": "a whole number", "FLOAT": "a number"}


class UsageError(InputError):
    """The command line itself is wrong: an unknown option, a value of the wrong type, a missing argument."""


def require_at_least(least: int, option: str, value: int) -> None:
    """Raise a UsageError unless `value` is `least` or more."""
    if value < least:
        raise UsageError(f"{option} {value}", expected=f"{least} or more", hint="give a larger number")


def option_names(options: type) -> set[str]:
    """The options of a command, such as `--output`; a yes/no one has two names."""
    from tyro.conf import Positional

    positional = get_args(Positional[str])[1]
    names: set[str] = set()
    for name, kind in get_type_hints(options, include_extras=True).items():
        bare, *marks = get_args(kind) if get_origin(kind) is Annotated else (kind,)
        if dataclasses.is_dataclass(bare) and isinstance(bare, type):
            names |= option_names(bare)
        elif positional not in marks:
            option = name.replace("_", "-")
            names |= {f"--{option}", f"--no-{option}"} if bare is bool else {f"--{option}"}
    return names


def options_of(command: str) -> set[str]:
    """All options of a command, those of its subcommands too."""
    module = import_module(f"videomae.cli.{command.replace('-', '_')}")
    found = [value for value in vars(module).values() if isinstance(value, type) and dataclasses.is_dataclass(value)]
    return {"--help"}.union(*(option_names(kind) for kind in found if kind.__module__ == module.__name__))


def in_words_of(command: str, error: InputError) -> InputError:
    """The error with its hint in the words of `videomae COMMAND`."""
    hint = in_command_words(error.hint, command, options_of(command))
    return type(error)(error.value, expected=error.expected, hint=hint)


def refuse_unknown_options(options: type, arguments: Sequence[str], *, command: str) -> None:
    """Raise a UsageError that names the options that `videomae COMMAND` does not have, with the nearest that it has.

    A misspelled option is often why another one is missing, so this comes before everything else.
    """
    known = option_names(options)
    words = [word.partition("=")[0] for word in itertools.takewhile(lambda word: word != "--", arguments)]
    given = dict.fromkeys(word for word in words if re.match(r"--?[A-Za-z_]", word) and word not in HELP)
    unknown = [word for word in given if f"--{word.lstrip('-').replace('_', '-')}" not in known or word[:2] != "--"]
    if not unknown:
        return
    near = [match for word in unknown for match in difflib.get_close_matches(word, sorted(known), n=1)]
    suggestion = f"did you mean {' and '.join(near)}? " if near else ""
    raise UsageError(
        f"unknown option{'s' if len(unknown) > 1 else ''} {' and '.join(unknown)}",
        expected=f"options of videomae {command}",
        hint=f"{suggestion}see videomae {command} --help",
    )


def parse(options: type[Options], arguments: list[str], *, command: str, default: Options | None = None) -> Options:
    """The options of `videomae COMMAND` from its arguments; `--help` prints the help and leaves.

    Raises:
        UsageError: in one line, where tyro draws a box.
    """
    refuse_unknown_options(options, arguments, command=command)
    if HELP & set(arguments):
        from videomae.cli.help import help_text

        print(help_text(options, command, default=default, show_all="--help-all" in arguments))
        raise SystemExit(0)
    import tyro

    keywords: dict[str, Any] = {} if default is None else {"default": default}
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(
                options,
                prog=f"videomae {command}",
                args=arguments,
                registry=_image_sizes(),
                **keywords,
            )
    except SystemExit as leaving:
        if not leaving.code:
            raise
        raise _usage_error(box.getvalue(), command, options) from None


def _image_sizes() -> ConstructorRegistry:
    """How tyro reads an image size: one word, such as 224 or 192x320, so that no argument after it is taken for one."""
    from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

    registry = ConstructorRegistry()

    @registry.primitive_rule
    def rule(about: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        if about.type not in (ImageSize, ImageSize | None):
            return None
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar="N|HxW",
            instance_from_str=lambda words: _image_size(words[0]),
            is_instance=lambda value: value is None or isinstance(value, int | tuple),
            str_from_instance=lambda size: ["x".join(map(str, size)) if isinstance(size, tuple) else str(size)],
        )

    return registry


def _image_size(word: str) -> ImageSize | None:
    if not re.fullmatch(r"-?\d+([x×]-?\d+)?", word):
        raise ValueError(f"image size '{word}'")
    high, *wide = map(int, re.split("[x×]", word))
    return (high, wide[0]) if wide else high


def _usage_error(box: str, command: str, options: type) -> UsageError:
    """tyro's error box as one of our errors; an unknown message is passed through."""
    lines = _inside(box)
    paragraphs = _paragraphs(lines)
    said = paragraphs[0] if paragraphs else "unreadable arguments"
    value, expected = _explain(said, _missing(lines), command, options)
    return UsageError(value, expected=expected, hint=f"see videomae {command} --help")


def _explain(said: str, missing: list[str], command: str, options: type) -> tuple[str, str]:
    """The value that is at fault, and what was expected, from the first paragraph of tyro's box."""
    if missing:
        return f"{command} without {' and '.join(missing)}", f"{' and '.join(missing)} to be given"
    if found := re.match(r"Unrecognized options: (.*)", said):
        return f"unknown argument {' '.join(found[1].split(', '))}", f"the arguments of videomae {command}"
    if found := re.match(r"Missing value for argument '(.+?)'", said):
        return f"{found[1]} without a value", "a value after it"
    if found := re.match(r"invalid choice '(.*)' for argument '(.+?)'\. Expected one of \((.*)\)", said):
        choices = _declared_choices(options, found[2]) or sorted(re.findall(r"'(.*?)'", found[3]))
        return f"{found[2]} {found[1]}", " or ".join(choices)
    if found := re.match(r"Error parsing (\S+): .*\bint\(\).*: '(.*)'", said):
        return f"{found[1]} {found[2]}", _KINDS["INT"]
    if found := re.match(r"Error parsing (\S+): image size '(.*)'", said):
        return f"{found[1]} {found[2]}", "a number of pixels, or height and width, such as 192x320"
    if found := re.match(r"Error parsing (\S+): could not convert string to float: '(.*)'", said):
        return f"{found[1]} {found[2]}", _KINDS["FLOAT"]
    if found := re.match(r"Error parsing (\S+): no type matching \{None\}\|(\w+) could be .* from \['(.*)'\]", said):
        return f"{found[1]} {found[3]}", _KINDS.get(found[2], found[2])
    return said.rstrip("."), f"the options of videomae {command}"


def _declared_choices(options: type, option: str) -> list[str]:
    """The values of a Literal option as declared; where it may be None too, tyro's order changes from run to run."""
    for name, kind in get_type_hints(options).items():
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            if found := _declared_choices(kind, option):
                return found
        elif name == option.removeprefix("--").replace("-", "_"):
            members = [kind, *get_args(kind)]
            return [str(value) for member in members if get_origin(member) is Literal for value in get_args(member)]
    return []


def _missing(lines: list[str]) -> list[str]:
    """Names of the required arguments that are said to be missing; their explanations stand further in."""
    if not lines or not lines[0].startswith("Missing from"):
        return []
    listed = itertools.takewhile(lambda line: not _is_rule(line), lines)
    return [line.split()[0] for line in listed if re.match(r" {4}\S", line)]


def _paragraphs(lines: list[str]) -> list[str]:
    """Each paragraph in one line."""
    groups = itertools.groupby(lines, key=lambda line: not line.strip() or _is_rule(line))
    return [" ".join(line.strip() for line in group) for is_gap, group in groups if not is_gap]


def _inside(box: str) -> list[str]:
    """The lines of tyro's box without frame and title: drawn, or plain where the output's encoding is not UTF-8."""
    lines = box.splitlines()
    body = lines[1:-1] if box.startswith("╭") else lines[2:]
    return [line[2:].rstrip(" │") for line in body]


def _is_rule(line: str) -> bool:
    return bool(line.strip()) and set(line.strip()) <= set("─-")
