"""Which videos a data set has, with classes, splits and groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videomae.core.lazy import lazy_names

if TYPE_CHECKING:
    from .catalog import Catalog as Catalog, FileStamp as FileStamp, VideoRecord as VideoRecord, stamp_of as stamp_of
    from .entries import VideoEntry as VideoEntry
    from .findings import Finding as Finding, FindingKind as FindingKind
    from .manifest import Manifest as Manifest, read_manifest as read_manifest, read_videos as read_videos
    from .output_check import is_within as is_within, require_apart as require_apart
    from .shards import PackedIndex as PackedIndex, is_packed as is_packed, packed_folder_of as packed_folder_of
    from .splitting import read_train_and_val as read_train_and_val
    from .video_parts import frames_of_part as frames_of_part, video_part as video_part, whole_video as whole_video

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "output_check": ["is_within", "require_apart"],
        "catalog": ["Catalog", "FileStamp", "VideoRecord", "stamp_of"],
        "entries": ["VideoEntry"],
        "findings": ["Finding", "FindingKind"],
        "manifest": ["Manifest", "read_manifest", "read_videos"],
        "video_parts": ["frames_of_part", "video_part", "whole_video"],
        "shards": ["PackedIndex", "is_packed", "packed_folder_of"],
        "splitting": ["read_train_and_val"],
    },
)
