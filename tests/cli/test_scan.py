"""`videomae scan`: what it prints, how it ends, and that it goes on after being killed."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from small_runs import CLASSES, Commands, start_command, write_clip

from videomae.datasets.catalog import Catalog


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, for commands in other processes as well."""
    monkeypatch.setenv("VIDEOMAE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/ with 2 and val/ with 1 clip of each of 3 classes, all different."""
    folder = tmp_path_factory.mktemp("sound")
    for number, (name, color) in enumerate(CLASSES.items()):
        for place, split in enumerate(("train", "train", "val")):
            write_clip(folder / split / name / f"{split}_{name}_{place}.mp4", color, phase=3 * number + place)
    return folder


@pytest.fixture
def mixed(sound: Path, bad_files: dict[str, Path], tmp_path: Path) -> Path:
    """The sound one with a broken file and a leak."""
    folder = Path(shutil.copytree(sound, tmp_path / "mixed"))
    shutil.copy(bad_files["text"], folder / "train" / "red" / "bad.mp4")
    shutil.copy(folder / "train" / "blue" / "train_blue_0.mp4", folder / "val" / "blue" / "leak.mp4")
    return folder


def test_a_sound_data_set(commands: Commands, sound: Path, cache: Path) -> None:
    assert commands("scan", sound, "--num-workers", "1", "--num-frames", "8", "--frame-stride", "1", "--strict") == 0
    lines = commands.out.splitlines()
    assert lines[0].startswith("videos    9 (train 6, val 3), 0.1 minutes, ")
    assert "frames    8" in lines
    assert "rate      10" in lines
    assert "size      40x32" in lines
    assert "codec     h264" in lines
    assert [line.split() for line in lines if line.startswith("  ")] == [
        [c, "2", "1"] for c in ("blue", "green", "red")
    ]
    assert f"kept in {Catalog().path}, which training uses" in lines
    assert "9/9 videos" in commands.err


def test_what_is_wrong_is_listed(commands: Commands, mixed: Path) -> None:
    assert commands("scan", mixed, "--num-workers", "0") == 0
    text = commands.out
    assert "\n1 unreadable\n  train/red/bad.mp4: expected a video file; the file is damaged or no video" in text
    assert "\n  train/blue/train_blue_0.mp4 = val/blue/leak.mp4: the same content in train and val\n" in text
    assert "note: 10 of 10 videos are shorter than a clip of 16 frames at a stride of 4, which spans 61" in text
    assert "--frame-stride 1 fits 0 of all 10" in text
    assert commands("scan", mixed) == 0
    assert "11 known from before" not in commands.out  # the broken one was tried under a clock, and is tried again


def test_json(commands: Commands, mixed: Path) -> None:
    document = commands.json("scan", mixed, "--num-workers", "1", "--num-frames", "8", "--frame-stride", "1")
    assert document["num_videos"] == document["num_scanned"] == 11
    assert document["splits"] == {"train": 7, "val": 4}
    assert document["classes"]["blue"] == {"train": 2, "val": 2}
    assert document["num_frames"] == {"min": 8, "median": 8, "max": 8}
    assert document["sizes"] == {"40x32": 10}
    (broken,), (leak,) = document["broken"], document["leaks"]
    assert broken["paths"] == [str(mixed / "train" / "red" / "bad.mp4")]
    assert "no video" in broken["reason"]
    assert len(leak["paths"]) == 2
    for name in ("conflicts", "repeated", "duplicates", "damaged", "too_short"):
        assert document[name] == []
    assert document["catalog"] == str(Catalog().path)
    assert document["catalog_problem"] is None


def test_strict(commands: Commands, mixed: Path) -> None:
    assert commands("scan", mixed, "--num-workers", "0", "--strict") == 2
    line = commands.err.splitlines()[-1]
    assert line.startswith(f"videomae: {mixed} with 1 broken, 1 leaking: expected ")
    assert commands("scan", mixed, "--num-workers", "0", "--strict", "--json") == 2
    document = json.loads(commands.out)
    assert set(document["error"]) == {"value", "expected", "hint"}
    assert document["num_videos"] == 11


def test_the_report_has_every_video(commands: Commands, mixed: Path, tmp_path: Path) -> None:
    file = tmp_path / "new" / "report.csv"
    assert commands("scan", mixed, "--num-workers", "0", "--report", file, "--num-frames", "1") == 0
    assert f"all videos are in {file}" in commands.out
    with file.open(newline="") as table:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(table)}
    assert len(rows) == 11
    assert rows["bad.mp4"]["findings"] == "broken"
    assert rows["leak.mp4"]["findings"] == "leak"
    assert (rows["train_red_0.mp4"]["findings"], rows["train_red_0.mp4"]["num_frames"]) == ("", "8")


def test_many_findings_are_cut_short(commands: Commands, tmp_path: Path) -> None:
    for number in range(25):
        (tmp_path / "data" / f"{number:02}.mp4").parent.mkdir(exist_ok=True)
        (tmp_path / "data" / f"{number:02}.mp4").touch()
    assert commands("scan", tmp_path / "data", "--num-workers", "1") == 0
    assert "25 unreadable" in commands.out
    assert "\n  19.mp4: empty, 0 bytes" in commands.out
    assert "20.mp4" not in commands.out
    assert "  and 5 more; --report FILE.csv lists all" in commands.out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--num-workers", "-2"], "--num-workers -2: expected -1 or more"),
        (["--limit-seconds", "0"], "--limit-seconds 0: expected more than 0"),
        (["--num-frames", "0"], "--num-frames 0: expected 1 or more"),
    ],
)
def test_options_out_of_range(commands: Commands, sound: Path, words: list[str], complaint: str) -> None:
    assert complaint in commands.refused("scan", sound, *words)


def test_groups_on_both_sides_are_told(commands: Commands, sound: Path) -> None:
    assert commands("scan", sound, "--num-workers", "0", "--group", r"_(red|green|blue)_") == 0
    (note,) = [line for line in commands.out.splitlines() if line.startswith("note: ") and "group 'blue'" in line]
    assert "train" in note


def test_data_that_is_none(commands: Commands, tmp_path: Path) -> None:
    assert "there is no such file or folder" in commands.refused("scan", tmp_path / "missing")


def test_a_cache_that_cannot_be_written(
    commands: Commands, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VIDEOMAE_CACHE", str(tmp_path / "file"))
    assert commands("scan", sound, "--num-workers", "0") == 0
    assert "not kept: the catalog" in commands.out
    assert "set VIDEOMAE_CACHE to another folder" in commands.out
    assert commands.json("scan", sound, "--num-workers", "0")["catalog_problem"].startswith("the catalog")


# --- processes ---------------------------------------------------------------------------------------------------


def _copies(folder: Path, num_videos: int) -> Path:
    """Copies of one video in a flat folder."""
    first = write_clip(folder / "0.mp4", (40, 60, 220))
    for number in range(1, num_videos):
        shutil.copy(first, first.with_name(f"{number}.mp4"))
    return folder


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_scan_that_is_stopped_goes_on(commands: Commands, tmp_path: Path, number: signal.Signals) -> None:
    many = _copies(tmp_path / "many", 500)  # seconds of work even for a fast machine: it must not end before the signal
    with start_command("scan", many, "--num-workers", "1") as process:
        _wait_for(lambda: _num_kept() >= 3)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    num_kept = _num_kept()
    assert 3 <= num_kept < 500
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "of 500 videos are scanned; repeat the command to resume" in err
    else:
        assert process.returncode == -number
    document = commands.json("scan", many, "--num-workers", "1")
    assert document["num_scanned"] == 500 - num_kept
    assert document["duplicates"][0]["reason"] == "500 files with the same content"


def test_two_scans_at_once(commands: Commands, tmp_path: Path) -> None:
    many = _copies(tmp_path / "many", 60)
    with (
        start_command("scan", many, "--num-workers", "1", "--json") as first,
        start_command("scan", many, "--num-workers", "1", "--json") as second,
    ):
        documents = [json.loads(process.communicate(timeout=120)[0]) for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0]
    assert [document["broken"] for document in documents] == [[], []]
    assert _num_kept() == 60


def _num_kept() -> int:
    path = Catalog().path
    if not path.exists():
        return 0
    try:
        # Not read-only: what a killed process was about to write has to be rolled back first.
        with sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=30) as connection:
            return int(connection.execute("SELECT COUNT(*) FROM videos").fetchone()[0])
    except sqlite3.OperationalError:  # the table is not there yet
        return 0
    finally:
        if "connection" in locals():
            connection.close()


def _wait_for(condition: Callable[[], bool], limit_seconds: float = 120) -> None:
    end = time.monotonic() + limit_seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
