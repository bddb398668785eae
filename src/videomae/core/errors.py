"""Errors with the bad value, what was expected and what to do."""


class InputError(ValueError):
    """The user's input is at fault: one line with the bad value, what was expected and what to do.

    The command line prints the line and exits with 2; with `--json` it prints the three parts as an object.

    Args:
        value: what was found, named so that the user recognizes it (a path, `num_frames=12`, a shape).
        expected: what would have been right.
        hint: what to do about it.
    """

    def __init__(self, value: object, *, expected: str, hint: str) -> None:
        self.value = str(value)
        self.expected = expected
        self.hint = hint
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


def _rebuild(cls: type[InputError], value: str, expected: str, hint: str) -> InputError:
    return cls(value, expected=expected, hint=hint)
