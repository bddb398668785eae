"""The catalog: what a scan has found out about videos, kept for the next scan and for training."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import time
import weakref
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from videomae.core.errors import InputError
from videomae.video import FrameFolder, PacketIndex, ShardMember, VideoSource, is_url

logger = logging.getLogger("videomae")

# Raised with every change of what is stored: versions of this package do not read each other's catalogs.
_VERSION = 3
_TABLE = """CREATE TABLE IF NOT EXISTS videos
    (key BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, record TEXT, packet_index BLOB)"""
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# How long to wait for another process that writes.
_SECONDS_TO_WAIT = 30.0


@dataclass(frozen=True)
class VideoRecord:
    """What is known of a video.

    Args:
        num_frames: how many frames can be read; 0 for a broken video.
        duration_seconds: None where it is not known.
        frames_per_second: on average; None where it is not known.
        width: of a frame as shown, in pixels.
        height: of a frame as shown, in pixels.
        codec: the coding format, by FFmpeg's name.
        rotation_degrees: by how much the stored picture is turned clockwise to be shown: 0, 90, 180 or 270.
        has_variable_rate: frames are shown for unequal times.
        sample_aspect_ratio: width of a pixel as shown / its height; frames are not stretched by it.
        is_interlaced: two fields of different times are woven into each frame.
        is_hdr: brightness is coded as PQ or HLG, and not tone-mapped.
        num_bytes: size of the file, or of all images of a folder.
        content_hash: equal for videos with the same compressed pictures, whatever the container, name and metadata.
        is_fully_decoded: every frame was decoded, not only the first, the middle and the last one.
        damage: where and why the video breaks off before its end; the frames before can be read.
        problem: why the video cannot be used, in one line; None for one that can.
        is_problem_certain: the file itself is at fault; else a crash or a limit stood in the way, which another try,
            another limit or another machine may not meet.
    """

    num_frames: int = 0
    duration_seconds: float | None = None
    frames_per_second: float | None = None
    width: int = 0
    height: int = 0
    codec: str = ""
    rotation_degrees: int = 0
    has_variable_rate: bool = False
    sample_aspect_ratio: float = 1.0
    is_interlaced: bool = False
    is_hdr: bool = False
    num_bytes: int = 0
    content_hash: str | None = None
    is_fully_decoded: bool = False
    damage: str | None = None
    problem: str | None = None
    is_problem_certain: bool = True


@dataclass(frozen=True)
class FileStamp:
    """Distinguishes a changed file from an unchanged one. Take it before the file is read."""

    num_bytes: int
    mtime_ns: int


def stamp_of(source: VideoSource | str) -> FileStamp | None:
    """The stamp of a video's file; None where there is no such file.

    A folder of frames changes with its list of names, not with the content of an image. A shard at a URL counts as
    never changing: it is written once.
    """
    path: str | os.PathLike[str]
    if isinstance(source, ShardMember):
        if is_url(source.url):
            return FileStamp(source.size, 0)
        path = source.url
    else:
        path = source.path if isinstance(source, FrameFolder) else source
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return FileStamp(status.st_size, status.st_mtime_ns)


def default_catalog_path() -> Path:
    """In `$VIDEOMAE_CACHE`, else in `videomae` below `$XDG_CACHE_HOME`, else in `~/.cache/videomae`."""
    if own := os.environ.get("VIDEOMAE_CACHE"):
        folder = Path(own).expanduser()
    elif shared := os.environ.get("XDG_CACHE_HOME"):
        folder = Path(shared) / "videomae"
    else:
        folder = Path("~/.cache/videomae").expanduser()
    return folder / f"catalog-{_VERSION}.sqlite"


class Catalog:
    """What is known of videos, by their absolute paths; valid while size and time of change stay the same.

    One file for all data sets of a user. Several processes may read and write it at once; a forked or unpickled copy
    opens the file again. Nothing that happens to the file makes reading fail: what cannot be read is not known. A
    damaged file is renamed and a new one started; on a disk that cannot be written, what is there is read.

    Args:
        path: the file; None for `default_catalog_path()`. It is made with its folders when first written.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = Path(path) if path is not None else default_catalog_path()
        self._connections: dict[int, sqlite3.Connection] = {}  # by process: one must not be used beyond a fork
        weakref.finalize(self, _close, self._connections)
        self._inode = 0
        self._has_warned = False

    def __reduce__(self) -> tuple[type[Catalog], tuple[Path]]:
        return Catalog, (self.path,)

    def find(self, source: VideoSource | str) -> VideoRecord | None:
        """What is known of a video; None if nothing is, or the file has changed since."""
        found = self._select("record", source)
        try:
            return VideoRecord(**json.loads(found)) if found is not None else None
        except (TypeError, ValueError):
            return None

    def packet_index(self, source: VideoSource | str) -> PacketIndex | None:
        """The packet index of an unchanged video, with which a reader opens it faster; None where there is none."""
        found = self._select("packet_index", source)
        try:
            return PacketIndex.from_bytes(found) if found is not None else None
        except ValueError:  # another version's
            return None

    def put(
        self,
        source: VideoSource | str,
        record: VideoRecord,
        *,
        stamp: FileStamp | None = None,
        packet_index: PacketIndex | bytes | None = None,
    ) -> None:
        """Keep what was found out, in place of what was known before; it is on disk when this returns.

        Args:
            source: the video.
            record: what is known of it.
            stamp: `stamp_of(source)` from before it was read; None takes it now. A video without a file is not kept.
            packet_index: of the reader that read it.

        Raises:
            InputError: the catalog cannot be written.
        """
        stamp = stamp or stamp_of(source)
        if stamp is None:
            return
        index = packet_index.to_bytes() if isinstance(packet_index, PacketIndex) else packet_index
        row = (_key(source), stamp.num_bytes, stamp.mtime_ns, json.dumps(asdict(record)), index)
        for is_last in (False, True):
            try:
                self._connect(for_writing=True).execute("INSERT OR REPLACE INTO videos VALUES (?, ?, ?, ?, ?)", row)
                return
            except (sqlite3.Error, OSError) as error:
                if is_last or not self._set_aside_if_damaged(error):
                    raise self._cannot_write(error) from error

    def check_writable(self) -> None:
        """Raise the InputError that `put` would raise, before the work whose result it is to keep."""
        for is_last in (False, True):
            try:
                connection = self._connect(for_writing=True)
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("INSERT INTO videos (key) VALUES (x'')")  # needs room for the journal as well
                connection.execute("ROLLBACK")
                return
            except (sqlite3.Error, OSError) as error:
                self.close()  # with the open transaction
                if is_last or not self._set_aside_if_damaged(error):
                    raise self._cannot_write(error) from error

    def close(self) -> None:
        """Release the file; the next call opens it again."""
        _close(self._connections)

    def _select(self, column: str, source: VideoSource | str) -> Any:
        stamp = stamp_of(source)
        if stamp is None:
            return None
        query = f"SELECT {column} FROM videos WHERE key = ? AND size = ? AND mtime_ns = ?"
        try:
            connection = self._connect(for_writing=False)
            row = connection.execute(query, (_key(source), stamp.num_bytes, stamp.mtime_ns)).fetchone()
        except (sqlite3.Error, OSError) as error:
            # No file yet, a new one without its table, one that another process keeps locked: nothing is known.
            self._set_aside_if_damaged(error)
            return None
        return row[0] if row is not None else None

    def _connect(self, *, for_writing: bool) -> sqlite3.Connection:
        connection = self._connections.get(os.getpid())
        if connection is None:
            if for_writing:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            name = f"{self.path.absolute().as_uri()}?mode={'rwc' if for_writing else 'rw'}"
            connection = sqlite3.connect(
                name, uri=True, timeout=_SECONDS_TO_WAIT, isolation_level=None, check_same_thread=False
            )
            self._connections[os.getpid()] = connection
            self._inode = os.stat(self.path).st_ino
            # What a crash of the whole machine may cost is only work that can be done again.
            connection.execute("PRAGMA synchronous = OFF")
        if for_writing:
            connection.execute(_TABLE)
        return connection

    def _set_aside_if_damaged(self, error: Exception) -> bool:
        """Whether a damaged file was the reason, and is now out of the way."""
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGED:
            return False
        self.close()
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
        try:
            if os.stat(self.path).st_ino != self._inode:  # another process has done it, and started a new one
                return True
            os.replace(self.path, aside)
            journal = Path(f"{self.path}-journal")
            if journal.exists():  # it belongs to the damaged file, and would spoil a new one
                os.replace(journal, f"{aside}-journal")
        except OSError:
            if not self._has_warned:
                logger.warning("the catalog %s is damaged; remove it, and scan again", self.path)
            self._has_warned = True
            return False
        logger.warning("the catalog was damaged; started a new one, the old one is now %s", aside)
        return True

    def _cannot_write(self, error: Exception) -> InputError:
        return InputError(
            f"the catalog {self.path} cannot be written ({error})",
            expected="a folder that can be written, with room on its disk",
            hint="set VIDEOMAE_CACHE to another folder",
        )


def _close(connections: dict[int, sqlite3.Connection]) -> None:
    """Close this process' connection; one of the process that forked this one is left alone."""
    connection = connections.pop(os.getpid(), None)
    if connection is not None:
        connection.close()


def _key(source: VideoSource | str) -> bytes:
    if isinstance(source, ShardMember):
        url = source.url if is_url(source.url) else os.path.abspath(source.url)
        return os.fsencode(f"{url}::{source.offset}+{source.size}")
    if isinstance(source, FrameFolder):
        return os.fsencode(f"{os.path.abspath(source.path)}::{source.first_frame}+{source.num_frames}")
    return os.fsencode(os.path.abspath(source))
