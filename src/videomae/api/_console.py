"""Where people's text goes: stderr, in a terminal or a notebook. stdout belongs to results."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

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
        def print(self, *objects: Any, soft_wrap: bool | None = None, **options: Any) -> None:
            """Lines wrap at words in a terminal; in a file or a pipe they stay whole."""
            super().print(*objects, soft_wrap=not self.is_terminal if soft_wrap is None else soft_wrap, **options)

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # the command line ends quietly; rich would leave with a status of its own

    # Without a color system rich writes no styles at all; of itself it would keep bold letters with NO_COLOR.
    colors: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
    return LoudConsole(stderr=True, highlight=False, emoji=False, color_system=colors, quiet=not is_main)


_STYLES = ((logging.ERROR, "red"), (logging.WARNING, "yellow"))


def can_show_bars(console: Console) -> bool:
    """Whether a progress bar can move there: in a terminal, or in a notebook, where rich needs ipywidgets for it."""
    return console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)


class _NoticeHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        style = next((style for level, style in _STYLES if record.levelno >= level), None)
        stderr_console().print(self.format(record), markup=False, style=style)


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
