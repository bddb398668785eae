"""What has been packed so far: a journal that survives being broken off at any moment."""

from __future__ import annotations

import base64
import json
import logging
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from videomae.core.errors import DataError, InputError
from videomae.core.files import append_text, write_text
from videomae.core.lock import FolderLock

logger = logging.getLogger("videomae")

# Hidden, so that reading the folder as DATA does not see it.
WORK_FOLDER = ".pack"
_JOURNAL_NAME = "journal.jsonl"


@dataclass(frozen=True)
class PackedRecord:
    """A video that is packed, and what it was packed from.

    Args:
        name: of the packed file.
        source: where the video is, as text.
        stamp: size and time of change of the source's file, when it was packed.
        source_num_bytes: of the video there; of a folder of frames, of its images.
        part: what was packed of it, as `VideoEntry.part`.
        num_frames: of the packed file.
        width: of a frame in pixels.
        height: of a frame in pixels.
        num_bytes: of the packed file.
        psnr: dB against the source.
        damage: where and why the source is damaged, if it is.
        packets: the packet index as bytes, in base64.
        shard: the tar file that it went into, and its place there.
        about: its metadata in the shard.
    """

    name: str
    source: str
    stamp: tuple[int, int]
    source_num_bytes: int
    part: tuple[float | None, ...]
    num_frames: int
    width: int
    height: int
    num_bytes: int
    psnr: float
    damage: str | None
    packets: str
    shard: str | None = None
    offset: int = 0
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def packet_bytes(self) -> bytes:
        """The packet index as bytes."""
        return base64.b64decode(self.packets)


class Journal:
    """The records of an output folder, one line for each, the last of a name counts; locked while it is open.

    Args:
        out: the packed folder; made if absent.
        settings: how videos are packed.
        overwrite: start again where the folder was packed with other settings.

    Raises:
        DataError: the folder holds something else, was packed with other settings, or is being packed into.
        InputError: it cannot be written.
    """

    def __init__(self, out: Path, settings: dict[str, Any], *, overwrite: bool) -> None:
        self._work = out / WORK_FOLDER
        self._path = self._work / _JOURNAL_NAME
        self.records: dict[str, PackedRecord] = {}
        if out.is_dir() and not self._work.is_dir() and any(out.iterdir()):
            raise DataError(
                f"OUT {out}, which holds files of another kind",
                expected="a new or empty folder, or one that `videomae pack` began",
                hint="choose another folder",
            )
        try:
            self._work.mkdir(parents=True, exist_ok=True)
            (self._work / "lock").touch()
        except OSError as error:
            raise InputError(
                f"OUT {out} ({error.strerror})",
                expected="a folder that can be written",
                hint="choose another folder, or change its permissions",
            ) from error
        self._lock = FolderLock(
            self._work / "lock",
            lambda owner: DataError(
                f"OUT {out}, into which another process packs",
                expected="one process at a time",
                hint="wait for it, or choose another folder",
            ),
        )
        self._lock.__enter__()
        try:
            self._begin(out, settings, overwrite=overwrite)
        except BaseException:
            self.close()
            raise

    @property
    def aside(self) -> Path:
        """Where files are written before they get their names; emptied at the beginning and the end."""
        return self._work / "aside"

    @property
    def staging(self) -> Path:
        """Where videos wait for their shard."""
        return self._work / "staging"

    def add(self, *records: PackedRecord) -> None:
        """Keep records, in place of earlier ones of the same names.

        Raises:
            InputError: the journal cannot be written.
        """
        append_text(self._path, "".join(json.dumps(asdict(record)) + "\n" for record in records))
        self.records.update({record.name: record for record in records})

    def finish(self) -> None:
        """Rewrite the journal with the current records, and remove the temporary folders."""
        lines = [json.dumps({"settings": self._settings})]
        lines += [json.dumps(asdict(record)) for record in self.records.values()]
        write_text(self._path, "\n".join(lines) + "\n")
        shutil.rmtree(self.aside, ignore_errors=True)
        shutil.rmtree(self.staging, ignore_errors=True)

    def close(self) -> None:
        """Let others pack into the folder."""
        shutil.rmtree(self.aside, ignore_errors=True)
        self._lock.__exit__()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self, out: Path, settings: dict[str, Any], *, overwrite: bool) -> None:
        self._settings = settings
        found = self._read()
        if found is not None and "frame_order" not in found:
            logger.warning(
                "%s was packed by an earlier version, which could misorder frames (of AVI files, among others): "
                "packing all its videos again",
                out,
            )
            overwrite = True
        if found is not None and found != settings:
            if not overwrite:
                changed = [name for name in settings | found if settings.get(name) != found.get(name)]
                before = ", ".join(f"{name} {found.get(name)}" for name in changed)
                raise DataError(
                    f"OUT {out}, packed with {before}",
                    expected=", ".join(f"{name} {settings.get(name)}" for name in changed),
                    hint="give the same settings, another folder, or --overwrite to pack everything again",
                )
            for name in {record.shard or record.name for record in self.records.values()}:
                (out / name).unlink(missing_ok=True)
            shutil.rmtree(self.staging, ignore_errors=True)
            self.records = {}
        if found != settings:
            write_text(self._path, json.dumps({"settings": settings}) + "\n")
        shutil.rmtree(self.aside, ignore_errors=True)
        self.aside.mkdir()

    def _read(self) -> dict[str, Any] | None:
        """The settings; None where nothing was packed yet. A last line that was broken off is nothing."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        if not content.endswith(b"\n"):
            content = content[: content.rfind(b"\n") + 1]
            with self._path.open("rb+") as file:
                file.truncate(len(content))
        settings = None
        for number, line in enumerate(content.splitlines()):
            try:
                values = json.loads(line)
                if number == 0:
                    settings = values["settings"]
                    continue
                record = PackedRecord(**{**values, "part": tuple(values["part"]), "stamp": tuple(values["stamp"])})
            except (ValueError, LookupError, TypeError):
                continue  # its video is packed again
            self.records[record.name] = record
        return settings


def encode_packets(packets: bytes) -> str:
    """For `PackedRecord.packets`."""
    return base64.b64encode(packets).decode("ascii")
