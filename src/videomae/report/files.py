"""Writing a finished file in one step, so that nobody ever reads half of one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from videomae.core.errors import InputError


def write_atomically(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write `content` to `path`; folders that are missing are made, a file that is there is replaced whole.

    The bytes go to a temporary file in the same folder first. Whoever reads `path` meanwhile sees the old file or the
    new one, and a failure leaves the old one as it was.

    Returns:
        The path that was written.

    Raises:
        InputError: if the folder cannot be made or written, or `path` is itself a folder.
    """
    target = Path(path)
    if target.is_dir():
        raise InputError(target, expected="the name of a file", hint="this is a folder; add a file name to it")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:80]}.", suffix=".part")
    except OSError as error:
        raise _cannot_write(target, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.chmod(temporary, _mode_for(target))
        os.replace(temporary, target)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise _cannot_write(target, error) from error
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return target


def _mode_for(target: Path) -> int:
    """The permissions of the file that is replaced, or those that `open` would give a new one."""
    # mkstemp makes files that only their owner can read: a report could then not be shared over a web server.
    if target.exists():
        return target.stat().st_mode & 0o777
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def _cannot_write(target: Path, error: OSError) -> InputError:
    reason = error.strerror or type(error).__name__
    return InputError(
        f"cannot write {target} ({reason})",
        expected="a folder that can be written, with room on its disk",
        hint="choose another output path or change the folder's permissions",
    )
