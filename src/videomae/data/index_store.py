"""Packet indices of videos, so that a reader need not go through a file's packets again.

Where the index of a video comes from is decided here for each video, and nowhere else: from this process' memory, else
from the packed folder that the video lies in, else from the catalog that `videomae scan` keeps.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import fields
from pathlib import Path

import numpy as np

from videomae.datasets import Catalog, FileStamp, PackedIndex, is_packed, packed_folder_of, stamp_of
from videomae.video import FrameFolder, PacketIndex, ShardMember, VideoSource, is_url

DEFAULT_MAX_BYTES = 32 * 2**20


class IndexStore:
    """The packet indices of unchanged videos. Picklable: a copy in another process begins with an empty memory.

    Args:
        catalog: asked for videos that are in no packed folder; None for the user's own.
        max_bytes: bound of what is kept in this process' memory.
    """

    def __init__(self, catalog: Catalog | None = None, *, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._catalog = Catalog() if catalog is None else catalog
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._kept: OrderedDict[VideoSource, tuple[FileStamp, PacketIndex]] = OrderedDict()
        self._packed: dict[str, PackedIndex | None] = {}
        self._folders: dict[Path, str | None] = {}  # folder of a file → the packed folder around it

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self._catalog, self._max_bytes)

    @property
    def num_bytes(self) -> int:
        """Bytes of all indices in memory."""
        return self._num_bytes

    def find(self, source: VideoSource) -> PacketIndex | None:
        """The index of an unchanged video, if it is known."""
        kept = self._kept.get(source)
        if kept is not None:
            if kept[0] == stamp_of(source):
                self._kept.move_to_end(source)
                return kept[1]
            self._forget(source)
        packed = self._packed_index(source)
        return self._catalog.packet_index(source) if packed is None else packed.find(source)

    def is_packed(self, source: VideoSource) -> bool:
        """Whether the video lies in a packed folder."""
        return self._packed_index(source) is not None

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

    def _packed_index(self, source: VideoSource) -> PackedIndex | None:
        """The indices of the packed folder that the video belongs to."""
        if isinstance(source, FrameFolder):
            return None
        base = packed_folder_of(source) if isinstance(source, ShardMember) else self._folder_around(source.parent)
        if base is not None and base not in self._packed:
            # A member may also be of a tar file that somebody else wrote.
            self._packed[base] = PackedIndex(base) if is_url(base) or is_packed(base) else None
        return None if base is None else self._packed[base]

    def _folder_around(self, folder: Path) -> str | None:
        """The nearest packed folder that holds `folder`, or is it."""
        if folder not in self._folders:
            candidates = (folder, *folder.parents)
            self._folders[folder] = next((str(place) for place in candidates if is_packed(place)), None)
        return self._folders[folder]

    def _forget(self, source: VideoSource) -> None:
        self._num_bytes -= _num_bytes(self._kept.pop(source)[1])


def _rebuild(catalog: Catalog, max_bytes: int) -> IndexStore:
    return IndexStore(catalog, max_bytes=max_bytes)


def _num_bytes(index: PacketIndex) -> int:
    values = (getattr(index, field.name) for field in fields(index))
    return sum(value.nbytes for value in values if isinstance(value, np.ndarray))
