"""The bytes of a video: a regular file, or an open binary file object of any kind (a shard's member, a URL)."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from videomae.core.errors import VideoError
from videomae.core.text import error_reason, readable

from ._limits import Stopwatch


class FileSource:
    """A regular file.

    Raises:
        VideoError: no such file, not a regular one, empty, or not readable.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self.name = readable(path)
        self.num_bytes = _check_file(self._path, self.name)

    def for_container(self, stopwatch: Stopwatch) -> Any:
        """Return what `av.open` takes; the prefix keeps names with a colon from being taken for a protocol."""
        return f"file:{os.fspath(self._path)}"

    def check(self) -> None:
        """Raise what went wrong behind FFmpeg's back: with a file, nothing."""

    def tail(self, num_bytes: int) -> bytes:
        """Return the last bytes, all of them where there are fewer."""
        with self._path.open("rb") as file:
            file.seek(max(self.num_bytes - num_bytes, 0))
            return file.read()


class ObjectSource:
    """A binary file object with `read` and `seek`; it stays open, and nobody else may move it meanwhile.

    Raises:
        VideoError: it is empty, or cannot be sought in.
    """

    def __init__(self, file: BinaryIO, name: str | None) -> None:
        self._file = file
        self.failure: VideoError | None = None
        self.name = name or readable(str(getattr(file, "name", "") or "unnamed video"))
        self.num_bytes = self._call(lambda: file.seek(0, os.SEEK_END))
        if self.num_bytes == 0:
            raise VideoError(f"{self.name} (empty, 0 bytes)", expected="a video", hint="copy or download it again")

    def for_container(self, stopwatch: Stopwatch) -> Any:
        """Return what `av.open` takes, standing at the first byte."""
        self._call(lambda: self._file.seek(0))
        self.failure = None
        return _GuardedFile(self, stopwatch)

    def check(self) -> None:
        """Raise the error that occurred while FFmpeg was reading; FFmpeg itself saw an end of file."""
        if self.failure is not None:
            raise self.failure

    def tail(self, num_bytes: int) -> bytes:
        """Return the last bytes, all of them where there are fewer."""
        self._call(lambda: self._file.seek(max(self.num_bytes - num_bytes, 0)))
        return self.read(num_bytes)

    def read(self, num_bytes: int) -> bytes:
        """Return at most that many bytes from where the file stands."""
        data = self._call(lambda: self._file.read(num_bytes))
        if not isinstance(data, bytes) or len(data) > num_bytes:
            amount = f"{len(data)} bytes" if isinstance(data, bytes) else type(data).__name__
            raise VideoError(
                f"{self.name} (read({num_bytes}) gave {amount})",
                expected="a file object that returns bytes, at most as many as requested",
                hint="open it in binary mode",
            )
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move, and return where the file then stands."""
        if whence == os.SEEK_END:
            offset, whence = self.num_bytes + offset, os.SEEK_SET
        return self._call(lambda: self._file.seek(offset, whence))

    def tell(self) -> int:
        """Return where the file stands."""
        return self._call(self._file.tell)

    def _call(self, operation: Callable[[], Any]) -> Any:
        # Any library may stand behind the object, so any exception may come; each means that the bytes cannot be had.
        try:
            return operation()
        except VideoError:
            raise
        except Exception as error:
            raise VideoError(
                self.name, expected="a source that can be read and sought in", hint=f"it failed: {error_reason(error)}"
            ) from error


class _GuardedFile:
    """What FFmpeg reads from: no `close`, since the object is its owner's, and a look at the clock before each read.

    No exception may leave it: PyAV keeps one for whatever call comes next in the thread, be it for another file.
    """

    def __init__(self, source: ObjectSource, stopwatch: Stopwatch) -> None:
        self.name = source.name
        self._source, self._stopwatch = source, stopwatch

    def read(self, num_bytes: int) -> bytes:
        return self._guard(lambda: self._source.read(num_bytes), b"")

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._guard(lambda: self._source.seek(offset, whence), -1)

    def tell(self) -> int:
        return self._guard(self._source.tell, 0)

    def _guard(self, operation: Callable[[], Any], otherwise: Any) -> Any:
        if self._source.failure is not None:
            return otherwise
        try:
            self._stopwatch.check()
            return operation()
        except VideoError as error:
            self._source.failure = error
            return otherwise


class LiveSource:
    """A source that is read once, from now on: a URL, a camera, a pipe.

    Args:
        location: what FFmpeg opens.
        format_name: FFmpeg's name of the format; None where it finds out.
        name: in messages.
    """

    num_bytes = 0

    def __init__(self, location: str, format_name: str | None = None, *, name: str) -> None:
        self.name = readable(name)
        self.format_name = format_name
        self._location = location if "://" in location else f"file:{location}" if format_name is None else location

    def for_container(self, stopwatch: Stopwatch) -> Any:
        """Return what `av.open` takes."""
        return self._location

    def check(self) -> None:
        """Raise what went wrong behind FFmpeg's back: nothing."""

    def tail(self, num_bytes: int) -> bytes:
        """Return no bytes: they are still to come."""
        return b""


Source = FileSource | ObjectSource | LiveSource


def source_of(source: str | os.PathLike[str] | BinaryIO | LiveSource, name: str | None) -> Source:
    """Return the bytes behind a path or a binary file object."""
    if isinstance(source, LiveSource):
        return source
    if isinstance(source, str | os.PathLike):
        return FileSource(source)
    if hasattr(source, "read") and hasattr(source, "seek"):
        return ObjectSource(source, name)
    raise VideoError(
        f"a video source of type {type(source).__name__}",
        expected="a path, or a binary file object",
        hint="give the file's path",
    )


def _check_file(path: Path, name: str) -> int:
    """Return the file's size in bytes."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise VideoError(name, expected="an existing file or folder", hint="check the path") from None
    except (OSError, ValueError) as error:
        raise VideoError(
            name, expected="a readable video file", hint=f"it cannot be opened: {error_reason(error)}"
        ) from error
    if stat.S_ISDIR(status.st_mode):
        raise VideoError(f"{name} (a directory)", expected="a video file", hint="name a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise VideoError(
            f"{name} (not a regular file)",
            expected="a video file",
            hint="pipes, sockets and devices cannot be read; save the video to a file",
        )
    if status.st_size == 0:
        raise VideoError(f"{name} (empty, 0 bytes)", expected="a video file", hint="copy or download it again")
    if not os.access(path, os.R_OK):
        raise VideoError(f"{name} (no permission to read)", expected="a readable video file", hint="change its mode")
    return status.st_size
