"""Cross-validation: folds, their runs, and one report."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from pathlib import Path

import pytest
from small_runs import CLIP_WORDS, SPEED_WORDS, Commands, read_metrics, stop_after, tiny_finetune_recipe, write_data_set

import videomae
from videomae.core.errors import ConfigError, DataError, InputError
from videomae.datasets.entries import VideoEntry
from videomae.datasets.manifest import Manifest, read_manifest
from videomae.datasets.splitting import folds_of, read_train_and_val
from videomae.training.cross_validation import cross_validate
from videomae.training.trainer import TrainingStopped


def _manifest(*videos: tuple[str, str | None]) -> Manifest:
    """Of (class, group)."""
    entries = tuple(VideoEntry(Path(f"{n}.mp4"), label=label, group=group) for n, (label, group) in enumerate(videos))
    return Manifest(Path("list.csv"), entries, tuple(sorted({label for label, _ in videos})))


def test_folds_are_even_in_every_class() -> None:
    manifest = _manifest(*[("a", None)] * 10, *[("b", None)] * 5)
    folds = folds_of(manifest, 5, seed=0)
    pairs = Counter(zip(folds, (entry.label for entry in manifest.entries), strict=True))
    assert pairs == {**{(fold, "a"): 2 for fold in range(1, 6)}, **{(fold, "b"): 1 for fold in range(1, 6)}}
    assert folds == folds_of(manifest, 5, seed=0)
    assert folds != folds_of(manifest, 5, seed=1)


def test_no_group_is_in_two_folds() -> None:
    manifest = _manifest(*[(label, f"person {number % 6}") for number in range(36) for label in "ab"])
    folds = folds_of(manifest, 3, seed=0)
    groups: dict[str | None, set[int]] = {}
    for entry, fold in zip(manifest.entries, folds, strict=True):
        groups.setdefault(entry.group, set()).add(fold)
    assert all(len(found) == 1 for found in groups.values())
    assert sorted(Counter(folds).values()) == [24, 24, 24]


def test_too_few_groups_or_folds() -> None:
    manifest = _manifest(("a", "x"), ("b", "x"), ("a", "y"))
    with pytest.raises(DataError, match="2 groups for 3 folds"):
        folds_of(manifest, 3, seed=0)
    with pytest.raises(ConfigError, match="--folds 1: expected 2 or more"):
        folds_of(manifest, 1, seed=0)


def test_each_video_is_validated_once_and_test_videos_never(colors: Path, tmp_path: Path) -> None:
    rows = ["path,label,split"]
    for path in sorted((colors / "train").rglob("*.mp4")):
        rows.append(f"{path},{path.parent.name},{'test' if path.stem.endswith('0') else 'train'}")
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
    validated: Counter[str] = Counter()
    for number in (1, 2, 3):
        train, val = read_train_and_val(tmp_path / "list.csv", fold=(number, 3), seed=0)
        assert val is not None
        assert {entry.path for entry in train.entries}.isdisjoint(entry.path for entry in val.entries)
        assert len(train) + len(val) == 15
        assert 4 <= len(val) <= 6
        assert f"fold {number} of 3: {len(val)} of 15 videos are for validation; not used: test 3" in train.notices
        validated.update(entry.path.name for entry in val.entries)
    assert set(validated.values()) == {1}
    assert not any(name.endswith("_0.mp4") for name in validated)


def test_mean_and_deviation_in_one_report(tmp_path: Path) -> None:
    data = write_data_set(tmp_path / "data", per_class=4)
    recipe = tiny_finetune_recipe(epochs=2)
    with pytest.raises(TrainingStopped):
        cross_validate(data, tmp_path / "out", recipe, init="scratch", folds=2, monitor=stop_after(2))
    assert not (tmp_path / "out" / "report.html").exists()
    found = cross_validate(data, tmp_path / "out", recipe, init="scratch", folds=2)
    best = [
        next(line for line in read_metrics(fold.folder, "val") if line["epoch"] == fold.best_epoch)
        for fold in found.folds
    ]
    top1 = [line["top1"] for line in best]
    assert found.scores["top1"] == tuple(top1)
    assert (found.mean("top1"), found.deviation("top1")) == (statistics.mean(top1), statistics.stdev(top1))
    numbers = json.loads((tmp_path / "out" / "folds.json").read_text())
    assert numbers["loss"]["folds"] == [line["loss"] for line in best]
    report = (tmp_path / "out" / "report.html").read_text()
    assert found.text("top1") in report
    assert "The folders fold-1, fold-2" in report
    assert all(videomae.Checkpoint.open(fold.folder).model.config.num_labels == 3 for fold in found.folds)
    again = cross_validate(data, tmp_path / "out", recipe, init="scratch", folds=2)
    assert all(fold.was_finished for fold in again.folds)
    assert again.scores == found.scores
    with pytest.raises(ConfigError, match=r"holds a run with (num_videos|other videos)"):
        cross_validate(data, tmp_path / "out", recipe, init="scratch", folds=3)


def test_a_folder_with_a_run_is_refused(finetuned: object, colors: Path, tmp_path: Path) -> None:
    folder = finetuned.folder  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="which holds a run: expected a folder for several runs"):
        cross_validate(colors, folder, tiny_finetune_recipe(), init="scratch", folds=2)


def test_the_command(commands: Commands, tmp_path: Path) -> None:
    data = write_data_set(tmp_path / "data", per_class=4)
    words = ["finetune", data, "--init", "scratch", "--output", tmp_path / "out", "--folds", 2, "--epochs", 1]
    words += ["--batch-size", 6, "--group", r"_(\d)\.", *CLIP_WORDS, *SPEED_WORDS]
    found = commands.json(*words)
    assert found["folds"] == [str(tmp_path / "out" / f"fold-{number}") for number in (1, 2)]
    assert found["top1"]["mean"] == statistics.mean(found["top1"]["folds"])
    assert commands(*words) == 0
    assert "top-1" in commands.err
    assert "±" in commands.err
    for others in (["--val", data], ["--val-share", 0.2], ["--dry-run"]):
        assert f"--folds 2 with {others[0]}" in commands.refused(*words, *others)
    assert "--folds 1" in commands.refused(*words[:6], "--folds", 1)
    assert len(read_manifest(data)) == 12


def test_in_python(tmp_path: Path) -> None:
    data = write_data_set(tmp_path / "data", per_class=2)
    fields = {"size": "tiny", "num_frames": 4, "image_size": 32, "frame_stride": 1, "epochs": 1, "num_workers": 0}
    found = videomae.cross_validate(
        data, output=tmp_path / "out", init="scratch", folds=2, progress=False, device="cpu", **fields
    )
    assert repr(found).startswith("CrossValidation(top-1 ")
    assert found.main == "top1"
