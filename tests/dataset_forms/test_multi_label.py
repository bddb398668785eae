"""Data sets whose videos may have several classes: the column `labels`, from the table to the packed folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_runs import CLASSES, write_clip

from videomae.core.errors import DataError
from videomae.curation.pack.packer import PackSettings, pack_videos
from videomae.data.clips import multi_hot
from videomae.datasets.manifest import Manifest, read_manifest
from videomae.datasets.splitting import read_train_and_val, split_by_group


def _table(folder: Path, text: str, name: str = "clips.csv") -> Path:
    for letter in "abcd":
        (folder / f"{letter}.mp4").touch()
    (folder / name).write_text(text)
    return folder / name


def _labels(manifest: Manifest) -> list[tuple[str, ...] | None]:
    return [entry.labels for entry in manifest.entries]


def test_a_table_with_labels(tmp_path: Path) -> None:
    manifest = read_manifest(_table(tmp_path, "path,labels\na.mp4,run| jump\nb.mp4,\nc.mp4,jump\nd.mp4,sit|sit|\n"))
    assert manifest.is_multi_label
    assert manifest.class_names == ("jump", "run", "sit")
    assert _labels(manifest) == [("jump", "run"), (), ("jump",), ("sit",)]
    assert [entry.label for entry in manifest.entries] == [None] * 4
    assert manifest.class_counts() == {"jump": 2, "run": 1, "sit": 1}
    assert multi_hot(manifest.entries, manifest.class_names).tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 1]]
    assert manifest.require_classes(multi_label=True) is manifest.require_classes(multi_label=None) is manifest


def test_json_with_lists_and_numbers_with_names(tmp_path: Path) -> None:
    items = [{"path": "a.mp4", "labels": [1, 0]}, {"path": "b.mp4", "labels": []}, {"path": "c.mp4", "labels": "1"}]
    (tmp_path / "classes.txt").write_text("walk\nrun\n")
    manifest = read_manifest(_table(tmp_path, json.dumps(items), "clips.json"))
    assert _labels(manifest) == [("run", "walk"), (), ("run",)]
    items[0]["labels"] = [1, 2]
    line = "item 1.* with the class 2: expected a class of .*classes.txt, which has 2"
    with pytest.raises(DataError, match=line):
        read_manifest(_table(tmp_path, json.dumps(items), "clips.json"))
    items[0]["labels"] = ["run|walk"]
    with pytest.raises(DataError, match=r"item 1: the labels \['run\|walk'\]: expected a list of names"):
        read_manifest(_table(tmp_path, json.dumps(items), "clips.json"))


def test_both_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"clips\.csv with the columns label and labels: expected one of the two"):
        read_manifest(_table(tmp_path, "path,label,labels\na.mp4,run,run|jump\n"))


def test_a_video_has_one_line(tmp_path: Path) -> None:
    manifest = read_manifest(_table(tmp_path, "path,labels\na.mp4,run|jump\na.mp4,jump|run\nb.mp4,\n"))
    assert len(manifest) == 2
    with pytest.raises(DataError, match=r"line 3: .*with the class 'sit': expected 'jump\|run'.*in one line"):
        read_manifest(_table(tmp_path, "path,labels\na.mp4,run|jump\na.mp4,sit\n"))


def test_the_kinds_do_not_mix(tmp_path: Path) -> None:
    several = read_manifest(_table(tmp_path, "path,labels\na.mp4,run|jump\n"))
    one = read_manifest(_table(tmp_path, "path,label\nc.mp4,run\nd.mp4,jump\n", "one.csv"))
    none = read_manifest(_table(tmp_path, "path,labels\na.mp4,\n", "none.csv"))
    with pytest.raises(DataError, match=r"clips\.csv, line 2: .*with several labels: expected one class"):
        several.require_classes()
    with pytest.raises(DataError, match=r"one\.csv, line 2: .*with one class: expected several labels"):
        one.require_classes(multi_label=True)
    with pytest.raises(DataError, match="without a class for any of its 1 videos"):
        none.require_classes(multi_label=True)
    with pytest.raises(DataError, match="with the class 'jump': expected the classes run"):
        several.require_classes(["run"], multi_label=True)
    with pytest.raises(DataError, match="with one class: expected several labels"):
        read_train_and_val(several.source, val=one.source)
    (tmp_path / "none.csv").unlink()
    with pytest.raises(DataError, match=r"one\.csv, line 2: .*without the column labels, which other lists have"):
        read_manifest(tmp_path / "*.csv")


def test_a_split_shares_out_each_class(tmp_path: Path) -> None:
    names = [("run", "jump"), ("run",), ("jump",), ()]
    rows = ["path,labels"]
    for number in range(40):
        (tmp_path / f"{number}.mp4").touch()
        rows.append(f"{number}.mp4,{'|'.join(names[number % 4])}")
    (tmp_path / "clips.csv").write_text("\n".join(rows))
    divided = split_by_group(read_manifest(tmp_path / "clips.csv"), {"train": 0.8, "val": 0.2}, seed=0)
    assert divided.take_split("val").class_counts() == {"jump": 4, "run": 4}
    assert divided.notices == ()
    assert divided.take_split("train").is_multi_label


@pytest.mark.parametrize("shard_bytes", [None, 10_000_000])
def test_packing_keeps_them(tmp_path: Path, shard_bytes: int | None) -> None:
    for letter in "abc":
        write_clip(tmp_path / f"{letter}.mp4", CLASSES["red"], phase=ord(letter))
    (tmp_path / "clips.csv").write_text("path,labels,split\na.mp4,run|jump,train\nb.mp4,,train\nc.mp4,jump,val\n")
    manifest = read_manifest(tmp_path / "clips.csv")
    out = tmp_path / "packed"
    for _ in range(2):  # the second time all is there already, and stays
        report = pack_videos(
            manifest, out, settings=PackSettings(short_side=16, shard_bytes=shard_bytes), num_workers=0
        )
    assert report.num_packed == 0
    packed = read_manifest(out)
    assert packed.is_multi_label
    assert _labels(packed) == [("jump", "run"), (), ("jump",)]
    assert packed.splits == ("train", "val")
    assert packed.class_names == manifest.class_names
