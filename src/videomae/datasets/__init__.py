"""Which videos a data set has, with classes, splits and groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videomae.core.lazy import lazy_names

if TYPE_CHECKING:
    from .apart import is_within as is_within
    from .apart import require_apart as require_apart
    from .catalog import Catalog as Catalog
    from .catalog import FileStamp as FileStamp
    from .catalog import VideoRecord as VideoRecord
    from .catalog import stamp_of as stamp_of
    from .entries import VideoEntry as VideoEntry
    from .findings import Finding as Finding
    from .findings import FindingKind as FindingKind
    from .manifest import Manifest as Manifest
    from .manifest import read_manifest as read_manifest
    from .manifest import read_videos as read_videos
    from .parts import frames_of_part as frames_of_part
    from .parts import video_part as video_part
    from .parts import whole_video as whole_video
    from .shards import PackedIndex as PackedIndex
    from .shards import is_packed as is_packed
    from .shards import packed_folder_of as packed_folder_of
    from .splitting import read_train_and_val as read_train_and_val

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "apart": ["is_within", "require_apart"],
        "catalog": ["Catalog", "FileStamp", "VideoRecord", "stamp_of"],
        "entries": ["VideoEntry"],
        "findings": ["Finding", "FindingKind"],
        "manifest": ["Manifest", "read_manifest", "read_videos"],
        "parts": ["frames_of_part", "video_part", "whole_video"],
        "shards": ["PackedIndex", "is_packed", "packed_folder_of"],
        "splitting": ["read_train_and_val"],
    },
)
