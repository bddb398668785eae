"""`videomae demo` as a person and as a program sees it, in miniature."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_demo import shrink_demo
from small_runs import Commands


def test_the_command(commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_demo(monkeypatch)
    output = tmp_path / "my run"
    words = ["demo", "--output", output, "--device", "cpu"]
    document = commands.json(*words)
    assert set(document) == {
        "report",
        "pretrained_top1",
        "scratch_top1",
        "chance",
        "num_unlabelled",
        "num_labelled",
        "num_held_out",
        "pretrain_loss",
        "seconds",
    }
    assert document["report"] == str(output / "report.html")
    assert (output / "report.html").is_file()
    counts = [document[name] for name in ("num_unlabelled", "num_labelled", "num_held_out", "chance")]
    assert counts == [16, 16, 8, 0.125]

    assert commands(*words) == 0
    assert "step " not in commands.err  # nothing was left to train
    assert "8 motions, 16 clips without labels, 16 with, 8 held out\n" in commands.out
    assert f"from scratch, same steps      {document['scratch_top1']:6.1%}\n" in commands.out
    assert (
        f"videomae reconstruct '{output}/clips/pretrain/clip_00000.mp4' --model '{output}/pretrained'" in commands.out
    )

    line = commands.refused(*words, "--seed", "1")
    assert f"{output} holds the demonstration of seed 0: expected seed 1 or a new folder; choose another" in line
