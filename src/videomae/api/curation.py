"""`scan` and `pack`: which videos of a data set are usable, and a copy that is read many times faster."""

from __future__ import annotations

import re
from pathlib import Path

from videomae.api._console import stderr_console
from videomae.api._models import path_of, require_at_least
from videomae.api._public import logger, public
from videomae.api.file_progress import FileProgress, PackProgress
from videomae.core.errors import ConfigError
from videomae.curation.pack.packer import PackReport, PackSettings, pack_videos
from videomae.curation.scan import ScanReport, scan_videos
from videomae.datasets.catalog import Catalog
from videomae.datasets.manifest import read_manifest

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}


@public
def scan(
    data: str | Path,
    *,
    full: bool = False,
    num_frames: int = 16,
    frame_stride: int = 4,
    group: str | None = None,
    video_root: str | Path | None = None,
    num_workers: int = -1,
    limit_seconds: float | None = None,
    progress: bool = True,
) -> ScanReport:
    """Find broken, damaged, copied and leaking videos. What is found is kept, and training uses it.

    Args:
        data: videos, with classes and splits or without, as for training.
        full: decode every frame of every video, which finds all damage.
        num_frames: of a clip; videos shorter than a clip are listed.
        frame_stride: distance of these frames.
        group: what must stay in one split: a column, "parent" (folder), or a bracket in the path such as "(s\\d+)_".
        video_root: of lists: the folder that their paths are relative to.
        num_workers: processes that read; -1 for one per core, 0 for this process.
        limit_seconds: for one video; by default 60, or 1800 with `full`.
        progress: show a bar.

    Returns:
        All findings, and what is known of each video.

    Raises:
        InputError: if the data or an option does not fit.
    """
    require_at_least(1, "--num-frames", num_frames)
    require_at_least(1, "--frame-stride", frame_stride)
    require_at_least(-1, "--num-workers", num_workers)
    if limit_seconds is not None and not 0 < limit_seconds < float("inf"):
        raise ConfigError(
            f"--limit-seconds {limit_seconds:g}", expected="more than 0", hint="leave it out for 60 seconds"
        )
    manifest = read_manifest(path_of(data, "data"), root=video_root, group=group)
    num_files = len({entry.path for entry in manifest.entries})
    with FileProgress(stderr_console(), verb="scanning", total=num_files, done="scanned", shown=progress) as bar:
        return scan_videos(
            manifest,
            catalog=Catalog(),
            num_workers=num_workers,
            full=full,
            limit_seconds=limit_seconds,
            num_frames=num_frames,
            frame_stride=frame_stride,
            on_video=lambda _, record, was_known: bar.advance(
                was_known=was_known, is_broken=record.problem is not None
            ),
        )


@public
def pack(
    data: str | Path,
    out: str | Path,
    *,
    short_side: int = 256,
    crf: int = 23,
    shards: bool = False,
    shard_size: str | None = None,
    overwrite: bool = False,
    group: str | None = None,
    video_root: str | Path | None = None,
    num_workers: int = -1,
    progress: bool = True,
) -> PackReport:
    r"""Re-encode videos once, small and in a form that is read many times faster; `out` is then DATA like any other.

    Classes, splits and groups are kept, frames keep their number and order, sound is dropped. Repeat the call to
    resume; videos that have changed since are packed again.

    Args:
        data: videos, with classes and splits or without, as for training.
        out: folder for the packed videos: a new one, or one that this function began.
        short_side: pixels of the frames' shorter side; smaller frames are not enlarged.
        crf: quality, from 0 (best, largest) to 51, as x264 counts it.
        shards: write tar files in the WebDataset convention, readable from URLs too, instead of a file per video.
        shard_size: size of a tar file, such as "500MB"; "1GB" by default.
        overwrite: pack everything again where `out` was packed with other settings.
        group: what must stay in one split: a column, "parent" (folder), or a bracket in the path such as "(s\d+)_".
        video_root: of lists: the folder that their paths are relative to.
        num_workers: processes that pack; -1 for one per core.
        progress: show a bar.

    Returns:
        Sizes, quality, and the videos that could not be packed.

    Raises:
        InputError: if the data, an option or the folder does not fit.
    """
    require_at_least(-1, "--num-workers", num_workers)
    if shard_size is not None and not shards:
        raise ConfigError(
            f"--shard-size {shard_size} without --shards", expected="both", hint="add --shards, or leave it out"
        )
    shard_bytes = _num_bytes(shard_size or "1GB") if shards else None
    settings = PackSettings(short_side=short_side, crf=crf, shard_bytes=shard_bytes)
    manifest = read_manifest(path_of(data, "data"), root=video_root, group=group)
    for notice in manifest.notices:
        logger.info("%s", notice)
    num_jobs = len({(entry.path, entry.part) for entry in manifest.entries})
    with PackProgress(stderr_console(), total=num_jobs, shown=progress) as bar:
        return pack_videos(
            manifest,
            Path(out),
            settings=settings,
            num_workers=num_workers,
            overwrite=overwrite,
            on_video=bar.add,
        )


def _num_bytes(text: str) -> int:
    """The bytes of `1GB`, `500 MB`, `2GiB`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]I?)?B?", text.strip().upper())
    size = float(found[1]) * _UNITS[found[2] or ""] if found else 0
    if size < 1_000_000:
        raise ConfigError(f"--shard-size {text}", expected="a size from 1MB, such as 500MB or 1GB", hint="give a size")
    return int(size)
