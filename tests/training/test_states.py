"""Run states: the last few, each whole; what damage, kills and full disks do to them."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from videomae.core.errors import CheckpointError, InputError
from videomae.training.states import RunStates, num_bytes


def _state(step: int) -> dict[str, Any]:
    return {"step": step, "model": {"weight": torch.full((100,), float(step))}, "list": [torch.zeros(2), "text", None]}


def _saved(folder: Path, *steps: int, keep: int = 9) -> RunStates:
    states = RunStates(folder / "state")
    for step in steps:
        states.save(_state(step), keep=keep)
    return states


def _steps(states: RunStates) -> list[str]:
    return sorted(path.name for path in states.folder.iterdir())


def test_the_newest_of_the_last_few_counts(tmp_path: Path) -> None:
    states = _saved(tmp_path, 9, 12, 99999999, 100000000, keep=3)
    assert [path.name for path in states.paths()] == ["step-00000012.pt", "step-99999999.pt", "step-100000000.pt"]
    state = states.load()
    assert state is not None
    assert state["step"] == 100000000
    assert torch.equal(state["model"]["weight"], torch.full((100,), 1e8))


def test_no_state_is_none(tmp_path: Path) -> None:
    assert RunStates(tmp_path / "state").load() is None


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _flip_a_bit_of_a_weight(path: Path) -> None:
    content = path.read_bytes()
    place = content.index(torch.full((100,), 6.0).numpy().tobytes())
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])


@pytest.mark.parametrize("damage", [_cut, _empty, _flip_a_bit_of_a_weight])
def test_a_damaged_state_gives_way_to_the_one_before_it(tmp_path: Path, damage: Any) -> None:
    states = _saved(tmp_path, 3, 6)
    damage(states.path(6))
    notes: list[str] = []
    state = states.load(notes.append)
    assert state is not None
    assert state["step"] == 3
    assert len(notes) == 1
    assert "step-00000006.pt is damaged; going on from the state before it, of step 3" in notes[0]
    # The damaged one does not count as one of those that are kept.
    states.save(_state(4), keep=2)
    assert _steps(states) == ["step-00000003.pt", "step-00000004.pt", "step-00000006.pt.damaged"]


def test_states_that_are_all_damaged_are_named(tmp_path: Path) -> None:
    states = _saved(tmp_path, 3, 6)
    _cut(states.path(3))
    _empty(states.path(6))
    with pytest.raises(CheckpointError, match=r"step-00000006\.pt: expected an undamaged run state"):
        states.load()
    assert _steps(states) == ["step-00000003.pt", "step-00000006.pt"]


def test_a_kill_while_saving_leaves_the_older_state_and_no_litter(tmp_path: Path) -> None:
    """A killed process cleans nothing up: its half-written file is still there when the run goes on."""
    states = _saved(tmp_path, 3)
    (states.folder / ".step-00000004.x1y2z3.pt").write_bytes(b"half")
    state = states.load()
    assert state is not None
    assert _steps(states) == ["step-00000003.pt"]


# torch's zip writer tells of a full disk by a RuntimeError, Python's files by an OSError.
@pytest.mark.parametrize(
    "fault",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EFBIG, "File too large"),
        RuntimeError("unexpected pos 704 vs 598"),
    ],
)
def test_a_full_disk_leaves_the_older_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    states = _saved(tmp_path, 2, 3)

    def half(state: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise fault

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(InputError) as caught:
        states.save(_state(4), keep=1)
    said = str(caught.value)
    assert f"cannot write {states.path(4)} (" in said
    assert f"expected 0.4 kB of room on the disk of {states.folder}" in said
    assert "the state of step 3 is intact" in said
    assert _steps(states) == ["step-00000002.pt", "step-00000003.pt"]


def test_a_disk_without_room_is_seen_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = RunStates(tmp_path / "new" / "state")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1000, 900, 100))  # type: ignore[attr-defined]
    with pytest.raises(InputError) as caught:
        states.save(_state(4))
    assert "No space left on device; 0.1 kB free" in str(caught.value)
    assert "nothing was saved yet" in str(caught.value)
    assert not states.folder.exists()


def test_fewer_states_make_room_for_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = RunStates(tmp_path)
    for step in (1, 2, 3):
        states.save(_state(step), keep=3)

    def disk_usage(path: Path) -> object:
        return shutil._ntuple_diskusage(9000, 9000, 0 if len(states.paths()) > 1 else 9000)  # type: ignore[attr-defined]

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    with pytest.raises(InputError, match=r"free space, lower --keep-states, or .*; the state of step 3 is intact"):
        states.save(_state(4), keep=3)
    assert len(states.paths()) == 3
    states.save(_state(4), keep=1)
    assert states.paths() == [states.path(4)]


def test_an_error_that_is_no_damage_leaves_the_state_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = _saved(tmp_path, 3, 6)

    def broken_disk(*_: object, **__: object) -> object:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(torch, "load", broken_disk)
    with pytest.raises(InputError, match="Input/output error"):
        states.load()
    assert _steps(states) == ["step-00000003.pt", "step-00000006.pt"]


def test_bytes_of_a_state() -> None:
    assert num_bytes(_state(1)) == 408
