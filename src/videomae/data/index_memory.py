"""Packet indices of the videos that a process has opened, so that it need not go through their packets again."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import fields
from typing import Protocol

import numpy as np

from videomae.data.catalog import FileStamp, stamp_of
from videomae.video._index import PacketIndex
from videomae.video.source import VideoSource

DEFAULT_MAX_BYTES = 32 * 2**20


class PacketIndices(Protocol):
    """Knows the packet indices of videos: a `Catalog`, or the `PackedIndices` of a packed data set."""

    def packet_index(self, source: VideoSource) -> PacketIndex | None:
        """The index of an unchanged video; None where there is none."""


class IndexMemory:
    """The packet indices used last, as long as their files stay as they are.

    Args:
        catalog: asked for what is not in memory.
        max_bytes: bound of what is kept in this process.
    """

    def __init__(self, catalog: PacketIndices | None = None, *, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._catalog = catalog
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._kept: OrderedDict[VideoSource, tuple[FileStamp, PacketIndex]] = OrderedDict()

    @property
    def num_bytes(self) -> int:
        """Bytes of all indices kept."""
        return self._num_bytes

    def find(self, source: VideoSource) -> PacketIndex | None:
        """The index of an unchanged file, if it is known."""
        kept = self._kept.get(source)
        if kept is not None:
            if kept[0] == stamp_of(source):
                self._kept.move_to_end(source)
                return kept[1]
            self._forget(source)
        return self._catalog.packet_index(source) if self._catalog is not None else None

    def keep(self, source: VideoSource, index: PacketIndex | None) -> None:
        """Remember the index of a file that was just read; the ones not used for longest make room."""
        if index is None or (source in self._kept and self._kept[source][1] is index):
            return
        stamp, size = stamp_of(source), _num_bytes(index)
        if stamp is None or size > self._max_bytes:
            return
        if source in self._kept:
            self._forget(source)
        self._kept[source] = (stamp, index)
        self._num_bytes += size
        while self._num_bytes > self._max_bytes:
            self._forget(next(iter(self._kept)))

    def _forget(self, source: VideoSource) -> None:
        self._num_bytes -= _num_bytes(self._kept.pop(source)[1])


def _num_bytes(index: PacketIndex) -> int:
    values = (getattr(index, field.name) for field in fields(index))
    return sum(value.nbytes for value in values if isinstance(value, np.ndarray))
