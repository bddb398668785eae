"""`videomae completion`: a script with which the shell completes commands, options and their choices."""

from __future__ import annotations

import dataclasses
import re
import shlex
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Literal, NamedTuple, get_args

from tyro.conf import Positional, arg

from videomae.cli.arguments import parse
from videomae.cli.console import EXIT_DONE, print_json
from videomae.cli.help import listed_options

Shell = Literal["bash", "zsh", "fish"]


@dataclass(frozen=True, kw_only=True)
class CompletionOptions:
    """Print a script with which the Tab key completes commands and options.

    bash: videomae completion bash >> ~/.bash_completion
    zsh:  videomae completion zsh >> ~/.zshrc
    fish: videomae completion fish > ~/.config/fish/completions/videomae.fish
    """

    shell: Annotated[Positional[Shell], arg(metavar="|".join(get_args(Shell)))]
    """Which shell."""
    json: bool = False
    """Print one JSON document on stdout."""


class _Completed(NamedTuple):
    """An option: its names, its text, the words that it takes, and whether it takes a value."""

    names: tuple[str, ...]
    text: str
    choices: tuple[str, ...]
    has_value: bool


def run(arguments: list[str]) -> int:
    """Parse, print."""
    options = parse(CompletionOptions, arguments, command="completion")
    from videomae.cli.main import COMMANDS

    commands = {name: _options_of(name) for name in COMMANDS}
    texts = {name: text for name, (text, _) in COMMANDS.items()}
    is_fish = options.shell == "fish"
    script = _fish(commands, texts) if is_fish else _bash(commands, is_zsh=options.shell == "zsh")
    if options.json:
        print_json({"shell": options.shell, "script": script})
    else:
        print(script)
    return EXIT_DONE


def _options_of(command: str) -> list[_Completed]:
    module = import_module(f"videomae.cli.{command.replace('-', '_')}")
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and dataclasses.is_dataclass(kind)]
    found: dict[str, _Completed] = {}
    for kind in kinds:
        if kind.__module__ != module.__name__ or kind.__name__.startswith("_"):
            continue
        for usage, text in listed_options(kind):
            if usage.startswith("--"):
                names = tuple(re.findall(r"--[\w-]+", usage))
                value = usage.rpartition(" ")[2] if "," not in usage and " " in usage else ""
                # Choices are words with a bar between them; N|HxW are kinds of numbers.
                choices = tuple(value.split("|")) if "|" in value and not value.isupper() and "HxW" not in value else ()
                found[names[0]] = _Completed(names, text.split(". ")[0].rstrip("."), choices, bool(value))
    return [*found.values(), _Completed(("--help",), "Print the help", (), False)]


def _bash(commands: dict[str, list[_Completed]], *, is_zsh: bool) -> str:
    lines = ["# Completes the commands and options of videomae; files where no option is meant."]
    if is_zsh:
        lines.append("autoload -Uz compinit bashcompinit && compinit && bashcompinit")
    lines += [
        "_videomae() {",
        '  local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}" words=""',
        '  if [ "$COMP_CWORD" -eq 1 ] || { [ "$COMP_CWORD" -eq 2 ] && [ "$previous" = help ]; }; then',
        f'    COMPREPLY=($(compgen -W "{" ".join([*commands, "help"])}" -- "$current")); return',
        "  fi",
        '  case "${COMP_WORDS[1]}:$previous" in',
    ]
    for command, options in commands.items():
        lines += [
            f'    {command}:{name}) words="{" ".join(option.choices)}" ;;'
            for option in options
            if option.choices
            for name in option.names
        ]
    lines += [
        "  esac",
        '  if [ -z "$words" ] && [ "${current#-}" != "$current" ]; then',
        '    case "${COMP_WORDS[1]}" in',
    ]
    for command, options in commands.items():
        names = " ".join(name for option in options for name in option.names)
        lines.append(f'      {command}) words="{names}" ;;')
    lines += [
        "    esac",
        "  fi",
        '  COMPREPLY=($(compgen -W "$words" -- "$current"))',
        "}",
        "complete -o default -F _videomae videomae",
    ]
    return "\n".join(lines)


def _fish(commands: dict[str, list[_Completed]], texts: dict[str, str]) -> str:
    lines = ["# Completes the commands and options of videomae."]
    for command, text in {**texts, "help": "the help of a command"}.items():
        lines.append(f"complete -c videomae -n __fish_use_subcommand -f -a {command} -d {shlex.quote(text)}")
    for command, options in commands.items():
        for option in options:
            names = " ".join(f"-l {name.removeprefix('--')}" for name in option.names)
            value = (
                f" -x -a {shlex.quote(' '.join(option.choices))}"
                if option.choices
                else " -r"
                if option.has_value
                else ""
            )
            seen = shlex.quote(f"__fish_seen_subcommand_from {command}")
            lines.append(f"complete -c videomae -n {seen} {names}{value} -d {shlex.quote(option.text)}")
    return "\n".join(lines)
