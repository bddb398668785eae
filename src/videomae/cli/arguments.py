"""Parsing the options of a command, with errors of one line."""

from __future__ import annotations

import contextlib
import io
import re
from typing import Any, TypeVar

from videomae.core.errors import InputError

Options = TypeVar("Options")


class UsageError(InputError):
    """The command line itself is wrong: an unknown option, a value of the wrong type, a missing argument."""


def parse(options: type[Options], arguments: list[str], *, command: str, default: Options | None = None) -> Options:
    """The options of `videomae COMMAND` from its arguments; `--help` prints the help and leaves.

    Raises:
        UsageError: in one line, where tyro draws a box.
    """
    import tyro

    keywords: dict[str, Any] = {} if default is None else {"default": default}
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(
                options,
                prog=f"videomae {command}",
                args=arguments,
                **keywords,
            )
    except SystemExit as leaving:
        if not leaving.code:
            raise
        raise _usage_error(box.getvalue(), command) from None


def _usage_error(box: str, command: str) -> UsageError:
    """What tyro's box says, in one line: its first paragraph, and its suggestion if it has one."""
    lines = [re.sub(r"^[│|]\s?|\s*[│|]$", "", line).strip() for line in box.splitlines()]
    paragraphs: list[list[str]] = [[]]
    for line in lines:
        if not line or set(line) <= set("─-") or line[0] in "╭╰+":
            paragraphs.append([])
        else:
            paragraphs[-1].append(line)
    texts = [" ".join(paragraph) for paragraph in paragraphs if paragraph]
    said = texts[0].rstrip(".") if texts else "unreadable arguments"
    suggestion = next((text for text in texts if text.startswith("Perhaps you meant")), "")
    similar = re.search(r"--[\w-]+", suggestion)
    hint = f"did you mean {similar[0]}? " if similar else ""
    return UsageError(said, expected="the options of this command", hint=f"{hint}see videomae {command} --help")
