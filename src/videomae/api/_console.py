"""Where people's text goes: stderr, in a terminal or a notebook. stdout belongs to results."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

from videomae.core.machine import is_main_process

if TYPE_CHECKING:
    from rich.console import Console

_logger = logging.getLogger("videomae")


def stderr_console() -> Console:
    """The console of progress bars and notices; one for all of them, so that a notice appears above a bar."""
    return _console(is_main_process())


@lru_cache(maxsize=2)
def _console(is_main: bool) -> Console:
    from rich.console import Console

    class LoudConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # the command line ends quietly; rich would leave with a status of its own

    return LoudConsole(stderr=True, highlight=False, soft_wrap=True, quiet=not is_main)


def can_show_bars(console: Console) -> bool:
    """Whether a progress bar can move there: in a terminal, or in a notebook, where rich needs ipywidgets for it."""
    return console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)


class _NoticeHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        stderr_console().print(self.format(record), markup=False)


@contextmanager
def notices_shown(*, always: bool = False) -> Iterator[None]:
    """Within it, the package's notices (level INFO and above) go to stderr.

    Args:
        always: also where the program has configured logging itself; else that is left as it is.
    """
    is_configured = _logger.handlers or logging.getLogger().handlers
    if is_configured and not always:
        yield
        return
    handler, level = _NoticeHandler(), _logger.level
    _logger.addHandler(handler)
    if level == logging.NOTSET:
        _logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        _logger.removeHandler(handler)
        _logger.setLevel(level)
