"""The lists of Kinetics, Something-Something V2, UCF101 and HMDB51, as published."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from videomae.core.errors import DataError
from videomae.datasets.entries import VideoEntry
from videomae.datasets.manifest import Manifest, read_manifest
from videomae.video.source import FrameFolder

KINETICS = """label,youtube_id,time_start,time_end,split,is_cc
testifying,---QUuC4vJs,84,94,validate,0
eating spaghetti,--3ouPhoy2A,20,30,validate,1
"riding, fast",-aMB3vqA1aA,9.0,19.0,validate,0
"""
KINETICS_FILES = ("---QUuC4vJs_000084_000094", "--3ouPhoy2A_000020_000030", "-aMB3vqA1aA_000009_000019")


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """Writes files that no test here reads as video, and lists."""

    def at(*names: str, text: str | object = "x") -> Path:
        for name in names:
            target = tmp_path / "set" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
        return tmp_path / "set"

    return at


Put = Callable[..., Path]


def rows(manifest: Manifest, base: Path) -> list[tuple[str, str | None, str | None]]:
    return [(_relative(entry, base), entry.label, entry.split) for entry in manifest.entries]


def _relative(entry: VideoEntry, base: Path) -> str:
    path = entry.path.path if isinstance(entry.path, FrameFolder) else entry.path
    assert isinstance(path, Path)
    return path.relative_to(base).as_posix()


def refused(data: str | Path, message: str, root: Path | None = None) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_manifest(data, root=root)
    assert "\n" not in str(caught.value)


# --- Kinetics


@pytest.mark.parametrize("folder", ["list/", "list/clips/", "val/", "videos/", "validate/", "train/", "list/a/b/"])
def test_kinetics_in_one_folder(put: Put, folder: str) -> None:
    base = put(*(f"{folder}{name}.mp4" for name in KINETICS_FILES))
    put("list/validate.csv", text=KINETICS)

    manifest = read_manifest(base / "list/validate.csv")

    assert rows(manifest, base) == [
        (f"{folder}---QUuC4vJs_000084_000094.mp4", "testifying", "val"),
        (f"{folder}--3ouPhoy2A_000020_000030.mp4", "eating spaghetti", "val"),
        (f"{folder}-aMB3vqA1aA_000009_000019.mp4", "riding, fast", "val"),
    ]
    assert manifest.class_names == ("eating spaghetti", "riding, fast", "testifying")
    assert manifest.notices == ()
    assert manifest.entries[0].start_seconds is None  # the file is the clip
    assert manifest.entries[0].group == "---QUuC4vJs"


def test_kinetics_in_class_folders_elsewhere(put: Put, tmp_path: Path) -> None:
    base = put("k/testifying/---QUuC4vJs_000084_000094.mp4", "k/eating_spaghetti/--3ouPhoy2A_000020_000030.webm")
    put("k/riding, fast/-aMB3vqA1aA_000009_000019.mkv")
    (tmp_path / "list.csv").write_text(KINETICS)

    manifest = read_manifest(tmp_path / "list.csv", root=base / "k")

    assert [entry.path.parent.name for entry in manifest.entries if isinstance(entry.path, Path)] == [
        "testifying",
        "eating_spaghetti",
        "riding, fast",
    ]


def test_whole_videos_of_kinetics_have_seconds(put: Put) -> None:
    base = put("---QUuC4vJs.mp4", "--3ouPhoy2A.mp4", "-aMB3vqA1aA_000009_000019.mp4")
    put("validate.csv", text=KINETICS)

    manifest = read_manifest(base / "validate.csv")

    assert [(entry.start_seconds, entry.end_seconds) for entry in manifest.entries] == [
        (84, 94),
        (20, 30),
        (None, None),
    ]


def test_several_clips_of_one_video_of_kinetics(put: Put) -> None:
    base = put("id.mp4")
    put("train.csv", text="label,youtube_id,time_start,time_end,split\nrun,id,0,10,train\njump,id,10,20,train\n")

    manifest = read_manifest(base / "train.csv")

    assert [(entry.label, entry.start_seconds, entry.group) for entry in manifest.entries] == [
        ("run", 0, "id"),
        ("jump", 10, "id"),
    ]


def test_frames_of_kinetics(put: Put) -> None:
    base = put(*(f"frames/{name}/img_{number:05}.jpg" for name in KINETICS_FILES for number in (1, 2)))
    put("lists/validate.csv", text=KINETICS)

    manifest = read_manifest(base / "lists/validate.csv")

    assert manifest.entries[0].path == FrameFolder(base / "frames" / KINETICS_FILES[0])


def test_the_test_split_of_kinetics_has_no_labels(put: Put) -> None:
    base = put("a_000001_000011.mp4")
    put("test.csv", text="youtube_id,time_start,time_end,split\na,1,11,test\n")

    assert rows(read_manifest(base / "test.csv"), base) == [("a_000001_000011.mp4", None, "test")]


def test_vanished_videos_of_kinetics_are_told(put: Put) -> None:
    base = put(f"{KINETICS_FILES[0]}.mp4", "other.mp4")
    put("validate.csv", text=KINETICS)

    manifest = read_manifest(base / "validate.csv")

    assert len(manifest) == 1
    (notice,) = manifest.notices
    assert "2 of 3 videos are missing and skipped; the first is --3ouPhoy2A_000020_000030 in line 3" in notice


def test_kinetics_without_any_video(put: Put) -> None:
    base = put("other.mp4")
    put("validate.csv", text=KINETICS)

    refused(
        base / "validate.csv",
        r"validate\.csv, line 2: no video .---QUuC4vJs_0.*, and 2 more of 3: expected .*give the folder .*--video-root",
    )
    refused(base / "validate.csv", "below the folder of the list", root=base / "absent")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("run,id,1", "line 2: 3 columns: expected 5 columns"),
        ("run,id,a,11,train", "line 2: from 'a' to '11': expected seconds"),
        ("run,id,11,1,train", "line 2: from '11' to '1'"),
        ("run,id,1,11,trains", "line 2: split 'trains': expected train or val or test"),
    ],
)
def test_bad_lines_of_kinetics(put: Put, line: str, message: str) -> None:
    base = put("id.mp4")
    put("train.csv", text=f"label,youtube_id,time_start,time_end,split\n{line}\n")

    refused(base / "train.csv", message)


def test_the_lists_of_kinetics_as_one(put: Put) -> None:
    base = put("train/a_000000_000010.mp4", "train/c_000000_000010.mp4", "val/b_000000_000010.mp4")
    head = "label,youtube_id,time_start,time_end,split\n"
    put("annotations/train.csv", text=f"{head}run,a,0,10,train\nrun,c,0,10,train\n")
    put("annotations/val.csv", text=f"{head}run,b,0,10,val\njump,c,0,10,val\n")

    manifest = read_manifest(str(base / "annotations/*.csv"))

    assert manifest.splits == ("train", "val")
    # A published list contradicts itself: told, not refused.
    assert "val.csv, line 3: the video of" in manifest.notices[0]
    assert len(manifest) == 3
    assert read_manifest(base / "annotations").entries == manifest.entries


def test_of_two_files_of_one_name_that_of_the_class_is_taken(put: Put) -> None:
    base = put("small/run/a.mp4", "small/jump/a.mp4")
    head = "label,youtube_id,time_start,time_end,split\n"
    put("list.csv", text=f"{head}run,a,0,10,train\n")

    manifest = read_manifest(base / "list.csv")

    assert rows(manifest, base) == [("small/run/a.mp4", "run", "train")]
    assert manifest.notices == ()

    put("list.csv", text=f"{head}swim,a,0,10,train\n")
    (notice,) = read_manifest(base / "list.csv").notices
    assert "1 videos are in several folders" in notice
    assert "choose with --video-root" in notice


# --- Something-Something V2

SOMETHING = [
    {
        "id": "78687",
        "label": "holding potato next to vicks vaporub bottle",
        "template": "Holding [something] next to [something]",
        "placeholders": ["potato", "vicks vaporub bottle"],
    },
    {"id": "42326", "label": "spinning cube", "template": "Spinning [something]", "placeholders": ["cube"]},
]
SOMETHING_LABELS = {"Holding something next to something": "0", "Spinning something": "1"}


@pytest.fixture
def something(put: Put) -> Path:
    base = put("20bn-something-something-v2/78687.webm", "20bn-something-something-v2/42326.webm")
    put("labels/train.json", text=SOMETHING)
    put("labels/labels.json", text=SOMETHING_LABELS)
    return base


def test_something_something(something: Path) -> None:
    manifest = read_manifest(something / "labels/train.json")

    assert rows(manifest, something) == [
        ("20bn-something-something-v2/78687.webm", "Holding something next to something", None),
        ("20bn-something-something-v2/42326.webm", "Spinning something", None),
    ]
    assert manifest.entries[1].place is not None
    assert str(manifest.entries[1].place).endswith("train.json, item 2")
    assert manifest.notices == ()


def test_something_something_without_labels(something: Path, put: Put) -> None:
    put("labels/test.json", text=[{"id": "78687"}, {"id": 42326}])

    assert [label for _, label, _ in rows(read_manifest(something / "labels/test.json"), something)] == [None, None]


def test_all_lists_of_something_something(something: Path, put: Put) -> None:
    put("20bn-something-something-v2/1.webm")
    put("labels/validation.json", text=[{**SOMETHING[1], "id": "1"}])
    # Beside the lists, as published.
    (something / "labels/test-answers.csv").write_text("5;Spinning something\n")

    manifest = read_manifest(str(something / "labels/*.json"))

    assert manifest.splits == ("train", "val")
    assert read_manifest(something / "labels").entries == manifest.entries


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([SOMETHING[0], {**SOMETHING[1], "template": "Spining [something]"}], "item 2: the class 'Spining something'"),
        ([SOMETHING[0], {**SOMETHING[1], "id": "5"}], "item 2: no video '5'"),
        ([SOMETHING[0], 5], "item 2: 5: expected an object"),
        ([{"label": "x"}], "item 1: .*expected an object with the id or the path"),
        ([{"id": "78687", "label": "spinning cube", "placeholders": ["cube"]}], "item 1 without a template"),
        ({"a": 1}, "with dict at the top: expected a list of videos"),
        ([], "without videos"),
        ('[\n{"id": "1"},\n{"id"', "line 3: .*: expected JSON"),
    ],
)
def test_bad_lists_of_something_something(something: Path, put: Put, items: object, message: str) -> None:
    put("labels/train.json", text=items)

    refused(something / "labels/train.json", message)


def test_objects_with_paths(put: Put) -> None:
    base = put("a.mp4", "b.mp4")
    put("list.json", text=[{"path": "a.mp4", "Label": "run", "split": "Training"}, {"path": "b.mp4", "start": 1.5}])

    manifest = read_manifest(base / "list.json")

    assert rows(manifest, base) == [("a.mp4", "run", "train"), ("b.mp4", None, None)]
    assert manifest.entries[1].start_seconds == 1.5
    put("list.json", text=[{"path": "a.mp4"}, {"path": "c.mp4"}])
    refused(base / "list.json", r"list\.json, item 2: 'c\.mp4'")
    put("list.json", text=[{"path": "a.mp4", "label": ["run", "jump"]}])
    refused(base / "list.json", r"list\.json, item 1: the label .*expected one class")


# --- UCF101


@pytest.fixture
def ucf(put: Put) -> Path:
    makeup = [f"ApplyEyeMakeup/v_ApplyEyeMakeup_g0{group}_c0{clip}.avi" for group in (1, 8) for clip in (1, 2)]
    yoyo = [f"YoYo/v_YoYo_g0{group}_c01.avi" for group in (1, 8)]
    base = put(*(f"UCF-101/{name}" for name in (*makeup, *yoyo)))
    put("ucfTrainTestlist/trainlist01.txt", text=f"{makeup[2]} 1\r\n{makeup[3]} 1\r\n{yoyo[1]} 2\r\n")
    put("ucfTrainTestlist/testlist01.txt", text=f"{makeup[0]}\n{makeup[1]}\n{yoyo[0]}\n")
    put("ucfTrainTestlist/trainlist02.txt", text=f"{makeup[0]} 1\n{yoyo[0]} 2\n")
    put("ucfTrainTestlist/testlist02.txt", text=f"{makeup[2]}\n{yoyo[1]}\n")
    put("ucfTrainTestlist/classInd.txt", text="1 ApplyEyeMakeup\r\n2 YoYo\r\n")
    return base


def test_ucf101(ucf: Path) -> None:
    manifest = read_manifest(ucf / "ucfTrainTestlist/trainlist01.txt")

    assert rows(manifest, ucf) == [
        ("UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi", "ApplyEyeMakeup", None),
        ("UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c02.avi", "ApplyEyeMakeup", None),
        ("UCF-101/YoYo/v_YoYo_g08_c01.avi", "YoYo", None),
    ]
    assert manifest.entries[0].group == manifest.entries[1].group == "v_ApplyEyeMakeup_g08"
    assert manifest.class_names == ("ApplyEyeMakeup", "YoYo")
    test = read_manifest(ucf / "ucfTrainTestlist/testlist01.txt")
    assert [entry.label for entry in test.entries] == ["ApplyEyeMakeup", "ApplyEyeMakeup", "YoYo"]


def test_the_splits_of_ucf101(ucf: Path) -> None:
    first = read_manifest(ucf / "ucfTrainTestlist")

    assert first.splits == ("train", "test")
    assert [len(first.take_split(split)) for split in ("train", "test")] == [3, 3]
    assert "split 1 is taken; for the second give" in first.notices[0]
    second = read_manifest(str(ucf / "ucfTrainTestlist/*list02.txt"))
    assert [len(second.take_split(split)) for split in ("train", "test")] == [2, 2]
    assert second.notices == ()


def test_ucf101_without_the_numbers_of_its_classes(ucf: Path) -> None:
    (ucf / "ucfTrainTestlist/classInd.txt").unlink()

    assert read_manifest(ucf / "ucfTrainTestlist/trainlist01.txt").class_names == ("ApplyEyeMakeup", "YoYo")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("YoYo/v_YoYo_g08_c01.avi 1", r"trainlist01\.txt, line 1: YoYo with the number 1: expected 2, as in classInd"),
        ("Yoyo/v_YoYo_g08_c01.avi 2", "line 1: the class 'Yoyo': expected one of the 2 classes of classInd"),
        ("YoYo/v_YoYo_g09_c01.avi 2", "line 1: no video 'v_YoYo_g09_c01'"),
        ("v_YoYo_g08_c01.avi 2", "line 1: .*: expected Class/video.avi"),
    ],
)
def test_bad_lines_of_ucf101(ucf: Path, line: str, message: str) -> None:
    (ucf / "ucfTrainTestlist/trainlist01.txt").write_text(line)

    refused(ucf / "ucfTrainTestlist/trainlist01.txt", message)


def test_classes_of_ucf101_numbered_from_0_are_found(ucf: Path) -> None:
    (ucf / "ucfTrainTestlist/classInd.txt").write_text("0 ApplyEyeMakeup\n1 YoYo\n")

    refused(ucf / "ucfTrainTestlist/trainlist01.txt", "line 1: ApplyEyeMakeup with the number 1: expected 0")


# --- HMDB51


@pytest.fixture
def hmdb(put: Put) -> Path:
    base = put("hmdb51_org/wave/a b_wave#1.avi", "hmdb51_org/wave/c.avi", "hmdb51_org/wave/u.avi")
    put("hmdb51_org/brush_hair/a.avi", "hmdb51_org/brush_hair/c.avi")
    put("splits/wave_test_split1.txt", text="a b_wave#1.avi 1 \nc.avi 2 \nu.avi 0 \ngone.avi 0 \n")
    put("splits/brush_hair_test_split1.txt", text="a.avi 1 \nc.avi 2 \n")
    put("splits/wave_test_split2.txt", text="a b_wave#1.avi 2 \nc.avi 1 \n")
    put("splits/brush_hair_test_split2.txt", text="a.avi 2 \nc.avi 1 \n")
    return base


def test_hmdb51(hmdb: Path) -> None:
    manifest = read_manifest(hmdb / "splits")

    assert rows(manifest, hmdb) == [
        ("hmdb51_org/brush_hair/a.avi", "brush_hair", "train"),
        ("hmdb51_org/brush_hair/c.avi", "brush_hair", "test"),
        ("hmdb51_org/wave/a b_wave#1.avi", "wave", "train"),
        ("hmdb51_org/wave/c.avi", "wave", "test"),
    ]
    assert len(manifest.notices) == 1
    second = read_manifest(str(hmdb / "splits/*_test_split2.txt"))
    assert rows(second, hmdb)[0] == ("hmdb51_org/brush_hair/a.avi", "brush_hair", "test")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("c.avi 3", r"wave_test_split1\.txt, line 2: 'c.avi 3': expected a video's name and 1"),
        ("d.avi 1", r"wave_test_split1\.txt, line 2: no video 'd'"),
    ],
)
def test_bad_lines_of_hmdb51(hmdb: Path, line: str, message: str) -> None:
    (hmdb / "splits/wave_test_split1.txt").write_text(f"a b_wave#1.avi 1\n{line}\n")

    refused(hmdb / "splits", message)


# --- damage


@pytest.mark.parametrize("kind", ["kinetics", "something", "labels", "ucf", "classes", "hmdb", "table", "lines"])
def test_damaged_lists_are_read_or_refused_in_one_line(
    kind: str, put: Put, something: Path, ucf: Path, hmdb: Path
) -> None:
    base = put("a.mp4", "b.mp4", *(f"f/img_{number}.jpg" for number in range(4)))
    put("validate.csv", text=KINETICS)
    put("table.csv", text='path,label,split,start,end,group\na.mp4,"x, y",train,0,1.5,g\nb.mp4,z,val,,,h\n')
    put("lines.txt", text="a.mp4 0 -1\nb.mp4 0 -1\nf 1 3\n")
    data, damaged = {
        "kinetics": ("validate.csv", "validate.csv"),
        "something": ("labels/train.json", "labels/train.json"),
        "labels": ("labels/train.json", "labels/labels.json"),
        "ucf": ("ucfTrainTestlist/trainlist01.txt", "ucfTrainTestlist/trainlist01.txt"),
        "classes": ("ucfTrainTestlist/trainlist01.txt", "ucfTrainTestlist/classInd.txt"),
        "hmdb": ("splits/*_split1.txt", "splits/wave_test_split1.txt"),
        "table": ("table.csv", "table.csv"),
        "lines": ("lines.txt", "lines.txt"),
    }[kind]
    whole = (base / damaged).read_bytes()
    generator = random.Random(kind)
    refusals = []
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(generator.randint(1, 4)):
            place = generator.randrange(len(content))
            what = generator.choice(["flip", "cut", "drop", "sign"])
            if what == "cut":
                content = content[: place + 1]
            elif what == "drop":
                del content[place : place + generator.randint(1, 9)]
                content = content or bytearray(b"\n")
            else:
                content[place] = (
                    generator.choice(b'"\n\r\t ,;[]{}:0-\\\x00') if what == "sign" else generator.randrange(256)
                )
        (base / damaged).write_bytes(content)
        try:
            read_manifest(str(base / data))
        except DataError as error:
            refusals.append(str(error))
    assert len(refusals) > 15
    assert not any("\n" in refusal for refusal in refusals)
