"""`videomae predict --window`: what happens when."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from small_runs import CLASSES, Commands, run_python

import videomae
from videomae.training.finetune import FinetuneResult
from videomae.video.writer import VideoWriter

CPU = ["--device", "cpu"]
PARTS = ("red", "blue", "green", "red")
SECONDS = 4


def write_film(path: Path, parts: tuple[str, ...] = PARTS, *, scale: int = 1) -> Path:
    """Four seconds of each color at 10 frames a second, 40 × 32 pixels, with the pattern of the training clips."""
    with VideoWriter(path, frames_per_second=10, preset="ultrafast") as writer:
        for number in range(10 * SECONDS * len(parts)):
            wave = 0.75 + 0.25 * np.sin(np.arange(40 * scale) / scale / 6 + 0.5 * number)
            color = np.array(CLASSES[parts[number // (10 * SECONDS)]])
            writer.add((np.tile(wave, (32 * scale, 1))[..., None] * color).astype(np.uint8))
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_film(tmp_path_factory.mktemp("film") / "drei Farben.mp4")


def words(film: Path | str, finetuned: FinetuneResult, *more: object) -> list[object]:
    return ["predict", film, "--model", finetuned.folder, *CPU, "--window", "1", "--hop", "0.5", *more]


def test_segments_are_printed(commands: Commands, finetuned: FinetuneResult, film: Path) -> None:
    assert commands(*words(film, finetuned)) == 0
    first, *rows = commands.out.splitlines()
    assert first == f"{film}  0:16, 31 windows of 1 s, one each 0.5 s"
    assert [row.split()[2] for row in rows] == list(PARTS)
    assert [row.split()[0] for row in rows] == pytest.approx(["0:00.0", "0:04.0", "0:08.0", "0:12.0"])
    assert all(row.endswith("%") for row in rows)


def test_json(commands: Commands, finetuned: FinetuneResult, film: Path) -> None:
    document = commands.json(*words(film, finetuned, "--top-k", "2"))
    assert commands.err == "of each window of 1 s the model sees 1 clip of 0.4 s; --clips 3 covers it\n"
    (video,) = document["videos"]
    assert set(video) == {
        *("path", "duration_seconds", "window_seconds", "hop_seconds", "ended", "segments", "windows"),
    }
    assert video["duration_seconds"] == 16
    assert [part["label"] for part in video["segments"]] == list(PARTS)
    assert len(video["windows"]) == 31
    assert {len(window["predictions"]) for window in video["windows"]} == {2}


def test_nothing_found(commands: Commands, finetuned: FinetuneResult, film: Path) -> None:
    assert commands(*words(film, finetuned, "--threshold", "1")) == 0
    assert "  no label reaches --threshold 1; the highest score of a window is " in commands.out


def test_all_outputs_at_once(commands: Commands, finetuned: FinetuneResult, film: Path, tmp_path: Path) -> None:
    names = ["a.json", "b.csv", "c.jsonl", "d.srt", "e.vtt", "f.png", "g.svg"]
    outputs = [word for name in names for word in ("--output", tmp_path / "new folder" / name)]
    assert commands(*words(film, finetuned, *outputs)) == 0
    assert commands.out.splitlines()[-7:] == [str(tmp_path / "new folder" / name) for name in names]
    assert sorted(path.name for path in (tmp_path / "new folder").iterdir()) == names
    with (tmp_path / "new folder" / "b.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 31
    assert [rows[n]["label"] for n in (2, 10, 18, 27)] == list(PARTS)
    assert sum(float(rows[5][label]) for label in CLASSES) == pytest.approx(1, abs=1e-5)


def test_the_annotated_video_has_the_frames_of_the_source(
    commands: Commands, finetuned: FinetuneResult, tmp_path: Path
) -> None:
    film = write_film(tmp_path / "large.mp4", scale=5)
    output = tmp_path / "annotated.mp4"
    assert commands(*words(film, finetuned, "--annotate", output)) == 0
    assert commands.out.splitlines()[-1] == str(output)
    with videomae.open_video(film) as before, videomae.open_video(output) as after:
        assert after.num_frames == before.num_frames == 160
        assert after.frame_times == pytest.approx(before.frame_times, abs=1e-3)
        assert (after.info.width, after.info.height) == (200, 160)
        old, new = before.read([20, 60, 100]).astype(int), after.read([20, 60, 100]).astype(int)
    assert np.abs(old[:, :100] - new[:, :100]).max() < 40  # the upper part stays
    assert np.abs(old[:, 130:] - new[:, 130:]).max() > 80  # the lower one has the label


def test_annotations_evaluate_it(commands: Commands, finetuned: FinetuneResult, film: Path, tmp_path: Path) -> None:
    true = tmp_path / "true.csv"
    true.write_text("start,end,label\n" + "".join(f"{4 * n},{4 * n + 4},{name}\n" for n, name in enumerate(PARTS)))
    metrics = commands.json(*words(film, finetuned, "--annotations", true))["metrics"]
    assert metrics["map"]["0.7"] == 1
    assert metrics["frame_accuracy"] > 0.95
    assert commands(*words(film, finetuned, "--annotations", true)) == 0
    assert "segment mAP     100.0%" in commands.out
    true.write_text("start,end,label\n0,1,zebra\n")
    assert commands(*words(film, finetuned, "--annotations", true)) == 2
    assert "with the label zebra: expected labels of the model: blue, green, red" in commands.err


def test_several_videos_share_a_table(
    commands: Commands, finetuned: FinetuneResult, film: Path, bad_files: dict[str, Path], tmp_path: Path
) -> None:
    other = write_film(tmp_path / "other.mp4", ("green",))
    output = tmp_path / "x.csv"
    more = ["--output", output, *CPU]
    assert commands("predict", film, bad_files["text"], other, "--model", finetuned.folder, "--window", "2", *more) == 2
    assert commands.err.splitlines()[-1] == "videomae: 1 of 3 videos cannot be read"
    with output.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [str(film)] * 8 + [str(other)] * 2
    line = commands.refused("predict", film, other, "--model", finetuned.folder, "--window", "2", "--output", "x.png")
    assert "--output x.png for 2 videos: expected .csv or .jsonl, or a single video" in line


def test_a_killed_run_continues(commands: Commands, finetuned: FinetuneResult, tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", PARTS * 6)
    output = tmp_path / "x.csv"
    command = list(map(str, words(film, finetuned, "--hop", "0.1", "--output")))
    running = subprocess.Popen(
        [sys.executable, "-m", "videomae", *command, str(output)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while running.poll() is None and (not output.exists() or output.read_bytes().count(b"\n") < 20):
        time.sleep(0.01)
    running.kill()
    running.wait()
    whole = output.read_bytes()
    whole = whole[: whole.rfind(b"\n") + 1]
    assert commands(*command, output) == 0
    if running.returncode == -signal.SIGKILL:
        number = whole.count(b"\n") - 1
        assert f"{film}: continuing after {number} windows" in commands.err
    assert output.read_bytes().startswith(whole)
    assert commands(*command, tmp_path / "fresh.csv") == 0
    again, straight = (
        np.loadtxt(tmp_path / name, delimiter=",", skiprows=1, usecols=(1, 2, 4, 5, 6, 7))
        for name in ("x.csv", "fresh.csv")
    )
    assert again == pytest.approx(straight, abs=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4", "fresh.csv", "x.csv"]


def test_ctrl_c_writes_what_there_is(finetuned: FinetuneResult, film: Path, tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes here")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "videomae", *map(str, words(pipe, finetuned, "--output", tmp_path / "x.json"))]
    command += ["--output", str(tmp_path / "x.csv")]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    transport = tmp_path / "film.ts"
    _remux(film, transport)
    with pipe.open("wb") as file:
        file.write(transport.read_bytes())
        file.flush()
        end = time.monotonic() + 60
        while time.monotonic() < end and (
            not (tmp_path / "x.csv").exists() or (tmp_path / "x.csv").read_bytes().count(b"\n") < 5
        ):
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=30)
    assert running.returncode == 130, said
    assert "videomae: interrupted" in said
    assert len(json.loads((tmp_path / "x.json").read_text())["windows"]) >= 4


def _remux(source: Path, target: Path) -> None:
    import av

    with av.open(str(source)) as read, av.open(str(target), "w", format="mpegts") as written:
        stream = read.streams.video[0]
        copy = written.add_stream_from_template(stream)
        for packet in read.demux(stream):
            if packet.size:
                packet.stream = copy
                written.mux(packet)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--window", "0"], "--window 0: expected seconds, more than 0"),
        (["--hop", "3"], "--hop 3 with --window 1: expected a hop that is no longer than a window"),
        (["--threshold", "0"], "--threshold 0: expected a score above 0, up to 1"),
        (["--output", "x.txt"], "--output x.txt: expected .json or .csv or .jsonl or .srt"),
        (["--annotate", "x.avi"], "--annotate x.avi: expected a file name ending in .mp4"),
        (["--annotations", "none.csv"], "none.csv: expected a CSV of segments"),
    ],
)
def test_options_that_are_wrong(
    commands: Commands, finetuned: FinetuneResult, film: Path, more: list[str], said: str
) -> None:
    assert said in commands.refused(*words(film, finetuned, *more))


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "audio"])
def test_files_that_are_no_video(
    commands: Commands, finetuned: FinetuneResult, bad_files: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    line = commands.refused(*words(bad_files[kind], finetuned, "--output", tmp_path / "x.json"))
    assert line.startswith(f"videomae: {bad_files[kind]}")
    assert list(tmp_path.iterdir()) == []


def test_the_video_itself_is_not_replaced(
    commands: Commands, finetuned: FinetuneResult, film: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "a.mp4"
    copy.write_bytes(film.read_bytes())
    line = commands.refused(*words(copy, finetuned, "--annotate", copy))
    assert "which is VIDEO: expected another file" in line
    assert copy.read_bytes() == film.read_bytes()


def test_a_stream_asks_for_a_window_and_cannot_be_annotated(
    commands: Commands, finetuned: FinetuneResult, tmp_path: Path
) -> None:
    line = commands.refused(*words("http://127.0.0.1:1/x.ts", finetuned, "--annotate", tmp_path / "x.mp4"))
    assert "for a stream: expected one video file" in line
    line = commands.refused("predict", "rtsp://127.0.0.1:1/x", "--model", finetuned.folder, *CPU)
    assert "give --window" in line
    line = commands.refused(*words("rtsp://127.0.0.1:1/x", finetuned))
    assert line.startswith("videomae: rtsp://127.0.0.1:1/x")
    line = commands.refused(*words("/dev/video99", finetuned))
    assert line.startswith("videomae: /dev/video99")


def test_it_loads_no_matplotlib_unless_it_draws(finetuned: FinetuneResult, film: Path) -> None:
    done = run_python(
        "import sys\n"
        "from videomae.cli.main import main\n"
        f"assert main({list(map(str, words(film, finetuned, '--json')))!r}) == 0\n"
        "print([name for name in ('accelerate', 'matplotlib') if name in sys.modules], file=sys.stderr)\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"


def test_in_python(finetuned: FinetuneResult, film: Path) -> None:
    checkpoint = videomae.Checkpoint.open(finetuned.folder)
    seen: list[int] = []
    (found,) = checkpoint.timeline(
        film, window=1, hop=0.5, device="cpu", progress=False, on_window=lambda path, window: seen.append(window.number)
    )
    assert isinstance(found, videomae.Timeline)
    assert seen == list(range(31))
    assert [part.label for part in found.segments] == list(PARTS)
    with pytest.raises(videomae.ConfigError, match="window=0: expected seconds"):
        videomae.timeline(film, model=checkpoint, window=0)
