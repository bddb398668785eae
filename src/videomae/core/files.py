"""Reading and writing small files: written atomically, read with clear errors."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from videomae.core.errors import InputError

# A configuration has 1 KB, the index of a sharded model 0.1 MB, the names of 20,000 classes 1 MB.
_MAX_JSON_BYTES = 32 << 20
_MAX_JSON_DEPTH = 20


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write a small text file atomically; see `write_atomically`."""
    return write_atomically(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def write_bytes(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write a small file atomically; see `write_atomically`."""
    return write_atomically(path, lambda aside: aside.write_bytes(content))


def append_text(path: str | os.PathLike[str], text: str) -> Path:
    """Add text to the end of a file, made if absent, as are missing folders.

    Returns:
        `path`.

    Raises:
        InputError: as `write_atomically`.
    """
    path = Path(path)
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise _cannot_write(path, error) from error
    return path


def write_atomically(path: str | os.PathLike[str], write: Callable[[Path], object]) -> Path:
    """Let `write` fill a file aside, sync it, rename it to `path`: a reader sees the old file or the whole new one.

    Missing folders are made. The file aside has the suffix of `path`, for writers that choose a format by it.

    Returns:
        `path`.

    Raises:
        InputError: if the folder cannot be made or written, `path` is a folder, or the disk is full; an older file at
            `path` is then untouched.
    """
    path = Path(path)
    aside = _make_aside(path)
    try:
        write(aside)
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        aside.chmod(_mode_for(path))
        os.replace(aside, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        aside.unlink(missing_ok=True)
    return path


def read_json(path: str | os.PathLike[str], *, error_type: type[InputError], encoding: str = "utf-8") -> Any:
    """The JSON document in a file.

    Args:
        path: the file.
        error_type: raised where it cannot be read.
        encoding: "utf-8", or "utf-8-sig" where a byte order mark is allowed.

    Raises:
        InputError: of the given type, with the line that is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding=encoding))
    except UnicodeDecodeError as error:
        raise error_type(f"{path} ({error.reason})", expected="UTF-8 text", hint="save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise error_type(
            f"{path}, line {error.lineno}: {error.msg}",
            expected="JSON",
            hint="the file may be cut off: copy or download it again",
        ) from error
    # A number of more digits than Python converts is a ValueError of its own.
    except (OSError, RecursionError, ValueError) as error:
        raise error_type(f"{path} ({error})", expected="a readable JSON file", hint="check the file") from error


def read_json_object(path: str | os.PathLike[str], *, error_type: type[InputError]) -> dict[str, Any]:
    """The JSON object in a file that came from anywhere: not too large to read, nor nested too deep to copy or print.

    Raises:
        InputError: of the given type.
    """
    path = Path(path)
    if path.is_file() and path.stat().st_size > _MAX_JSON_BYTES:
        raise error_type(
            f"{path} of {path.stat().st_size >> 20} MB",
            expected=f"at most {_MAX_JSON_BYTES >> 20} MB of JSON",
            hint="no checkpoint has a file like this; check the path",
        ) from ValueError()
    values = read_json(path, error_type=error_type, encoding="utf-8-sig")  # as Windows' editors save it
    if not isinstance(values, dict) or _is_deep(values):
        raise error_type(
            path,
            expected=f"a JSON object in braces, nested at most {_MAX_JSON_DEPTH} deep",
            hint="copy or download it again",
        )
    return values


def _is_deep(document: dict[str, Any]) -> bool:
    level: list[Any] = [document]
    for _ in range(_MAX_JSON_DEPTH):
        level = [
            child
            for value in level
            for child in (value.values() if isinstance(value, dict) else value)
            if isinstance(child, dict | list)
        ]
    return bool(level)


def split_suffix(name: str) -> tuple[str, str]:
    """A file's name without its last suffix, and the suffix in lower case with its dot; "" where there is none."""
    stem, dot, suffix = name.rpartition(".")
    return (stem, f".{suffix.lower()}") if dot else (name, "")


def require_writable(path: str | os.PathLike[str]) -> None:
    """Make sure before long work that `write_atomically` will find its place; missing folders are made.

    Raises:
        InputError: as `write_atomically`.
    """
    _make_aside(Path(path)).unlink()


def _make_aside(path: Path) -> Path:
    """An empty file beside `path`, to be filled and renamed."""
    if path.is_dir():
        raise InputError(path, expected="the name of a file", hint="this is a folder; add a file name to it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.stem[:80]}.", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error
    os.close(descriptor)
    return Path(name)


def _sync_folder(folder: Path) -> None:
    """Let the new name survive a loss of power too, where the system can do that."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # file systems that cannot
            raise
    finally:
        os.close(descriptor)


def _mode_for(path: Path) -> int:
    """The permissions of the file that is replaced, or those that any new file gets; mkstemp's are private."""
    if path.exists():
        return path.stat().st_mode & 0o777
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def _cannot_write(path: Path, error: OSError) -> InputError:
    return InputError(
        f"cannot write {path} ({error.strerror or type(error).__name__})",
        expected="a folder that can be written, with room on its disk",
        hint="choose another output path, free space or change the folder's permissions",
    )
