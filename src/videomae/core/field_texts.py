"""The explanations of a dataclass' fields: the string below each field in its source."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from functools import cache
from typing import TypeVar

Kind = TypeVar("Kind", bound=type)


@cache
def field_texts(options: type) -> dict[str, str]:
    """The string below each field in the source of the class and of those that it derives from."""
    texts: dict[str, str] = {}
    for kind in reversed(options.__mro__):
        if not dataclasses.is_dataclass(kind):
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
        assert isinstance(tree, ast.ClassDef)
        for statement, following in zip(tree.body, tree.body[1:], strict=False):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(following, ast.Expr)
                and isinstance(following.value, ast.Constant)
            ):
                texts[statement.target.id] = " ".join(str(following.value.value).split())
    return texts


def documented(kind: Kind) -> Kind:
    """Decorate a dataclass: its docstring gets the explanations of its fields, so that `help` shows them."""
    try:
        texts = field_texts(kind)
    except OSError:  # installed without source
        return kind
    lines = [
        textwrap.fill(f"{name}: {text}", 100, initial_indent="    ", subsequent_indent="        ")
        for name, text in texts.items()
    ]
    kind.__doc__ = "\n".join([inspect.cleandoc(kind.__doc__ or ""), "", "Args:", *lines])
    return kind
