"""Workers that die, hang or cannot live: the file is named, and the batches are what they would be anyway."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from videomae.core.errors import ConfigError, VideoError
from videomae.data import workers
from videomae.data.clips import Sample
from videomae.data.loader import ClipBatch, training_loader, view_loader
from videomae.data.order import BatchOrder
from videomae.data.workers import Broken


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_POLL_SECONDS", 0.1)


@pytest.fixture(autouse=True)
def _no_process_stays() -> object:
    yield
    assert multiprocessing.active_children() == []


class Clips(torch.utils.data.Dataset[Sample | Broken]):
    """Samples that tell their key; at some indices something happens first."""

    def __init__(self, happens: dict[int, Callable[[], object]], num_clips: int = 9) -> None:
        self.happens = happens
        self.paths = [Path(f"{index}.mp4") for index in range(num_clips)]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: tuple[int, int] | int) -> Sample | Broken:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        self.happens.get(index, int)()
        return Sample(torch.full((1, 2, 3, 4, 4), 10 * epoch + index, dtype=torch.uint8), index, index)


def raise_video_error() -> None:
    raise VideoError("a file", expected="a video", hint="leave it out")


class Erring(Clips):
    """The same with an ordinary broken video in the places where something happens."""

    def __getitem__(self, key: tuple[int, int] | int) -> Sample | Broken:
        index = key[1] if isinstance(key, tuple) else key
        if index in self.happens:
            return Broken(index, VideoError("x", expected="y", hint="z"))
        return super().__getitem__(key)


def die(number: signal.Signals) -> Callable[[], object]:
    return lambda: os.kill(os.getpid(), number)


def load(
    clips: Clips,
    *,
    num_workers: int = 2,
    limit_seconds: float | None = 60,
    excluded: dict[int, VideoError] | None = None,
    notes: list[str] | None = None,
) -> list[ClipBatch]:
    order = BatchOrder(len(clips), batch_size=2, epochs=2, seed=4, first_step=1)
    said: list[str] = [] if notes is None else notes
    return list(
        training_loader(
            clips,
            order,
            num_workers=num_workers,
            pin_memory=False,
            limit_seconds=limit_seconds,
            excluded=excluded,
            note=said.append,
        )
    )


def assert_same(left: list[ClipBatch], right: list[ClipBatch]) -> None:
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert torch.equal(one.clips, other.clips)
        assert one.indices.tolist() == other.indices.tolist()
        assert [broken.index for broken in one.broken] == [broken.index for broken in other.broken]


def read_null() -> None:
    ctypes.string_at(0)


@pytest.mark.parametrize(
    ("happens", "how"),
    [
        (die(signal.SIGKILL), "was killed by SIGKILL, as happens when memory runs out"),
        (read_null, "was killed by SIGSEGV"),
        (lambda: os._exit(3), "ended with status 3"),
    ],
    ids=["kill", "segfault", "exit"],
)
@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_file_that_ends_its_worker_is_broken_and_named(
    happens: Callable[[], object], how: str, num_workers: int
) -> None:
    excluded: dict[int, VideoError] = {}
    notes: list[str] = []

    batches = load(Clips({3: happens}), num_workers=num_workers, excluded=excluded, notes=notes)

    assert_same(batches, load(Erring({3: happens}), num_workers=0))
    errors = {str(broken.error) for batch in batches for broken in batch.broken}
    assert errors == {
        f"3.mp4 (reading it ended a worker process 2 times: {how}): expected a video that can be read; "
        "remove this file from the data, or convert it"
    }
    assert list(excluded) == [3]
    assert notes == [f"a worker process that read 3.mp4 {how}; the file is read again"]


def test_several_files_that_end_their_workers() -> None:
    happens: dict[int, Callable[[], object]] = {1: die(signal.SIGKILL), 4: read_null, 6: lambda: time.sleep(1000)}
    excluded: dict[int, VideoError] = {}

    batches = load(Clips(happens), excluded=excluded, limit_seconds=1)

    assert_same(batches, load(Erring(happens), num_workers=0))
    assert sorted(excluded) == [1, 4, 6]


def test_a_file_that_hangs_is_broken_and_named() -> None:
    hang = {5: lambda: time.sleep(1000)}

    batches = load(Clips(hang), limit_seconds=0.5)

    assert_same(batches, load(Erring(hang), num_workers=0))
    errors = {str(broken.error) for batch in batches for broken in batch.broken}
    assert errors == {
        "5.mp4 (still being read after 0.5 s, so its worker process was ended): expected a video that can be read; "
        "remove this file from the data, or convert it"
    }


def test_a_slow_file_is_waited_for() -> None:
    slow = {5: lambda: time.sleep(0.7)}
    excluded: dict[int, VideoError] = {}

    batches = load(Clips(slow), excluded=excluded, limit_seconds=None)

    assert_same(batches, load(Clips({}), num_workers=0))
    assert excluded == {}


def test_a_worker_killed_from_outside_costs_no_file(tmp_path: Path) -> None:
    """The system kills at random when memory runs out; the file that was being read may be a good one."""
    mark = tmp_path / "died"

    def die_once() -> None:
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    excluded: dict[int, VideoError] = {}
    notes: list[str] = []

    batches = load(Clips({2: die_once}), excluded=excluded, notes=notes)

    assert_same(batches, load(Clips({}), num_workers=0))
    assert excluded == {}
    assert len(notes) == 1


@pytest.mark.parametrize("num_workers", [0, 1])
def test_excluded_videos_are_not_opened(num_workers: int) -> None:
    excluded = {7: VideoError("7.mp4", expected="a video", hint="known to be broken")}
    happens = {7: raise_video_error if num_workers == 0 else die(signal.SIGKILL)}

    batches = load(Clips(happens), num_workers=num_workers, excluded=excluded)

    assert_same(batches, load(Erring(happens), num_workers=0))
    assert {str(broken.error) for batch in batches for broken in batch.broken} == {str(excluded[7])}


def test_workers_that_die_at_no_file_are_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    original, mark = workers._begin_worker, tmp_path / "died"

    def die_at_first(board: torch.Tensor, worker_id: int) -> None:
        original(board, worker_id)
        if not mark.exists():
            mark.touch()
            os._exit(9)

    monkeypatch.setattr(workers, "_begin_worker", die_at_first)
    notes: list[str] = []

    assert_same(load(Clips({}), num_workers=1, notes=notes), load(Clips({}), num_workers=0))
    assert notes == ["a worker process ended with status 9, at no file in particular; starting new ones"]


def test_workers_that_never_live_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_begin_worker", lambda board, worker_id: os._exit(9))
    notes: list[str] = []

    with pytest.raises(ConfigError, match=r"num_workers=2: worker processes ended 4 times in a row.*status 9"):
        load(Clips({}), notes=notes)
    assert len(notes) == 3


def test_faults_of_ours_are_not_taken_for_broken_files() -> None:
    def fault() -> None:
        raise RuntimeError("a fault of ours")

    with pytest.raises(RuntimeError, match="a fault of ours"):
        load(Clips({3: fault}))


def test_no_shared_memory_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(size: int) -> None:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: Success (0)")

    monkeypatch.setattr(torch.UntypedStorage, "_new_shared", full)
    with pytest.raises(ConfigError, match=r"shared memory with no room for a batch: .*--shm-size"):
        load(Clips({}))


def test_leaving_early_ends_workers_that_hang() -> None:
    order = [[(0, 0)], [(0, 1)], [(0, 2)], [(0, 3)]]
    hang = {1: lambda: time.sleep(1000), 2: lambda: time.sleep(1000)}
    batches = training_loader(Clips(hang), order, num_workers=2, pin_memory=False)
    assert next(batches).indices.tolist() == [0]

    batches.close()  # type: ignore[attr-defined]


def test_a_death_raises_nothing_in_the_midst_of_other_work() -> None:
    """torch's own handler would raise wherever the main thread is: between two halves of an optimizer's step."""
    order = [[(0, 0)], [(0, 1)]]
    go = torch.zeros(1).share_memory_()

    def die_when_told() -> None:
        while not go:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)

    batches = training_loader(Clips({1: die_when_told}), order, num_workers=1, pin_memory=False)
    next(batches)
    go.fill_(1)
    deadline = time.monotonic() + 60
    while multiprocessing.active_children():
        assert time.monotonic() < deadline
        time.sleep(0.01)

    (last,) = batches
    assert [broken.index for broken in last.broken] == [1]


@pytest.mark.parametrize("happens", [die(signal.SIGKILL), lambda: time.sleep(1000)], ids=["dies", "hangs"])
def test_views_of_other_videos_come_whatever_one_does(happens: Callable[[], object]) -> None:
    batches = list(view_loader(Clips({3: happens}), batch_size=2, num_workers=2, pin_memory=False, limit_seconds=0.5))

    assert [batch.indices.tolist() for batch in batches] == [[0, 1], [2], [4, 5], [6, 7], [8]]
    assert [[broken.index for broken in batch.broken] for batch in batches] == [[], [3], [], [], []]


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("world_size", [1, 2, 4, 11])
def test_processes_have_each_video_once_together(world_size: int, num_workers: int) -> None:
    if num_workers and world_size > 2:
        pytest.skip("workers change nothing about who has what")
    seen = []
    for rank in range(world_size):
        loader = view_loader(
            Clips({}),
            batch_size=2,
            num_workers=num_workers,
            pin_memory=False,
            rank=rank,
            world_size=world_size,
        )
        seen.append([index for batch in loader for index in batch.indices.tolist()])

    assert [index for part in seen for index in part] == list(range(9))
    assert max(map(len, seen)) - min(map(len, seen)) <= 1


def test_more_workers_than_cores_are_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0}, raising=False)
    with pytest.warns(UserWarning, match="This DataLoader will create 2"):  # what torch says by itself
        torch.utils.data.DataLoader([0], num_workers=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(load(Clips({}), num_workers=2)) == 8 + 1
    # Since Python 3.12 a fork of a process with threads, of a test before this one, is a deprecation.
    assert [str(warning.message) for warning in caught if warning.category is not DeprecationWarning] == []
