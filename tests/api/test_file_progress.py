"""The bar of work on many files."""

from __future__ import annotations

import pytest
from rich.console import Console

from videomae.api.file_progress import FileProgress


def test_in_a_terminal_there_is_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(force_terminal=True, width=120, stderr=True)
    with FileProgress(console, verb="scanning", total=2, done="scanned") as progress:
        progress.advance(was_known=True, is_broken=False)
        progress.advance(was_known=False, is_broken=True, text="3 MB")
    text = capsys.readouterr().err
    for part in ("scanning", "2/2", "videos/s", "3 MB", "1 broken"):
        assert part in text


def test_elsewhere_there_is_a_line_for_each_tenth_of_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    with FileProgress(Console(stderr=True), verb="scanning", total=100, done="scanned") as progress:
        for number in range(100):
            progress.advance(was_known=number < 55, is_broken=number == 70)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == ["60/100", "70/100", "80/100", "90/100", "100/100"]
    assert ["1 broken" in line for line in lines] == [False, False, True, True, True]


def test_after_ctrl_c_it_tells_how_to_resume(capsys: pytest.CaptureFixture[str]) -> None:
    with (  # noqa: PT012
        pytest.raises(KeyboardInterrupt),
        FileProgress(Console(stderr=True), verb="scanning", total=5, done="scanned") as progress,
    ):
        progress.advance(was_known=True, is_broken=False)
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "1 of 5 videos are scanned; repeat the command to resume\n"
