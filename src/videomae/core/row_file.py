"""Tables that are written row by row, so that a run that was killed continues where it was."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from videomae.core.errors import ConfigError, InputError
from videomae.core.files import require_writable, write_text
from videomae.core.lock import FolderLock

SUFFIXES = (".csv", ".jsonl")


class RowFile:
    """A CSV or JSON lines file whose rows are there as soon as they are known.

    A context manager. While it is written, a small hidden file beside it holds what it is made of; where the run ends
    before its time, the next one with the same settings keeps the rows, and adds the missing ones. A run with other
    settings, or after one that was finished, starts over.

    Args:
        path: ends in .csv or .jsonl.
        columns: of a CSV file; JSON lines hold whatever a row has.
        settings: what the rows depend on, as plain data.

    Attributes:
        rows: those of the run before; of a CSV file all values are text.

    Raises:
        ConfigError: for another ending.
        InputError: if it cannot be written, or another process is writing it.
    """

    def __init__(self, path: str | Path, *, columns: Sequence[str], settings: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self._is_csv = self.path.suffix.lower() == ".csv"
        if self.path.suffix.lower() not in SUFFIXES:
            raise ConfigError(str(path), expected=f"a file name ending in {' or '.join(SUFFIXES)}", hint="rename it")
        self._columns = list(columns)
        self._settings = json.dumps({"columns": self._columns, **settings}, sort_keys=True, default=str)
        self._about = self.path.with_name(f".{self.path.name}.unfinished")
        self._lock = FolderLock(self.path.with_name(f".{self.path.name}.lock"), self._taken)
        self._file: TextIO | None = None
        self.rows: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        require_writable(self.path)
        self._lock.__enter__()
        try:
            num_bytes = self._read() if self._is_unfinished() else 0
            write_text(self._about, self._settings)
            self._file = self.path.open(
                "a" if num_bytes else "w", encoding="utf-8", errors="backslashreplace", newline=""
            )
            if num_bytes:
                self._file.truncate(num_bytes)
            elif self._is_csv:
                self._write(self._columns)
        except BaseException:
            self._lock.__exit__()
            raise
        return self

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row; it is on its way to the disk when this returns."""
        self._write([row.get(name, "") for name in self._columns] if self._is_csv else dict(row))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._file is not None
        self._file.close()
        if kind is None:
            self._about.unlink(missing_ok=True)
        self._lock.path.unlink(missing_ok=True)
        self._lock.__exit__()

    def _write(self, row: list[Any] | dict[str, Any]) -> None:
        assert self._file is not None
        text = io.StringIO()
        if isinstance(row, dict):
            text.write(json.dumps(row, ensure_ascii=False) + "\n")
        else:
            csv.writer(text, lineterminator="\n").writerow(row)
        self._file.write(text.getvalue())
        self._file.flush()

    def _is_unfinished(self) -> bool:
        try:
            return self.path.exists() and self._about.read_text(encoding="utf-8") == self._settings
        except (OSError, UnicodeDecodeError):
            return False

    def _read(self) -> int:
        """Take over the whole rows of the file; returns how many bytes they take, 0 for none."""
        data = self.path.read_bytes()
        lines = data[: data.rfind(b"\n") + 1].decode("utf-8", "replace").split("\n")[:-1]  # the last may be torn
        if not self._is_csv:
            for line in lines:
                try:
                    row = json.loads(line)
                except ValueError:
                    break
                self.rows.append(row)
            return sum(len(line.encode()) + 1 for line in lines[: len(self.rows)])
        reader = csv.reader(f"{line}\n" for line in lines)
        num_whole = 0
        for row in reader:
            if len(row) != len(self._columns) or (not num_whole and row != self._columns):
                break
            if num_whole:
                self.rows.append(dict(zip(self._columns, row, strict=True)))
            num_whole = reader.line_num
        return sum(len(line.encode()) + 1 for line in lines[:num_whole])

    def _taken(self, owner: str) -> InputError:
        return InputError(
            f"{self.path}, which {owner} is writing", expected="a file of its own", hint="choose another --output"
        )


class RowFiles:
    """Several row files that are written together; a context manager.

    Args:
        files: opened on entering, all or none.
    """

    def __init__(self, files: Sequence[RowFile]) -> None:
        self._files = list(files)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for file in self._files:
                stack.enter_context(file)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
