"""Names and messages as text that can be printed."""

from __future__ import annotations

import os
from pathlib import Path

from videomae.core.text import clock, error_line, one_line, readable


def test_readable() -> None:
    assert readable("a/b c\t動.mp4") == "a/b c\t動.mp4"
    assert readable(Path("x") / os.fsdecode(b"\xff.mp4")) == "x/\ufffd.mp4"


def test_one_line() -> None:
    assert one_line("a\nb\x1b[31m é") == "a\\nb\\x1b[31m é"
    assert one_line("\udcff") == "\\udcff"


def test_error_line() -> None:
    assert error_line(ValueError(" two\n lines ")) == "two lines"
    assert error_line(KeyError()) == "KeyError"
    assert error_line(MemoryError("large")) == "memory ran out"


def test_moments_of_a_video() -> None:
    assert [clock(seconds) for seconds in (0, 7.4, 59.6, 750, 3723)] == ["0:00", "0:07", "1:00", "12:30", "1:02:03"]
    assert clock(7.46, tenths=True) == "0:07.5"
    assert clock(59.97, tenths=True) == "1:00.0"
