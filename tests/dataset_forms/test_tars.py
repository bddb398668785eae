"""Tar files in the WebDataset convention that others wrote."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from small_runs import Commands, tiny_finetune_recipe, write_data_set

import videomae
from videomae.core.errors import DataError
from videomae.data.index_store import IndexStore
from videomae.datasets.manifest import read_manifest
from videomae.training.finetune import finetune
from videomae.video.opening import open_video
from videomae.video.source import ShardMember


def write_tar(
    path: Path, members: Mapping[str, bytes | str], *, mode: str = "w", format: int = tarfile.GNU_FORMAT
) -> Path:
    """A tar file as tar or webdataset's writer makes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode, format=format) as tar:  # type: ignore[call-overload]
        for name, content in members.items():
            content = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def video(videos: list[Path]) -> bytes:
    return videos[0].read_bytes()


def _listed(data: Path) -> list[tuple[str, str | None, str | None]]:
    return [(str(e.path).rpartition("::")[2], e.label_text, e.split) for e in read_manifest(data).entries]


def test_members_are_the_videos_frame_for_frame(tmp_path: Path, videos: list[Path]) -> None:
    members = {f"{place}.mp4": path.read_bytes() for place, path in enumerate(videos)}
    tar = write_tar(tmp_path / "clips.tar", members)
    for entry, path in zip(read_manifest(tar).entries, videos, strict=True):
        assert isinstance(entry.path, ShardMember)
        with open_video(entry.path) as reader, open_video(path) as plain:
            assert np.array_equal(reader.read([0, 7, 29]), plain.read([0, 7, 29]))


def test_classes_of_cls_json_and_txt(tmp_path: Path, video: bytes) -> None:
    cls = write_tar(tmp_path / "a.tar", {"x/1.mp4": video, "x/1.cls": "3\n", "x/2.mp4": video, "x/2.cls": "0"})
    assert _listed(cls) == [("x/1.mp4", "3", None), ("x/2.mp4", "0", None)]
    text = write_tar(tmp_path / "b.tar", {"1.txt": "cat", "1.avi": video, "2.mp4": video, "2.txt": "dog\n"})
    assert _listed(text) == [("1.avi", "cat", None), ("2.mp4", "dog", None)]
    about = [{"label": "cat", "group": "g1", "start": 0.5, "end": 1.5, "split": "val"}, {"Label": "dog", "width": 48}]
    members = {f"{n}.{s}": c for n, a in enumerate(about) for s, c in (("mp4", video), ("json", json.dumps(a)))}
    manifest = read_manifest(write_tar(tmp_path / "c.tar", {**members, "0.cls": "7"}))
    first, second = manifest.entries
    assert (first.label, first.group, first.part, first.split) == ("cat", "g1", (0.5, 1.5), "val")
    assert second.label == "dog"
    assert any("width is not used" in notice for notice in manifest.notices)


def test_several_labels_and_scores(tmp_path: Path, video: bytes) -> None:
    members = {"1.mp4": video, "1.json": '{"labels": ["b", "a"]}', "2.mp4": video, "2.json": '{"labels": []}'}
    assert [entry.labels for entry in read_manifest(write_tar(tmp_path / "a.tar", members)).entries] == [
        ("a", "b"),
        (),
    ]
    members = {"1.mp4": video, "1.json": '{"score": 2.5}', "2.mp4": video, "2.json": '{"score": -1}'}
    assert [entry.score for entry in read_manifest(write_tar(tmp_path / "b.tar", members)).entries] == [2.5, -1.0]


def test_captions_are_no_classes(tmp_path: Path, video: bytes) -> None:
    members = {f"{n}.{s}": c for n in range(10) for s, c in (("mp4", video), ("txt", f"a man does thing {n}"))}
    manifest = read_manifest(write_tar(tmp_path / "a.tar", members))
    assert [entry.label for entry in manifest.entries] == [None] * 10
    assert any("such as 'a man does thing 0', are different for most videos" in notice for notice in manifest.notices)


def test_a_folder_of_shards_with_splits_and_names_of_classes(tmp_path: Path, video: bytes) -> None:
    for split, count in (("train", 2), ("val", 1)):
        for shard in range(count):
            members: dict[str, bytes | str] = {f"{shard}.mp4": video, f"{shard}.cls": str(shard)}
            write_tar(tmp_path / "d" / f"{split}-{shard:04d}.tar", members)
    assert [entry[1:] for entry in _listed(tmp_path / "d")] == [("0", "train"), ("1", "train"), ("0", "val")]
    (tmp_path / "d" / "classes.txt").write_text("walking\nrunning\n")
    assert [entry[1] for entry in _listed(tmp_path / "d")] == ["walking", "running", "walking"]
    assert len(read_manifest(str(tmp_path / "d" / "train-*.tar"))) == 2
    folders = tmp_path / "e"
    for split in ("train", "test"):
        shutil.copytree(tmp_path / "d", folders / split, ignore=shutil.ignore_patterns("val*", "*.txt"))
        for shard in range(2):
            (folders / split / f"train-{shard:04d}.tar").rename(folders / split / f"{shard:04d}.tar")
    assert [entry[2] for entry in _listed(folders)] == ["test", "test", "train", "train"]


def test_odd_names_long_paths_and_what_is_no_video(tmp_path: Path, video: bytes) -> None:
    long = "ü b/" + "x" * 150 + "/" + "y" * 120
    members = {f"{long}.mp4": video, f"{long}.cls": "a", "readme.md": "hello", "k.rgb.MP4": video, "k.cls": "b"}
    for number, form in enumerate((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)):
        tar = write_tar(tmp_path / f"{number}.tar", members, format=form)
        assert _listed(tar) == [(f"{long}.mp4", "a", None), ("k.rgb.MP4", "b", None)]
        with open_video(read_manifest(tar).entries[0].path) as reader:
            assert reader.num_frames == 30


@pytest.mark.parametrize("kind", ["empty", "text", "compressed", "cut"])
def test_damaged_tars_are_one_line(tmp_path: Path, video: bytes, kind: str, commands: Commands) -> None:
    path = tmp_path / "a.tar"
    if kind == "compressed":
        write_tar(path, {"1.mp4": video}, mode="w:gz")
    elif kind == "cut":
        write_tar(path, {"1.mp4": video, "2.mp4": video})
        path.write_bytes(path.read_bytes()[: len(video) + 2000])
    else:
        path.write_bytes(b"" if kind == "empty" else b"no tar file " * 100)
    with pytest.raises(DataError, match=r"a\.tar"):
        read_manifest(path)
    assert "a.tar" in commands.refused("scan", path)


def test_a_tar_without_videos(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"without videos: expected members such as key.mp4"):
        read_manifest(write_tar(tmp_path / "a.tar", {"1.jpg": b"x", "1.cls": "0"}))


@pytest.mark.parametrize("text", ["{", '{"label": "a", "start": "x"}', '{"labels": "a", "label": "b"}'])
def test_a_json_that_is_malformed(tmp_path: Path, video: bytes, text: str) -> None:
    with pytest.raises(DataError):
        read_manifest(write_tar(tmp_path / "a.tar", {"1.mp4": video, "1.json": text}))


def test_training_scan_pack_and_prediction(tmp_path: Path, commands: Commands) -> None:
    data = write_data_set(tmp_path / "plain", per_class=3)
    members: dict[str, bytes | str] = {}
    for path in sorted(data.rglob("*.mp4")):
        members |= {path.name: path.read_bytes(), f"{path.stem}.txt": path.parent.name}
    tar = write_tar(tmp_path / "tars" / "clips.tar", members)
    result = finetune(tar.parent, tmp_path / "run", tiny_finetune_recipe(epochs=1), init="scratch", val_share=1 / 3)
    assert result.class_names == ("blue", "green", "red")
    assert len(videomae.predict(tar, model=result.folder, num_workers=0, progress=False)) == 9
    assert commands.json("scan", tar, "--num-workers", 1)["num_videos"] == 9
    videomae.pack(tar.parent, tmp_path / "packed", num_workers=1, progress=False)
    assert read_manifest(tmp_path / "packed").class_counts() == {"blue": 3, "green": 3, "red": 3}


def test_packet_indices_are_kept_in_the_catalog(tmp_path: Path, video: bytes) -> None:
    source = read_manifest(write_tar(tmp_path / "a.tar", {"1.mp4": video})).entries[0].path
    store = IndexStore()
    assert not store.is_packed(source)
    assert store.find(source) is None
    with open_video(source) as reader:
        store.keep(source, reader.index)
    assert store.find(source) is not None
