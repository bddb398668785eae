"""The explanations of a dataclass' fields: the string below each field in its source."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
import textwrap
from functools import cache
from itertools import pairwise
from typing import TypeVar

Kind = TypeVar("Kind", bound=type)


def field_texts(options: type) -> dict[str, str]:
    """The string below each field in the source of the class and of those that it derives from."""
    texts: dict[str, str] = {}
    for kind in reversed(options.__mro__):
        if dataclasses.is_dataclass(kind):
            texts |= _own_texts(kind)
    return texts


@cache
def _own_texts(kind: type) -> dict[str, str]:
    # Not the source of the class, which takes ten times as long to find.
    module = ast.parse(inspect.getsource(sys.modules[kind.__module__]))
    body = next(node.body for node in ast.walk(module) if isinstance(node, ast.ClassDef) and node.name == kind.__name__)
    return {
        statement.target.id: " ".join(str(following.value.value).split())
        for statement, following in pairwise(body)
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and isinstance(following, ast.Expr)
        and isinstance(following.value, ast.Constant)
    }


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
