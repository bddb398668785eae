"""`videomae.index` and `videomae.search`, against features and distances computed here."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import CLASSES, Commands, write_clip, write_data_set

import videomae
from videomae.retrieval import building, index as index_module
from videomae.retrieval.index import IndexSettings, VideoIndex, clock
from videomae.training.finetune import FinetuneResult
from videomae.training.pretrain import PretrainResult

CPU: dict[str, Any] = {"device": "cpu", "precision": "fp32"}
QUIET: dict[str, Any] = {**CPU, "num_workers": 0, "progress": False}


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """Three videos of each color, 20 frames, hence five windows."""
    folder = tmp_path / "a folder"
    for name, color in CLASSES.items():
        for number in range(3):
            write_clip(folder / name / f"it's {name} {number}.mp4", color, phase=1.3 * number, num_frames=20)
    return folder


@pytest.fixture
def built(collection: Path, pretrained: PretrainResult, tmp_path: Path) -> Path:
    videomae.index(collection, model=pretrained.folder, output=tmp_path / "index", **QUIET)
    return tmp_path / "index"


def test_an_update_reads_new_and_changed_videos_only(
    built: Path, collection: Path, pretrained: PretrainResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    embed_videos = building.embed_videos

    def noting(checkpoint: Any, entries: Any, **more: Any) -> Any:
        read.extend(entry.path.name for entry in entries)
        return embed_videos(checkpoint, entries, **more)

    monkeypatch.setattr(building, "embed_videos", noting)

    def update(**more: Any) -> videomae.IndexReport:
        read.clear()
        return videomae.index(collection, model=pretrained.folder, output=built, **QUIET, **more)

    again = update()
    assert (again.num_unchanged, again.num_new, again.num_rows, read) == (9, 0, 45, [])
    write_clip(collection / "red" / "new.mp4", CLASSES["red"], num_frames=8)
    write_clip(collection / "blue" / "it's blue 1.mp4", CLASSES["blue"], phase=9, num_frames=12)
    (collection / "green" / "it's green 0.mp4").unlink()
    changed = update()
    assert sorted(read) == ["it's blue 1.mp4", "new.mp4"]
    assert (changed.num_new, changed.num_changed, changed.num_unchanged) == (1, 1, 7)
    assert changed.missing == [str(collection / "green" / "it's green 0.mp4")]
    assert changed.num_rows == 45 - 5 + 3 + 2
    pruned = update(prune=True)
    assert (pruned.num_removed, pruned.num_rows) == (1, 40)
    assert update().missing == []


def test_rows_are_the_features_of_windows(built: Path, collection: Path, pretrained: PretrainResult) -> None:
    expected = videomae.embed(collection, model=pretrained.folder, windows=True, **QUIET)
    rows = VideoIndex(built).rows()

    order = sorted(range(expected.num_rows), key=lambda row: (expected.paths[row], expected.start_seconds[row]))
    assert [window.path for window in rows.windows] == [expected.paths[row] for row in order]
    assert [window.label for window in rows.windows] == [expected.labels[row] for row in order]
    assert [window.start_seconds for window in rows.windows] == expected.start_seconds[order].tolist()
    assert expected.features is not None
    np.testing.assert_array_equal(rows.features, expected.features[order])


@pytest.mark.parametrize("at", [None, 1.0])
def test_search_finds_what_a_full_comparison_finds(
    built: Path, collection: Path, pretrained: PretrainResult, at: float | None
) -> None:
    query_path = collection / "red" / "it's red 1.mp4"
    found = videomae.search(built, query_path, at=at, top_k=12, per_video=0, **CPU)

    rows = VideoIndex(built).rows()
    own = np.array([window.path == str(query_path) for window in rows.windows])
    centers = np.array([window.center_seconds for window in rows.windows])
    mine = np.flatnonzero(own)
    query = rows.features[mine].mean(0) if at is None else rows.features[mine[np.abs(centers[mine] - at).argmin()]]
    squares = ((rows.features.astype(np.float64) - query) ** 2).sum(1)
    everything = rows.features.astype(np.float64)
    usual = np.mean([((everything - row) ** 2).sum(1).mean() for row in everything])  # of any two rows
    order = [row for row in np.argsort(squares, kind="stable") if not own[row]][:12]
    assert {match.window for match in found} == {rows.windows[row] for row in order}
    assert [match.similarity for match in found] == pytest.approx((1 - squares[order] / usual).tolist(), abs=1e-4)


def test_each_video_comes_once_unless_more_are_asked_for(built: Path, collection: Path) -> None:
    query = collection / "red" / "it's red 1.mp4"
    for per_video in (1, 2):
        found = videomae.search(built, query, top_k=10, per_video=per_video, **CPU)
        paths = [match.window.path for match in found]
        assert max(map(paths.count, paths)) == per_video
        assert len(paths) == min(10, 8 * per_video)
        assert str(query) not in paths


def test_a_video_outside_is_found_as_if_it_were_inside(
    built: Path, collection: Path, tmp_path: Path, pretrained: PretrainResult
) -> None:
    inside = collection / "green" / "it's green 2.mp4"
    outside = Path(shutil.copy(inside, tmp_path / "outside.mp4"))
    for at in (None, 0.9):
        first, *others = videomae.search(built, outside, at=at, top_k=5, **CPU)
        assert first.window.path == str(inside)
        assert first.similarity == pytest.approx(1.0, abs=1e-3)
        expected = videomae.search(built, inside, at=at, top_k=4, **CPU)
        assert [match.window for match in others] == [match.window for match in expected]


def test_whole_videos(collection: Path, finetuned: FinetuneResult, tmp_path: Path) -> None:
    report = videomae.index(collection, model=finetuned.folder, output=tmp_path / "i", whole=True, **QUIET)
    assert report.num_rows == 9
    found = videomae.search(tmp_path / "i", collection / "red" / "it's red 1.mp4", **CPU)
    assert len(found) == 8
    assert found[0].window.time_text == ""


def test_what_does_not_fit_is_refused(
    built: Path, collection: Path, finetuned: FinetuneResult, pretrained: PretrainResult, tmp_path: Path
) -> None:
    with pytest.raises(videomae.InputError, match="features of two models cannot be compared"):
        videomae.index(collection, model=finetuned.folder, output=built, **QUIET)
    outside = write_clip(tmp_path / "x.mp4", CLASSES["red"])
    with pytest.raises(videomae.InputError, match="features of two models cannot be compared"):
        videomae.search(built, outside, model=finetuned.folder, **CPU)
    with pytest.raises(videomae.InputError, match=r"windows that overlap by 0\.5"):
        videomae.index(collection, model=pretrained.folder, output=built, overlap=0.5, **QUIET)
    with pytest.raises(videomae.InputError, match="expected a new folder, or an index"):
        videomae.index(collection, model=pretrained.folder, output=collection, **QUIET)
    with pytest.raises(videomae.InputError, match="expected an index"):
        videomae.search(tmp_path, outside)
    with pytest.raises(videomae.InputError, match=r"at most 1\.9, where it ends"):
        videomae.search(built, collection / "red" / "it's red 1.mp4", at=60)
    with pytest.raises(videomae.InputError, match=r"at most 0\.[78], where it ends"):
        videomae.search(built, outside, at=60)
    with pytest.raises(videomae.VideoError, match=r"absent\.mp4"):
        videomae.search(built, tmp_path / "absent.mp4", **CPU)
    with VideoIndex(built).lock(), pytest.raises(videomae.InputError, match="one writer at a time"):
        videomae.index(collection, model=pretrained.folder, output=built, **QUIET)
    (built / "index.json").write_text('{"format": 99}')
    with pytest.raises(videomae.InputError, match="format 99"):
        VideoIndex(built)


def test_a_damaged_index_says_so(built: Path, collection: Path) -> None:
    shutil.rmtree(built / "windows.lance")
    with pytest.raises(videomae.InputError, match="expected an index that is whole"):
        videomae.search(built, collection / "red" / "it's red 1.mp4")


def test_a_broken_video_is_reported_and_tried_again(
    collection: Path, pretrained: PretrainResult, tmp_path: Path
) -> None:
    bad = collection / "red" / "bad.mp4"
    bad.write_text("no video")
    words: dict[str, Any] = {"model": pretrained.folder, "output": tmp_path / "index", **QUIET}
    report = videomae.index(collection, **words)
    assert (report.num_new, len(report.errors), report.num_rows) == (9, 1, 45)
    write_clip(bad, CLASSES["red"], num_frames=8)
    report = videomae.index(collection, **words)
    assert (report.num_new, report.num_unchanged, report.errors) == (1, 9, [])


def test_a_stopped_run_keeps_whole_videos(
    collection: Path, pretrained: PretrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed_videos = building.embed_videos

    def stopped(*arguments: Any, **more: Any) -> Any:
        for number, row in enumerate(embed_videos(*arguments, **more)):
            if number == 12:  # in the middle of the third video
                raise KeyboardInterrupt
            yield row

    words: dict[str, Any] = {"model": pretrained.folder, "output": tmp_path / "index", **QUIET}
    with monkeypatch.context() as patched:
        patched.setattr(building, "embed_videos", stopped)
        with pytest.raises(KeyboardInterrupt):
            videomae.index(collection, **words)
    assert len(VideoIndex(tmp_path / "index")) == 10
    report = videomae.index(collection, **words)
    assert (report.num_unchanged, report.num_new, report.num_rows) == (2, 7, 45)


def test_a_large_index_is_searched_approximately(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "_MIN_ROWS_FOR_PARTITIONS", 4000)
    monkeypatch.setattr(index_module, "_ROWS_PER_PARTITION", 100)
    generator = np.random.default_rng(0)
    groups = generator.normal(size=(60, 32))
    features = (groups[generator.integers(60, size=6000)] + 0.3 * generator.normal(size=(6000, 32))).astype(np.float32)
    settings = IndexSettings(model="m", fingerprint="f", num_features=32, windows=False)
    index = VideoIndex.create(tmp_path / "index", settings)
    fixed = {"part": "", "label": "", "start_seconds": None, "end_seconds": None, "size": 1, "mtime_ns": 1}
    rows = [{**fixed, "path": f"{number}", "features": row} for number, row in enumerate(features)]
    index.add(rows[:5000])
    index.finish()
    index.add(rows[5000:])
    index.finish()
    assert len(index) == 6000
    recalls = []
    for query in features[generator.integers(6000, size=20)] + np.float32(0.1):
        exact = set(map(str, np.argsort(((features - query) ** 2).sum(1))[:10]))
        recalls.append(len(exact & {match.window.path for match in index.nearest(query, 10)}) / 10)
    assert np.mean(recalls) >= 0.95


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (2.04, "0:02"), (62.5, "1:02.5"), (59.96, "1:00"), (3600, "1:00:00"), (3725.1, "1:02:05.1")],
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_commands(
    commands: Commands, collection: Path, pretrained: PretrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(collection)
    words = ["index", collection, "--model", pretrained.folder, "--output", tmp_path / "i", "--device", "cpu"]
    assert commands(*words, "--num-workers", "0") == 0
    assert commands.out == f"{tmp_path / 'i'}: 9 new videos; 45 rows\n"
    assert commands.json(*words)["num_unchanged"] == 9
    query = os.path.join("red", "it's red 1.mp4")
    assert commands("search", tmp_path / "i", query, "--at", "0.5", "--top-k", "3", "--device", "cpu") == 0
    lines = commands.out.splitlines()
    assert len(lines) == 3
    assert all(f"{os.sep}it's " in line and "0:0" in line and str(collection) not in line for line in lines)
    found = commands.json("search", tmp_path / "i", query, "--top-k", "3", "--device", "cpu")["found"]
    assert [set(row) for row in found] == [{"similarity", "path", "start_seconds", "end_seconds", "label"}] * 3
    assert "one of VIDEO, --duplicates" in commands.refused("search", tmp_path / "i")
    assert "VIDEO and --duplicates" in commands.refused("search", tmp_path / "i", query, "--duplicates")
    (collection / "red" / "it's red 0.mp4").unlink()
    (collection / "red" / "bad.mp4").write_text("no video")
    assert commands(*words) == 2
    assert "8 unchanged, 1 unreadable videos" in commands.out
    assert "1 video of the index is gone" in commands.err


def test_a_list_that_is_written_trains_a_classifier(
    commands: Commands, pretrained: PretrainResult, tmp_path: Path
) -> None:
    labeled = write_data_set(tmp_path / "labeled", per_class=4)
    unlabeled = tmp_path / "unlabeled"
    for name, color in CLASSES.items():
        write_clip(unlabeled / f"{name} new.mp4", color, phase=0.4)
    model = ["--model", pretrained.folder, "--output", tmp_path / "i", "--device", "cpu"]
    assert commands("index", labeled, unlabeled, *model) == 0
    assert commands("search", tmp_path / "i", "--suggest-labels", "--output", tmp_path / "labels.csv") == 0
    assert commands.out == f"3 rows: {tmp_path / 'labels.csv'}\n"
    written = (tmp_path / "labels.csv").read_text().splitlines()
    assert written[0] == "path,label,confidence"
    words = ["--init", pretrained.folder, "--epochs", "1", "--device", "cpu", "--num-workers", "0"]
    plan = commands.json("finetune", tmp_path / "labels.csv", *words, "--output", tmp_path / "c", "--dry-run")
    assert plan["num_videos"] == 3
