"""Folders with metadata.csv or metadata.jsonl, as Hugging Face's `videofolder` has them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from videomae.core.errors import DataError
from videomae.datasets.manifest import read_manifest

Place = Callable[..., Path]


def _listed(folder: Path) -> list[tuple[str, str | None, str | None]]:
    return [(e.path.name, e.label_text, e.split) for e in read_manifest(folder).entries]


def test_one_csv_beside_the_videos(place: Place) -> None:
    data = place("a.mp4", "clips/b.mp4", "c.mp4")
    (data / "metadata.csv").write_text("file_name,label\na.mp4,cat\nclips/b.mp4,dog\n")
    assert _listed(data) == [("a.mp4", "cat", None), ("b.mp4", "dog", None)]
    notices = read_manifest(data).notices
    assert f"{data / 'metadata.csv'}: 1 video beside it that it does not name are not used" in notices


def test_json_lines_in_split_folders(place: Place) -> None:
    data = place("train/a.mp4", "train/b.mp4", "validation/c.mp4")
    for split, names in (("train", "ab"), ("validation", "c")):
        lines = [json.dumps({"file_name": f"{name}.mp4", "label": name.upper()}) for name in names]
        (data / split / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    assert _listed(data) == [("a.mp4", "A", "train"), ("b.mp4", "B", "train"), ("c.mp4", "C", "val")]


def test_one_file_above_the_split_folders(place: Place) -> None:
    data = place("train/a.mp4", "test/b.mp4")
    (data / "metadata.jsonl").write_text(
        '{"file_name": "train/a.mp4", "labels": ["x", "y"]}\n\n{"file_name": "test/b.mp4", "labels": []}\n'
    )
    manifest = read_manifest(data)
    assert [(entry.labels, entry.split) for entry in manifest.entries] == [(("x", "y"), "train"), ((), "test")]


def test_scores_and_parts(place: Place) -> None:
    data = place("a.mp4", "b.mp4")
    (data / "metadata.csv").write_text("file_name,score,start_frame,end_frame\na.mp4,1.5,0,10\nb.mp4,2,,\n")
    first, second = read_manifest(data).entries
    assert (first.score, first.start_frame, first.end_frame) == (1.5, 0, 10)
    assert (second.score, second.is_part) == (2.0, False)


def test_json_lines_as_a_list(place: Place) -> None:
    data = place("a.mp4")
    for key in ("path", "file_name"):
        (data / "list.jsonl").write_text(json.dumps({key: "a.mp4", "label": "x"}) + "\n")
        assert [entry.label for entry in read_manifest(data / "list.jsonl").entries] == ["x"]


def test_metadata_of_something_else_are_not_read(place: Place) -> None:
    data = place("cat/a.mp4", "dog/b.mp4")
    (data / "metadata.csv").write_text("camera,date\nx,y\n")
    assert [entry[1] for entry in _listed(data)] == ["cat", "dog"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"file_name": "a.mp4"}\n{"file_name": ', "metadata.jsonl, line 2"),
        ('{"file_name": "nowhere.mp4"}\n', "metadata.jsonl, line 1: 'nowhere.mp4'"),
        ('{"file_name": "a.mp4"}\n[1]\n', "metadata.jsonl, line 2"),
    ],
)
def test_malformed_lines_are_named(place: Place, text: str, said: str) -> None:
    data = place("a.mp4")
    (data / "metadata.jsonl").write_text(text)
    with pytest.raises(DataError, match=said):
        read_manifest(data)
