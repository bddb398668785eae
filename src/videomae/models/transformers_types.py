"""Being an instance of transformers' classes as well, without importing that library.

Its pipelines take apart whatever is no `ModelOutput` of theirs, and its Trainer writes `config.json` beside the weights
of a `PreTrainedModel` alone. Both ask `isinstance`, which looks at an object's `__class__`: ours answers with a class
that derives from both, once a program has loaded transformers. `type(object)` and all behavior stay ours.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

_class_of = vars(object)["__class__"]


def also_theirs(module: str, name: str) -> Any:
    """A `__class__` for our classes: derived from class `name` of transformers' `module` too, where that is loaded."""

    def joined(self: Any) -> Any:
        theirs = getattr(sys.modules.get(module), name, None)
        ours: Any = type(self)
        return ours if theirs is None else _join(ours, theirs)

    # torch's FSDP assigns another class to a module.
    return property(joined, _class_of.__set__)


def attribute_of_theirs(instance: Any, name: str) -> Any:
    """What a method or property that only their class has is on `instance`, which is one of theirs too.

    Raises:
        AttributeError: if theirs has none either, or is not loaded.
    """
    for base in instance.__class__.__mro__:
        if name in vars(base):
            value = vars(base)[name]
            return value.__get__(instance, instance.__class__) if hasattr(value, "__get__") else value
    raise AttributeError(f"{type(instance).__name__!r} object has no attribute {name!r}")


@functools.cache
def _join(ours: Any, theirs: Any) -> Any:
    if issubclass(ours, theirs):
        return ours
    names = {name: getattr(ours, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(ours.__name__, (ours, theirs), names)
