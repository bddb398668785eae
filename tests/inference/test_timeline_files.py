"""Files of a timeline, read again by other means."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from videomae.core.errors import ConfigError
from videomae.inference.segments import Segment
from videomae.inference.timeline import Timeline
from videomae.inference.timeline_files import clock, subtitles, window_of_row
from videomae.inference.window_layout import WindowScores


def make(num_windows: int = 30, **changes: object) -> Timeline:
    """Labels that take turns every ten seconds."""
    starts = np.arange(num_windows) * 2.0
    places = (starts // 10 % 3).astype(int)
    scores = np.full((num_windows, 4), 0.05, dtype=np.float32)
    scores[np.arange(num_windows), places] = 0.85
    pictures = tuple((4.0 * n, np.full((72, 128, 3), 40 + 10 * n, dtype=np.uint8)) for n in range(15))
    values = {
        "path": "films/Ein Tag & eine Nacht.mp4",
        "labels": ("run", "swim <fast>", "日本 jump", "never"),
        "start_seconds": starts,
        "end_seconds": starts + 2,
        "window_scores": scores,
        "duration_seconds": 60.0,
        "window_seconds": 2.0,
        "hop_seconds": 2.0,
        "thumbnails": pictures,
    }
    return Timeline(**{**values, **changes})  # type: ignore[arg-type]


def test_json(tmp_path: Path) -> None:
    document = json.loads(make().save(tmp_path / "x.json").read_text())
    assert document["path"] == "films/Ein Tag & eine Nacht.mp4"
    assert [part["label"] for part in document["segments"]] == ["run", "swim <fast>", "日本 jump"] * 2
    assert [part["end_seconds"] for part in document["segments"]] == [10, 20, 30, 40, 50, 60]
    assert len(document["windows"]) == 30
    assert document["windows"][0]["predictions"][0] == {"label": "run", "index": 0, "probability": pytest.approx(0.85)}


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_rows_give_the_windows_back(tmp_path: Path, suffix: str) -> None:
    timeline = make()
    text = timeline.save(tmp_path / f"x.{suffix}").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text))) if suffix == "csv" else list(map(json.loads, text.splitlines()))
    assert len(rows) == 30
    assert rows[6]["label"] == "swim <fast>"
    assert float(rows[6]["start_seconds"]) == 12
    for number, row in enumerate(rows):
        again = window_of_row(row, timeline.labels, number)
        assert isinstance(again, WindowScores)
        assert again.scores == pytest.approx(timeline.window_scores[number])


def test_srt(tmp_path: Path) -> None:
    blocks = make().save(tmp_path / "x.srt").read_text().strip().split("\n\n")
    assert len(blocks) == 6
    assert blocks[1].splitlines() == ["2", "00:00:10,000 --> 00:00:20,000", "swim <fast> 85%"]


def test_vtt(tmp_path: Path) -> None:
    text = make().save(tmp_path / "x.vtt").read_text()
    assert text.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:10.000\nrun 85%\n\n")
    assert "swim &lt;fast&gt; 85%" in text


def test_cues_never_overlap() -> None:
    parts = [Segment(0, 10, "a", 0, 0.6), Segment(5, 12, "b --> c", 1, 0.7), Segment(20, 21, "d", 2, 0.9)]
    text = subtitles(parts, form="srt")
    cues = re.findall(r"(\S+) --> (\S+)\n((?:.+\n)+)", text)
    assert [(start[-6:], end[-6:], label.split("\n")[:-1]) for start, end, label in cues] == [
        ("00,000", "05,000", ["a 60%"]),
        ("05,000", "10,000", ["a 60%", "b → c 70%"]),
        ("10,000", "12,000", ["b → c 70%"]),
        ("20,000", "21,000", ["d 90%"]),
    ]
    assert subtitles([], form="srt") == ""
    assert subtitles([], form="vtt") == "WEBVTT\n"


def test_subtitles_are_read_by_ffmpeg(tmp_path: Path) -> None:
    import av

    for suffix in ("srt", "vtt"):
        with av.open(str(make().save(tmp_path / f"x.{suffix}"))) as container:
            packets = [packet for packet in container.demux() if packet.size]
            assert len(packets) == 6
            assert float(packets[1].pts * packets[1].time_base) == 10


def test_hours() -> None:
    assert clock(3 * 3600 + 25 * 60 + 45.6789) == "03:25:45.679"
    assert clock(59.9996, ",") == "00:01:00,000"


def test_png(tmp_path: Path) -> None:
    with Image.open(make().save(tmp_path / "x.png")) as picture:
        assert picture.width > 1200
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    for color in ((0, 114, 178), (213, 94, 0), (0, 158, 115)):  # a track for each of three labels
        assert (np.abs(pixels.astype(int) - color).max(axis=1) < 3).sum() > 2000


def test_svg(tmp_path: Path) -> None:
    text = make().save(tmp_path / "x.svg").read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    words = "".join(root.itertext())
    for label in ("run", "swim <fast>", "日本 jump", "0:10", "Ein Tag & eine Nacht.mp4", "1:00"):
        assert label in words
    assert "never" not in words
    assert len(text) < 600_000


@pytest.mark.parametrize("num_windows", [0, 1, 2])
@pytest.mark.parametrize("suffix", ["png", "svg", "json", "csv", "srt"])
def test_few_windows_and_nothing_found(tmp_path: Path, num_windows: int, suffix: str) -> None:
    timeline = make(num_windows, thumbnails=(), ended="x: expected y; z").with_options(threshold=0.99)
    assert timeline.save(tmp_path / f"x.{suffix}").stat().st_size >= 0
    assert timeline.segments == ()


def test_another_ending(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"x\.txt: expected \.json or \.csv"):
        make().save(tmp_path / "x.txt")
    assert list(tmp_path.iterdir()) == []


def test_with_options_and_at() -> None:
    timeline = make()
    assert [found.label for found in timeline.at(15.0, 2)] == ["swim <fast>", "run"]
    assert timeline.at(61) == ()
    smooth = timeline.with_options(smooth_seconds=60, threshold=0.2)
    assert {part.label for part in smooth.segments} == {"run", "swim <fast>", "日本 jump"}
    assert timeline.window_scores is smooth.window_scores
    assert timeline._repr_png_()[:4] == b"\x89PNG"
