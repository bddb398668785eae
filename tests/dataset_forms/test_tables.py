"""What a table may say besides paths: seconds, groups, numbered classes, frames, and the contradictions in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from videomae.core.errors import DataError
from videomae.datasets.entries import split_in_file_name, split_named
from videomae.datasets.folders import Files
from videomae.datasets.manifest import read_manifest
from videomae.video.source import FrameFolder

Put = Callable[..., Path]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Writes files that no test here reads as video, and lists."""

    def at(*names: str, text: str = "x") -> Path:
        for name in names:
            target = tmp_path / "set" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        return tmp_path / "set"

    return at


def refused(data: str | Path, message: str, **options: str | Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_manifest(data, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def listed(put: Put, text: str, name: str = "list.csv") -> Path:
    base = put("a.mp4", "b.mp4", "c.mp4", "d.mp4")
    return put(name, text=text) / name if base else base


# --- columns


@pytest.mark.parametrize("header", ["start,end", "start_seconds,end_seconds", "Time_Start, Time_End"])
def test_parts_in_seconds(put: Put, header: str) -> None:
    text = f"path,{header},label\na.mp4,1.5,3,run\na.mp4,3,,run\nb.mp4,,2.25,run\nc.mp4,,,run\n"

    entries = read_manifest(listed(put, text)).entries

    assert [(entry.start_seconds, entry.end_seconds) for entry in entries] == [
        (1.5, 3.0),
        (3.0, None),
        (None, 2.25),
        (None, None),
    ]


@pytest.mark.parametrize(
    ("start", "end"), [("2", "1"), ("1", "1"), ("-1", "2"), ("x", "2"), ("nan", "-1"), ("0", "inf")]
)
def test_parts_that_are_none(put: Put, start: str, end: str) -> None:
    refused(
        listed(put, f"path,start,end\na.mp4,{start},{end}\n"), f"line 2: from '{start}' to '{end}': expected seconds"
    )


def test_groups(put: Put) -> None:
    path = listed(put, "path,group,camera\na.mp4,g1,x\nb.mp4,,y\n")

    assert [entry.group for entry in read_manifest(path).entries] == ["g1", None]
    assert [entry.group for entry in read_manifest(path, group="Camera").entries] == ["x", "y"]
    refused(path, r"line 3: .*b\.mp4 without a group: expected a group for every video, by 'group'", group="group")


@pytest.mark.parametrize("name", ["class", "class_name", "category", "Action"])
def test_other_names_of_the_label(put: Put, name: str) -> None:
    assert read_manifest(listed(put, f"path,{name}\na.mp4,run\n")).class_names == ("run",)


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("Training", "train"),
        ("VALIDATION", "val"),
        ("valid", "val"),
        ("validate", "val"),
        ("testing", "test"),
        ("x", None),
    ],
)
def test_names_of_splits(put: Put, text: str, split: str | None) -> None:
    assert split_named(text) == split
    if split is not None:
        assert read_manifest(listed(put, f"path,split\na.mp4,{text}\n")).splits == (split,)


@pytest.mark.parametrize(
    ("stem", "split"),
    [("train", "train"), ("kinetics_val", "val"), ("testlist01", "test"), ("ssv2-validation", "val"), ("trains", None)],
)
def test_splits_in_the_names_of_files(stem: str, split: str | None) -> None:
    assert split_in_file_name(stem) == split


def test_split_folders_of_other_names(put: Put) -> None:
    manifest = read_manifest(put("Training/run/a.mp4", "validation/run/b.mp4", "testing/jump/c.mp4"))

    assert [(entry.label, entry.split) for entry in manifest.entries] == [
        ("run", "train"),
        ("run", "val"),
        ("jump", "test"),
    ]


@pytest.mark.parametrize("line", ['"a.mp4,run', 'a.mp4,"run'])
def test_a_quote_without_its_end(put: Put, line: str) -> None:
    refused(listed(put, f"path,label\n{line}\nb.mp4,run\n"), "line 2: a quote without its end")


@pytest.mark.parametrize("label", ["3,5", "1;2", "1|2|3"])
def test_several_classes_for_a_video(put: Put, label: str) -> None:
    refused(listed(put, f'path,label\na.mp4,"{label}"\n'), "line 2: the labels .*: expected one class")


def test_a_root_elsewhere(put: Put, tmp_path: Path) -> None:
    base = put("videos/a.mp4")
    (tmp_path / "list.csv").write_text("path,label\na.mp4,run\n")

    assert read_manifest(tmp_path / "list.csv", root=base / "videos").entries[0].path == base / "videos/a.mp4"
    refused(base, "the folder .* with --video-root", root=base)


def test_all_paths_missing_is_said_once(put: Put) -> None:
    refused(
        listed(put, "path\nx/1.mp4\nx/2.mp4\nx/3.mp4\n"),
        "line 2: 'x/1.mp4'; line 3: 'x/2.mp4'; line 4: 'x/3.mp4': expected a path .*; give the folder .*--video-root",
    )
    refused(
        listed(put, "a.mp4\nx/2.mp4\nx/3.mp4\n"), "line 2: 'x/2.mp4'; line 3: 'x/3.mp4': .*; correct the path or remove"
    )


def test_a_folder_of_lists(put: Put) -> None:
    base = put("videos/a.mp4", "videos/b.mp4", "videos/c.mp4")
    put("lists/train.csv", text="../videos/a.mp4 0\n../videos/b.mp4 1\n")
    put("lists/val.csv", text="../videos/c.mp4 1\n")
    put("lists/test.csv", text="../videos/c.mp4 1\n")  # as the original code base has it
    put("lists/readme.txt", text="words\n")

    manifest = read_manifest(base / "lists")

    assert [entry.split for entry in manifest.entries] == ["test", "train", "train", "val"]
    assert [notice.rpartition(": the video of")[2] for notice in manifest.notices] == [
        f" {base / 'lists/test.csv'}, line 1 is in both val and test"
    ]


# --- repetition


def test_lines_that_repeat_are_told(put: Put) -> None:
    manifest = read_manifest(listed(put, "path,label\na.mp4,run\nb.mp4,run\n./a.mp4,run\nb.mp4,run\n"))

    assert len(manifest) == 2
    assert manifest.notices[0].endswith("line 2 is listed again; each video is taken once (and 1 more)")
    assert "list.csv, line 4: the video of" in manifest.notices[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "path,label\na.mp4,run\nb.mp4,run\na.mp4,jump\n",
            r"line 4: .*a\.mp4 with the class 'jump': .*list.csv, line 2;",
        ),
        ("path,label\na.mp4,run\na.mp4,\n", "line 3: .* without a class: expected 'run'"),
        ("path,split\na.mp4,train\na.mp4,val\n", "line 3: .* with the split 'val': expected 'train', as in .*line 2"),
        ("a.mp4 1\na.mp4 2\n", "line 2: .* with the class '2'"),
    ],
)
def test_lines_that_contradict(put: Put, text: str, message: str) -> None:
    refused(listed(put, text), message)


def test_parts_of_one_video_are_no_repetition(put: Put) -> None:
    manifest = read_manifest(listed(put, "path,label,start,end\na.mp4,run,0,1\na.mp4,jump,1,2\n"))

    assert (len(manifest), manifest.notices) == (2, ())


def test_groups_on_both_sides_are_told(put: Put) -> None:
    text = "path,split,group\na.mp4,train,g1\nb.mp4,val,g1\nc.mp4,train,g2\nd.mp4,test,g2\n"

    (notice,) = read_manifest(listed(put, text)).notices

    assert "group 'g1' has videos in train and in val, and so have 1 more of 2 groups" in notice


# --- numbered classes


def numbered(put: Put, labels: str, classes: str | None, name: str = "classes.txt") -> Path:
    lines = "".join(f"{letter}.mp4 {label}\n" for letter, label in zip("abcd", labels.split(), strict=False))
    if classes is not None:
        put(name, text=classes)
    return listed(put, lines, "train.txt")


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("classes.txt", "run\nlong jump\n3 point shot\n"),
        ("class_names.txt", "0 run\n1 long jump\n2 3 point shot\n"),
        ("classInd.txt", "0,run\n1,long jump\n2,3 point shot\n"),
        ("labels.json", '{"run": "0", "long jump": 1, "3 point shot": "2"}'),
        ("labels.json", '["run", "long jump", "3 point shot"]'),
    ],
)
def test_names_for_numbers(put: Put, name: str, classes: str) -> None:
    manifest = read_manifest(numbered(put, "1 0 2 01", classes, name))

    assert [entry.label for entry in manifest.entries] == ["long jump", "run", "3 point shot", "long jump"]
    assert manifest.notices == ()


def test_names_for_numbers_from_1(put: Put) -> None:
    manifest = read_manifest(numbered(put, "1 2", "1 run\n2 jump\n"))

    assert [entry.label for entry in manifest.entries] == ["run", "jump"]


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        (
            "1 2 3",
            "run\njump\nswim\n",
            r"train\.txt, line 3: .*c\.mp4 with the class 3: .*which has 3, from 0 to 2; .*1 name",
        ),
        (
            "2 0 1",
            "1 run\n2 jump\n3 swim\n",
            "line 2: .* with the class 0: .*from 1 to 3; the labels seem to count from 0",
        ),
        ("0 1 7", "run\njump\n", "line 3: .* with the class 7: .*; correct the label, or add its name to classes.txt"),
        ("0 1", "run\nrun\n", r"classes\.txt, line 2: 1 run: expected each number and each name once; .*with 0"),
        ("0 1", "1 run\n1 jump\n", r"classes\.txt, line 2: 1 jump"),
        ("0 1", "\n", "without classes"),
        (
            "run jumps",
            "run\njump\n",
            "line 2: .* with the class 'jumps': expected one of the 2 .*; did you mean 'jump'",
        ),
        (
            "run swim",
            "run\njump\n",
            "line 2: .* with the class 'swim': .*; correct the label, or add it to the classes",
        ),
    ],
)
def test_numbers_and_names_that_do_not_fit(put: Put, labels: str, classes: str, message: str) -> None:
    refused(numbered(put, labels, classes), message)


def test_a_class_list_that_is_none(put: Put) -> None:
    refused(
        numbered(put, "0 1", '{"run": "zero"}', "labels.json"),
        r"labels\.json, item 1: 'run': 'zero': expected a number",
    )


def test_classes_without_videos_are_told(put: Put) -> None:
    (notice,) = read_manifest(numbered(put, "0 2", "run\njump\nswim\n")).notices

    assert "no video of 1 of the 3 classes of classes.txt ('jump'); these classes are ignored" in notice


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ("0 1 3", "classes from 0 to 3, but no video of 2;"),
        ("1 2 3", None),
        ("2 3", "but no video of 1;"),
        ("0 1", None),
    ],
)
def test_gaps_in_numbers_are_told(put: Put, labels: str, told: str | None) -> None:
    manifest = read_manifest(numbered(put, labels, None))

    assert len(manifest.notices) == (told is not None)
    assert told is None or told in manifest.notices[0]
    assert set(manifest.class_names) == set(labels.split())


def test_a_class_list_of_something_else_is_not_used(put: Put) -> None:
    (notice,) = read_manifest(numbered(put, "run jump", "cat\ndog\n")).notices

    assert "classes.txt names none of the classes of" in notice


def test_classes_that_differ_in_capitals_are_told(put: Put) -> None:
    (notice,) = read_manifest(numbered(put, "run Run", None)).notices

    assert "the classes 'Run' and 'run' differ in capitals only" in notice


def test_endless_numbers_and_spaces_cost_nothing(put: Put) -> None:
    digits = "9" * 5000

    assert set(read_manifest(numbered(put, f"1 {digits}", None)).class_names) == {"1", digits}
    refused(listed(put, "x" + " " * 300_000 + "y\n"), "line 1: 'x  ")
    refused(listed(put, "1 " * 100_000 + "y\n"), "line 1: '1 1")


def test_two_lists_that_count_differently(put: Put) -> None:
    train = read_manifest(numbered(put, "0 1 2", None))
    put("val.txt", text="a.mp4 1\nb.mp4 2\nc.mp4 3\n")

    with pytest.raises(DataError, match=r"val\.txt, line 3: .*c\.mp4 with the class '3'.* one list seems to count"):
        read_manifest(train.source.parent / "val.txt").require_classes(train.class_names)  # type: ignore[union-attr]


# --- frames


def frames(put: Put, *folders: str, first: int = 1, count: int = 5) -> Path:
    return put(*(f"{folder}/img_{number:05}.jpg" for folder in folders for number in range(first, first + count)))


def test_folders_of_frames_in_class_folders(put: Put) -> None:
    base = frames(put, "run/v1", "run/v2", "jump/deep/v 3")
    put("run/c.mp4", "jump/deep/notes/readme.txt", "run/one/logo1.png", "run/words/a.jpg", "run/words/b.jpg")

    manifest = read_manifest(base)

    assert [(entry.path, entry.label) for entry in manifest.entries] == [
        (FrameFolder(base / "jump/deep/v 3"), "jump"),
        (base / "run/c.mp4", "run"),
        (FrameFolder(base / "run/v1"), "run"),
        (FrameFolder(base / "run/v2"), "run"),
    ]


def test_images_beside_videos_are_previews(put: Put) -> None:
    base = frames(put, "run", "jump")
    put("run/a.mp4", "jump/b.mp4")

    assert [entry.path for entry in read_manifest(base).entries] == [base / "jump/b.mp4", base / "run/a.mp4"]


def test_one_folder_of_frames(put: Put) -> None:
    (entry,) = read_manifest(frames(put, ".")).entries

    assert isinstance(entry.path, FrameFolder)
    assert entry.label is None


def test_folders_of_frames_in_lists(put: Put) -> None:
    base = frames(put, "v1", "v 2")

    for text in ("path,label\nv1,run\nv 2,long jump\n", "v1\trun\nv 2\tlong jump\n", "v1,run\nv 2,long jump\n"):
        entries = read_manifest(put("list.csv", text=text) / "list.csv").entries
        assert [(entry.path, entry.label) for entry in entries] == [
            (FrameFolder(base / "v1"), "run"),
            (FrameFolder(base / "v 2"), "long jump"),
        ]
    assert [entry.path for entry in read_manifest(put("list.txt", text="v1\nv 2\n") / "list.txt").entries] == [
        FrameFolder(base / "v1"),
        FrameFolder(base / "v 2"),
    ]


@pytest.mark.parametrize(
    ("text", "expected", "meaning"),
    [
        ("v1 1 5\nv 2 1 4\n", [(0, 5, None), (0, 4, None)], "folder, first frame, number of frames"),
        ("v1 0 5\nv 2 3 2\n", [(0, 5, None), (2, 2, None)], "folder, first frame, number of frames"),
        ("v1 3 -1\n", [(2, None, None)], "folder, first frame, number of frames"),
        ("v1 5 0\nv 2 5 17\n", [(0, 5, "0"), (0, 5, "17")], "folder, number of frames, class"),
        ("v1 4 1\nv 2 5 1\n", [(0, 4, "1"), (0, 5, "1")], "folder, number of frames, class"),
    ],
)
def test_three_columns(put: Put, text: str, expected: list[tuple[int, int | None, str | None]], meaning: str) -> None:
    frames(put, "v1", "v 2")

    manifest = read_manifest(put("list.txt", text=text) / "list.txt")

    found = [
        (entry.path.first_frame, entry.path.num_frames, entry.label)
        for entry in manifest.entries
        if isinstance(entry.path, FrameFolder)
    ]
    assert found == expected
    assert any(f"its three columns are read as {meaning}" in notice for notice in manifest.notices)


def test_three_columns_for_videos_and_folders(put: Put) -> None:
    base = frames(put, "v1")
    put("my clip.mp4", "list.txt")

    manifest = read_manifest(put("list.txt", text="my clip.mp4 0 -1\nv1 1 5\n") / "list.txt")

    assert [entry.path for entry in manifest.entries] == [base / "my clip.mp4", FrameFolder(base / "v1", 0, 5)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v1 50 3\n", r"list\.txt, line 1: 50 3 for a folder of 5 images: expected first frame and number"),
        ("v1 1 5\nv3 1 5\n", "line 2: 'v3': expected a path of an existing file or folder of frames"),
        ("a.mp4 100 7\n", "line 1: 100 7 after a video file|line 1: 0 100 after"),
    ],
)
def test_three_columns_that_do_not_fit(put: Put, text: str, message: str) -> None:
    frames(put, "v1")
    put("a.mp4")

    refused(put("list.txt", text=text) / "list.txt", message)


# --- files


def test_files_are_asked_for_or_listed(put: Put) -> None:
    base = put(*(f"x/{number}.mp4" for number in range(9)))
    (base / "x/folder.mp4").mkdir()
    (base / "x/lost.mp4").symlink_to(base / "nowhere")
    (base / "x/link.mp4").symlink_to(base / "x/0.mp4")
    files = Files()

    for _ in range(2):  # the second time from the listing
        assert all(files.is_file(str(base / "x"), f"{number}.mp4") for number in range(9))
        for name, there in (("folder.mp4", False), ("lost.mp4", False), ("link.mp4", True), ("9.mp4", False)):
            assert files.is_file(str(base / "x"), name) is there
    assert not files.is_file(str(base), "\x00")


def test_a_long_list_asks_the_disk_little(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    path = listed(put, "path\n" + "".join(f"x/{number}.mp4\n" for number in range(300)))
    put(*(f"x/{number}.mp4" for number in range(300)))
    asked: list[str] = []
    is_file = os.path.isfile
    monkeypatch.setattr(os.path, "isfile", lambda name: (asked.append(name), is_file(name))[1])

    assert len(read_manifest(path)) == 300
    assert len(asked) < 10
