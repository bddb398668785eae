"""The index: one row for each window of each video in a LanceDB table, and `index.json`, which says what made them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from videomae.core.errors import ConfigError, InputError
from videomae.core.files import read_json_object, write_text
from videomae.core.lock import FolderLock
from videomae.core.text import clock as core_clock

_SETTINGS = "index.json"
_TABLE = "windows"
_FORMAT = 1
# Up to here all rows are compared, in at most a few hundredths of a second; beyond, an approximate index is kept.
_MIN_ROWS_FOR_PARTITIONS = 50_000
_ROWS_PER_PARTITION = 4096
# Of a query: partitions that are looked into, and candidates whose exact distance is computed, for each result.
_NUM_PROBES = 32
_REFINE_FACTOR = 20
# Rows that tell how far two of the collection usually are from each other.
_ROWS_OF_SPREAD = 10_000


@dataclass(frozen=True, kw_only=True)
class IndexSettings:
    """What the rows of an index were made by; the same for all of them.

    Args:
        model: folder or hub name of the checkpoint, as it was given; an absolute path for a folder.
        fingerprint: of the weights and of what else the features depend on.
        num_features: D.
        windows: whether a row is a window of a video; else it is a whole video.
        overlap: of windows.
    """

    model: str
    fingerprint: str
    num_features: int
    windows: bool
    overlap: float = 0.0
    format: int = _FORMAT


@dataclass(frozen=True, slots=True)
class Window:
    """A row of the index: a moment of a video, or a whole one.

    Args:
        path: of the video.
        start_seconds: when its first frame is shown; None for a whole video.
        end_seconds: when its last frame is shown.
        label: of the video in the data that was indexed; "" for none.
    """

    path: str
    start_seconds: float | None
    end_seconds: float | None
    label: str = ""

    @property
    def center_seconds(self) -> float:
        """The middle of the window; 0 for a whole video."""
        if self.start_seconds is None or self.end_seconds is None:
            return 0.0
        return (self.start_seconds + self.end_seconds) / 2

    @property
    def time_text(self) -> str:
        """Such as "1:02–1:04"; "" for a whole video."""
        if self.start_seconds is None or self.end_seconds is None:
            return ""
        return f"{clock(self.start_seconds)}–{clock(self.end_seconds)}"


@dataclass(frozen=True, slots=True)
class Match:
    """A row that was found.

    Args:
        window: the row.
        similarity: 1 for equal features, 0 for features as far apart as those of two rows usually are, or below.
    """

    window: Window
    similarity: float


@dataclass(frozen=True)
class Rows:
    """Rows with their features, (N, D) float32, row by row."""

    windows: tuple[Window, ...]
    features: np.ndarray


class VideoIndex:
    """An index in a folder, opened.

    Distances are Euclidean, so no mean has to be taken off features that all have much in common, as an autoencoder's
    have, and rows can be added without touching others.

    Args:
        folder: where it is.

    Raises:
        InputError: if there is none, or its files are not as they were written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / _SETTINGS).is_file():
            raise InputError(folder, expected="an index", hint="make one: videomae index DATA --model CKPT --output …")
        values = read_json_object(self.folder / _SETTINGS, error_type=InputError)
        if values.get("format") != _FORMAT:
            raise InputError(
                f"{self.folder / _SETTINGS} of format {values.get('format')!r}",
                expected=f"format {_FORMAT}",
                hint="index the videos again, into a new folder",
            )
        try:
            self.settings = IndexSettings(**values)
        except TypeError as error:
            raise InputError(
                f"{self.folder / _SETTINGS} ({error})", expected="the settings of an index", hint="index again"
            ) from error
        self._table = _open_table(self.folder)

    @classmethod
    def create(cls, folder: str | Path, settings: IndexSettings) -> VideoIndex:
        """An empty index; an existing one must have been made with the same settings.

        Raises:
            InputError: if the folder holds something else, or an index made by another model or in another way.
        """
        folder = Path(folder)
        if (folder / _SETTINGS).is_file():
            found = cls(folder)
            found.require(settings)
            return found
        others = [path.name for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []
        if others and others != [f"{_TABLE}.lance"]:  # which a run that was killed here leaves
            raise InputError(
                f"{folder}, which holds {others[0]}", expected="a new folder, or an index", hint="choose another one"
            )
        import pyarrow as pa

        kinds = {"path": pa.string(), "label": pa.string(), "start_seconds": pa.float64(), "end_seconds": pa.float64()}
        kinds.update(part=pa.string(), size=pa.int64(), mtime_ns=pa.int64())
        schema = pa.schema([*kinds.items(), ("features", pa.list_(pa.float32(), settings.num_features))])
        _database(folder).create_table(_TABLE, schema=schema, mode="overwrite" if others else "create")
        write_text(folder / _SETTINGS, json.dumps(asdict(settings), indent=2) + "\n")
        return cls(folder)

    def require(self, settings: IndexSettings) -> None:
        """Raise an InputError unless the index has been made with these settings, wherever the model lies."""
        mine = self.settings
        if settings.fingerprint != mine.fingerprint:
            raise InputError(
                f"{self.folder}, an index of the features of {mine.model}",
                expected=f"one made by this model ({settings.model})",
                hint="features of two models cannot be compared: choose another folder",
            )
        if (settings.windows, settings.overlap) != (mine.windows, mine.overlap):
            raise InputError(
                f"{self.folder}, an index of {_text_of(mine)}",
                expected=f"one of {_text_of(settings)}",
                hint="leave --overlap and --whole as they were, or choose another folder",
            )

    def lock(self) -> FolderLock:
        """Keeps a second process from writing; to be held while rows are added or removed."""
        return FolderLock(
            self.folder / ".lock",
            lambda owner: InputError(
                f"{self.folder}, which {owner} is writing", expected="one writer at a time", hint="wait for it"
            ),
        )

    def __len__(self) -> int:
        return int(self._table.count_rows())

    def stamps(self) -> dict[str, tuple[str, int, int]]:
        """Of each video (its path and part): the path, size and time of change of its file when it was indexed."""
        columns = self._columns(["path", "part", "size", "mtime_ns"])
        rows = zip(*(columns[name].to_pylist() for name in columns.column_names), strict=True)
        return {key_of(path, part): (path, size, mtime) for path, part, size, mtime in rows}

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Append rows, all or none; `features` are (D,) float32."""
        import pyarrow as pa

        schema = self._table.schema
        columns = [pa.array([row[name] for row in rows], schema.field(name).type) for name in schema.names[:-1]]
        flat = pa.array(np.stack([row["features"] for row in rows]).astype(np.float32).ravel())
        columns.append(pa.FixedSizeListArray.from_arrays(flat, self.settings.num_features))
        self._table.add(pa.Table.from_arrays(columns, schema=schema))
        self.__dict__.pop("_spread", None)

    def remove(self, paths: Iterable[str], part: str | None = None) -> None:
        """Remove all rows of these videos, or of one part of each."""
        for path in paths:
            condition = f"path = {_quoted(path)}"
            self._table.delete(condition if part is None else f"{condition} AND part = {_quoted(part)}")
        self.__dict__.pop("_spread", None)

    def finish(self) -> None:
        """After rows were added: let many small writes become few, and a large index be searched fast."""
        from datetime import timedelta

        from lancedb.index import IvfPq

        if len(self) >= _MIN_ROWS_FOR_PARTITIONS and not self._table.list_indices():
            partitions = IvfPq(
                distance_type="l2",
                num_partitions=max(2, len(self) // _ROWS_PER_PARTITION),
                num_sub_vectors=_num_sub_vectors(self.settings.num_features),
            )
            self._table.create_index("features", config=partitions)
        # What a search that is running still reads must not be removed.
        self._table.optimize(cleanup_older_than=timedelta(hours=1))

    def nearest(self, features: np.ndarray, number: int, *, without: Sequence[str] = ()) -> list[Match]:
        """The rows nearest to a vector (D,), the nearest first.

        Args:
            features: float32 (D,).
            number: of rows.
            without: paths of videos that do not count.
        """
        query = self._table.search(np.asarray(features, np.float32), vector_column_name="features").distance_type("l2")
        query = query.nprobes(_NUM_PROBES).refine_factor(_REFINE_FACTOR).limit(number)
        if without:
            query = query.where(f"path NOT IN ({', '.join(map(_quoted, without))})", prefilter=True)
        found = query.select(["path", "start_seconds", "end_seconds", "label", "_distance"]).to_arrow().to_pydict()
        distances = found.pop("_distance")
        windows = (Window(*values) for values in zip(*found.values(), strict=True))
        return [Match(window, self.similarity(square)) for window, square in zip(windows, distances, strict=True)]

    def similarity(self, squared_distance: float) -> float:
        """Of features at a distance; see `Match`."""
        return 1.0 - squared_distance / self._spread if self._spread else float(squared_distance == 0)

    def similarities(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """(N, M) similarities of features (N, D) and (M, D), float32."""
        squares = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
        return np.asarray(1 - np.maximum(squares, 0) / self._spread if self._spread else squares == 0, np.float32)

    def rows(self, path: str | None = None) -> Rows:
        """All rows, or those of one video, by path and time."""
        names = ["path", "start_seconds", "end_seconds", "label", "features"]
        found = self._columns(names, None if path is None else f"path = {_quoted(path)}")
        found = found.sort_by([("path", "ascending"), ("start_seconds", "ascending")])
        return Rows(
            tuple(Window(*values) for values in zip(*(found[name].to_pylist() for name in names[:-1]), strict=True)),
            _matrix(found["features"], self.settings.num_features),
        )

    @cached_property
    def _spread(self) -> float:
        """The mean squared distance of two rows."""
        # Evenly over the table: neighbors in it are often of one video.
        rows = np.unique(np.linspace(0, len(self) - 1, min(len(self), _ROWS_OF_SPREAD)).astype(int)).tolist()
        if not rows:
            return 0.0
        sample = self._table.take_offsets(rows).select(["features"]).to_arrow()
        features = _matrix(sample["features"], self.settings.num_features).astype(np.float64)
        return float(2 * features.var(axis=0).sum())

    def _columns(self, names: list[str], condition: str | None = None) -> Any:
        query = self._table.search().select(names)
        if condition is not None:
            query = query.where(condition)
        return query.limit(len(self)).to_arrow()


def key_of(path: str, part: str) -> str:
    """What identifies a video, or a part of one, in an index."""
    return f"{path}\n{part}"


def clock(seconds: float) -> str:
    """Such as "1:02.5" or "1:00:02"; tenths where they are not zero."""
    return core_clock(seconds, tenths=True).removesuffix(".0")


def _text_of(settings: IndexSettings) -> str:
    if not settings.windows:
        return "whole videos"
    return f"windows that overlap by {settings.overlap:g}" if settings.overlap else "windows"


def _database(folder: Path) -> Any:
    try:
        import lancedb
    except ImportError as error:
        raise ConfigError(
            "an index without lancedb installed", expected="lancedb", hint="pip install 'videomae[search]'"
        ) from error
    return lancedb.connect(os.fspath(folder.absolute()))


def _open_table(folder: Path) -> Any:
    try:
        return _database(folder).open_table(_TABLE)
    except (ValueError, OSError, RuntimeError) as error:
        raise InputError(
            f"{folder} ({str(error).splitlines()[0]})", expected="an index that is whole", hint="index the videos again"
        ) from error


def _num_sub_vectors(num_features: int) -> int:
    """Of product quantization: 8 features each, or the nearest number that divides them."""
    return next(num_features // size for size in (8, 4, 2, 1) if num_features % size == 0)


def _matrix(column: Any, width: int) -> np.ndarray:
    chunks = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    flat = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
    return np.asarray(flat.reshape(-1, width), np.float32)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
