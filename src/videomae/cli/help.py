"""`videomae COMMAND --help`: from the options' own declarations, so that no parser has to be loaded."""

from __future__ import annotations

import dataclasses
import inspect
import shutil
import textwrap
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from videomae.core.choices import ImageSize
from videomae.core.field_texts import field_texts

# Group → (a line about it, its options). The training commands have some fifty options; `--help` shows these, and
# `--help-all` the others too, in the group "more".
Groups = Mapping[str, tuple[str, tuple[str, ...]]]
_TRAINING: Groups = {
    "data": ("what is read", ("data", "val", "val_share", "folds", "group", "video_root")),
    "model": ("what is trained", ("init", "size", "num_frames", "image_size", "frame_stride", "freeze")),
    "optimization": ("how it is trained", ("recipe", "epochs", "time_budget", "batch_size", "learning_rate", "seed")),
    "masking": ("what is hidden", ("mask", "mask_ratio")),
    "augmentation": ("how clips are varied", ("mixup", "flip")),
    "run time": ("where and how fast", ("device", "precision", "num_workers")),
    "output": ("what is written", ("output", "dry_run", "json", "help")),
}
GROUPS: Mapping[str, Groups] = {"pretrain": _TRAINING, "finetune": _TRAINING}
_MAX_WIDTH = 110
_INDENT = 26


@dataclasses.dataclass(frozen=True)
class _Option:
    """An option as it is shown."""

    name: str
    usage: str
    text: str


def help_text(options: type, command: str, *, default: Any = None, show_all: bool = False) -> str:
    """The help of a command.

    Args:
        options: the dataclass of its options.
        command: such as "finetune".
        default: an instance whose values are the defaults; None for those of the class.
        show_all: also the options that few people need.
    """
    found = {option.name: option for option in _options(options, default)}
    positional = [option.usage for option in found.values() if not option.usage.startswith("-")]
    lines = [f"usage: videomae {' '.join([command, *positional])} [options]", "", inspect.getdoc(options) or "", ""]
    found["help"] = _Option("help", "--help", "Print this and leave.")
    groups = GROUPS.get(command)
    if groups is None:
        lines += _listed(list(found.values()))
    else:
        for name, (about, members) in groups.items():
            shown = [found.pop(member) for member in members if member in found]
            if shown:
                lines += [f"{name}: {about}", *_listed(shown), ""]
        if show_all:
            lines += ["more", *_listed(list(found.values()))]
        else:
            lines.append(f"{len(found)} more options: videomae {command} --help-all")
    return "\n".join(lines).rstrip()


def listed_options(options: type) -> list[tuple[str, str]]:
    """(usage, explanation) of each option of a command, such as `--seed N`."""
    return [(option.usage, option.text) for option in _options(options, None)]


def _listed(options: list[_Option]) -> list[str]:
    width = min(_MAX_WIDTH, shutil.get_terminal_size().columns) - _INDENT
    lines = []
    for option in options:
        first, *rest = textwrap.wrap(option.text, max(30, width), break_on_hyphens=False) or [""]
        head = f"  {option.usage}"
        if len(head) < _INDENT - 1:
            lines.append(f"{head:<{_INDENT}}{first}")
        else:
            lines += [head, " " * _INDENT + first]
        lines += [" " * _INDENT + line for line in rest]
    return lines


def _options(options: type, default: Any) -> list[_Option]:
    """All options, those of nested dataclasses among them."""
    found: list[_Option] = []
    hints, texts = get_type_hints(options, include_extras=True), field_texts(options)
    for field in dataclasses.fields(options):
        kind, marks = _unwrapped(hints[field.name])
        value = _default_of(field) if default is None else getattr(default, field.name)
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            found += _options(kind, None if value is dataclasses.MISSING else value)
            continue
        metavar = next((mark.metavar for mark in marks if getattr(mark, "metavar", None)), None) or _metavar(kind)
        is_positional = any(repr(mark) == "Positional" for mark in marks)
        usage = _usage(field.name, kind, value, metavar, is_positional)
        found.append(_Option(field.name, usage, _text(texts.get(field.name, ""), value)))
    return found


def _text(text: str, value: Any) -> str:
    if value is dataclasses.MISSING or repr(value) == "tyro.MISSING":
        return f"{text} (required)"
    if value is None or value is False or value in ("", ()):
        return text
    if value is True:
        return f"{text} (default: yes)"
    if isinstance(value, tuple):
        value = " ".join(map(str, value))
    return f"{text} (default: {f'{value:g}' if isinstance(value, float) else value})"


def _usage(name: str, kind: Any, value: Any, metavar: str, is_positional: bool) -> str:
    option = f"--{name.replace('_', '-')}"
    if is_positional:
        return f"{metavar} …" if get_origin(kind) is tuple else metavar
    if kind is bool:
        return f"{option}, --no-{option[2:]}" if value is True else option
    return f"{option} {metavar}"


def _metavar(kind: Any) -> str:
    members = [member for member in get_args(kind) if member is not NoneType]
    if kind in (ImageSize, ImageSize | None):
        return "N|HxW"
    if get_origin(kind) in (Union, UnionType):
        return _metavar(members[0])
    if get_origin(kind) is Literal:
        return "|".join(map(str, members))
    if get_origin(kind) is tuple:
        return f"{_metavar(members[0])} …"
    return {"int": "N", "float": "X", "str": "TEXT", "Path": "PATH"}.get(getattr(kind, "__name__", ""), "VALUE")


def _unwrapped(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    marks: tuple[Any, ...] = ()
    while get_origin(kind) is Annotated:
        kind, *more = get_args(kind)
        marks += tuple(more)
    return kind, marks


def _default_of(field: dataclasses.Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
