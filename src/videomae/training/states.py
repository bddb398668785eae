"""The run states of a folder: the last few, each whole or not there."""

from __future__ import annotations

import errno
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videomae.core.errors import CheckpointError, InputError
from videomae.core.files import write_atomically

_NAME = re.compile(r"step-(\d+)\.pt")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class RunStates:
    """Files `step-00000012.pt`; the one of the highest step counts.

    Args:
        folder: where they are, made when the first is saved.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def paths(self) -> list[Path]:
        """All states, by step."""
        found = [path for path in self.folder.glob("step-*.pt") if _NAME.fullmatch(path.name)]
        return sorted(found, key=_step_of)

    @property
    def last_step(self) -> int:
        """Steps done by the newest state; 0 where there is none."""
        return max(map(_step_of, self.paths()), default=0)

    def path(self, step: int) -> Path:
        """Where the state after `step` steps is, or would be."""
        return self.folder / f"step-{step:08d}.pt"

    def load(self, note: Callable[[str], object] = lambda text: None) -> dict[str, Any] | None:
        """The newest state that is whole; None where there is none at all.

        What a killed process left half-written is removed. A damaged state is put aside as `step-….pt.damaged`.

        Args:
            note: called with a line for each damaged state.

        Raises:
            CheckpointError: if there are states, and all are damaged.
            InputError: if one cannot be read, though it may be whole.
        """
        for left_over in self.folder.glob(".step-*.pt"):
            left_over.unlink(missing_ok=True)
        damaged: Path | None = None
        for path in reversed(self.paths()):
            try:
                state = _load(path)
            except CheckpointError as error:
                damaged = damaged or path
                if path == self.paths()[0]:
                    raise CheckpointError(
                        damaged,
                        expected="an undamaged run state",
                        hint="delete the folder's state/ to start anew; its model may be whole: give the folder to "
                        "--init, with another --output, to begin with these weights",
                    ) from error
                continue
            for newer in self.paths():
                if _step_of(newer) > _step_of(path):
                    newer.replace(newer.with_suffix(".pt.damaged"))
                    note(f"{newer} is damaged; going on from the state before it, of step {_step_of(path)}")
            return state
        return None

    def save(self, state: Mapping[str, Any], *, keep: int = 1) -> None:
        """Write a state; older ones stay until it is whole, then the last `keep` in all.

        Args:
            state: plain data and tensors, with the number of steps as `step`.
            keep: at least 1.

        Raises:
            InputError: if it cannot be written; the older states are untouched.
        """
        path = self.path(state["step"])
        needed = num_bytes(state)
        if not self._has_room(needed):
            self._drop_all_but(keep)  # fewer may be asked for than before, because the disk is full
        if not self._has_room(needed):
            raise self._no_room(path, needed, "No space left on device")
        try:
            write_atomically(path, lambda aside: _save(state, aside))
        except InputError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in (*_NO_ROOM, errno.EIO):
                raise self._no_room(path, needed, str(error.__cause__.strerror)) from error
            raise
        self._drop_all_but(keep)

    def _drop_all_but(self, keep: int) -> None:
        for older in self.paths()[:-keep]:
            older.unlink(missing_ok=True)

    def _has_room(self, needed: int) -> bool:
        free = self._free_bytes()
        return free is None or free >= needed

    def _free_bytes(self) -> int | None:
        """Of the disk; None where the file system does not report it."""
        try:
            return shutil.disk_usage(next(p for p in (self.folder, *self.folder.parents) if p.exists())).free
        except OSError:
            return None

    def _no_room(self, path: Path, needed: int, reason: str) -> InputError:
        free, kept = self._free_bytes(), self.paths()
        before = f"the state of step {_step_of(kept[-1])} is intact; repeat the command to resume" if kept else ""
        return InputError(
            f"cannot write {path} ({reason}; {'unknown how much is' if free is None else _megabytes(free)} free)",
            expected=f"{_megabytes(needed)} of room on the disk of {self.folder}",
            hint=f"free space, {'lower --keep-states, ' if len(kept) > 1 else ''}or choose another --output; "
            f"{before or 'nothing was saved yet'}",
        )


def num_bytes(state: Any) -> int:
    """Bytes of all tensors in a state."""
    if isinstance(state, Tensor):
        return state.nbytes
    parts = state.values() if isinstance(state, Mapping) else state if isinstance(state, (list, tuple)) else ()
    return sum(num_bytes(part) for part in parts)


def _megabytes(number: int) -> str:
    return f"{number / 1e6:,.0f} MB" if number >= 1e6 else f"{number / 1e3:.1f} kB"


def _step_of(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1])


def _load(path: Path) -> dict[str, Any]:
    try:
        # torch does not look at the checksums that it writes.
        with zipfile.ZipFile(path) as file:
            spoilt = file.testzip()
        if spoilt is not None:
            raise zipfile.BadZipFile(f"wrong checksum of {spoilt}")
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except OSError as error:
        raise InputError(
            f"cannot read {path} ({error.strerror or type(error).__name__})",
            expected="a run state that can be read",
            hint="try again, or see to its disk",
        ) from error
    except Exception as error:  # torch raises many kinds for a damaged file; all mean the same here
        raise CheckpointError(path, expected="an undamaged run state", hint="an older one may be whole") from error
    return state


def _save(state: Mapping[str, Any], path: Path) -> None:
    try:
        torch.save(dict(state), path)
    except RuntimeError as error:  # how torch's own writer fails when the disk is full
        raise OSError(errno.EIO, f"writing failed, is the disk full? {error}") from error
