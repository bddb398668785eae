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
from videomae.core.memory import memory_errors_explained

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

logger = logging.getLogger("videomae")
_LESS_MEMORY = "take smaller clips (--image-size, --num-frames), or a smaller model; or free memory"
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

    def work(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        # Where most memory is taken, more is known of what was tried, and the error is explained there.
        with memory_errors_explained(function.__name__, hint=_LESS_MEMORY):
            return function(*args, **kwargs)

    @wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        if _is_command.get():
            return work(*args, **kwargs)
        with notices_shown():
            try:
                return work(*args, **kwargs)
            except InputError as error:
                translated = in_python_words(error)
                if str(translated) == str(error):
                    raise
                # The same error, so the traceback shows it once; its own cause stays.
                raise translated.with_traceback(error.__traceback__) from error.__cause__

    return call
