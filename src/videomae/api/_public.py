"""What every public function does around its work: shows notices, and gives errors in Python's words."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import ParamSpec, TypeVar

from videomae.api._console import notices_shown
from videomae.api.error_wording import in_python_words
from videomae.core.errors import InputError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

logger = logging.getLogger("videomae")
_is_command = ContextVar("is_command", default=False)


@contextmanager
def called_by_command_line() -> Iterator[None]:
    """Within it, errors keep the words of the command line, and notices are shown whatever logging is set up."""
    token = _is_command.set(True)
    try:
        with notices_shown(always=True):
            yield
    finally:
        _is_command.reset(token)


def public(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Decorate a public function."""

    @wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        if _is_command.get():
            return function(*args, **kwargs)
        with notices_shown():
            try:
                return function(*args, **kwargs)
            except InputError as error:
                translated = in_python_words(error)
                if str(translated) == str(error):
                    raise
                # The same error, so the traceback shows it once; its own cause stays.
                raise translated.with_traceback(error.__traceback__) from error.__cause__

    return call
