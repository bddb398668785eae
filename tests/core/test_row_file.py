"""Rows that are there as soon as they are known, and stay when the run is killed."""

from __future__ import annotations

import contextlib
import csv
import json
from pathlib import Path
from typing import Any

import pytest

from videomae.core.errors import ConfigError, InputError
from videomae.core.row_file import RowFile

COLUMNS = ["path", "value"]


def rows_of(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    return [json.loads(line) for line in path.read_text().splitlines()]


def make(path: Path, **settings: Any) -> RowFile:
    return RowFile(path, columns=COLUMNS, settings=settings)


class Killed(BaseException):
    pass


def write_and_die(path: Path, rows: list[dict[str, Any]], **settings: Any) -> None:
    with contextlib.suppress(Killed), make(path, **settings) as file:
        for row in rows:
            file.add(row)
        raise Killed


ROWS = [{"path": 'a "b", c.mp4', "value": "1"}, {"path": "ü\nx.mp4", "value": "2"}, {"path": "c.mp4", "value": "3"}]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".CSV"])
def test_rows_are_written_at_once_and_the_folder_is_clean_at_the_end(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new" / f"x{suffix}"
    with make(path) as file:
        for number, row in enumerate(ROWS):
            file.add(row)
            text = path.read_text()
            assert f"{number + 1}" in text.splitlines()[-1]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    if suffix != ".CSV":
        assert rows_of(path) == ROWS


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize("torn", ["", '"half', '{"path": "c', "d.mp4,4", '"half\n'])
def test_a_killed_run_is_continued(tmp_path: Path, suffix: str, torn: str) -> None:
    path = tmp_path / f"x{suffix}"
    write_and_die(path, ROWS[:2], model="m")
    with path.open("a") as file:
        file.write(torn)
    with make(path, model="m") as again:
        assert again.rows == ROWS[:2]
        again.add(ROWS[2])
    assert rows_of(path) == ROWS


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_other_settings_and_finished_runs_begin_anew(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    write_and_die(path, ROWS[:2], model="m")
    with make(path, model="other") as file:
        assert file.rows == []
        file.add(ROWS[0])
    assert rows_of(path) == ROWS[:1]
    with make(path, model="other") as file:
        assert file.rows == []
    assert rows_of(path) == []


def test_a_file_that_was_replaced_meanwhile_is_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    write_and_die(path, ROWS[:2])
    path.write_text("other,columns,here\n1,2,3\n")
    with make(path) as file:
        assert file.rows == []
        file.add(ROWS[0])
    assert rows_of(path) == ROWS[:1]


def test_two_processes_do_not_write_one_file(tmp_path: Path) -> None:
    with make(tmp_path / "x.csv"), pytest.raises(InputError, match="is writing: expected a file of its own"):
        make(tmp_path / "x.csv").__enter__()


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.csv or \.jsonl"):
        make(tmp_path / "x.txt")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        make(tmp_path / "file" / "x.csv").__enter__()
