"""Outputs stay out of DATA, and DATA out of outputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from videomae.core.errors import DataError
from videomae.datasets.manifest import read_manifest
from videomae.datasets.output_check import is_within, require_apart

Place = Callable[..., Path]


def refused(output: Path, data: Path, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        require_apart(output, read_manifest(data), option="--output")
    assert "\n" not in str(caught.value)
    assert str(caught.value).count("--output") == 1


def test_outputs_in_data_and_data_in_outputs(place: Place, tmp_path: Path) -> None:
    data = place("train/run/a.mp4", "val/run/b.mp4", content=b"x")
    (tmp_path / "link").symlink_to(data)

    for output in (data, data / "run", data / "train/run/deep", tmp_path, tmp_path / "link/run", data / ".." / "data"):
        refused(output, data, "--output .* and DATA .*: expected two folders of which neither lies in the other")
    refused(data / "run", tmp_path / "link", "neither lies in the other")
    for output in (tmp_path / "run", tmp_path / "data2", tmp_path / "data run/x"):
        require_apart(output, read_manifest(data), option="--output")


def test_videos_of_a_list_in_the_output(place: Place, tmp_path: Path) -> None:
    data = place("videos/a.mp4", content=b"x")
    (data / "list.csv").write_text("path\nvideos/a.mp4\n")

    refused(
        data / "videos", data / "list.csv", "list.csv, line 2: .*a.mp4 in --output .*: expected a folder that holds"
    )
    refused(data, data / "list.csv", "a folder that holds none of the videos")
    require_apart(data / "run", read_manifest(data / "list.csv"), option="--output")
    require_apart(data / "video", read_manifest(data / "list.csv"), option="--output")


@pytest.mark.parametrize(
    ("path", "folder", "expected"),
    [("/a/b", "/a", True), ("/a", "/a", True), ("/ab", "/a", False), ("/a", "/a/b", False), ("/a", "/", True)],
)
def test_what_lies_within(path: str, folder: str, expected: bool) -> None:
    assert is_within(path, folder) is expected
