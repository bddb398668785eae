import os
from pathlib import Path

import pytest

from videomae.core.errors import DataError, InputError
from videomae.core.files import read_json, require_writable, split_suffix, write_bytes


def test_writes_and_makes_missing_folders(tmp_path: Path) -> None:
    written = write_bytes(tmp_path / "a" / "b" / "c.bin", b"content")

    assert written == tmp_path / "a" / "b" / "c.bin"
    assert written.read_bytes() == b"content"
    assert [path.name for path in written.parent.iterdir()] == ["c.bin"]


def test_replaces_a_file_and_keeps_its_permissions(tmp_path: Path) -> None:
    target = tmp_path / "c.bin"
    target.write_bytes(b"a much longer content than the new one")
    target.chmod(0o640)

    write_bytes(str(target), b"new")

    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_new_file_has_the_permissions_that_open_gives(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")

    written = write_bytes(tmp_path / "new", b"")

    assert written.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_file_in_the_place_of_the_folder_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(InputError, match=r"cannot write .*c\.png .*folder that can be written") as caught:
        write_bytes(tmp_path / "file" / "c.png", b"new")

    assert "\n" not in str(caught.value)


def test_a_folder_in_the_place_of_the_file_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="this is a folder"):
        write_bytes(tmp_path, b"new")


def test_a_failure_leaves_the_old_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "c.bin"
    target.write_bytes(b"old")

    def disk_full(source: str, destination: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", disk_full)
    with pytest.raises(InputError, match="No space left on device"):
        write_bytes(target, b"new")

    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["c.bin"]


def test_a_place_is_tried_before_long_work(tmp_path: Path) -> None:
    require_writable(tmp_path / "new" / "c.bin")
    assert list((tmp_path / "new").iterdir()) == []

    (tmp_path / "c.bin").write_bytes(b"old")
    require_writable(tmp_path / "c.bin")
    assert (tmp_path / "c.bin").read_bytes() == b"old"

    with pytest.raises(InputError, match="this is a folder"):
        require_writable(tmp_path / "new")
    with pytest.raises(InputError, match="cannot write"):
        require_writable(tmp_path / "c.bin" / "d.bin")


def test_json_is_read_or_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(path, error_type=DataError, encoding="utf-8-sig") == {"a": 1}
    for content, message in (
        (path.read_bytes(), "line 1"),
        (b'{\n"a": }', r"a\.json, line 2: .*: expected JSON; the file may be cut off"),
        (b'"\xff"', r"a\.json .*expected UTF-8 text"),
        (b"[" * 100_000, r"a\.json"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_json(path, error_type=DataError)
    with pytest.raises(DataError, match="a readable JSON file"):
        read_json(tmp_path / "absent.json", error_type=DataError)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.MP4", ("a", ".mp4")), ("a.b.c", ("a.b", ".c")), (".mp4", ("", ".mp4")), ("a", ("a", "")), ("a.", ("a", "."))],
)
def test_suffixes(name: str, expected: tuple[str, str]) -> None:
    assert split_suffix(name) == expected
