"""Near-duplicates, suggested labels and the map of an index, on rows made here."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import CLASSES, write_clip

import videomae
from videomae.retrieval.index import IndexSettings, VideoIndex, Window
from videomae.retrieval.map import VideoMap

WIDTH = 16


def make_index(folder: Path, videos: dict[str, np.ndarray], labels: dict[str, str] | None = None) -> VideoIndex:
    """Of each video a row for each second, from 0 on."""
    settings = IndexSettings(model="m", fingerprint="f", num_features=WIDTH, windows=True)
    index = VideoIndex.create(folder / "index", settings)
    index.add(
        [
            {
                **{"path": path, "part": "", "label": (labels or {}).get(path, ""), "size": 1, "mtime_ns": 1},
                **{"start_seconds": float(second), "end_seconds": second + 0.9, "features": row},
            }
            for path, rows in videos.items()
            for second, row in enumerate(rows.astype(np.float32))
        ]
    )
    return index


def rows(*seeds: int, noise: float = 0.0) -> np.ndarray:
    """(N, D): of each seed its own vector, and noise that differs from call to call."""
    clean = np.stack([np.random.default_rng(seed).normal(size=WIDTH) for seed in seeds])
    return clean + noise * np.random.default_rng().normal(size=clean.shape)


def test_near_duplicates(tmp_path: Path) -> None:
    videos = {
        "/v/long.mp4": rows(*range(10)),
        "/v/cut.webm": rows(3, 4, 5, 6, noise=0.02),  # begins three seconds later
        "/v/half.mp4": rows(8, 9, 20, 21, noise=0.02),  # half of it is in the long one
        "/v/little.mp4": rows(0, 30, 31, 32),  # a quarter
        "/v/other.mp4": rows(40, 41, 42),
    }
    index = make_index(tmp_path, videos)
    found = videomae.near_duplicates(index)

    assert [(pair.first, pair.second) for pair in found] == [
        ("/v/long.mp4", "/v/cut.webm"),
        ("/v/long.mp4", "/v/half.mp4"),
    ] or [(pair.first, pair.second) for pair in found] == [
        ("/v/long.mp4", "/v/half.mp4"),
        ("/v/long.mp4", "/v/cut.webm"),
    ]
    cut = next(pair for pair in found if pair.second == "/v/cut.webm")
    assert (cut.num_matched, cut.num_windows, cut.offset_seconds) == (4, 4, pytest.approx(3.0))
    half = next(pair for pair in found if pair.second == "/v/half.mp4")
    assert (half.num_matched, half.num_windows, half.offset_seconds) == (2, 4, pytest.approx(8.0))
    assert 0.99 < cut.similarity <= 1
    with pytest.raises(videomae.ConfigError, match=r"0\.95 is the default"):
        videomae.near_duplicates(index, threshold=0)


def test_copies_of_one_length_come_once(tmp_path: Path) -> None:
    index = make_index(tmp_path, {name: rows(1, 2, 3) for name in ("/a", "/b", "/c")} | {"/d": rows(7, 8)})
    found = videomae.near_duplicates(index)
    assert [(pair.first, pair.second) for pair in found] == [("/a", "/b"), ("/a", "/c"), ("/b", "/c")]
    assert all(pair.similarity == pytest.approx(1.0) for pair in found)


def test_suggested_labels(tmp_path: Path) -> None:
    centers = rows(1, 2, 3)
    names = ("run", "jump", "swim")
    known = {f"/{name}{number}": centers[[place, place]] for place, name in enumerate(names) for number in range(8)}
    videos = {path: values + 0.3 * rows(*range(50, 52)) for path, values in known.items()}
    labels = {path: path.strip("/0123456789") for path in known}
    videos |= {"/sure": centers[[2, 2, 2]], "/mixed": centers[[0, 0, 1]]}
    found = videomae.suggest_labels(make_index(tmp_path, videos, labels), neighbors=5)

    assert [(label.path, label.label) for label in found] == [("/sure", "swim"), ("/mixed", "run")]
    assert found[0].confidence > 0.95
    assert found[1].confidence == pytest.approx(2 / 3, abs=0.05)


def test_labels_need_labeled_videos(tmp_path: Path) -> None:
    with pytest.raises(videomae.DataError, match="in which no video has a label"):
        videomae.suggest_labels(make_index(tmp_path, {"/a": rows(1)}))


def layout(points: np.ndarray, groups: Sequence[int]) -> float:
    """How much nearer the points of one group are than those of different ones: a ratio of mean distances."""
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    same = np.equal.outer(groups, groups)
    return float(distances[~same].mean() / distances[same & ~np.eye(len(points), dtype=bool)].mean())


def test_map(tmp_path: Path) -> None:
    groups = [number % 3 for number in range(30)]
    paths = [tmp_path / f"{number} </script>.mp4" for number in range(30)]
    for number in range(3):  # the others are gone: no thumbnail
        write_clip(paths[number], CLASSES["red"])
    generator = np.random.default_rng(0)
    centers = rows(1, 2, 3)
    videos = {
        str(path): centers[[group]] + 0.1 * generator.normal(size=(1, WIDTH))
        for path, group in zip(paths, groups, strict=True)
    }
    index = make_index(tmp_path, videos, {str(paths[0]): "<b>"})
    found = videomae.map_index(index, output=tmp_path / "map.html", num_workers=0, progress=False)

    assert [window.path for window in found.windows] == sorted(map(str, paths))
    assert found.points.min() >= 0
    assert found.points.max() == pytest.approx(1)
    by_path = dict(zip(map(str, paths), groups, strict=True))
    assert layout(found.points, [by_path[window.path] for window in found.windows]) > 3
    assert sum(thumbnail is not None for thumbnail in found.thumbnails) == 3
    page = (tmp_path / "map.html").read_text(encoding="utf-8")
    assert page.count("</script>") == 1
    assert not re.search(r"(src|href)=\"?http|@import|url\(", page)
    line = next(line for line in page.splitlines() if line.startswith("const { groups, points }"))
    data: dict[str, Any] = json.loads(line.partition(" = ")[2].rstrip(";"))
    assert data["groups"] == ["", "<b>"]
    assert {point["path"] for point in data["points"]} == set(map(str, paths))
    again = videomae.map_index(index, num_workers=0, progress=False)
    np.testing.assert_array_equal(again.points, found.points)


def test_a_map_of_many_windows_has_a_point_for_each_video(tmp_path: Path) -> None:
    index = make_index(tmp_path, {f"/{number}": rows(*range(number, number + 4)) for number in range(12)})
    threads = torch.get_num_threads()
    found = videomae.map_index(index, max_points=20, num_workers=0, progress=False)
    assert torch.get_num_threads() == threads
    assert [window.start_seconds for window in found.windows] == [None] * 12
    few = videomae.map_index(index, max_points=5, num_workers=0, progress=False)
    assert len(few.windows) == 5
    assert isinstance(few, VideoMap)
    assert {window.path for window in few.windows} < {f"/{number}" for number in range(12)}
    with pytest.raises(videomae.DataError, match="3 or more"):
        videomae.map_index(make_index(tmp_path / "small", {"/a": rows(1, 2)}), progress=False)


def test_a_window_without_times_has_none_to_show() -> None:
    assert Window("/a", None, None).time_text == ""
    assert Window("/a", 61.0, 62.5).time_text == "1:01–1:02.5"
