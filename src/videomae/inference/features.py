"""Features of videos, in memory and in files: NumPy or Parquet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from videomae.core.errors import ConfigError, VideoError
from videomae.core.files import write_atomically

SUFFIXES = (".npz", ".parquet")
# Rows, and numbers in them, that are gathered before they go to a Parquet file: dense features of one clip can be
# millions, and Arrow counts those of a piece in 32 bits.
_ROWS_AT_ONCE = 256
_NUMBERS_AT_ONCE = 2**24


@dataclass(frozen=True)
class Features:
    """Rows of features, and where they come from.

    Args:
        features: (rows, D) float32, or with `dense` (rows, T', H', W', D) in tokens; None where the rows went to a
            .parquet file and were not kept.
        paths: of each row its video.
        labels: of each row the video's label; "" where it has none.
        start_seconds: (rows,) float64, of a window when its first frame is shown; nan for a whole video.
        end_seconds: (rows,) float64, of a window when its last frame is shown; nan for a whole video.
        num_rows: how many rows there are, kept or written.
        num_videos: videos that have rows.
        feature_shape: of one row.
        output: the file that was written; None for none.
        errors: why videos could not be read, in the order in which they were met.
    """

    features: np.ndarray | None
    paths: tuple[str, ...]
    labels: tuple[str, ...]
    start_seconds: np.ndarray
    end_seconds: np.ndarray
    num_rows: int
    num_videos: int
    feature_shape: tuple[int, ...]
    output: Path | None = None
    errors: tuple[VideoError, ...] = ()

    def __len__(self) -> int:
        return self.num_rows

    def __repr__(self) -> str:
        shape = " × ".join(map(str, self.feature_shape))
        where = "" if self.output is None else f", in {self.output}"
        broken = f", {len(self.errors)} unreadable videos" if self.errors else ""
        return f"Features({self.num_rows} rows of {shape}{where}{broken})"


class FeatureFile:
    """Gathers rows and makes the file of them in one step, when the `with` block ends without an error.

    `.npz` holds the arrays `path`, `label` (empty where there is none), `start_seconds`, `end_seconds` (nan for a whole
    video), `features` (rows, …) float32 and is kept in memory until the end. `.parquet` has columns of the same names,
    features as lists of floats (row-major, with their shape in the file's metadata under `feature_shape`), and is
    written as rows come.

    Args:
        path: ends in .npz or .parquet; an older file is replaced. None only gathers.

    Raises:
        ConfigError: another ending, or pyarrow is missing.
        InputError: the folder cannot be written.
    """

    def __init__(self, path: str | Path | None) -> None:
        self.path = None if path is None else Path(path)
        if self.path is not None and self.path.suffix not in SUFFIXES:
            raise ConfigError(str(path), expected=f"a file name ending in {' or '.join(SUFFIXES)}", hint="rename it")
        is_parquet = self.path is not None and self.path.suffix == ".parquet"
        self._arrow: Any = _import_arrow() if is_parquet else None
        self._rows: list[dict[str, Any]] = []
        self._writer: Any = None
        self._aside = None if self.path is None else self.path.with_name(f".{self.path.name}.part")
        self._shape: tuple[int, ...] = ()
        self.num_rows = 0
        self.num_videos = 0
        self.errors: list[VideoError] = []

    def add(
        self,
        path: str,
        label: str | None,
        values: np.ndarray,
        *,
        start_seconds: float | None = None,
        end_seconds: float | None = None,
    ) -> None:
        """Append a row."""
        row = {"path": path, "label": label, "start_seconds": start_seconds, "end_seconds": end_seconds}
        self._rows.append({**row, "features": np.asarray(values, dtype=np.float32)})
        self.num_rows += 1
        self._shape = values.shape
        if self._arrow is not None and (
            len(self._rows) == _ROWS_AT_ONCE or len(self._rows) * values.size >= _NUMBERS_AT_ONCE
        ):
            self._flush()

    def __enter__(self) -> FeatureFile:
        if self._aside is not None:  # hours of work must not end at a folder that cannot be written
            write_atomically(self._aside, lambda aside: aside.write_bytes(b""))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self.num_rows:
                self._finish()
            elif self._writer is not None:
                self._writer.close()
        finally:
            if self._aside is not None:
                self._aside.unlink(missing_ok=True)

    def result(self) -> Features:
        """What was gathered; to be called after the `with` block."""
        columns = {
            name: [row[name] for row in self._rows] for name in ("path", "label", "start_seconds", "end_seconds")
        }
        return Features(
            features=np.stack([row["features"] for row in self._rows]) if self._arrow is None else None,
            paths=tuple(columns["path"]),
            labels=tuple(label or "" for label in columns["label"]),
            start_seconds=np.array(columns["start_seconds"], dtype=np.float64),
            end_seconds=np.array(columns["end_seconds"], dtype=np.float64),
            num_rows=self.num_rows,
            num_videos=self.num_videos,
            feature_shape=self._shape,
            output=self.path,
            errors=tuple(self.errors),
        )

    def _finish(self) -> None:
        if self.path is None or self._aside is None:
            return
        if self._arrow is None:
            write_atomically(self.path, self._write_npz)
            return
        if self._rows:
            self._flush()
        self._writer.close()
        self._aside.replace(self.path)

    def _write_npz(self, aside: Path) -> None:
        columns = {name: [row[name] for row in self._rows] for name in self._rows[0]}
        with aside.open("wb") as file:
            np.savez(
                file,
                path=np.array(columns["path"]),
                label=np.array([label or "" for label in columns["label"]]),
                start_seconds=np.array(columns["start_seconds"], dtype=np.float64),
                end_seconds=np.array(columns["end_seconds"], dtype=np.float64),
                features=np.stack(columns["features"]),
            )

    def _flush(self) -> None:
        arrow, rows = self._arrow, self._rows
        shape = rows[0]["features"].shape
        if self._writer is None:
            kinds = {"path": arrow.string(), "label": arrow.string()}
            kinds.update(start_seconds=arrow.float64(), end_seconds=arrow.float64())
            schema = arrow.schema([*kinds.items(), ("features", arrow.list_(arrow.float32()))])
            schema = schema.with_metadata({"feature_shape": ",".join(map(str, shape))})
            self._writer = arrow.parquet.ParquetWriter(self._aside, schema)
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        flat = np.concatenate([values.ravel() for values in columns.pop("features")])
        ends = np.arange(len(rows) + 1, dtype=np.int32) * int(np.prod(shape))
        lists = arrow.ListArray.from_arrays(arrow.array(ends), arrow.array(flat))
        table = arrow.Table.from_arrays(
            [
                *(
                    arrow.array(column, kind.type)
                    for column, kind in zip(columns.values(), self._writer.schema, strict=False)
                ),
                lists,
            ],
            schema=self._writer.schema,
        )
        self._writer.write_table(table)
        self._rows = []


def _import_arrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError(
            "a .parquet file without pyarrow installed",
            expected="pyarrow",
            hint="pip install pyarrow, or write .npz",
        ) from error
    return pyarrow
