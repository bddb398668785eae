"""Tar files in the WebDataset convention, as others write them: a video, and what is known of it beside it.

Members that share a name up to the first dot of its last part are one sample: `key.mp4` is the video, `key.json` has
columns as a table has them, `key.cls` the number or the name of its class, `key.txt` its class too. Videos are read
where they are, without unpacking.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from videomae.core.errors import DataError
from videomae.datasets.classes import find_class_list
from videomae.datasets.entries import Place, has_video_suffix, split_in_file_name
from videomae.datasets.labels import LABELS_COLUMN
from videomae.datasets.layout import split_folder
from videomae.datasets.list_lines import Listed, Paths, Row
from videomae.datasets.lists import finished, joined_labels
from videomae.datasets.tables import LABEL_COLUMNS, headed_entries
from videomae.video import ShardMember, VideoSource

TAR_SUFFIX = ".tar"
_TEXTS = ("json", "cls", "txt")
_MAX_TEXT_BYTES = 1 << 20
# Of the samples: more different texts than this share are captions, not classes.
_MAX_CLASS_SHARE = 0.5
_MIN_SAMPLES = 10


@dataclass
class _Sample:
    """The members of one key.

    Args:
        place: where it is.
        video: of the first member with the suffix of a video.
        texts: content of the others that are read, by suffix.
    """

    place: Place
    video: ShardMember | None = None
    texts: dict[str, str] = field(default_factory=dict)


class _Members(Paths):
    """Videos in tar files by `tar::member`, where tables have paths."""

    def __init__(self, listing: Path, members: dict[str, ShardMember]) -> None:
        super().__init__(listing, None)
        self._members = members

    def find(self, path: str, place: Place) -> VideoSource | None:
        """The member, which is there."""
        return self._members[path]


def tars_below(folder: Path) -> list[Path]:
    """The tar files of a folder at any depth, sorted; hidden ones are skipped."""
    return sorted(path for path in folder.rglob(f"*{TAR_SUFFIX}") if path.is_file() and not path.name.startswith("."))


def read_tars(files: Sequence[Path], group_column: str | None) -> Listed:
    """The videos of tar files, with what their `json`, `cls` and `txt` say.

    Splits are those of the JSON, else of the names of the files or of the folders that hold them.

    Args:
        files: uncompressed tar files.
        group_column: the key of the JSON that names groups; None for `group`.

    Raises:
        DataError: if a file is no tar file, is cut off, or holds no video; if what is said of a video is malformed.
    """
    listing = files[0] if len(files) == 1 else files[0].parent
    samples = [(file, sample) for file in files for sample in _samples_of(file)]
    rows: list[tuple[Place, dict[str, str]]] = []
    members: dict[str, ShardMember] = {}
    for file, sample in samples:
        if sample.video is None:
            continue
        members[str(sample.video)] = sample.video
        cells = {"path": str(sample.video), **_cells(sample)}
        split = split_in_file_name(file.stem) or split_folder(file.parent.name)
        if split is not None:
            cells.setdefault("split", split)
        rows.append((sample.place, cells))
    if not rows:
        raise DataError(
            f"{listing} without videos",
            expected="members such as key.mp4, with key.cls, key.json or key.txt beside them",
            hint="give tar files that hold videos",
        )
    notices = _drop_captions(rows, listing)
    header = list(dict.fromkeys(name for _, cells in rows for name in cells))
    paths = _Members(listing, members)
    listed = headed_entries(
        [Row(place, [cells.get(name, "") for name in header]) for place, cells in rows],
        header,
        paths,
        group_column or "group",
    )
    paths.finish()
    found = finished([listed], listing, find_class_list(files[0].parent))
    return Listed(found.entries, (*notices, *found.notices), found.columns)


def _samples_of(file: Path) -> Iterator[_Sample]:
    """The samples of a tar file, in the order of their first members."""
    samples: dict[str, _Sample] = {}
    size = file.stat().st_size
    try:
        with tarfile.open(file, "r:") as tar:
            for member in tar:
                folder, slash, name = member.name.rpartition("/")
                key, _, suffix = name.partition(".")
                suffix = suffix.lower()
                if not member.isfile() or not key:
                    continue
                sample = samples.setdefault(folder + slash + key, _Sample(Place(file, len(samples) + 1, "sample")))
                if member.offset_data + member.size > size:
                    raise tarfile.ReadError(f"{member.name} is cut off")
                if sample.video is None and has_video_suffix(f"x.{suffix}"):
                    sample.video = ShardMember(str(file), member.offset_data, member.size, member.name)
                elif suffix in _TEXTS and member.size <= _MAX_TEXT_BYTES:
                    content = tar.extractfile(member)
                    assert content is not None
                    sample.texts[suffix] = content.read().decode("utf-8-sig", "replace").strip()
    except (tarfile.TarError, OSError) as error:
        raise DataError(
            f"{file} ({error})",
            expected="an uncompressed tar file, whole",
            hint="copy or download it again; unpack .tar.gz with gunzip",
        ) from error
    yield from samples.values()


def _cells(sample: _Sample) -> dict[str, str]:
    """What is said of a video, by column; the names of the JSON win."""
    cells: dict[str, str] = {}
    if "json" in sample.texts:
        try:
            about = json.loads(sample.texts["json"])
        except ValueError as error:
            raise DataError(f"{sample.place}: its JSON ({error})", expected="an object", hint="correct it") from error
        for key, value in about.items() if isinstance(about, dict) else ():
            name = key.lower()
            if name == LABELS_COLUMN and value is not None:
                cells[name] = joined_labels(value, sample.place)
            elif isinstance(value, str | int | float) and name != "path":
                cells[name] = str(value).strip()
    if not {*LABEL_COLUMNS, LABELS_COLUMN, "score"} & cells.keys():
        text = sample.texts.get("cls") or sample.texts.get("txt")
        if text:
            cells["label"] = text
    return cells


def _drop_captions(rows: Sequence[tuple[Place, dict[str, str]]], listing: Path) -> list[str]:
    """Remove labels that are different for most videos: texts that describe them."""
    labels = [cells["label"] for _, cells in rows if "label" in cells]
    if len(labels) < _MIN_SAMPLES or len(set(labels)) <= _MAX_CLASS_SHARE * len(labels):
        return []
    if all(label.isdecimal() for label in labels):
        return []
    for _, cells in rows:
        cells.pop("label", None)
    return [f"{listing}: its texts, such as {labels[0][:60]!r}, are different for most videos: not used as classes"]
