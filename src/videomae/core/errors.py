"""Errors with the bad value, what was expected and what to do."""

import re

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_MAX_LENGTH = 1000


class InputError(ValueError):
    """The user's input is at fault: one line with the bad value, what was expected and what to do.

    The command line prints the line and exits with 2; with `--json` it prints the three parts as an object.

    Args:
        value: what was found, named so that the user recognizes it (a path, `num_frames=12`, a shape).
        expected: what would have been right.
        hint: what to do about it.
    """

    def __init__(self, value: object, *, expected: str, hint: str) -> None:
        self.value, self.expected, self.hint = (_one_line(part) for part in (str(value), expected, hint))
        super().__init__(f"{self.value}: expected {expected}; {hint}")

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the way from a loader's worker process with all three parts."""
        return _rebuild, (type(self), self.value, self.expected, self.hint)


class VideoError(InputError):
    """A file that cannot be read as video, or a request for frames that it does not have."""


class ConfigError(InputError):
    """A configuration that describes no model, or names options that do not exist."""


class ShapeError(InputError):
    """A tensor or array whose shape, type or content does not fit the model."""


class CheckpointError(InputError):
    """A checkpoint that is missing, incomplete or of another architecture."""


class DataError(InputError):
    """A data set (DATA of the command line) that is missing, empty or inconsistent."""


def _one_line(text: str) -> str:
    """Names and values from files may hold line breaks, halves of characters, or a novel."""
    line = _UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], text)
    return line if len(line) <= _MAX_LENGTH else f"{line[: _MAX_LENGTH - 1]}…"


def _rebuild(cls: type[InputError], value: str, expected: str, hint: str) -> InputError:
    return cls(value, expected=expected, hint=hint)
