"""Text from outside (file names, messages of other libraries) in a form that can be printed and saved."""

from __future__ import annotations

import os
import re

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?[dhms])+")


def seconds_of(text: str) -> float | None:
    """The seconds of a length of time such as 90s, 30m, 1.5h or 1h30m; None for any other text, and for none at all."""
    text = text.replace(" ", "").lower()
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(part[:-1]) * _UNITS[part[-1]] for part in re.findall(r"[0-9.]+[dhms]", text)) or None


def duration(seconds: float) -> str:
    """A length of time in the unit that suits it, such as `7.5 hours`."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.3g} s"


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


def clock(seconds: float, *, tenths: bool = False) -> str:
    """A moment of a video, such as 0:07, 12:30 or 1:02:03; with tenths, 0:07.5."""
    units = round(seconds * 10) if tenths else round(seconds) * 10
    hours, minutes, rest = units // 36000, units // 600 % 60, units // 10 % 60
    text = f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
    return f"{text}.{units % 10}" if tenths else text
