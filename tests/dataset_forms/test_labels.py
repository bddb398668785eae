"""Labels as people and pandas write them: no silent class beside those that there are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from videomae.core.errors import DataError
from videomae.datasets.labels import is_missing, reader_of_labels
from videomae.datasets.manifest import Manifest, read_manifest

Place = Callable[..., Path]
MISSING = ("", "nan", "NaN", "None", "null", "N/A", "NA", "<NA>", "#N/A", "NULL", "n/a")
COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.fixture
def folder(place: Place) -> Path:
    """Videos a to d, without content."""
    return place("a.mp4", "b.mp4", "c.mp4", "d.mp4", content=b"x")


def read(folder: Path, text: str, name: str = "list.csv") -> Manifest:
    (folder / name).write_text(text, encoding="utf-8")
    return read_manifest(folder / name)


def labels(manifest: Manifest) -> list[str | None]:
    return [entry.label for entry in manifest.entries]


def refused(folder: Path, text: str) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- missing


@pytest.mark.parametrize("word", MISSING)
def test_missing_labels_are_no_class(folder: Path, word: str) -> None:
    manifest = read(folder, f"path,label\na.mp4,run\nb.mp4,{word}\n")

    assert labels(manifest) == ["run", None]
    assert manifest.class_names == ("run",)
    assert manifest.notices == (
        (f"{folder}/list.csv: 1 label (nan, None, null or N/A) treated as missing",) if word else ()
    )
    with pytest.raises(DataError, match=r"line 3: .*b\.mp4 without a class"):
        manifest.require_classes()


@pytest.mark.parametrize("word", ["none", "Nan bread", "na", "nan2", "nothing", "0"])
def test_names_that_only_look_missing(word: str) -> None:
    assert not is_missing(word)


def test_missing_labels_of_json_and_of_lines_without_a_header(folder: Path) -> None:
    document = [{"path": "a.mp4", "label": "run"}, {"path": "b.mp4", "label": float("nan")}, {"path": "c.mp4"}]
    assert labels(read(folder, json.dumps(document), "l.json")) == ["run", None, None]
    assert labels(read(folder, "a.mp4 run\nb.mp4 nan\nc.mp4,NaN\n", "l.txt")) == ["run", None, None]


def test_missing_cells_of_other_columns(folder: Path) -> None:
    manifest = read(folder, "path,label,split,start,end,group\na.mp4,run,nan,nan,NaN,None\nb.mp4,run,train,nan,2,g\n")

    first, second = manifest.entries
    assert (first.split, first.start_seconds, first.end_seconds, first.group) == (None, None, None, None)
    assert (second.split, second.start_seconds, second.end_seconds, second.group) == ("train", None, 2.0, "g")


# --- one name in two forms


def test_two_forms_of_unicode_are_one_class(folder: Path) -> None:
    manifest = read(folder, f"path,label\na.mp4,{COMPOSED}\nb.mp4,{DECOMPOSED}\n")

    assert labels(manifest) == [COMPOSED, COMPOSED]
    (notice,) = manifest.notices
    assert "the class 'café' is written in two forms of Unicode, which are treated as one" in notice


def test_folders_of_two_forms_of_unicode_are_one_class(place: Place) -> None:
    folder = place(f"{COMPOSED}/a.mp4", f"{DECOMPOSED}/b.mp4", "run/c.mp4", content=b"x")
    if len({entry.path.parent for entry in read_manifest(folder).entries}) < 3:
        pytest.skip("this file system keeps one form only")

    manifest = read_manifest(folder)

    assert manifest.class_names == (COMPOSED, "run")
    assert manifest.class_counts() == {COMPOSED: 2, "run": 1}
    assert "is written in two forms of Unicode" in manifest.notices[0]


def test_a_class_list_in_the_other_form(folder: Path) -> None:
    (folder / "classes.txt").write_text(f"{DECOMPOSED}\nrun\n", encoding="utf-8")

    assert labels(read(folder, f"path,label\na.mp4,{COMPOSED}\nb.mp4,run\n")) == [COMPOSED, "run"]
    assert labels(read(folder, "path,label\na.mp4,0\nb.mp4,1\n")) == [COMPOSED, "run"]


@pytest.mark.parametrize(
    ("first", "second", "word"),
    [
        ("Run", "run", "capitals"),
        ("long jump", "Long_Jump", "capitals or spaces"),
        ("longjump", "long jump", "capitals or spaces"),
        ("long  jump", "long jump", "capitals or spaces"),
    ],
)
def test_names_that_look_alike_are_told(folder: Path, first: str, second: str, word: str) -> None:
    for manifest in (
        read(folder, f"path,label\na.mp4,{first}\nb.mp4,{second}\nc.mp4,swim\n"),
        read(folder, f"path,labels\na.mp4,{first}|swim\nb.mp4,{second}\n"),
    ):
        (notice,) = manifest.notices
        assert notice.endswith(f"differ in {word} only")
        assert repr(first) in notice
        assert repr(second) in notice


def test_folders_that_differ_in_capitals_are_told(place: Place) -> None:
    folder = place("Run/a.mp4", "run/b.mp4", content=b"x")
    if len(list(folder.iterdir())) < 2:
        pytest.skip("this file system does not tell capitals apart")

    assert read_manifest(folder).notices == (f"{folder}: the classes 'Run' and 'run' differ in capitals only",)


# --- numbers


def test_whole_numbers_as_pandas_writes_them(folder: Path) -> None:
    manifest = read(folder, "path,label\na.mp4,1\nb.mp4,1.0\nc.mp4,2.\nd.mp4,10.00\n")

    assert labels(manifest) == ["1", "1", "2", "10"]
    assert manifest.class_names == ("1", "2", "10")
    assert "classes such as 1.0 are treated as whole numbers" in manifest.notices[0]


def test_whole_numbers_get_the_names_of_the_class_list(folder: Path) -> None:
    (folder / "classes.txt").write_text("run\njump\n")

    assert labels(read(folder, "path,label\na.mp4,0.0\nb.mp4,1.0\nc.mp4,\n")) == ["run", "jump", None]


def test_numbers_among_names_are_told(folder: Path) -> None:
    manifest = read(folder, "path,label\na.mp4,1\nb.mp4,1.0\nc.mp4,run\n")

    assert labels(manifest) == ["1", "1.0", "run"]
    assert "'1' and '1.0'" in manifest.notices[0]


# --- several classes in one cell


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["a|b", "b"], [("a", "b"), ("b",)]),
        (["a;b", "b"], [("a", "b"), ("b",)]),
        (["a,b", "b"], [("a", "b"), ("b",)]),
        (["riding, a bike;b", "b"], [("b", "riding, a bike"), ("b",)]),
        (["riding, a bike|", "a|b"], [("riding, a bike",), ("a", "b")]),
        (["['a', 'b']", "['b']", "[]"], [("a", "b"), ("b",), ()]),
        (['["a, b"]', "['b', 'a']", "nan"], [("a, b",), ("a", "b"), ()]),
        (["(2, 1)", "[1]"], [("1", "2"), ("1",)]),
        (["[a, b]", "c"], [("[a", "b]"), ("c",)]),
        (["a b", "", "nan"], [("a b",), (), ()]),
    ],
)
def test_cells_of_a_column_labels(cells: list[str], expected: list[tuple[str, ...]]) -> None:
    classes_of, told = reader_of_labels(cells)

    assert [classes_of(cell) for cell in cells] == expected
    has_other = not any("|" in cell or cell[:1] in "[(" for cell in cells if cell) and any(
        mark in cell for cell in cells for mark in ",;"
    )
    assert bool(told) == (has_other or cells[0] == "[a, b]")


def test_a_column_labels_with_commas(folder: Path) -> None:
    manifest = read(folder, 'path,labels\na.mp4,"run,jump"\nb.mp4,run\n')

    assert [entry.labels for entry in manifest.entries] == [("jump", "run"), ("run",)]
    (notice,) = manifest.notices
    assert "in the column labels, ',' is used as the separator of classes, as in 'run,jump'" in notice


def test_lists_in_json_keep_names_with_commas(folder: Path) -> None:
    document = [{"path": "a.mp4", "labels": ["riding, a bike"]}, {"path": "b.mp4", "labels": ["run", "jump"]}]

    manifest = read(folder, json.dumps(document), "l.json")

    assert [entry.labels for entry in manifest.entries] == [("riding, a bike",), ("jump", "run")]
    assert manifest.notices == ()


@pytest.mark.parametrize("label", ["run,jump", "run;jump", "run|jump", "swim; dive"])
def test_a_label_that_seems_to_be_several_is_told(folder: Path, label: str) -> None:
    manifest = read(folder, f'path,label\na.mp4,"{label}"\nb.mp4,run\nc.mp4,jump\n')

    (notice,) = manifest.notices
    assert f"the class {label!r} seems to be several classes, but is treated as one" in notice
    assert "call the column labels" in notice


def test_a_name_with_a_comma_is_a_name(folder: Path) -> None:
    assert read(folder, 'path,label\na.mp4,"riding, a bike"\nb.mp4,riding\n').notices == ()


# --- columns


def test_columns_that_are_not_read_are_told(folder: Path) -> None:
    manifest = read(folder, "id,path,label,category,group,fps\n1,a.mp4,run,sport,g,25\n2,b.mp4,jump,sport,h,25\n")

    assert manifest.notices == (f"{folder}/list.csv: the columns id, category, fps are not used",)
    manifest = read_manifest(folder / "list.csv", group="id")
    assert manifest.notices == (f"{folder}/list.csv: the columns category, group, fps are not used",)
    assert read(folder, "path,label,x\na.mp4,run,1\n").notices == (f"{folder}/list.csv: the column x is not used",)


def test_parts_in_frames(folder: Path) -> None:
    text = "path,label,start_frame,end_frame\na.mp4,run,0,8\na.mp4,jump,8.0,20\nb.mp4,run,,5\nc.mp4,run,3,nan\n"

    manifest = read(folder, text)

    parts = [(entry.start_frame, entry.end_frame) for entry in manifest.entries]
    assert parts == [(0, 8), (8, 20), (None, 5), (3, None)]
    (notice,) = manifest.notices
    assert "frames count from 0, and the end is the first that no longer belongs to the part" in notice


@pytest.mark.parametrize(("start", "end"), [("5", "5"), ("6", "5"), ("-1", "5"), ("1.5", "5"), ("x", "5")])
def test_parts_in_frames_that_are_none(folder: Path, start: str, end: str) -> None:
    message = refused(folder, f"path,start_frame,end_frame\na.mp4,{start},{end}\n")

    assert f"line 2: from frame '{start}' to '{end}': expected whole numbers from 0" in message


def test_a_part_in_frames_and_in_seconds(folder: Path) -> None:
    assert "line 2: a part in seconds and in frames: expected one of the two" in refused(
        folder, "path,start,end,start_frame,end_frame\na.mp4,0,1,0,25\n"
    )


# --- all errors at once


def test_errors_of_a_list_come_at_once_in_the_order_of_lines(folder: Path) -> None:
    message = refused(
        folder,
        "path,label,split,start,end\na.mp4,run,trainer,,\nx.mp4,run,train,,\nb.mp4,run\nc.mp4,run,train,2,1\n"
        'd.mp4,"1,2",val,,\n',
    )

    places = [message.index(text) for text in ("line 2: split 'trainer'", "; line 3: 'x.mp4'", "; line 4: 2 columns")]
    places += [message.index(text) for text in ("; line 5: from '2' to '1'", "; line 6: the labels '1,2'")]
    assert places == sorted(places)
    assert message.startswith(f"{folder}/list.csv, line 2")
    assert "expected train or val or test and a path of an existing file" in message


def test_the_first_ten_errors_and_how_many_more(folder: Path) -> None:
    message = refused(folder, "path\n" + "".join(f"x{number}.mp4\n" for number in range(25)))

    assert "line 11: 'x9.mp4'; and 15 more lines: expected a path" in message
    assert "x10.mp4" not in message
    assert "and 1 more lines" not in refused(folder, "a.mp4\n" + "nothing here\n" * 10)
