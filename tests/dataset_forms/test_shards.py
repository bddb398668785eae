"""Tar shards: written in the WebDataset convention, read member by member from folders and URLs."""

from __future__ import annotations

import http.server
import json
import pickle
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from videomae.core.errors import DataError, InputError, VideoError
from videomae.curation.pack.packer import PackReport, PackSettings, pack_videos
from videomae.curation.pack.shards import shard_members
from videomae.data.index_store import IndexStore
from videomae.datasets.catalog import Catalog
from videomae.datasets.manifest import read_manifest
from videomae.datasets.shards import PackedIndex, ShardSample, read_shard_entries, write_shard
from videomae.video.opening import open_video
from videomae.video.source import ShardMember, VideoSource

NAMES = ("train/a/1.mp4", "train/a/2.mp4", "train/b.x/3.4.mp4", "val/a/5.mp4", "val/b.x/ü 6.mp4")


def pack(data: Path, out: Path, *, shard_bytes: int | None = 10**6) -> PackReport:
    settings = PackSettings(short_side=16, crf=20, shard_bytes=shard_bytes)
    return pack_videos(read_manifest(data), out, settings=settings, num_workers=0)


def frames(source: VideoSource) -> np.ndarray:
    with open_video(source) as reader:
        return reader.read(range(reader.num_frames))


@pytest.fixture
def data(place: Callable[..., Path], videos: list[Path]) -> Path:
    folder = place(*NAMES)
    for name, video in zip(NAMES, videos, strict=False):
        shutil.copy(video, folder / name)
    return folder


class RangeHandler(http.server.SimpleHTTPRequestHandler):
    """A file server that serves parts of files."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        content, wanted = path.read_bytes(), self.headers.get("Range")
        if wanted:
            first, last = wanted.removeprefix("bytes=").split("-")
            total, content = len(content), content[int(first) : int(last) + 1 if last else None]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(content) - 1}/{total}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The URL of a local server of `tmp_path`."""

    def handler(*args: object, **options: object) -> RangeHandler:
        return RangeHandler(*args, directory=str(tmp_path), **options)  # type: ignore[arg-type]

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_the_webdataset_convention(data: Path, tmp_path: Path) -> None:
    report = pack(data, tmp_path / "out")
    assert report.shards == ("train-000000.tar", "val-000000.tar")
    samples: dict[str, dict[str, bytes]] = {}
    for shard in report.shards:
        with tarfile.open(tmp_path / "out" / shard) as tar:
            for member in tar:
                folder, _, last = member.name.rpartition("/")
                key, _, extension = last.partition(".")  # at the first dot of the last part
                file = tar.extractfile(member)
                assert file is not None
                samples.setdefault(f"{folder}/{key}", {})[extension] = file.read()
                assert (member.mtime, member.uid) == (0, 0)
    assert set(samples) == {"train/a/1", "train/a/2", "train/b.x/3_4", "val/a/5", "val/b.x/ü 6"}
    assert all(set(sample) == {"mp4", "cls", "json"} for sample in samples.values())
    assert samples["train/b.x/3_4"]["cls"] == b"1"
    assert json.loads(samples["val/a/5"]["json"]) == {"label": "a", "split": "val"}
    assert json.loads((tmp_path / "out" / "index.json").read_text())["class_names"] == ["a", "b.x"]


def test_members_are_those_of_plain_files(data: Path, tmp_path: Path) -> None:
    pack(data, tmp_path / "shards")
    pack(data, tmp_path / "files", shard_bytes=None)
    members, files = read_shard_entries(tmp_path / "shards"), read_shard_entries(tmp_path / "files")
    assert [(e.label, e.split) for e in members] == [(e.label, e.split) for e in files]
    for member, file in zip(members, files, strict=True):
        assert isinstance(member.path, ShardMember)
        np.testing.assert_array_equal(frames(member.path), frames(file.path))
    assert not list((tmp_path / "shards").rglob("*.mp4"))
    manifest = read_manifest(tmp_path / "shards")
    assert (manifest.splits, manifest.class_names) == (("train", "val"), ("a", "b.x"))


def test_sizes_of_shards(data: Path, tmp_path: Path) -> None:
    size = max(entry.path.stat().st_size for entry in _packed_files(data, tmp_path))
    report = pack(data, tmp_path / "out", shard_bytes=2 * size)
    assert report.shards == ("train-000000.tar", "train-000001.tar", "val-000000.tar")
    report = pack(data, tmp_path / "each", shard_bytes=1)
    assert len(report.shards) == 5


def _packed_files(data: Path, tmp_path: Path) -> list:
    pack(data, tmp_path / "plain", shard_bytes=None)
    return read_shard_entries(tmp_path / "plain")


def test_the_same_bytes_each_time(data: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        pack(data, tmp_path / name)
    for name in ("train-000000.tar", "val-000000.tar", "videos.csv", "packets.bin", "index.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_what_changes_is_rewritten_and_nothing_else(data: Path, tmp_path: Path, videos: list[Path]) -> None:
    out = tmp_path / "out"
    pack(data, out)
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    assert pack(data, out).num_packed == 0
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")} == times

    shutil.copy(videos[5], data / "train/a/1.mp4")
    (data / "train/a/2.mp4").unlink()
    report = pack(data, out)
    assert report.num_packed == 1
    assert out.joinpath("val-000000.tar").stat().st_mtime_ns == times["val-000000.tar"]
    entries = read_shard_entries(out)
    assert [entry.path.name for entry in entries] == [
        "train/a/1.mp4",
        "train/b.x/3_4.mp4",
        "val/a/5.mp4",
        "val/b.x/ü 6.mp4",
    ]
    pack(data, tmp_path / "fresh")
    for entry, fresh in zip(entries, read_shard_entries(tmp_path / "fresh"), strict=True):
        np.testing.assert_array_equal(frames(entry.path), frames(fresh.path))
    members = [name for shard in out.glob("*.tar") for name in shard_members(shard)]
    assert len(members) == 4


def test_lost_and_damaged_shards_are_packed_again(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pack(data, out)
    (out / "val-000000.tar").unlink()
    (out / "train-000000.tar").write_bytes(b"damaged")
    assert pack(data, out).num_packed == 5
    assert len([frames(entry.path) for entry in read_shard_entries(out)]) == 5


def test_killed_between_a_shard_and_its_note(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"

    def write_and_stop(path: Path, samples: object) -> dict[str, tuple[int, int]]:
        write_shard(path, samples)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("videomae.curation.pack.shards.write_shard", write_and_stop)
        with pytest.raises(KeyboardInterrupt):
            pack(data, out)
    report = pack(data, out)
    assert (report.num_packed, report.shards) == (0, ("train-000000.tar", "val-000000.tar"))
    assert len([frames(entry.path) for entry in read_shard_entries(out)]) == 5


@pytest.mark.parametrize("shard_bytes", [10**6, None])
def test_over_http(data: Path, tmp_path: Path, served: str, shard_bytes: int | None) -> None:
    pack(data, tmp_path / "my out", shard_bytes=shard_bytes)
    local = read_shard_entries(tmp_path / "my out")
    url = f"{served}/my%20out"
    remote = read_shard_entries(url)
    indices = PackedIndex(url)
    assert [(e.label, e.split) for e in remote] == [(e.label, e.split) for e in local]
    for there, here in zip(remote, local, strict=True):
        np.testing.assert_array_equal(frames(there.path), frames(here.path))
        assert indices.find(there.path) is not None
    assert read_manifest(f"{url}/index.json").entries == tuple(remote)
    with pytest.raises(VideoError, match="404"):
        read_shard_entries(f"{served}/nothing")


def test_in_memory_through_fsspec(data: Path, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    pack(data, tmp_path / "out")
    files = fsspec.filesystem("memory")
    try:
        for path in (tmp_path / "out").glob("*.*"):
            if path.is_file():
                files.pipe(f"/packed/{path.name}", path.read_bytes())
        remote = read_shard_entries("memory://packed")
        for there, here in zip(remote, read_shard_entries(tmp_path / "out"), strict=True):
            np.testing.assert_array_equal(frames(there.path), frames(here.path))
        assert len(read_manifest("memory://packed")) == 5
    finally:
        files.rm("/packed", recursive=True)


def test_with_the_webdataset_library(data: Path, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    pack(data, tmp_path / "out")
    samples = list(webdataset.WebDataset(str(tmp_path / "out" / "train-000000.tar"), shardshuffle=False))
    assert {sample["__key__"] for sample in samples} == {"train/a/1", "train/a/2", "train/b.x/3_4"}


def test_packet_indices(data: Path, tmp_path: Path) -> None:
    pack(data, tmp_path / "shards")
    pack(data, tmp_path / "files", shard_bytes=None)
    store = pickle.loads(pickle.dumps(IndexStore(Catalog(tmp_path / "catalog.sqlite"))))
    entries = [*read_shard_entries(tmp_path / "shards"), *read_shard_entries(tmp_path / "files")]
    for entry in entries:
        index = store.find(entry.path)
        assert index is not None
        with open_video(entry.path, index=index) as kept, open_video(entry.path) as fresh:
            assert kept.num_frames == 30
            np.testing.assert_array_equal(kept.read([0, 17, 29]), fresh.read([0, 17, 29]))
    file = entries[-1].path
    assert isinstance(file, Path)
    file.write_bytes(file.read_bytes() + b"more")
    assert store.find(file) is None
    assert store.find(tmp_path / "another.mp4") is None


def test_an_index_that_is_damaged_or_of_another_version(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pack(data, out)
    header, table = (out / "index.json").read_text(), (out / "videos.csv").read_text()
    for content, message in (
        (header.replace('"version": 2', '"version": 7'), "version 7"),
        (header.replace("videomae-packed", "other"), "format 'other'"),
        ("[]", "index of a packed data set"),
        ("{", "index of a packed data set"),
    ):
        (out / "index.json").write_text(content)
        with pytest.raises(DataError, match=message):
            read_shard_entries(out)
    (out / "index.json").write_text(header)
    for content in (table[: len(table) // 2], table.replace(",offset", ",shift"), "path,label\nx,y\n", table + "a,b\n"):
        (out / "videos.csv").write_text(content)
        with pytest.raises(DataError, match=r"videos\.csv"):
            read_shard_entries(out)
    (out / "videos.csv").unlink()
    with pytest.raises(DataError, match="No such file"):
        read_shard_entries(out)


def test_an_index_of_the_version_that_could_misorder_frames_is_read_with_a_warning(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    pack(data, out)
    header = out / "index.json"
    header.write_text(header.read_text().replace('"version": 2', '"version": 1'))
    assert read_shard_entries(out)
    assert "run `videomae pack` again" in caplog.text


def test_a_shard_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot write"):
        write_shard(tmp_path / "file" / "0.tar", [(ShardSample("a", {}, None), b"x")])
