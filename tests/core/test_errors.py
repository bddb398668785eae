"""Errors are one line with three parts, and keep them on the way between processes."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from videomae.core import errors

KINDS = [
    errors.InputError,
    errors.VideoError,
    errors.ConfigError,
    errors.ShapeError,
    errors.CheckpointError,
    errors.DataError,
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_line_with_the_value_what_was_expected_and_what_to_do(kind: type[errors.InputError]) -> None:
    error = kind(Path("clip.mp4"), expected="a video", hint="check the file")

    assert str(error) == "clip.mp4: expected a video; check the file"
    assert (error.value, error.expected, error.hint) == ("clip.mp4", "a video", "check the file")
    assert isinstance(error, ValueError)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_from_a_worker_process_arrives_whole(kind: type[errors.InputError]) -> None:
    error = kind("12", expected="16", hint="give 16")

    arrived = pickle.loads(pickle.dumps(error))

    assert type(arrived) is kind
    assert str(arrived) == str(error)
    assert vars(arrived) == vars(error)


def test_whatever_a_file_holds_makes_one_short_line() -> None:
    error = errors.InputError("a\nb\x00\ud800\u2028é", expected="x" * 5000, hint="h\r")
    assert error.value == r"a\nb\x00\ud800\u2028é"
    assert len(error.expected) == 1000
    assert error.hint == r"h\r"
