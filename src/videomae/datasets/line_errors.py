"""What is wrong with the lines of a list, reported all at once."""

from __future__ import annotations

from pathlib import Path

from videomae.core.errors import DataError
from videomae.datasets.entries import Place

_NUM_SHOWN = 10


class LineErrors:
    """The errors of one list's lines.

    Args:
        file: the list.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._found: list[tuple[int, DataError]] = []

    def add(self, place: Place, error: DataError) -> None:
        """Keep the error of a line."""
        self._found.append((place.number, error))

    def finish(self) -> None:
        """Report them in the order of lines, the first 10 and how many there are.

        Raises:
            DataError: if there are any.
        """
        if not self._found:
            return
        found = [error for _, error in sorted(self._found, key=lambda item: item[0])]
        shown = found[:_NUM_SHOWN]
        if len(found) == 1:
            raise shown[0]
        values = [shown[0].value, *(error.value.removeprefix(f"{self.file}, ") for error in shown[1:])]
        more = f"; and {len(found) - len(shown)} more lines" if len(found) > len(shown) else ""
        raise DataError(
            f"{'; '.join(values)}{more}",
            expected=" and ".join(dict.fromkeys(error.expected for error in shown)),
            hint=" and ".join(dict.fromkeys(error.hint for error in shown)),
        )
