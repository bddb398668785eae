"""Packet indices: in memory, of a packed folder and of the catalog; forgotten when their file changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from videomae.data.index_store import IndexStore
from videomae.video.reader import PacketIndex, VideoReader


@pytest.fixture
def indices(videos: list[Path]) -> list[PacketIndex]:
    found = []
    for path in videos:
        with VideoReader(path) as reader:
            found.append(reader.index)
    return found


def test_what_was_kept_is_found_while_the_file_stays(place: object, indices: list[PacketIndex]) -> None:
    folder = place("a.mp4", "b.mp4")  # type: ignore[operator]
    memory = IndexStore()
    memory.keep(folder / "a.mp4", indices[0])

    assert memory.find(folder / "a.mp4") is indices[0]
    assert memory.find(folder / "b.mp4") is None
    os.utime(folder / "a.mp4", ns=(1, 1))
    assert memory.find(folder / "a.mp4") is None
    assert memory.num_bytes == 0


def test_memory_is_bounded_and_the_latest_stay(videos: list[Path], indices: list[PacketIndex]) -> None:
    unbounded = IndexStore()
    unbounded.keep(videos[0], indices[0])
    each = unbounded.num_bytes
    assert each > 0
    memory = IndexStore(max_bytes=3 * each)
    for path, index in zip(videos, indices, strict=True):
        memory.keep(path, index)
        memory.keep(path, index)
        assert memory.find(videos[0]) is indices[0] or path != videos[0]
        memory.find(videos[0])

    assert memory.num_bytes == 3 * each
    assert [memory.find(path) is not None for path in videos] == [True, False, False, False, True, True]
    small = IndexStore(max_bytes=each - 1)
    small.keep(videos[0], indices[0])
    assert small.num_bytes == 0


def test_what_has_no_index_or_no_file_is_not_kept(tmp_path: Path, indices: list[PacketIndex]) -> None:
    memory = IndexStore()
    memory.keep(tmp_path / "absent.mp4", indices[0])
    memory.keep(tmp_path, None)

    assert memory.num_bytes == 0
