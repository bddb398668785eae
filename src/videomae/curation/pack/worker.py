"""What a worker process does to pack one video."""

from __future__ import annotations

import faulthandler
import os
import time
from pathlib import Path

from videomae.core.errors import InputError
from videomae.core.text import readable
from videomae.curation.pack.journal import PackedRecord, encode_packets
from videomae.curation.pack.plan import PackJob
from videomae.datasets import frames_of_part, stamp_of, video_part
from videomae.video import FrameFolder, ReadLimits, ShardMember, VideoSource, open_video, pack_video

_BEAT_SECONDS = 1.0


def pack_one(
    job: PackJob, *, folder: Path, aside: Path, short_side: int, crf: int, stall_seconds: float | None
) -> PackedRecord:
    """Pack one video beside its place, and move it there.

    Args:
        job: what to pack, and its name.
        folder: of the packed videos.
        aside: a folder on the same disk, for the file while it is being written.
        short_side: as `pack_video` takes it.
        crf: as `pack_video` takes it.
        stall_seconds: this process ends when the video gives no frame for so long; None for any time.

    Raises:
        VideoError: the video is broken.
        InputError: the file cannot be written.
    """
    stamp = stamp_of(job.source)
    target, partial_file = folder / job.name, aside / f"{os.getpid()}.mp4"
    alive = _Watchdog(stall_seconds)
    try:
        with open_video(job.source, limits=ReadLimits(max_seconds=None)) as reader:
            packed = pack_video(
                reader,
                partial_file,
                short_side=short_side,
                crf=crf,
                part=frames_of_part(reader, video_part(job.source, job.part)),
                on_frame=alive.beat,
            )
    finally:
        alive.stop()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(partial_file, target)
    except OSError as error:
        raise InputError(
            f"cannot write {target} ({error.strerror})",
            expected="a folder that can be written",
            hint="change its permissions, or choose another folder",
        ) from error
    return PackedRecord(
        name=job.name,
        source=readable(str(job.source)),
        stamp=(stamp.num_bytes, stamp.mtime_ns) if stamp is not None else (0, 0),
        source_num_bytes=_num_bytes(job.source),
        part=job.part,
        num_frames=packed.num_frames,
        width=packed.width,
        height=packed.height,
        num_bytes=packed.size_bytes,
        psnr=packed.psnr,
        damage=packed.damage,
        packets=encode_packets(packed.index.to_bytes()),
    )


class _Watchdog:
    """Ends this process when there was no sign of life for too long, whatever C code it is stuck in.

    Args:
        stall_seconds: how long; None for no watch.
    """

    def __init__(self, stall_seconds: float | None) -> None:
        self._stall_seconds = stall_seconds
        self._last = float("-inf")
        self.beat()

    def beat(self) -> None:
        """Give a sign of life."""
        now = time.monotonic()
        if self._stall_seconds is not None and now - self._last > min(_BEAT_SECONDS, self._stall_seconds / 4):
            self._last = now
            faulthandler.dump_traceback_later(self._stall_seconds, exit=True)

    def stop(self) -> None:
        """Watch no longer."""
        if self._stall_seconds is not None:
            faulthandler.cancel_dump_traceback_later()


def _num_bytes(source: VideoSource) -> int:
    if isinstance(source, ShardMember):
        return source.size
    if isinstance(source, FrameFolder):
        return sum(file.stat().st_size for file in os.scandir(source.path) if file.is_file())
    return os.stat(source).st_size
