"""`videomae pack`: what it prints, how it ends, and that training takes what it wrote."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from small_runs import CLIP_WORDS, SPEED_WORDS, Commands, start_command

from videomae.api.curation import _num_bytes
from videomae.api.file_progress import PackProgress
from videomae.core.errors import InputError

SMALL = ["--short-side", "16", "--num-workers", "1"]


@pytest.fixture
def mixed(colors: Path, bad_files: dict[str, Path], tmp_path: Path) -> Path:
    """Six good clips in two splits, and a broken one."""
    for split, name in (("train", "red"), ("train", "blue"), ("val", "red")):
        for number in range(2):
            target = tmp_path / "mixed" / split / name / f"{number}.mp4"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(colors / "train" / name / f"{name}_{number}.mp4", target)
    shutil.copy(bad_files["text"], tmp_path / "mixed" / "train" / "red" / "bad.mp4")
    return tmp_path / "mixed"


def test_summary(commands: Commands, mixed: Path, tmp_path: Path) -> None:
    assert commands("pack", mixed, tmp_path / "out", *SMALL) == 0
    lines = commands.out.splitlines()
    assert lines[0] == "videos    6 (train 4, val 2), 48 frames"
    assert lines[1].startswith("size      ")
    assert lines[1].endswith("%), 20x16")
    assert lines[2].startswith("quality   ")
    assert lines[4] == f"index     {tmp_path / 'out' / 'index.json'}"
    assert "1 unreadable, skipped" in lines
    assert any(line.startswith(f"  {mixed / 'train/red/bad.mp4'}: expected a video file") for line in lines)
    assert lines[-1].startswith(f"{tmp_path / 'out'} is DATA for training: videomae pretrain")
    assert commands("pack", mixed, tmp_path / "my videos", *SMALL) == 0
    _, _, command = commands.out.splitlines()[-1].partition("for training: ")
    assert shlex.split(command)[:3] == ["videomae", "pretrain", str(tmp_path / "my videos")]
    assert "7/7 videos" in commands.err

    assert commands("pack", mixed, tmp_path / "out", *SMALL) == 0
    assert commands.out.splitlines()[0].endswith("all of them packed before")


def test_json(commands: Commands, mixed: Path, tmp_path: Path) -> None:
    document = commands.json("pack", mixed, tmp_path / "out", *SMALL, "--shards", "--shard-size", "1MB", "--crf", "30")
    assert document["num_videos"] == document["num_packed"] == 6
    assert document["shards"] == ["train-000000.tar", "val-000000.tar"]
    settings = {"short_side": 16, "crf": 30, "layout": "h264-1", "shards": "tar", "frame_order": 2}
    assert document["settings"] == settings
    assert [Path(broken["path"]).name for broken in document["broken"]] == ["bad.mp4"]
    assert document["size_share"] == pytest.approx(document["num_bytes"] / document["source_num_bytes"], abs=1e-4)
    assert document["min_psnr"] <= document["mean_psnr"]
    assert document["num_frames"] == 48


def test_strict(commands: Commands, mixed: Path, tmp_path: Path) -> None:
    assert commands("pack", mixed, tmp_path / "out", *SMALL, "--strict") == 2
    assert "videomae: 1 broken video: expected none (--strict)" in commands.err
    assert (tmp_path / "out" / "index.json").exists()  # the good ones are packed all the same
    assert commands("pack", mixed, tmp_path / "out", *SMALL, "--strict", "--json") == 2
    assert "broken" in json.loads(commands.out)["error"]["value"]


@pytest.mark.parametrize("shards", [[], ["--shards"]])
def test_training_on_what_was_packed(commands: Commands, mixed: Path, tmp_path: Path, shards: list[str]) -> None:
    assert commands("pack", mixed, tmp_path / "out", *SMALL, *shards) == 0
    words = [*CLIP_WORDS, *SPEED_WORDS, "--epochs", "1", "--batch-size", "2"]
    document = commands.json("pretrain", tmp_path / "out", "--output", tmp_path / "run", *words)
    assert document["num_videos"] == 4
    assert document["num_broken"] == 0


def test_refusals(commands: Commands, mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "--shard-size 3" in commands.refused("pack", mixed, out, "--shards", "--shard-size", "3")
    assert "--shard-size 5MB without --shards" in commands.refused("pack", mixed, out, "--shard-size", "5MB")
    assert "short_side=17" in commands.refused("pack", mixed, out, "--short-side", "17")
    assert "crf=99" in commands.refused("pack", mixed, out, "--crf", "99")
    assert "--num-workers -2" in commands.refused("pack", mixed, out, "--num-workers", "-2")
    assert "neither lies in the other" in commands.refused("pack", mixed, mixed / "out")
    assert "OUT" in commands.refused("pack", mixed)
    assert not out.exists()


@pytest.mark.parametrize(
    ("text", "expected"), [("1GB", 10**9), ("500 MB", 5 * 10**8), ("2GiB", 2**31), ("1.5g", 1_500_000_000)]
)
def test_sizes(text: str, expected: int) -> None:
    assert _num_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "GB", "999KB", "1TB", "-1GB"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(InputError, match="expected a size"):
        _num_bytes(text)


def test_interrupted_and_gone_on(
    mixed: Path, commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell: Callable[..., None] = PackProgress.add

    def tell_and_stop(self: PackProgress, *outcome: object) -> None:
        tell(self, *outcome)
        if self._num_done == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(PackProgress, "add", tell_and_stop)
        assert commands("pack", mixed, tmp_path / "out", *SMALL) == 130
    assert "3 of 7 videos are packed; repeat the command to resume" in commands.err
    assert not list((tmp_path / "out").rglob("aside"))
    document = commands.json("pack", mixed, tmp_path / "out", *SMALL)
    assert document["num_videos"] == 6
    assert document["num_packed"] in (3, 4)  # one of the three may be the broken one


def test_ctrl_c_in_a_process_of_its_own(mixed: Path, tmp_path: Path) -> None:
    """As a shell sends it: to the whole group of processes."""
    process = start_command("pack", mixed, tmp_path / "out", *SMALL)
    assert process.stderr is not None
    lines = [process.stderr.readline()]
    os.killpg(process.pid, signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    said = "".join([*lines, rest])
    assert "Traceback" not in said
    # It may have been done already, or even be about to leave, when Python no longer handles signals.
    assert process.returncode in (0, 130, -signal.SIGINT), said
    if process.returncode == 130:
        assert "repeat the command to resume" in said
