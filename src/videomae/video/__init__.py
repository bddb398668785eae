"""Reading, sampling, packing and writing videos."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videomae.core.lazy import lazy_names

if TYPE_CHECKING:
    from .content_hash import hash_packets as hash_packets
    from .opening import open_member as open_member
    from .opening import open_video as open_video
    from .opening import probe_video as probe_video
    from .packing import (
        FrameLayout as FrameLayout,
    )
    from .packing import (
        PackedVideo as PackedVideo,
    )
    from .packing import (
        pack_video as pack_video,
    )
    from .packing import (
        packed_size as packed_size,
    )
    from .packing import (
        x264_layout as x264_layout,
    )
    from .reader import (
        PacketIndex as PacketIndex,
    )
    from .reader import (
        ReadLimits as ReadLimits,
    )
    from .reader import (
        VideoInfo as VideoInfo,
    )
    from .reader import (
        VideoReader as VideoReader,
    )
    from .reader import (
        read_video as read_video,
    )
    from .reading import FrameReader as FrameReader
    from .remote import is_url as is_url
    from .remote import read_url as read_url
    from .sampling import ClipSampling as ClipSampling
    from .sampling import sample_frame_indices as sample_frame_indices
    from .source import FrameFolder as FrameFolder
    from .source import ShardMember as ShardMember
    from .source import VideoSource as VideoSource
    from .time_sampling import frames_between as frames_between
    from .writer import write_video as write_video

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "content_hash": ["hash_packets"],
        "opening": ["open_member", "open_video", "probe_video"],
        "packing": ["FrameLayout", "PackedVideo", "pack_video", "packed_size", "x264_layout"],
        "reader": ["PacketIndex", "ReadLimits", "VideoInfo", "VideoReader", "read_video"],
        "reading": ["FrameReader"],
        "remote": ["is_url", "read_url"],
        "sampling": ["ClipSampling", "sample_frame_indices"],
        "source": ["FrameFolder", "ShardMember", "VideoSource"],
        "time_sampling": ["frames_between"],
        "writer": ["write_video"],
    },
)
