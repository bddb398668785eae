"""`videomae embed` and `videomae probe`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_runs import CLASSES, Commands, write_clip, write_data_set

from videomae.training.finetune import FinetuneResult
from videomae.training.pretrain import PretrainResult

FAST = ["--num-workers", "0", "--device", "cpu"]


def test_embed_a_data_set(commands: Commands, pretrained: PretrainResult, colors: Path, tmp_path: Path) -> None:
    output = tmp_path / "features.npz"
    document = commands.json("embed", colors, "--model", pretrained.folder, "--output", output, *FAST)
    assert document == {
        "output": str(output),
        "num_videos": 24,
        "num_broken": 0,
        "num_rows": 24,
        "feature_shape": [document["feature_shape"][0]],
    }
    found = np.load(output)
    assert found["features"].shape == (24, document["feature_shape"][0])
    assert sorted(set(found["label"])) == sorted(CLASSES)
    assert all(Path(path).parent.name == label for path, label in zip(found["path"], found["label"], strict=True))


def test_embed_windows_of_files(commands: Commands, finetuned: FinetuneResult, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "long.mp4", CLASSES["red"], num_frames=20)
    words = ["embed", clip, "--model", finetuned.folder, "--output", tmp_path / "f.npz", *FAST, "--windows"]
    assert commands(*words) == 0
    assert commands.out.startswith("5 rows of ")
    assert np.load(tmp_path / "f.npz")["start_seconds"].tolist() == pytest.approx([0, 0.4, 0.8, 1.2, 1.6])
    assert commands(*words, "--dense") == 0
    assert " × " in commands.out


def test_embed_names_what_cannot_be_read(
    commands: Commands, pretrained: PretrainResult, tmp_path: Path, bad_files: dict[str, Path]
) -> None:
    clip = write_clip(tmp_path / "good.mp4", CLASSES["red"])
    words = ["--model", pretrained.folder, "--output", tmp_path / "f.npz", *FAST]
    assert commands("embed", clip, bad_files["text"], bad_files["missing"], *words) == 2
    assert commands.out.startswith("1 row of ")
    assert "text.mp4" in commands.err
    assert "missing.mp4" in commands.err
    assert np.load(tmp_path / "f.npz")["path"].tolist() == [str(clip)]
    (tmp_path / "f.npz").unlink()
    assert "text.mp4" in commands.refused("embed", bad_files["text"], *words)
    assert not (tmp_path / "f.npz").exists()
    assert "npz or" in commands.refused("embed", clip, *words[:2], "--output", tmp_path / "f.txt", *FAST)


@pytest.mark.parametrize("method", ["knn", "linear", "attentive"])
def test_probe_tells_colors_apart(commands: Commands, pretrained: PretrainResult, colors: Path, method: str) -> None:
    """Colors are easy even for a network that learnt next to nothing."""
    words = ["probe", colors, "--model", pretrained.folder, "--method", method, "--epochs", "20", *FAST]
    document = commands.json(*words)
    assert document["method"] == method
    assert document["runs"][0]["num_train"] == 18
    assert document["runs"][0]["num_videos"] == 6
    assert document["top1"] > 0.8


def test_probe_with_few_shots(commands: Commands, pretrained: PretrainResult, colors: Path) -> None:
    words = ["probe", colors, "--model", pretrained.folder, "--method", "knn", "--per-class", "2", *FAST]
    assert commands(*words, "--seeds", "3") == 0
    assert "6 training videos, 6 test videos, 3 classes" in commands.out
    assert "over 3 seeds" in commands.out
    assert "2 clips" not in commands.err
    line = commands.refused(*words[: -len(FAST)][:-1], "7", *FAST)
    assert "where class 'blue' has 6 videos: expected from 1 to 6; lower --per-class" in line
    assert "leave --per-class out" in commands.refused(*words[: -len(FAST)][:-1], "0", *FAST)


def test_probe_refuses_what_cannot_be_judged(
    commands: Commands, pretrained: PretrainResult, colors: Path, tmp_path: Path
) -> None:
    words = ["--model", pretrained.folder, *FAST]
    assert "without a split to test on" in commands.refused("probe", colors / "train", *words)
    assert commands("probe", colors / "train", "--val", colors / "val", "--method", "knn", *words) == 0
    other = write_data_set(tmp_path / "other", per_class=1, classes=("red",))
    (other / "red").rename(other / "crimson")
    assert "'crimson'" in commands.refused("probe", colors / "train", "--val", other, *words)


def test_probe_refuses_a_class_that_nothing_is_learnt_of(
    commands: Commands, pretrained: PretrainResult, tmp_path: Path
) -> None:
    write_data_set(tmp_path / "train", per_class=1, classes=("red", "blue"))
    write_data_set(tmp_path / "val", per_class=1)
    line = commands.refused("probe", tmp_path, "--model", pretrained.folder, "--method", "knn", *FAST)
    assert "the class 'green', of which there is no training video" in line


def test_lists_and_limits_are_heeded(
    commands: Commands, pretrained: PretrainResult, colors: Path, tmp_path: Path
) -> None:
    paths = sorted(path.relative_to(colors) for path in colors.glob("*/*/*.mp4"))
    rows = [f"{path},{path.parts[1]},{path.parts[0]}" for path in paths]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *rows]))
    words = [tmp_path / "list.csv", "--model", pretrained.folder, "--video-root", colors, *FAST]
    document = commands.json("probe", *words, "--method", "knn")
    assert (document["runs"][0]["num_train"], document["broken"]) == (18, [])
    output = ["--output", tmp_path / "f.npz"]
    assert commands.json("embed", *words, *output)["num_rows"] == 24
    soon = ["--read-limit-seconds", "0.000001"]
    for windows in ([], ["--windows"]):
        assert commands("embed", *words, *output, *soon, *windows) == 2
        assert "still being read after 1e-06 s" in commands.err
    assert "still being read after 1e-06 s" in commands.refused("probe", *words, *soon)


def test_probe_counts_broken_test_videos(
    commands: Commands, pretrained: PretrainResult, colors: Path, tmp_path: Path
) -> None:
    judges = write_data_set(tmp_path / "judges", per_class=1)
    (judges / "red" / "broken.mp4").write_text("no video")
    words = ["probe", colors / "train", "--val", judges, "--method", "knn", "--model", pretrained.folder, *FAST]
    assert "broken.mp4" in commands.refused(*words)
    document = commands.json(*words, "--count-broken-as-wrong")
    assert document["runs"][0]["num_videos"] == 4
    assert document["top1"] <= 0.75
    assert "broken.mp4" in commands.err
