"""What folders mean, by hand: which videos are in which split, which class they have, and what is said of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from videomae.core.errors import DataError
from videomae.datasets.layout import read_layout, split_folder

PLAIN, NONE = "", None
# Each video as `path: label/split`, `-` for none, in the order in which they are given; then what a notice says.
TABLE = {
    # splits, as people call them
    "splits": ("train/run/a: run/train; val/run/b: run/val; test/jump/c: jump/test", PLAIN),
    "capitals": ("Train/run/a: run/train; VALIDATION/run/b: run/val; Testing/jump/c: jump/test", PLAIN),
    "only train": ("train/run/a: run/train; train/jump/b: jump/train", PLAIN),
    "only test": ("test/run/a: run/test", PLAIN),
    "no classes": ("train/a: -/train; val/b: -/val", PLAIN),
    "mixed": ("train/a: -/train; train/run/b: -/train; val/run/c: run/val", PLAIN),
    "dev": ("train/run/a: run/train; dev/run/b: run/val", "dev/ is treated as the split val"),
    "eval": ("train/run/a: run/train; eval/run/b: run/val", "eval/ is treated as the split val"),
    "trainval": ("trainval/run/a: run/train; test/run/b: run/test", "trainval/ is treated as the split train"),
    "mmaction": (
        "videos_train/run/a: run/train; videos_val/run/b: run/val",
        "videos_train/ is treated as the split train",
    ),
    "kinetics": ("train_256/run/a: run/train; val_256/run/b: run/val", "val_256/ is treated as the split val"),
    # company
    "unlabelled": (
        "train/run/a: run/train; val/run/b: run/val; unlabelled/c: -/-; unlabelled/x/d: -/-",
        r"unlabelled beside train, val, in no split \(2 videos\): pretrain uses them, finetune and evaluate do not",
    ),
    "train and unlabelled": ("train/run/a: run/train; unlabeled videos/c: -/-", "unlabeled videos beside train, in no"),
    "flat train and unlabelled": ("train/a: -/train; Unlabelled/c: -/-", "Unlabelled beside train, in no split"),
    "test and no-label": ("test/run/a: run/test; no-labels/c: -/-", "no-labels beside test, in no split"),
    "any folder": ("train/run/a: run/train; val/run/b: run/val; extra/jump/c: -/-", "extra beside train, val, in"),
    "train and holdout": ("train/run/a: run/train; holdout/run/b: -/-", "holdout beside train, in no split"),
    "classes and test": ("test/run/a: run/test; run/b: -/-; jump/c: -/-", "run, jump beside test, in no split"),
    "train and flat extra": ("train/run/a: run/train; extra/b: -/-", "extra beside train, in no split"),
    "loose": ("train/run/a: run/train; b: -/-; c: -/-", r"loose videos beside train, in no split \(2 videos\)"),
    "loose beside flat": ("test/a: -/test; b: -/-", r"loose videos beside test, in no split \(1 video\)"),
    # further down
    "inside one folder": ("data/train/run/a: run/train; data/val/run/b: run/val", "the splits are those of D/data"),
    "inside two folders": ("a/videos/train/x: -/train; a/videos/test/y: -/test", "the splits are those of D/a/videos"),
    "inside, in company": ("data/train/r/a: r/train; data/val/r/b: r/val; data/more/c: -/-", "more beside train, val"),
    "only train inside": ("videos/train/run/a: run/train; videos/train/jump/b: jump/train", "those of D/videos"),
    "inside classes": (
        "run/train/a: run/train; jump/train/b: jump/train; run/val/c: run/val",
        r"its splits are inside the class folders \(run, jump\)",
    ),
    "inside classes, by person": (
        "run/train/p1/a: run/train; jump/test/p2/b: jump/test",
        "are inside the class folders",
    ),
    "inside data sets": (
        "k400/train/run/a: -/train; ucf/train/run/b: -/train; ucf/test/run/c: -/test",
        "k400, ucf are separate data sets, with splits but without classes; pass one of them",
    ),
    # classes
    "classes": ("run/a: run/-; jump/b: jump/-; jump/deep/c: jump/-", PLAIN),
    "a class train": ("train/a: train/-; bus/b: bus/-", "train is treated as a class, not as a split"),
    "a class train, in folders": ("train/2023/a: train/-; bus/2024/b: bus/-", "train is treated as a class, not as a"),
    "a class of training": ("strength training/a: strength training/-; bowling/b: bowling/-", PLAIN),
    "numbered splits": ("train1/a: train1/-; test1/b: test1/-", "train1, test1 are treated as classes, not as splits"),
    "takes": ("test_1/a: test_1/-; test_2/b: test_2/-", "test_1, test_2 are treated as classes"),
    "a class unlabelled": ("run/a: run/-; jump/b: jump/-; unlabelled/c: -/-", "the videos of unlabelled have no class"),
    "test inside one class": ("run/a: run/-; run/test/b: run/-; jump/c: jump/-", "the folders test inside the classes"),
    "test in every class": ("run/test/a: run/-; jump/test/c: jump/-", "the folders test inside the classes"),
    # neither
    "flat": ("a: -/-; b: -/-", PLAIN),
    "collection": ("a: -/-; run/b: -/-; jump/c: -/-", PLAIN),
    "one folder": ("videos/a: videos/-; videos/b: videos/-", PLAIN),
    "one folder of folders": ("videos/run/a: videos/-; videos/test/b: videos/-", "the folders test inside"),
}


@pytest.mark.parametrize("name", TABLE)
def test_layouts(name: str) -> None:
    rows, told = TABLE[name]
    paths, expected = [], {}
    for index, row in enumerate(rows.split("; ")):
        path, meaning = row.split(": ")
        paths.append(tuple(path.split("/")))
        expected[index] = tuple(None if text == "-" else text for text in meaning.split("/"))

    layout = read_layout(Path("D"), paths)

    assert {video.index: (video.label, video.split) for video in layout.videos} == expected
    assert len(layout.videos) == len(paths)
    if told is PLAIN:
        assert layout.notices == ()
    else:
        assert re.search(told, " ".join(layout.notices))
    assert all("\n" not in notice and notice.startswith("D") for notice in layout.notices)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ("train/run/a training/run/b", "the folders train and training for the split train: expected one folder for"),
        ("train/run/a val/run/b eval/run/c", "the folders val and eval for the split val"),
        ("videos_train/a rawframes_train/b videos_val/c", "videos_train and rawframes_train for the split train"),
    ],
)
def test_two_folders_for_one_split(paths: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_layout(Path("D"), [tuple(path.split("/")) for path in paths.split()])
    assert "rename one of them" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        (" Train ", "train"),
        ("train-set", "train"),
        ("Test Videos", "test"),
        ("frames_valid", "val"),
        ("train2", NONE),
        ("train_val", NONE),
        ("test drive", NONE),
        ("trains", NONE),
        ("retrain", NONE),
        ("256", NONE),
        ("videos", NONE),
    ],
)
def test_names_of_split_folders(name: str, split: str | None) -> None:
    assert split_folder(name) == split


def test_videos_of_splits_come_in_their_order_and_the_others_last() -> None:
    paths = [("a",), ("test", "r", "b"), ("train", "r", "d"), ("val", "r", "c"), ("train", "s", "e")]

    layout = read_layout(Path("D"), paths)

    assert [video.index for video in layout.videos] == [2, 4, 3, 1, 0]


def test_a_folder_that_is_a_video_and_one_without_videos() -> None:
    assert [(video.label, video.split) for video in read_layout(Path("D"), [()]).videos] == [(None, None)]
    assert read_layout(Path("D"), []).videos == ()
