"""Packed videos into tar shards, and again when some of them have changed."""

from __future__ import annotations

import hashlib
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from videomae.core.files import write_bytes
from videomae.curation.pack.journal import Journal, PackedRecord
from videomae.datasets.entries import SPLITS
from videomae.datasets.shards import ShardSample, write_shard


def shard_members(shard: Path) -> dict[str, tuple[int, int]]:
    """(offset, size) of each video in a tar file by its name; none where it is missing or damaged."""
    try:
        with tarfile.open(shard, "r:") as tar:
            return {member.name: (member.offset_data, member.size) for member in tar if member.name.endswith(".mp4")}
    except (OSError, tarfile.TarError):
        return {}


def assemble_shards(
    out: Path, journal: Journal, about: dict[str, dict[str, Any]], class_names: tuple[str, ...], *, shard_bytes: int
) -> None:
    """Bring every video that waits in the staging folder into a shard.

    Shards are kept as they are while each of their videos is wanted and described as before; others are taken apart,
    and their videos go into new ones. The order within a split is shuffled, the same way each time: a shard read from
    its begin to its end is a fair sample of the data.

    Args:
        out: the folder of the shards.
        journal: of what is packed; each written shard is recorded in it.
        about: what is known of each video that is wanted, by its name: `label`, `split` and so on.
        class_names: names of all classes, in the order of their numbers.
        shard_bytes: bytes of videos after which a shard is full.

    Raises:
        InputError: a file cannot be written.
    """
    _take_apart(out, journal, about)
    waiting = [journal.records[name] for name in about if journal.records[name].shard is None]
    waiting.sort(key=lambda record: hashlib.sha1(record.name.encode()).digest())
    numbers = {class_name: number for number, class_name in enumerate(class_names)}
    for split in (*SPLITS, None):
        records = [record for record in waiting if about[record.name].get("split") == split]
        for part in _by_size(records, shard_bytes):
            shard = _free_name(out, split)
            samples = (_sample(record, about[record.name], numbers, journal.staging) for record in part)
            places = write_shard(out / shard, samples)
            placed = [
                replace(
                    record,
                    shard=shard,
                    offset=places[record.name.removesuffix(".mp4")][0],
                    about=about[record.name],
                )
                for record in part
            ]
            journal.add(*placed)
            for record in part:
                (journal.staging / record.name).unlink()


def _sample(
    record: PackedRecord, about: dict[str, Any], class_numbers: dict[str, int], folder: Path
) -> tuple[ShardSample, bytes]:
    key = record.name.removesuffix(".mp4")
    number = class_numbers.get(about["label"]) if "label" in about else None
    return ShardSample(key, about, number), (folder / record.name).read_bytes()


def _take_apart(out: Path, journal: Journal, about: dict[str, dict[str, Any]]) -> None:
    """Take the videos out of shards that hold others than they should."""
    of_shard: dict[str, list[PackedRecord]] = defaultdict(list)
    for record in journal.records.values():
        if record.shard is not None and record.name in about:
            of_shard[record.shard].append(record)
    known = {record.shard for record in journal.records.values() if record.shard is not None}
    for shard in sorted(known | _shard_files(out)):
        records = of_shard.get(shard, [])
        right = {record.name: (record.offset, record.num_bytes) for record in records}
        if shard_members(out / shard) == right and all(record.about == about[record.name] for record in records):
            continue
        for record in records:
            with open(out / shard, "rb") as file:
                file.seek(record.offset)
                write_bytes(journal.staging / record.name, file.read(record.num_bytes))
        journal.add(*(replace(record, shard=None, offset=0, about={}) for record in records))
        (out / shard).unlink(missing_ok=True)


def _shard_files(out: Path) -> set[str]:
    """The shards in the folder, also those that were written right before the process was killed."""
    return {path.name for path in out.glob("*.tar") if path.stem[-6:].isdecimal()}


def _by_size(records: list[PackedRecord], shard_bytes: int) -> Iterator[list[PackedRecord]]:
    part: list[PackedRecord] = []
    num_bytes = 0
    for record in records:
        if part and num_bytes + record.num_bytes > shard_bytes:
            yield part
            part, num_bytes = [], 0
        part.append(record)
        num_bytes += record.num_bytes
    if part:
        yield part


def _free_name(out: Path, split: str | None) -> str:
    prefix = "" if split is None else f"{split}-"
    number = 0
    while (out / f"{prefix}{number:06d}.tar").exists():
        number += 1
    return f"{prefix}{number:06d}.tar"
