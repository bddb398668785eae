"""Text from outside (file names, messages of other libraries) in a form that can be printed and saved."""

from __future__ import annotations

import os


def readable(path: str | os.PathLike[str]) -> str:
    """A path or name that can be encoded as UTF-8: bytes of a file name that are not UTF-8 become U+FFFD."""
    return os.fsencode(path).decode("utf-8", "replace")


def one_line(text: str) -> str:
    """`text` with its control characters escaped (`\\n`, `\\x1b`), so that it stays on one line of a terminal."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


def error_line(error: BaseException) -> str:
    """The message of an error on one line; the name of its type where it has none."""
    if isinstance(error, MemoryError):
        return "memory ran out"
    return " ".join(f"{error}".split()) or type(error).__name__


def error_reason(error: BaseException) -> str:
    """The reason alone, as FFmpeg or the operating system gives it, on one line: without number and file name."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())
