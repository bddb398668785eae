"""Packed data sets: their index, and tar shards in the WebDataset convention.

A packed folder holds `index.json` (what it is), `videos.csv` (a line for each video), `packets.bin` (each video's
packet index, which spares the reader going through its packets) and the videos: as MP4 files, or in tar shards. A
shard's members that share a name up to the first dot belong together: `key.mp4` is the video, `key.json` what is known
of it, `key.cls` the number of its class. Member offsets are in `videos.csv`, so that any video can be read on its own,
from a local folder or from a URL.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from videomae.core.errors import DataError
from videomae.core.files import write_atomically, write_bytes, write_text
from videomae.datasets.entries import LABEL_SEPARATOR, Place, VideoEntry
from videomae.datasets.labels import LABELS_COLUMN, SCORE_COLUMN, split_labels
from videomae.video import PacketIndex, ShardMember, VideoSource, is_url, read_url

INDEX_NAME = "index.json"
TABLE_NAME = "videos.csv"
PACKETS_NAME = "packets.bin"
logger = logging.getLogger("videomae")

_FORMAT = "videomae-packed"
_VERSION = 2
_VERSION_OF_ANY_ORDER = 1  # packed when frames of some videos (AVI, among others) came in the wrong order


@dataclass(frozen=True)
class PackedFile:
    """A video of a packed data set.

    Args:
        name: of its file below the folder, or of its member in the shard; with `/` and without odd characters.
        num_bytes: of the video.
        num_frames: of the video.
        width: of a frame in pixels.
        height: of a frame in pixels.
        psnr: dB against the source.
        packets: its packet index, as bytes.
        label: its class.
        labels: its classes, where videos may have several.
        split: train, val or test.
        group: what it shares with others that must stay on one side of a split.
        score: a number to predict, in place of classes.
        source: where it came from, for people.
        shard: the tar file's name; None for a file of its own.
        offset: where its bytes begin in the shard.
    """

    name: str
    num_bytes: int
    num_frames: int
    width: int
    height: int
    psnr: float
    packets: bytes
    label: str | None = None
    split: str | None = None
    group: str | None = None
    source: str = ""
    shard: str | None = None
    offset: int = 0
    labels: tuple[str, ...] | None = None
    score: float | None = None


_COLUMNS = (
    *("path", "label", "split", "group", "num_frames", "width", "height", "num_bytes", "psnr", "source"),
    *("shard", "offset", "packets_offset", "packets_num_bytes"),
)


def write_index(folder: Path, files: Sequence[PackedFile], *, about: dict[str, Any]) -> None:
    """Write the index of a packed folder: each file whole, `index.json` last, so that it speaks of what is there.

    Args:
        folder: the packed folder.
        files: all its videos.
        about: further entries of `index.json`: settings, the source.

    Raises:
        InputError: the folder cannot be written.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    is_multi_label = any(file.labels is not None for file in files)
    # A column that not every table has, so that those that were packed before it came are read as ever.
    is_scored = any(file.score is not None for file in files)
    columns = (*_COLUMNS, *([LABELS_COLUMN] if is_multi_label else []), *([SCORE_COLUMN] if is_scored else []))
    table.writerow(columns)
    packets = bytearray()
    for file in files:
        row = {**vars(file), "path": file.name, "psnr": f"{file.psnr:.2f}", "packets_offset": len(packets)}
        row["packets_num_bytes"] = len(file.packets)
        row["labels"] = LABEL_SEPARATOR.join(file.labels or ())
        table.writerow(["" if row[column] is None else row[column] for column in columns])
        packets += file.packets
    header = {
        "format": _FORMAT,
        "version": _VERSION,
        "num_videos": len(files),
        "num_bytes": sum({file.name: file.num_bytes for file in files}.values()),
        "shards": sorted({file.shard for file in files if file.shard is not None}),
        **about,
    }
    write_bytes(folder / PACKETS_NAME, bytes(packets))
    write_text(folder / TABLE_NAME, text.getvalue())
    write_text(folder / INDEX_NAME, json.dumps(header, indent=2, ensure_ascii=False) + "\n")


def is_packed(folder: str | os.PathLike[str]) -> bool:
    """Whether a local folder is a packed data set."""
    try:
        header = json.loads((Path(folder) / INDEX_NAME).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(header, dict) and header.get("format") == _FORMAT


def read_shard_entries(folder_or_url: str | os.PathLike[str]) -> list[VideoEntry]:
    """The videos of a packed folder, in shards or in files, local or at a URL, with classes, splits and groups.

    Raises:
        DataError: no packed data set, one of a newer version, or one whose index is damaged.
        VideoError: a URL that cannot be reached.
    """
    base = os.fspath(folder_or_url)
    return [
        VideoEntry(
            _source_of(base, row),
            label=row["label"] or None,
            split=row["split"] or None,
            group=row["group"] or None,
            labels=split_labels(row[LABELS_COLUMN]) if LABELS_COLUMN in row else None,
            score=float(row[SCORE_COLUMN]) if row.get(SCORE_COLUMN) else None,
            place=None if is_url(base) else Place(Path(base) / TABLE_NAME, line),
        )
        for line, row in _read_rows(base)
    ]


class PackedIndex:
    """The packet indices that a packed data set holds; read when first asked.

    Args:
        folder_or_url: the packed data set.
    """

    def __init__(self, folder_or_url: str | os.PathLike[str]) -> None:
        self._base = os.fspath(folder_or_url)
        # Numbers by name, and an array: a data set of a million videos is kept in each loader worker.
        self._numbers: dict[str, int] | None = None
        self._places = np.empty((0, 3), dtype=np.int64)  # offset, bytes of the index, bytes of the video
        self._remote: bytes | None = None

    def find(self, source: VideoSource) -> PacketIndex | None:
        """The kept index of a video; None where there is none, or the file is another one by now."""
        if self._numbers is None:
            self._numbers = self._load()
        number = self._numbers.get(str(source))
        if number is None:
            return None
        offset, size, num_bytes = self._places[number].tolist()
        if isinstance(source, Path) and source.stat().st_size != num_bytes:
            return None
        try:
            return PacketIndex.from_bytes(self._read(offset, size))
        except ValueError:  # another version's
            return None

    def _load(self) -> dict[str, int]:
        numbers: dict[str, int] = {}
        places: list[tuple[int, ...]] = []
        for _, row in _read_rows(self._base):
            numbers[str(_source_of(self._base, row))] = len(places)
            places.append(tuple(int(row[name]) for name in ("packets_offset", "packets_num_bytes", "num_bytes")))
        self._places = np.array(places, dtype=np.int64).reshape(-1, 3)
        return numbers

    def _read(self, offset: int, size: int) -> bytes:
        if is_url(self._base):
            if self._remote is None:
                self._remote = _read_bytes(self._base, PACKETS_NAME)
            return self._remote[offset : offset + size]
        with open(Path(self._base) / PACKETS_NAME, "rb") as file:
            file.seek(offset)
            return file.read(size)


def packed_folder_of(member: ShardMember) -> str:
    """The folder or URL of the packed data set that a member of a shard, or a file at a URL, belongs to."""
    if not is_url(member.url):
        return os.path.dirname(member.url)
    address, mark, query = member.url.partition("?")
    # A file of its own has its name below the URL; a shard lies beside the index.
    for name in (quote(member.name), member.name):
        if address.endswith(f"/{name}"):
            return f"{address.removesuffix(f'/{name}')}{mark}{query}"
    return f"{address.rpartition('/')[0]}{mark}{query}"


@dataclass(frozen=True)
class ShardSample:
    """What goes into a shard for one video.

    Args:
        key: the name that its members share, without a dot in its last part.
        about: goes into `key.json`.
        class_number: goes into `key.cls`; None for a video without a class.
    """

    key: str
    about: dict[str, Any]
    class_number: int | None


def write_shard(path: Path, samples: Iterable[tuple[ShardSample, bytes]]) -> dict[str, tuple[int, int]]:
    """Write a tar file; complete or not at all, and the same bytes for the same samples.

    Args:
        path: the tar file.
        samples: each with the bytes of its video; taken one at a time.

    Returns:
        (offset, size) of each video by its key, as read back from the file.

    Raises:
        InputError: the file cannot be written.
    """
    places: dict[str, tuple[int, int]] = {}

    def write(aside: Path) -> None:
        with tarfile.open(aside, "w", format=tarfile.PAX_FORMAT) as tar:
            for sample, video in samples:
                _add(tar, f"{sample.key}.mp4", video)
                if sample.class_number is not None:
                    _add(tar, f"{sample.key}.cls", str(sample.class_number).encode())
                _add(tar, f"{sample.key}.json", json.dumps(sample.about, ensure_ascii=False).encode())
        with tarfile.open(aside, "r:") as tar:
            for member in tar:
                if member.name.endswith(".mp4"):
                    places[member.name.removesuffix(".mp4")] = (member.offset_data, member.size)

    write_atomically(path, write)
    return places


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # time, owner and group are 0: the result depends on the content alone
    member.size = len(content)
    member.mode = 0o644
    tar.addfile(member, io.BytesIO(content))


def _source_of(base: str, row: dict[str, str]) -> VideoSource:
    name = row["path"]
    if row["shard"]:
        return ShardMember(_join(base, row["shard"]), int(row["offset"]), int(row["num_bytes"]), name)
    # At a URL a file is a member like any other, of a shard that holds nothing else.
    return ShardMember(_join(base, name), 0, int(row["num_bytes"]), name) if is_url(base) else Path(base) / name


def _join(base: str, name: str) -> str:
    if not is_url(base):
        return os.path.join(base, name)
    address, mark, query = base.partition("?")
    if address.startswith(("http://", "https://")):
        name = quote(name)
    return f"{address.rstrip('/')}/{name}{mark}{query}"


def _read_rows(base: str) -> list[tuple[int, dict[str, str]]]:
    """The lines of a packed data set's table, with their numbers."""
    _check_header(base)
    content = _read_bytes(base, TABLE_NAME)
    try:
        table = csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""), strict=True)
        rows = [(table.line_num, row) for row in table]
        for line, row in rows:
            if None in row or any(row.get(column) is None for column in _COLUMNS):
                raise ValueError(f"line {line} has other columns than {', '.join(_COLUMNS)}")
            _source_of(base, row)
            float(row.get(SCORE_COLUMN) or 0)
    except (csv.Error, ValueError) as error:
        raise DataError(
            f"{_join(base, TABLE_NAME)} ({error})",
            expected="the table that `videomae pack` wrote",
            hint="pack into this folder again; what is whole is kept",
        ) from error
    return rows


def _check_header(base: str) -> None:
    place, content = _join(base, INDEX_NAME), _read_bytes(base, INDEX_NAME)
    try:
        header = json.loads(content)
        found, version = header["format"], header["version"]
    except (ValueError, LookupError, TypeError) as error:
        raise DataError(
            place, expected="the index of a packed data set", hint="give what `videomae pack` wrote"
        ) from error
    if found == _FORMAT and version == _VERSION_OF_ANY_ORDER:
        logger.warning(
            "%s was packed by an earlier version, which could misorder frames (of AVI files, among others): "
            "run `videomae pack` again",
            base,
        )
    elif found != _FORMAT or version != _VERSION:
        raise DataError(
            f"{place} (format {found!r}, version {version!r})",
            expected=f"{_FORMAT!r}, version {_VERSION}",
            hint="pack again with this version, or use the version that packed it",
        )


def _read_bytes(base: str, name: str) -> bytes:
    place = _join(base, name)
    if is_url(base):
        return read_url(place)
    try:
        return Path(place).read_bytes()
    except OSError as error:
        raise DataError(
            f"{place} ({error.strerror})",
            expected=f"a packed data set with {INDEX_NAME}, {TABLE_NAME} and {PACKETS_NAME}",
            hint="give the folder that `videomae pack` wrote, or pack again",
        ) from error
