"""Every form of DATA, as tidy and as untidy as people keep it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from videomae.core.errors import DataError, InputError
from videomae.datasets.manifest import Manifest, evaluated_split, read_manifest, read_videos
from videomae.datasets.shards import PackedFile, write_index
from videomae.datasets.splitting import read_train_and_val
from videomae.video.source import ShardMember

Place = Callable[..., Path]


def rows(manifest: Manifest) -> list[tuple[str, str | None, str | None]]:
    """(path relative to the source, label, split) of each entry."""
    base = manifest.source if manifest.source.is_dir() else manifest.source.parent
    return [(entry.path.relative_to(base).as_posix(), entry.label, entry.split) for entry in manifest.entries]


def refused(data: str | Path, message: str) -> str:
    with pytest.raises(DataError, match=message) as caught:
        read_manifest(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- folders


def test_class_folders(place: Place) -> None:
    folder = place("run/b.mp4", "run/a.mp4", "jump/c.mp4")

    manifest = read_manifest(folder)

    assert rows(manifest) == [("jump/c.mp4", "jump", None), ("run/a.mp4", "run", None), ("run/b.mp4", "run", None)]
    assert manifest.class_names == ("jump", "run")
    assert manifest.class_counts() == {"jump": 1, "run": 2}
    assert manifest.splits == ()
    assert len(manifest) == 3
    assert read_manifest(str(folder)) == manifest


def test_class_folders_with_folders_inside(place: Place) -> None:
    manifest = read_manifest(place("run/2024/may/a.mp4", "run/b.mp4", "jump/x/c.mp4"))

    assert [(path, label) for path, label, _ in rows(manifest)] == [
        ("jump/x/c.mp4", "jump"),
        ("run/2024/may/a.mp4", "run"),
        ("run/b.mp4", "run"),
    ]


def test_a_flat_folder_has_no_classes(place: Place) -> None:
    manifest = read_manifest(place("b.mp4", "a.mp4"))

    assert rows(manifest) == [("a.mp4", None, None), ("b.mp4", None, None)]
    assert manifest.class_names == ()


def test_videos_beside_folders_make_a_collection_without_classes(place: Place) -> None:
    manifest = read_manifest(place("a.mp4", "run/b.mp4", "jump/c.mp4"))

    assert [label for _, label, _ in rows(manifest)] == [None, None, None]
    with pytest.raises(DataError, match="without a class: expected a class for every video"):
        manifest.require_classes()


def test_split_folders(place: Place) -> None:
    folder = place("val/run/c.mp4", "train/run/a.mp4", "train/jump/b.mp4", "test/jump/d.mp4", "val/jump/e.mp4")

    manifest = read_manifest(folder)

    assert rows(manifest) == [
        ("train/jump/b.mp4", "jump", "train"),
        ("train/run/a.mp4", "run", "train"),
        ("val/jump/e.mp4", "jump", "val"),
        ("val/run/c.mp4", "run", "val"),
        ("test/jump/d.mp4", "jump", "test"),
    ]
    assert manifest.splits == ("train", "val", "test")
    assert manifest.class_names == ("jump", "run")


def test_what_lies_beside_the_splits_makes_them_no_classes(place: Place) -> None:
    folder = place("train/run/a.mp4", "train/jump/b.mp4", "val/run/c.mp4", "val/jump/d.mp4")
    place("LICENSE", "README.md", "annotations/train.csv", ".cache/x.mp4", content=b"text")

    manifest = read_manifest(folder)

    assert manifest.splits == ("train", "val")
    assert manifest.class_names == ("jump", "run")
    assert len(manifest) == 4


LABELLED_AND_NOT = ("train/run/a.mp4", "train/jump/b.mp4", "val/run/c.mp4", "unlabelled/x/d.mp4", "unlabelled/e.mp4")


def test_unlabelled_videos_beside_splits(place: Place) -> None:
    folder = place(*LABELLED_AND_NOT)

    manifest = read_manifest(folder)

    assert manifest.class_names == ("jump", "run")
    assert manifest.splits == ("train", "val")
    assert [path for path, _, _ in rows(manifest.take_split("train"))] == ["train/jump/b.mp4", "train/run/a.mp4"]
    assert [path for path, _, _ in rows(manifest.for_pretraining())] == [
        "train/jump/b.mp4",
        "train/run/a.mp4",
        "unlabelled/e.mp4",
        "unlabelled/x/d.mp4",
    ]
    assert manifest.for_pretraining().used == "train 2, in no split 2; not used: val 1"
    (notice,) = manifest.notices
    assert "unlabelled beside train, val, in no split (2 videos): pretrain uses them, finetune" in notice


def test_pretraining_without_splits_or_without_train(place: Place) -> None:
    assert len(read_manifest(place("a.mp4", "run/b.mp4")).for_pretraining()) == 2
    assert len(read_manifest(place("test/c.mp4")).for_pretraining()) == 2
    with pytest.raises(DataError, match="with the splits test: expected a split named train"):
        read_manifest(place("d/test/e.mp4") / "d").for_pretraining()


def test_the_splits_that_are_used_are_told(place: Place, tmp_path: Path) -> None:
    folder = place(*LABELLED_AND_NOT, "test/run/f.mp4", "test/jump/g.mp4")
    whole = read_manifest(folder)
    assert evaluated_split(whole, whole.take_split("test", "val")) == (
        "test: 2 videos; not used: train 2, val 1, in no split 2"
    )
    train, _ = read_train_and_val(folder)
    assert train.used == "2 training videos, 1 validation video (val); not used: test 2, in no split 2"
    train, _ = read_train_and_val(folder, val=folder / "test")
    assert train.used == (
        f"2 training videos, 2 validation videos ({folder / 'test'}); not used: val 1, test 2, in no split 2"
    )
    train, _ = read_train_and_val(folder / "train")
    assert train.used == ""  # all of it, and nothing validates
    (folder / "val").rename(folder / "extra")
    train, _ = read_train_and_val(folder)
    assert train.used == (
        "2 training videos, no validation videos (there is no split val); not used: test 2, in no split 3"
    )
    plain = read_manifest(folder / "train")
    assert evaluated_split(plain, plain) == ""


def test_files_that_may_be_videos_are_counted_when_passed_over(place: Place) -> None:
    folder = place("run/a.mp4", "jump/b.DAV", "jump/c.h264")
    place("run/a.braw", "run/b.BRAW", "jump/c.zip", "jump/4f2a99", "run/d.mp4.part", content=b"?")
    place("run/a.txt", "run/a.jpg", "run/notes.JSON", "run/x.srt", "LICENSE", "run/a.wav", ".hidden", content=b"?")

    manifest = read_manifest(folder)

    assert len(manifest) == 3
    (notice,) = manifest.notices
    assert "skipped 5 files without a video suffix (2 .braw, 1 without a suffix, 1 .part, 1 .zip)" in notice


def test_suffixes_that_recorders_and_tools_write(place: Place) -> None:
    endings = (
        "dav mxf h264 264 h265 hevc 265 divx dv y4m 3g2 f4v ogm vob mts m2t m2v m1v rm rmvb asf amv nut ivf apng qt "
        "mjpeg mpe mpv xvid m2ts ts"
    )
    suffixes = endings.split()
    manifest = read_manifest(place(*(f"{number}.{suffix}" for number, suffix in enumerate(suffixes)), content=b"x"))

    assert len(manifest) == len(suffixes)
    assert manifest.notices == ()


def test_an_empty_split_folder_is_none(place: Place) -> None:
    folder = place("train/run/a.mp4", "train/jump/b.mp4")
    (folder / "val").mkdir()

    assert read_manifest(folder).splits == ("train",)


def test_flat_splits(place: Place) -> None:
    manifest = read_manifest(place("train/a.mp4", "val/b.mp4"))

    assert rows(manifest) == [("train/a.mp4", None, "train"), ("val/b.mp4", None, "val")]


def test_a_class_may_be_called_train(place: Place) -> None:
    manifest = read_manifest(place("train/a.mp4", "bus/b.mp4"))

    assert manifest.class_names == ("bus", "train")
    assert manifest.splits == ()
    (notice,) = manifest.notices
    assert (
        "train is treated as a class, not as a split; list the videos in a CSV with path,label,split to change this"
        in notice
    )


def test_hidden_files_and_folders_are_left_out(place: Place) -> None:
    folder = place("run/a.mp4", "jump/b.mp4", "run/.trash/c.mp4", ".hidden/d.mp4", "run/._a.mp4", ".e.mp4")

    assert [path for path, _, _ in rows(read_manifest(folder))] == ["jump/b.mp4", "run/a.mp4"]


def test_a_hidden_folder_can_be_named(place: Place) -> None:
    assert len(read_manifest(place(".videos/a.mp4") / ".videos")) == 1


def test_suffixes_in_any_case_and_nothing_else(place: Place) -> None:
    folder = place("x/A.MP4", "x/b.Avi", "y/c.webm", "y/d.mkv")
    place("x/labels.csv", "x/e.txt", "x/f.jpg", "y/mp4", "y/g.mp4.part", "y/Thumbs.db", content=b"no video")

    assert [path for path, _, _ in rows(read_manifest(folder))] == ["x/A.MP4", "x/b.Avi", "y/c.webm", "y/d.mkv"]


def test_a_folder_named_like_a_video_is_a_folder(place: Place) -> None:
    folder = place("x.mp4/a.mp4", "y/b.mp4")
    (folder / "y" / "empty.mp4").mkdir()

    assert rows(read_manifest(folder)) == [("x.mp4/a.mp4", "x.mp4", None), ("y/b.mp4", "y", None)]


def test_linked_class_folders_and_videos(place: Place, tmp_path: Path) -> None:
    folder = place("run/a.mp4")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (folder / "run" / "a.mp4").rename(elsewhere / "b.mp4")
    (folder / "jump").symlink_to(elsewhere)
    (folder / "run" / "c.mp4").symlink_to(elsewhere / "b.mp4")

    assert rows(read_manifest(folder)) == [("jump/b.mp4", "jump", None), ("run/c.mp4", "run", None)]


def test_linked_split_folders(place: Place, tmp_path: Path) -> None:
    source = place("run/a.mp4", "jump/b.mp4")
    (tmp_path / "splits").mkdir()
    for split in ("train", "val"):
        (tmp_path / "splits" / split).symlink_to(source)

    manifest = read_manifest(tmp_path / "splits")

    assert manifest.splits == ("train", "val")
    assert len(manifest) == 4


def test_links_that_run_in_circles_end(place: Place) -> None:
    folder = place("run/a.mp4", "jump/b.mp4")
    (folder / "run" / "up").symlink_to(folder)
    (folder / "jump" / "self").symlink_to(folder / "jump")
    (folder / "jump" / "over").symlink_to(folder / "run")

    manifest = read_manifest(folder)

    assert {"jump/b.mp4", "run/a.mp4"} <= {path for path, _, _ in rows(manifest)}
    assert len(manifest) < 10


def test_a_link_to_nowhere_is_kept_so_that_reading_names_it(place: Place) -> None:
    folder = place("run/a.mp4", "jump/b.mp4")
    (folder / "run" / "lost.mp4").symlink_to(folder / "gone.mp4")
    (folder / "run" / "loop.mp4").symlink_to(folder / "run" / "loop.mp4")
    (folder / "lost class").symlink_to(folder / "gone")

    assert [path for path, _, _ in rows(read_manifest(folder))] == [
        "jump/b.mp4",
        "run/a.mp4",
        "run/loop.mp4",
        "run/lost.mp4",
    ]


def test_names_with_spaces_commas_and_letters_of_any_language(place: Place) -> None:
    folder = place("riding a bike/clip 1, take 2.mp4", "saut à la perche/été.mp4", "跑步/视频.mp4")

    manifest = read_manifest(folder)

    assert manifest.class_names == ("riding a bike", "saut à la perche", "跑步")
    assert len(manifest) == 3


def test_names_that_are_no_utf8(place: Place) -> None:
    folder = place("run/a.mp4")
    odd = os.fsencode(folder) + b"/caf\xe9"
    os.mkdir(odd)
    os.rename(os.fsencode(folder) + b"/run/a.mp4", odd + b"/\xff.mp4")

    manifest = read_manifest(folder)

    assert manifest.class_names == ("caf\ufffd",)
    assert isinstance(manifest.entries[0].path, Path)
    assert manifest.entries[0].path.is_file()
    assert manifest.entries[0].named.endswith("caf\ufffd/\ufffd.mp4")


def test_a_pipe_is_listed_so_that_reading_it_says_why(place: Place) -> None:
    folder = place("run/a.mp4", "jump/b.mp4")
    os.mkfifo(folder / "run/pipe.mp4")
    os.mkfifo(folder / "pipe.csv")
    (folder / "list.csv").write_text("path\nrun/a.mp4\nrun/pipe.mp4\n")

    assert len(read_manifest(folder)) == 3
    refused(folder / "list.csv", "line 3: 'run/pipe.mp4': expected a path of an existing file")
    refused(folder / "pipe.csv", "name lists")


def test_lists_beside_videos_are_told(place: Place) -> None:
    folder = place("videos/a.mp4", "videos/b.mp4")
    assert read_manifest(folder).notices == ()
    (folder / "train.csv").write_text("path,label\nvideos/a.mp4,run\n")
    (notice,) = read_manifest(folder).notices
    assert "its lists (train.csv) are not used, because it holds videos" in notice
    assert read_manifest(place("run/a.mp4", "jump/b.mp4")).notices == ()  # these folders are classes


def test_a_video_with_and_without_a_class(place: Place) -> None:
    folder = place("a.mp4")
    (folder / "list.csv").write_text("path,label\na.mp4,\na.mp4,run\n")
    refused(folder / "list.csv", "with the class 'run': expected none, as in .*line 2")


def test_numbers_are_sorted_by_value(place: Place) -> None:
    assert read_manifest(place("10/a.mp4", "9/a.mp4", "2/a.mp4")).class_names == ("2", "9", "10")


def test_names_that_are_not_all_numbers_are_sorted_as_text(place: Place) -> None:
    assert read_manifest(place("10/a.mp4", "9/a.mp4", "x/a.mp4")).class_names == ("10", "9", "x")


def test_numbers_of_one_value_have_a_fixed_order(place: Place) -> None:
    assert read_manifest(place("1/a.mp4", "01/a.mp4", "001/a.mp4")).class_names == ("001", "01", "1")


@pytest.mark.parametrize("kind", ["empty", "only text", "only hidden", "empty classes"])
def test_folders_without_videos(kind: str, place: Place) -> None:
    folder = place("readme.txt", content=b"text")
    if kind == "empty":
        (folder / "readme.txt").unlink()
    elif kind == "only hidden":
        place(".a.mp4", ".b/c.mp4")
    elif kind == "empty classes":
        (folder / "run").mkdir()
        (folder / "jump").mkdir()

    message = refused(folder, "without videos: expected files that end in .mp4, .avi, .*; give the folder")
    assert message.startswith(str(folder))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_folder_that_cannot_be_read(place: Place) -> None:
    folder = place("run/a.mp4", "jump/b.mp4")
    (folder / "run").chmod(0)
    try:
        refused(folder, "expected a folder that can be read")
    finally:
        (folder / "run").chmod(0o755)


def test_no_such_data(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "there is no such file or folder; check the path")


def test_one_video_and_other_files_are_no_data(place: Place) -> None:
    folder = place("a.mp4")
    place("labels.json", "labels", content=b"{}")

    refused(folder / "a.mp4", "this is one video; put it in a folder")
    refused(folder / "labels.json", "expected a list of videos: .*; labels.json only names the classes")
    refused(folder / "labels", r"name lists \.csv, \.tsv, \.txt, \.list, \.json")


# --- tables


def listed(place: Place, text: str | bytes, name: str = "list.csv") -> Path:
    folder = place("a.mp4", "sub dir/b, c.mp4", "d.mp4")
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / name


FULL = [("a.mp4", "run", "train"), ("sub dir/b, c.mp4", "long jump", "val"), ("d.mp4", "run", "test")]


@pytest.mark.parametrize(
    "text",
    [
        'path,label,split\na.mp4,run,train\n"sub dir/b, c.mp4",long jump,val\nd.mp4,run,test\n',
        'path,label,split\r\na.mp4,run,train\r\n"sub dir/b, c.mp4",long jump,val\r\nd.mp4,run,test\r\n',
        '\ufeffpath,label,split\na.mp4,run,train\n"sub dir/b, c.mp4",long jump,val\nd.mp4,run,test',
        'Path, Label ,SPLIT\n a.mp4 , run , train \n"sub dir/b, c.mp4",long jump,val\n\n  \nd.mp4,run,test\n',
        'split,id,label,path\ntrain,1,run,a.mp4\nval,2,long jump,"sub dir/b, c.mp4"\ntest,3,run,d.mp4\n',
        "path\tlabel\tsplit\na.mp4\trun\ttrain\nsub dir/b, c.mp4\tlong jump\tval\nd.mp4\trun\ttest\n",
        "\ufeffpath\tlabel\tsplit\r\na.mp4\trun\ttrain\r\nsub dir/b, c.mp4\tlong jump\tval\r\nd.mp4\trun\ttest\r\n",
    ],
    ids=["csv", "crlf", "bom", "spaces and blank lines", "other columns and order", "tsv", "tsv bom crlf"],
)
@pytest.mark.parametrize("name", ["list.csv", "list.tsv", "list.txt", "LIST.CSV"])
def test_tables_with_a_header(place: Place, text: str, name: str) -> None:
    manifest = read_manifest(listed(place, text, name))

    assert rows(manifest) == FULL
    assert manifest.class_names == ("long jump", "run")
    assert manifest.splits == ("train", "val", "test")


@pytest.mark.parametrize(
    "text",
    ["path\na.mp4\nd.mp4\n", "path,label\na.mp4,\nd.mp4,\n", "path\tlabel\na.mp4\t\nd.mp4\t\n", "a.mp4\nd.mp4\n"],
    ids=["path alone", "empty labels", "empty labels of a tsv", "a text file of paths"],
)
def test_tables_without_labels(place: Place, text: str) -> None:
    manifest = read_manifest(listed(place, text))

    assert rows(manifest) == [("a.mp4", None, None), ("d.mp4", None, None)]
    with pytest.raises(DataError, match=r"a\.mp4 without a class"):
        manifest.require_classes()


@pytest.mark.parametrize("separator", [" ", ",", "\t", ", ", "   "])
def test_the_original_lines_of_path_and_label(place: Place, separator: str) -> None:
    text = f"a.mp4{separator}10\nsub dir/b, c.mp4{separator}9\nd.mp4{separator}10\n"

    manifest = read_manifest(listed(place, text, "train.txt"))

    assert rows(manifest) == [("a.mp4", "10", None), ("sub dir/b, c.mp4", "9", None), ("d.mp4", "10", None)]
    assert manifest.class_names == ("9", "10")


@pytest.mark.parametrize("separator", [",", "\t"])
def test_labels_of_several_words_without_a_header(place: Place, separator: str) -> None:
    manifest = read_manifest(listed(place, f"a.mp4{separator}long jump\nd.mp4{separator}run\n"))

    assert [label for _, label, _ in rows(manifest)] == ["long jump", "run"]


def test_quoted_paths_without_a_header(place: Place) -> None:
    manifest = read_manifest(listed(place, '"sub dir/b, c.mp4",jump\n"a.mp4",run\n'))

    assert rows(manifest) == [("sub dir/b, c.mp4", "jump", None), ("a.mp4", "run", None)]


def test_an_empty_label_without_a_header_is_none(place: Place) -> None:
    assert rows(read_manifest(listed(place, "a.mp4,\nd.mp4,run\n"))) == [("a.mp4", None, None), ("d.mp4", "run", None)]


def test_paths_with_spaces_and_dots_without_labels(place: Place) -> None:
    assert rows(read_manifest(listed(place, "sub dir/b, c.mp4\n./a.mp4\n", "paths.txt"))) == [
        ("sub dir/b, c.mp4", None, None),
        ("a.mp4", None, None),
    ]


def test_absolute_paths(place: Place, tmp_path: Path) -> None:
    folder = place("a.mp4")
    (tmp_path / "list.csv").write_text(f"path,label\n{folder / 'a.mp4'},run\n")

    (entry,) = read_manifest(tmp_path / "list.csv").entries

    assert entry.path == folder / "a.mp4"


def test_a_table_named_relative_to_where_one_is(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(listed(place, "path,label\na.mp4,run\n").parent)

    assert read_manifest("list.csv").entries[0].path.is_file()


def test_a_file_of_an_unusual_suffix_may_be_listed(place: Place) -> None:
    place("clip.bin")

    assert rows(read_manifest(listed(place, "clip.bin\n"))) == [("clip.bin", None, None)]


def test_files_keep_their_order(place: Place) -> None:
    assert [row[0] for row in rows(read_manifest(listed(place, "d.mp4 1\na.mp4 0\n")))] == ["d.mp4", "a.mp4"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.mp4,run\n\nmissing.mp4,run\n", r"list\.csv, line 4: 'missing\.mp4': expected .*existing file"),
        ("a.mp4 1\nmissing.mp4 2\n", r"line 2: 'missing\.mp4'"),
        ("a.mp4\nmissing.mp4\n", "line 2: 'missing"),
        ("path,label\n,run\n", "line 2: '': expected a path of an existing file"),
        ("path,label\nsub dir,run\n", "line 2: 'sub dir': expected a path of an existing file"),
        ("sub dir\n", "line 1: 'sub dir': expected a video's path, or a path and a label"),
        ("path,label\na.mp4,run,train\n", "line 2: 3 columns: expected 2 columns.*quote a path that holds"),
        ("path,label,split\na.mp4,run\n", "line 2: 2 columns: expected 3 columns"),
        ("path,label\nsub dir/b, c.mp4,run\n", "line 2: 3 columns"),
        ("path,label,split\na.mp4,run,trainer\n", "line 2: split 'trainer': expected train or val or test"),
        ("file,label\na.mp4,run\n", "line 1: 'file,label'.*; name the column of the videos path$"),
        ('"Video"\t"Label"\na.mp4\trun\n', "line 1: .*; name the column of the videos path$"),
        ("path;label\na.mp4;run\n", "line 1: 'path;label'.*; separate the columns by commas or tabs$"),
        ("file;label\na.mp4;run\n", "; name the column of the videos path and separate the columns by commas or tabs$"),
        ("a.mp4;run\n", "line 1: 'a.mp4;run'.*; separate the columns by commas or tabs$"),
        ("a.mp4\nlabel\n", "line 2: 'label'.*; write path,label,split in the first line"),
        ("a.mp4 0 7\n", "line 1: 0 7 after a video file: expected 0 -1"),
        ("a.mp4,run,train\n", "line 1: 'a.mp4,run,train'"),
        ("words " * 1000, "line 1: 'words words"),
        ("\x00\n", "line 1"),
    ],
)
def test_bad_lines_are_named(place: Place, text: str, message: str) -> None:
    assert len(refused(listed(place, text), message)) < 700


def test_a_line_that_is_too_long_for_a_path(place: Place) -> None:
    refused(listed(place, "x" * 5000 + ".mp4\n"), "line 1: 'xxx.*expected a path of an existing file")


@pytest.mark.parametrize("text", [b"path,label\na.mp4,caf\xe9\n", "path,label\na.mp4,run\n".encode("utf-16")])
def test_text_that_is_not_utf8(place: Place, text: bytes) -> None:
    refused(listed(place, text), r"list\.csv \(.*\): expected UTF-8 text; save the file as UTF-8")


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff", "path,label\n"])
def test_empty_tables(place: Place, text: str) -> None:
    refused(listed(place, text), "list.csv without videos: expected a line for each video; the list is empty")


# --- splits, classes, files


def test_taking_splits(place: Place) -> None:
    manifest = read_manifest(place("train/run/a.mp4", "train/jump/b.mp4", "val/run/c.mp4"))

    assert [row[0] for row in rows(manifest.take_split("train"))] == ["train/jump/b.mp4", "train/run/a.mp4"]
    assert [row[0] for row in rows(manifest.take_split("test", "val"))] == ["val/run/c.mp4"]
    assert manifest.take_split("val").class_names == ("jump", "run")
    with pytest.raises(DataError, match="with the splits train, val: expected a split named test; rename"):
        manifest.take_split("test")


def test_data_without_splits_is_taken_whole(place: Place) -> None:
    manifest = read_manifest(place("run/a.mp4", "jump/b.mp4"))

    assert manifest.take_split("train") is manifest


def test_one_class_only(place: Place) -> None:
    manifest = read_manifest(place("run/a.mp4", "run/b.mp4"))

    with pytest.raises(DataError, match="with the one class 'run': expected two classes or more"):
        manifest.require_classes()
    assert manifest.require_classes(["run", "jump"]) is manifest


def test_one_class_only_in_the_split_that_is_learnt(place: Place) -> None:
    manifest = read_manifest(place("train/run/a.mp4", "val/run/b.mp4", "val/jump/c.mp4"))

    with pytest.raises(DataError, match="with the one class 'run'"):
        manifest.take_split("train").require_classes()


def test_classes_that_a_model_does_not_know(place: Place) -> None:
    manifest = read_manifest(place("train/run/a.mp4", "train/jump/b.mp4", "val/run/b.mp4", "val/swim/c.mp4"))

    with pytest.raises(DataError, match="with the class 'swim': expected the classes jump, run; rename"):
        manifest.take_split("val").require_classes(["run", "jump"])
    # Only the videos at hand count: those of another split are not judged.
    manifest.take_split("train").require_classes(["run", "jump"])


def test_a_class_without_videos_in_a_split_is_counted_as_none(place: Place) -> None:
    manifest = read_manifest(place("train/run/a.mp4", "train/jump/b.mp4", "val/run/b.mp4"))

    assert manifest.take_split("val").class_counts() == {"jump": 0, "run": 1}


def test_finding_videos_of_files_and_folders(place: Place) -> None:
    folder = place("x/b.mp4", "x/a.mp4", "c.mp4")

    assert [e.path for e in read_videos([folder / "c.mp4", str(folder / "x"), folder / "absent.mp4"])[0]] == [
        folder / "c.mp4",
        folder / "x" / "a.mp4",
        folder / "x" / "b.mp4",
        folder / "absent.mp4",
    ]


def test_finding_videos_in_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="without videos"):
        read_videos([tmp_path])


# --- packed


def packed(folder: Path, *, shard: str | None) -> Path:
    files = [
        PackedFile(
            name=f"{split}/{label}.mp4",
            num_bytes=4,
            num_frames=1,
            width=1,
            height=1,
            psnr=40.0,
            packets=b"",
            label=label,
            split=split,
            group=f"g{label}",
            shard=shard,
            offset=512,
        )
        for split, label in (("train", "run"), ("train", "jump"), ("val", "run"))
    ]
    folder.mkdir()
    write_index(folder, files, about={})
    return folder


@pytest.mark.parametrize("given", ["", "index.json"])
def test_packed_videos(tmp_path: Path, given: str) -> None:
    folder = packed(tmp_path / "packed", shard=None)

    manifest = read_manifest(folder / given)

    assert manifest.source == folder
    assert rows(manifest) == [
        ("train/run.mp4", "run", "train"),
        ("train/jump.mp4", "jump", "train"),
        ("val/run.mp4", "run", "val"),
    ]
    # The group of the source goes along, and so does the warning.
    assert "group 'grun' has videos in train and in val" in manifest.notices[0]


def test_packed_shards(tmp_path: Path) -> None:
    folder = packed(tmp_path / "packed", shard="shard-0.tar")

    manifest = read_manifest(folder, group="group")

    assert manifest.entries[0].path == ShardMember(str(folder / "shard-0.tar"), 512, 4, "train/run.mp4")
    assert manifest.class_names == ("jump", "run")
    assert read_videos([folder])[0][2].path == ShardMember(str(folder / "shard-0.tar"), 512, 4, "val/run.mp4")


def test_a_url_without_packed_videos() -> None:
    with pytest.raises(InputError, match="memory://absent"):
        read_manifest("memory://absent")


def test_an_index_of_something_else(place: Place) -> None:
    folder = place("run/a.mp4", "jump/b.mp4")
    place("index.json", content=b"{}")

    assert len(read_manifest(folder)) == 2
