"""Opening a video wherever its bytes are."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO, cast

from videomae.core.errors import VideoError
from videomae.core.text import error_reason, readable

from ._info import VideoInfo
from .frame_folder import FrameFolderReader
from .frame_reader import FrameReader
from .reader import PacketIndex, ReadLimits, VideoReader
from .remote import is_url, read_url
from .source import FrameFolder, ShardMember, VideoSource


def open_video(
    source: VideoSource | str | os.PathLike[str],
    *,
    num_threads: int | None = 1,
    index: PacketIndex | None = None,
    limits: ReadLimits | None = None,
    num_channels: int | None = None,
) -> FrameReader:
    """Open a video for reading frames by number.

    `FrameReader` describes what all readers offer.

    Args:
        source: a file, a folder of frames, or a member of a shard. A member of a shard at a URL is read into memory.
        num_threads: decoder threads. Loader workers do better with one each than with several here; None chooses, see
            `VideoReader`.
        index: the `index` of an earlier reader of the same unchanged video.
        limits: the most pixels and seconds that the video may take.
        num_channels: that the frames of a folder must have, see `FrameFolderReader`; a video file gives RGB anyway.

    Raises:
        VideoError: nothing there, not readable, no frame in it, or beyond the limits.
    """
    if isinstance(source, FrameFolder):
        return FrameFolderReader(source, limits=limits, num_channels=num_channels)
    if isinstance(source, ShardMember):
        file = open_member(source, max_seconds=(limits or ReadLimits()).max_seconds)
        return _OwningReader(file, _name(source), num_threads=num_threads, index=index, limits=limits)
    return VideoReader(source, num_threads=num_threads, index=index, limits=limits)


def probe_video(source: VideoSource | str | os.PathLike[str]) -> VideoInfo:
    """What is known of a video without decoding all of it: number of frames, size, rate, duration, codec, rotation.

    Args:
        source: as for `open_video`.

    Raises:
        VideoError: if it cannot be read.
    """
    with open_video(source) as reader:
        return reader.info


class _OwningReader(VideoReader):
    """A reader that closes the file object that it reads from."""

    def __init__(
        self,
        file: BinaryIO,
        name: str,
        *,
        num_threads: int | None,
        index: PacketIndex | None,
        limits: ReadLimits | None,
    ) -> None:
        self.file = file
        try:
            super().__init__(file, num_threads=num_threads, index=index, limits=limits, name=name)
        except BaseException:
            file.close()
            raise

    def close(self) -> None:
        """Release the decoder and the file object."""
        super().close()
        self.file.close()


def open_member(member: ShardMember, *, max_seconds: float | None) -> BinaryIO:
    """Open the bytes of a shard's member: a window into a local file, or what a URL gives, in memory.

    Raises:
        VideoError: no such shard, or one that ends before the member does; a URL that cannot be read.
    """
    if member.offset < 0 or member.size < 1:
        raise VideoError(
            f"{_name(member)} ({member.size} bytes at {member.offset})",
            expected="a member of at least one byte",
            hint="pack the videos again",
        )
    if is_url(member.url):
        return io.BytesIO(read_url(member.url, offset=member.offset, size=member.size, max_seconds=max_seconds))
    return cast(BinaryIO, _FileWindow(member))


class _FileWindow(io.RawIOBase):
    """The bytes [offset, offset + size) of a file."""

    def __init__(self, member: ShardMember) -> None:
        super().__init__()
        self._offset, self._size, self._position = member.offset, member.size, 0
        path = Path(member.url)
        shard = readable(path)
        if path.exists() and not path.is_file():
            raise VideoError(f"{shard} (not a regular file)", expected="a tar file", hint="check the path")
        try:
            self._file = path.open("rb", buffering=0)
            num_bytes = os.fstat(self._file.fileno()).st_size
        except (OSError, ValueError) as error:
            raise VideoError(
                shard, expected="a tar file that can be read", hint=f"it cannot be opened: {error_reason(error)}"
            ) from error
        if num_bytes < self._offset + self._size:
            self.close()
            raise VideoError(
                f"{shard} ({num_bytes} bytes)",
                expected=f"at least {self._offset + self._size} bytes, for {member.name}",
                hint="the file was cut off: copy it again",
            )

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        num_bytes = min(len(buffer), max(self._size - self._position, 0))
        self._file.seek(self._offset + self._position)
        count = self._file.readinto(memoryview(buffer)[:num_bytes])
        self._position += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError(f"seek to {start + offset}")
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        if not self.closed and hasattr(self, "_file"):
            self._file.close()
        super().close()


def _name(member: ShardMember) -> str:
    return member.url + "::" + readable(member.name)
