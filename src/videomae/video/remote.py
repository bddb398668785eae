"""Bytes that lie elsewhere: local files, http(s) servers, and whatever else fsspec opens."""

from __future__ import annotations

import http
import re
import time
import urllib.error
import urllib.request
from importlib import import_module
from typing import Any

from videomae.core.errors import VideoError
from videomae.core.text import error_reason

NUM_ATTEMPTS = 3
DEFAULT_MAX_SECONDS = 60.0
_CHUNK_BYTES = 2**20
_FIRST_PAUSE_SECONDS = 0.25


class _FinalError(Exception):
    """A failure that asking again does not mend, and what does."""

    def __init__(self, reason: str, *, hint: str = "check the address") -> None:
        super().__init__(reason)
        self.hint = hint


def is_url(location: str) -> bool:
    """Whether a location is a URL (`scheme://…`) and no path."""
    scheme, separator, _ = location.partition("://")
    return bool(separator) and scheme.replace("+", "").replace("-", "").replace(".", "").isalnum()


def without_password(location: str) -> str:
    """A location as it may be shown and written down: of a URL without the name and password that it may hold."""
    return re.sub(r"(?<=://)[^/?#]*@", "", location, count=1)


def read_url(
    url: str, *, offset: int = 0, size: int | None = None, max_seconds: float | None = DEFAULT_MAX_SECONDS
) -> bytes:
    """Read a URL, or a part of it, into memory.

    http and https need nothing installed; all others are opened by fsspec. Failed transfers are retried.

    Args:
        url: where.
        offset: the first byte.
        size: how many bytes; None for all that follow.
        max_seconds: for everything together; None for no bound.

    Returns:
        The bytes, `size` of them.

    Raises:
        VideoError: it cannot be reached, breaks off, is too slow, or no library is installed for it.
    """
    fetch = _fetch_http if url.startswith(("http://", "https://")) else _fetch_with_fsspec
    end = time.monotonic() + (float("inf") if max_seconds is None else max_seconds)
    for attempt in range(1, NUM_ATTEMPTS + 1):
        try:
            return fetch(url, offset, size, end)
        except Exception as error:  # any library may stand behind a URL
            pause = _FIRST_PAUSE_SECONDS * 2**attempt
            is_final = isinstance(error, _FinalError | FileNotFoundError | PermissionError)
            if is_final or attempt == NUM_ATTEMPTS or time.monotonic() + pause > end:
                part = f", bytes {offset} to {offset + size - 1}" if size is not None else ""
                raise VideoError(
                    f"{url}{part}",
                    expected=f"data that can be fetched ({_reason(error)})",
                    hint=_hint(error, is_final=is_final),
                ) from error
            time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError) and error.strerror is None:  # fsspec's have the path alone
        return "there is no such file"
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, OSError):
        return error_reason(error.reason)
    return error_reason(error)


def _hint(error: Exception, *, is_final: bool) -> str:
    if isinstance(error, _FinalError):
        return error.hint
    return "check the address" if is_final else "check the address and the connection"


def _fetch_http(url: str, offset: int, size: int | None, end: float) -> bytes:
    wants_part = bool(offset) or size is not None
    headers = {"Range": f"bytes={offset}-{'' if size is None else offset + size - 1}"} if wants_part else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_left(end)) as response:
            if wants_part and response.status != http.HTTPStatus.PARTIAL_CONTENT:
                raise _FinalError(
                    "the server does not serve parts of a file, that is, range requests",
                    hint="serve the folder with one that does (nginx, S3, …), or copy it to this machine",
                )
            expected = size if size is not None else response.length
            data = bytearray()
            while chunk := response.read1(min(_CHUNK_BYTES, expected - len(data)) if expected is not None else 2**16):
                data += chunk
                _left(end)
    except urllib.error.HTTPError as error:
        with error:
            is_final = 400 <= error.code < 500 and error.code not in (408, 429)
            raise (_FinalError if is_final else OSError)(f"the server answers {error.code} {error.reason}") from error
    if expected is not None and len(data) != expected:
        raise OSError(f"it broke off after {len(data)} of {expected} bytes")
    return bytes(data)


def _left(end: float) -> float | None:
    seconds = end - time.monotonic()
    if seconds <= 0:
        raise _FinalError("too slow, the time limit is reached", hint="check the connection")
    return None if seconds == float("inf") else seconds


def _fetch_with_fsspec(url: str, offset: int, size: int | None, end: float) -> bytes:
    scheme = url.partition("://")[0]
    try:
        fsspec = import_module("fsspec")
    except ImportError as error:
        raise _FinalError(f"reading {scheme}:// needs fsspec", hint="pip install fsspec") from error
    try:
        files, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise _FinalError(f"reading {scheme}:// needs another package", hint=error_reason(error)) from error
    except ValueError as error:
        raise _FinalError(error_reason(error)) from error
    options: dict[str, Any] = {"timeout": _left(end)} if getattr(files, "async_impl", False) else {}
    data = files.cat_file(path, start=offset, end=None if size is None else offset + size, **options)
    if size is not None and len(data) != size:
        raise OSError(f"it broke off after {len(data)} of {size} bytes")
    return bytes(data)
