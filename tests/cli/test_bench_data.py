"""`videomae bench-data`: figures for people and programs, and unreadable videos."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from videomae.cli.main import main
from videomae.video.writer import write_video

SMALL = ("--seconds", "0.1", "--num-frames", "4", "--frame-stride", "2", "--image-size", "16")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    frames = np.random.default_rng(0).integers(0, 256, (20, 32, 48, 3), dtype=np.uint8)
    for name in ("a", "b"):
        write_video(folder / f"{name}.mp4", frames, frames_per_second=25)
    (folder / "no video.mp4").write_bytes(b"text")
    return folder


@pytest.fixture(autouse=True)
def _own_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEOMAE_CACHE", str(tmp_path / "cache"))


def test_document(videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench-data", str(videos), *SMALL, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["num_videos"] == 3
    assert [row["num_views"] for row in document["loader"]][-1] == 4
    assert {row["num_workers"] for row in document["loader"]} >= {0, 1}
    assert all(row["clips_per_second"] > 0 for row in document["loader"])
    assert document["packets_decoded_per_frame"] >= 1
    assert [Path(row["path"]).name for row in document["broken"]] == ["no video.mp4"]
    assert document["recommended"]["num_workers"] in {row["num_workers"] for row in document["loader"]}
    assert document["recommended"]["lines"]


def test_for_people(videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench-data", str(videos), *SMALL]) == 0
    printed = capsys.readouterr()
    assert "clips/s  █" in printed.out
    assert "--num-workers" in printed.out.partition("recommended")[2]
    assert "no video.mp4" in printed.err


def test_nothing_readable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.mp4").write_bytes(b"text")
    assert main(["bench-data", str(tmp_path), *SMALL]) == 2
    printed = capsys.readouterr()
    assert "a.mp4" in printed.err
    assert "videomae scan" in printed.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seconds", "0"), "--seconds 0: expected more than 0"),
        (("--image-size", "0"), "--image-size 0: expected 1 or more"),
    ],
)
def test_bad_options(options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench-data", "somewhere", *options]) == 2
    assert message in capsys.readouterr().err
