"""Options about DATA, as a person gives them: held-out shares, groups, where the videos of lists are."""

from __future__ import annotations

from pathlib import Path

from small_runs import CLIP_WORDS, SPEED_WORDS, Commands

from videomae.training.finetune import FinetuneResult

RUN = [*CLIP_WORDS, *SPEED_WORDS, "--epochs", "1", "--batch-size", "6", "--warmup-epochs", "0", "--size", "tiny"]


def test_finetune_holds_out_groups(commands: Commands, colors: Path, tmp_path: Path) -> None:
    words = ["finetune", colors / "train", "--output", tmp_path, "--init", "scratch", *RUN]

    document = commands.json(*words, "--val-share", "0.34", "--group", r"_(\d)\.")

    assert document["num_videos"] == 12
    assert document["best_epoch"] == 1
    assert "6 of 18 videos in 2 of 6 groups are held out for validation" in commands.err
    # Another division would be another run.
    assert commands(*words, "--val-share", "0.5", "--group", r"_(\d)\.") == 2
    assert "num_videos=12, not 9" in commands.err


def test_a_share_of_data_that_names_its_splits(commands: Commands, colors: Path, tmp_path: Path) -> None:
    words = ["finetune", colors, "--output", tmp_path, "--init", "scratch", *RUN, "--val-share", "0.2"]

    assert commands(*words) == 2
    assert "--val-share 0.2 with the split val: expected one of the two" in commands.err


def test_lists_and_their_videos_lie_apart(
    commands: Commands, colors: Path, finetuned: FinetuneResult, tmp_path: Path
) -> None:
    lines = "".join(f"{name}/{name}_0.mp4,{number}\n" for number, name in enumerate(("blue", "green", "red")))
    (tmp_path / "test.csv").write_text(lines + lines[: lines.index("\n") + 1])
    (tmp_path / "classes.txt").write_text("blue\ngreen\nred\n")
    words = ["evaluate", tmp_path / "test.csv", "--model", finetuned.folder, "--clips", "1", "--crops", "1"]

    assert commands(*words) == 2
    assert "test.csv, line 1: 'blue/blue_0.mp4'; line 2: " in commands.err
    assert "give the folder that the paths are relative to with --video-root" in commands.err
    document = commands.json(*words, "--video-root", colors / "train")
    assert (document["num_videos"], document["top1"]) == (3, 1.0)
    assert "test.csv, line 4: the video of" in commands.err


def test_pretrain_reads_lists_of_videos_elsewhere(commands: Commands, colors: Path, tmp_path: Path) -> None:
    names = [path.relative_to(colors).as_posix() for path in sorted((colors / "train").glob("*/*.mp4"))]
    (tmp_path / "list.txt").write_text("\n".join(names))

    words = ["pretrain", tmp_path / "list.txt", "--output", tmp_path / "run", *RUN, "--video-root", colors]

    assert commands.json(*words)["num_videos"] == 18
