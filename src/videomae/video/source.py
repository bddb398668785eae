"""Where a video's bytes are: a file, a folder of numbered frames, or a member of a tar shard."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FrameFolder:
    """A folder whose image files, in the order of the numbers in their names, are the frames of one video.

    Args:
        path: the folder.
        first_frame: how many of its images come before the video's first frame.
        num_frames: how many images belong to the video; None for all that follow.
    """

    path: Path
    first_frame: int = 0
    num_frames: int | None = None

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name


@dataclass(frozen=True)
class ShardMember:
    """A video file inside an uncompressed tar file: the bytes [offset, offset + size) of it.

    Args:
        url: the tar file: a local path, an http(s) URL, or any other that fsspec opens.
        offset: where the video's own bytes begin.
        size: how many they are.
        name: the member's name in the tar file.
    """

    url: str
    offset: int
    size: int
    name: str

    def __str__(self) -> str:
        return f"{self.url}::{self.name}"


VideoSource = Path | FrameFolder | ShardMember
