"""Reading, sampling, packing and writing videos."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videomae.core.lazy import lazy_names

if TYPE_CHECKING:
    from ._frame_arrays import fit_channels as fit_channels
    from .content_hash import hash_packets as hash_packets
    from .frame_reader import FrameReader as FrameReader
    from .live import LiveVideo as LiveVideo, is_real_time as is_real_time, is_stream as is_stream
    from .opening import open_member as open_member, open_video as open_video, probe_video as probe_video
    from .packing import (
        FrameLayout as FrameLayout,
        PackedVideo as PackedVideo,
        pack_video as pack_video,
        packed_size as packed_size,
        x264_layout as x264_layout,
    )
    from .reader import (
        PacketIndex as PacketIndex,
        ReadLimits as ReadLimits,
        VideoInfo as VideoInfo,
        VideoReader as VideoReader,
        read_video as read_video,
    )
    from .remote import is_url as is_url, read_url as read_url
    from .sampling import ClipSampling as ClipSampling, sample_frame_indices as sample_frame_indices
    from .source import FrameFolder as FrameFolder, ShardMember as ShardMember, VideoSource as VideoSource
    from .time_sampling import frames_between as frames_between
    from .windows import (
        clip_offsets as clip_offsets,
        clip_seconds as clip_seconds,
        moments_of as moments_of,
        window_frames as window_frames,
        window_starts as window_starts,
    )
    from .writer import VideoWriter as VideoWriter, write_video as write_video

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "_frame_arrays": ["fit_channels"],
        "content_hash": ["hash_packets"],
        "live": ["LiveVideo", "is_real_time", "is_stream"],
        "opening": ["open_member", "open_video", "probe_video"],
        "packing": ["FrameLayout", "PackedVideo", "pack_video", "packed_size", "x264_layout"],
        "reader": ["PacketIndex", "ReadLimits", "VideoInfo", "VideoReader", "read_video"],
        "frame_reader": ["FrameReader"],
        "remote": ["is_url", "read_url"],
        "sampling": ["ClipSampling", "sample_frame_indices"],
        "source": ["FrameFolder", "ShardMember", "VideoSource"],
        "time_sampling": ["frames_between"],
        "windows": ["clip_offsets", "clip_seconds", "moments_of", "window_frames", "window_starts"],
        "writer": ["VideoWriter", "write_video"],
    },
)
