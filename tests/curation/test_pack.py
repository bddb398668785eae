"""Packing a data set: names, labels, going on after being broken off, broken sources, full disks."""

from __future__ import annotations

import json
import ntpath
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace

import pytest
from PIL import Image
from small_runs import command_environment
from video_files import encode, moving_texture

from videomae.core.errors import ConfigError, DataError
from videomae.curation.pack import plan
from videomae.curation.pack.packer import BrokenSource, PackReport, PackSettings, pack_videos
from videomae.curation.pack.plan import plan_jobs
from videomae.datasets import output_check
from videomae.datasets.manifest import Manifest, VideoEntry, read_manifest
from videomae.datasets.shards import read_shard_entries
from videomae.video.reader import VideoReader, read_video
from videomae.video.source import FrameFolder

SETTINGS = PackSettings(short_side=16, crf=20)


def pack(data: Path | Manifest, out: Path, **options: object) -> PackReport:
    manifest = data if isinstance(data, Manifest) else read_manifest(data)
    return pack_videos(manifest, out, **{"settings": SETTINGS, "num_workers": 0, **options})  # type: ignore[arg-type]


def packed_files(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*.mp4") if ".pack" not in path.parts)


def planned(paths: list[Path], source: Path, *, for_shards: bool = False) -> list[str]:
    manifest = Manifest(source, tuple(VideoEntry(path) for path in paths), ())
    return [job.name for job in plan_jobs(manifest, for_shards=for_shards)[0]]


def test_a_folder_of_splits_and_classes(place: Callable[..., Path], tmp_path: Path) -> None:
    data = place("train/a/1.mp4", "train/b/2.MOV", "val/a/deep/3.mp4")
    report = pack(data, tmp_path / "out")
    assert packed_files(tmp_path / "out") == ["train/a/1.mp4", "train/b/2.mp4", "val/a/deep/3.mp4"]
    assert (report.num_packed, report.broken, report.num_frames) == (3, (), 90)
    entries = read_shard_entries(tmp_path / "out")
    assert [(entry.label, entry.split) for entry in entries] == [("a", "train"), ("b", "train"), ("a", "val")]
    with VideoReader(entries[0].path) as reader:
        assert (reader.num_frames, reader.info.width, reader.info.height) == (30, 24, 16)
    assert report.num_bytes == sum(entry.path.stat().st_size for entry in entries)
    assert not (tmp_path / "out" / ".pack" / "aside").exists()


def test_called_again_it_packs_what_is_new_or_changed(place: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    data = place("1.mp4", "2.mp4", "3.mp4")
    pack(data, out)
    before = {name: (out / name).stat().st_mtime_ns for name in packed_files(out)}
    assert pack(data, out).num_packed == 0

    encode(data / "2.mp4", "libx264", num_frames=7)
    shutil.copy(data / "1.mp4", data / "4.mp4")
    (out / "3.mp4").write_bytes(b"cut off")
    report = pack(data, out)
    assert report.num_packed == 3
    assert (out / "1.mp4").stat().st_mtime_ns == before["1.mp4"]
    with VideoReader(out / "2.mp4") as reader:
        assert reader.num_frames == 7
    assert len(read_shard_entries(out)) == 4

    (data / "1.mp4").unlink()
    report = pack(data, out)
    assert (report.num_packed, report.num_dropped) == (0, 1)
    assert [entry.path.name for entry in read_shard_entries(out)] == ["2.mp4", "3.mp4", "4.mp4"]


def test_broken_sources_are_told_and_left_out(place: Callable[..., Path], tmp_path: Path) -> None:
    data = place("a/1.mp4", "b/2.mp4")
    (data / "a" / "bad.mp4").write_bytes(b"no video")
    (data / "b" / "empty.mp4").write_bytes(b"")
    told: list[object] = []
    report = pack(data, tmp_path / "out", on_video=lambda outcome, was_known: told.append(outcome))
    assert [Path(broken.path).name for broken in report.broken] == ["bad.mp4", "empty.mp4"]
    assert report.broken[1].reason.startswith("empty, 0 bytes: expected a video file")
    assert [type(outcome) for outcome in told].count(BrokenSource) == 2
    assert len(read_shard_entries(tmp_path / "out")) == 2

    shutil.copy(data / "a" / "1.mp4", data / "a" / "bad.mp4")  # mended
    assert pack(data, tmp_path / "out").num_packed == 1


def test_a_source_that_broke_later_is_left_out(place: Callable[..., Path], tmp_path: Path) -> None:
    data = place("1.mp4", "2.mp4")
    pack(data, tmp_path / "out")
    (data / "2.mp4").write_bytes(b"no video")
    assert len(pack(data, tmp_path / "out").broken) == 1
    assert [entry.path.name for entry in read_shard_entries(tmp_path / "out")] == ["1.mp4"]


def test_nothing_to_pack(place: Callable[..., Path], tmp_path: Path) -> None:
    data = place("1.mp4", "2.mp4", content=b"no video")
    with pytest.raises(DataError, match=r"\(2 videos, none of which can be packed\)"):
        pack(data, tmp_path / "out")


def test_a_table_with_parts_and_groups(videos: list[Path], tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    path = videos[0]  # 30 frames, 10 a second
    table.write_text(
        f"path,label,split,start,end,group\n{path},x,train,0.5,1.5,g1\n{path},x,val,,,g2\n{videos[1]},y,train,2,,g3\n"
    )
    report = pack(table, tmp_path / "out")
    assert packed_files(tmp_path / "out") == ["0.mp4", "0_0.5-1.5s.mp4", "1_2-s.mp4"]
    entries = read_shard_entries(tmp_path / "out")
    about = [(entry.path.name, entry.label, entry.split, entry.group, entry.start_seconds) for entry in entries]
    assert about == [
        ("0_0.5-1.5s.mp4", "x", "train", "g1", None),
        ("0.mp4", "x", "val", "g2", None),
        ("1_2-s.mp4", "y", "train", "g3", None),
    ]
    assert report.num_frames == 10 + 30 + 10
    assert report.source_num_bytes == videos[0].stat().st_size + videos[1].stat().st_size


def test_a_folder_of_frames(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "clip"
    folder.mkdir(parents=True)
    for number, picture in enumerate(moving_texture(6, 32, 24)):
        Image.fromarray(picture).save(folder / f"{number:03d}.png")
    manifest = Manifest(folder.parent, (VideoEntry(FrameFolder(folder)), VideoEntry(FrameFolder(folder, 2, 3))), ())
    report = pack(manifest, tmp_path / "out", settings=PackSettings(short_side=24, crf=5))
    assert packed_files(tmp_path / "out") == ["clip.mp4", "clip_2-5.mp4"]
    assert report.num_frames == 9
    assert report.records[0].source_num_bytes == sum(file.stat().st_size for file in folder.iterdir())


def test_names(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()

    def names(*given: str, for_shards: bool = False) -> list[str]:
        return planned([data / name for name in given], data, for_shards=for_shards)

    assert names("a.avi", "b/a.avi") == ["a.mp4", "b/a.mp4"]
    assert names("a.avi", "a.mkv") == ["a.avi.mp4", "a.mkv.mp4"]
    assert names("a.avi", "A.mkv") == ["a.avi.mp4", "A.mkv.mp4"]
    assert len({name.casefold() for name in names("a.mp4", "a.mkv", "a.mkv.mp4", "A.MP4")}) == 4
    assert names("v1.5_clip.avi") == ["v1.5_clip.mp4"]
    assert names("v1.5_clip.avi", "c.d/e.f.mp4", for_shards=True) == ["v1_5_clip.mp4", "c.d/e_f.mp4"]
    assert names("a:b?.mp4", 'c"d\n.mp4') == ["a%3Ab%3F.mp4", "c%22d%0A.mp4"]
    assert names(os.fsdecode(b"\xff\xfe.mp4")) == ["%FF%FE.mp4"]
    assert names("日本.mp4", "é.webm") == ["日本.mp4", "é.mp4"]
    assert names(".hidden.mp4") == ["_hidden.mp4"]
    assert all(len(name.encode()) <= 210 for name in names("é" * 120 + ".mp4", "é" * 120 + ".avi"))


def test_a_name_that_is_not_utf8(videos: list[Path], tmp_path: Path) -> None:
    data = tmp_path / "data" / os.fsdecode(b"cl\xffass")
    try:
        data.mkdir(parents=True)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    shutil.copy(videos[0], data / os.fsdecode(b"\xe9.mp4"))
    manifest = Manifest(data.parent, (VideoEntry(data / os.fsdecode(b"\xe9.mp4")),), ())
    pack(manifest, tmp_path / "out")
    assert packed_files(tmp_path / "out") == ["cl%FFass/%E9.mp4"]
    assert len(read_shard_entries(tmp_path / "out")) == 1


def test_outputs_that_are_refused(place: Callable[..., Path], tmp_path: Path) -> None:
    data = place("1.mp4")
    for out in (data, data / "packed", data.parent):
        with pytest.raises(DataError, match="neither lies in the other"):
            pack(data, out)
    (tmp_path / "link").symlink_to(data)
    with pytest.raises(DataError, match="neither lies in the other"):
        pack(data, tmp_path / "link" / "packed")
    table = tmp_path / "list.csv"
    table.write_text("path,label\ndata/1.mp4,x\n")
    with pytest.raises(DataError, match="none of the videos"):
        pack(table, data)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_bytes(b"")
    with pytest.raises(DataError, match="files of another kind"):
        pack(data, tmp_path / "other")
    with pytest.raises(DataError, match="this is a file"):
        pack(data, tmp_path / "other" / "file")
    assert [path.name for path in data.rglob("*")] == ["1.mp4"]


def test_what_was_packed_in_the_wrong_order_is_packed_again(
    place: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data, out = place("1.mp4", "2.mp4"), tmp_path / "out"
    assert pack(data, out).num_packed == 2
    journal = out / ".pack" / "journal.jsonl"
    first, *records = journal.read_text().splitlines()
    settings = json.loads(first)["settings"]
    del settings["frame_order"]  # as the version wrote it that went by time stamps alone
    journal.write_text("\n".join([json.dumps({"settings": settings}), *records]) + "\n")
    assert pack(data, out).num_packed == 2
    assert "packing all its videos again" in caplog.text
    assert pack(data, out).num_packed == 0


def test_other_settings_need_overwrite(place: Callable[..., Path], tmp_path: Path) -> None:
    data, out = place("1.mp4", "2.mp4"), tmp_path / "out"
    pack(data, out)
    with pytest.raises(DataError, match=r"crf 20: expected crf 30; .*--overwrite"):
        pack(data, out, settings=PackSettings(short_side=16, crf=30))
    assert pack(data, out, settings=PackSettings(short_side=16, crf=30), overwrite=True).num_packed == 2
    shards = PackSettings(short_side=16, crf=30, shard_bytes=10**6)
    assert pack(data, out, settings=shards, overwrite=True).shards == ("000000.tar",)
    assert packed_files(out) == []
    for bad in ({"short_side": 15}, {"crf": 52}, {"shard_bytes": 0}):
        with pytest.raises(ConfigError):
            PackSettings(**bad)


def test_one_process_at_a_time(place: Callable[..., Path], tmp_path: Path) -> None:
    data, out = place("1.mp4", "2.mp4"), tmp_path / "out"

    def pack_at_once(outcome: object, was_known: bool) -> None:
        with pytest.raises(DataError, match="another process packs"):
            pack(data, out)
        assert (out / ".pack" / "aside").is_dir()  # the first process still writes there

    assert pack(data, out, on_video=pack_at_once).num_packed == 2


def test_a_journal_that_was_broken_off(place: Callable[..., Path], tmp_path: Path) -> None:
    data, out = place("1.mp4", "2.mp4", "3.mp4"), tmp_path / "out"
    pack(data, out)
    journal = out / ".pack" / "journal.jsonl"
    content = journal.read_bytes()
    journal.write_bytes(content[:-40])
    (out / ".pack" / "aside").mkdir()
    (out / ".pack" / "aside" / "half.mp4").write_bytes(b"half")
    assert pack(data, out).num_packed == 1
    journal.write_bytes(b"\xff\x00 not a journal\n")
    assert pack(data, out).num_packed == 3
    assert not (out / ".pack" / "aside").exists()


def test_a_full_disk_ends_it_with_nothing_half_there(place: Callable[..., Path], tmp_path: Path) -> None:
    """The limit of a file's size stands for the disk's."""
    data, out = place("1.mp4", "2.mp4"), tmp_path / "out"
    code = (
        "import resource, sys; from pathlib import Path; from videomae.datasets.manifest import read_manifest; "
        "from videomae.curation.pack.packer import PackSettings, pack_videos\n"
        "if __name__ == '__main__':\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))\n"
        f"    pack_videos(read_manifest({str(data)!r}), Path({str(out)!r}), num_workers=int(sys.argv[1]), "
        "settings=PackSettings(short_side=16, crf=0))\n"
    )
    for num_workers in ("0", "1"):
        ended = subprocess.run(
            [sys.executable, "-c", code, num_workers], env=command_environment(), capture_output=True, text=True
        )
        assert ended.returncode == 1
        assert "InputError: cannot write" in ended.stderr
        assert "File too large" in ended.stderr
        assert packed_files(out) == []
        assert not (out / "index.json").exists()
    assert pack(data, out, settings=PackSettings(short_side=16, crf=0)).num_packed == 2


def test_a_killed_run_goes_on(place: Callable[..., Path], tmp_path: Path) -> None:
    data, out = place(*(f"{number}.mp4" for number in range(8))), tmp_path / "out"
    code = (
        "import os, signal; from pathlib import Path; from videomae.datasets.manifest import read_manifest; "
        "from videomae.curation.pack.packer import PackSettings, pack_videos\n"
        "done = []\n"
        "def kill(outcome, was_known):\n"
        "    done.append(outcome)\n"
        "    if len(done) == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"pack_videos(read_manifest({str(data)!r}), Path({str(out)!r}), num_workers=1, on_video=kill, "
        "settings=PackSettings(short_side=16, crf=20))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], env=command_environment(), capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    known: list[bool] = []
    report = pack(data, out, on_video=lambda outcome, was_known: known.append(was_known))
    assert known.count(True) >= 3
    assert report.num_packed + known.count(True) == 8
    assert len(read_shard_entries(out)) == 8


def test_a_source_that_hangs_and_one_that_crashes(
    place: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers import this stand-in for the package's `open_video`."""
    helper = tmp_path / "helper"
    helper.mkdir()
    (helper / "sitecustomize.py").write_text("")
    (helper / "bad_sources.py").write_text(
        "import os, signal, time\n"
        "import videomae.curation.pack.worker as pack\n"
        "open_video = pack.open_video\n"
        "def open_badly(source, **options):\n"
        "    if source.name == 'hangs.mp4': time.sleep(100)\n"
        "    if source.name == 'crashes.mp4': os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    return open_video(source, **options)\n"
        "def pack_one(job, **options):\n"
        "    pack.open_video = open_badly\n"
        "    return original(job, **options)\n"
        "original = pack.pack_one\n"
    )
    monkeypatch.syspath_prepend(helper)
    import bad_sources  # type: ignore[import-not-found]

    monkeypatch.setattr("videomae.curation.pack.packer.pack_one", bad_sources.pack_one)
    data = place("good.mp4", "hangs.mp4", "crashes.mp4")
    report = pack(data, tmp_path / "out", num_workers=2, stall_seconds=1.0)
    reasons = {Path(broken.path).name: broken.reason for broken in report.broken}
    assert reasons["hangs.mp4"] == "gave no frame for 1 seconds"
    assert "SIGSEGV" in reasons["crashes.mp4"]
    assert packed_files(tmp_path / "out") == ["good.mp4"]


def test_workers_make_the_same_bytes(place: Callable[..., Path], tmp_path: Path) -> None:
    data = place("1.mp4", "2.mp4")
    pack(data, tmp_path / "here")
    pack(data, tmp_path / "there", num_workers=2)
    for name in ("1.mp4", "2.mp4", "packets.bin", "videos.csv"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


def test_what_is_cut_off_or_unlike_its_source_is_reported(
    place: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = place("1.mp4")
    source = encode(data / "cut.mp4", "libx264", num_frames=60, options={"crf": "10"})
    content = bytearray(source.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 400] = b"\xff" * 400
    source.write_bytes(content)
    monkeypatch.setattr("videomae.curation.pack.packer.LOW_PSNR", 1000.0)
    report = pack(data, tmp_path / "out")
    assert [Path(record.source).name for record in report.damaged] == ["cut.mp4"]
    assert len(report.low) == 2


def test_a_packed_set_is_packed_again_smaller(place: Callable[..., Path], tmp_path: Path) -> None:
    data = place("train/a/1.mp4", "val/b/2.mp4")
    pack(data, tmp_path / "one", settings=PackSettings(short_side=32, crf=5))
    entries = tuple(read_shard_entries(tmp_path / "one"))
    pack(Manifest(tmp_path / "one", entries, ("a", "b")), tmp_path / "two")
    again = read_shard_entries(tmp_path / "two")
    assert [(entry.label, entry.split) for entry in again] == [("a", "train"), ("b", "val")]
    assert read_video(again[0].path, [0]).shape == (1, 16, 24, 3)
    assert json.loads((tmp_path / "two" / "index.json").read_text())["class_names"] == ["a", "b"]


def test_training_reads_it_as_data(place: Callable[..., Path], tmp_path: Path) -> None:
    pack(place("train/a/1.mp4", "train/b/2.mp4", "val/a/3.mp4"), tmp_path / "out")
    manifest = read_manifest(tmp_path / "out")
    assert (manifest.splits, manifest.class_names) == (("train", "val"), ("a", "b"))
    assert len(manifest) == 3
    assert read_video(manifest.entries[0].path, [0]).shape == (1, 16, 24, 3)


def test_names_are_the_same_where_paths_have_backslashes(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (plan, output_check):
        monkeypatch.setattr(module, "os", SimpleNamespace(path=ntpath, sep="\\"))
    monkeypatch.setattr(plan, "PurePath", PureWindowsPath)
    name = plan._wanted_name(r"C:\data\train\a\1.avi", r"C:\data", (Path("1.avi"), (1.0, 2.5)))
    assert name == "train/a/1_1-2.5s"
