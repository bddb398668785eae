"""What is found between videos, by hand-made records."""

from __future__ import annotations

from pathlib import Path

import pytest

from videomae.datasets.catalog import VideoRecord
from videomae.datasets.findings import Finding, find_problems, frames_of, notes_on
from videomae.datasets.manifest import Manifest, VideoEntry


def entry(name: str, label: str | None = None, split: str | None = None, *part: float) -> VideoEntry:
    return VideoEntry(Path(f"{name}.mp4"), label, split, *part)


def record(content: str = "", **facts: object) -> VideoRecord:
    """A sound video of 100 frames in 10 seconds, unless changed."""
    settings = {"num_frames": 100, "duration_seconds": 10.0, "frames_per_second": 10.0, "width": 320, "height": 240}
    return VideoRecord(**{**settings, "content_hash": content or None, **facts})  # type: ignore[arg-type]


def found(*known: tuple[VideoEntry, VideoRecord], span: int = 61) -> list[tuple[str, str, str]]:
    """(kind, names of the videos, reason) of each finding."""
    return [(f.kind, " ".join(e.path.stem for e in f.entries), f.reason) for f in find_problems(known, clip_span=span)]


def test_sound_videos_give_nothing() -> None:
    assert found((entry("a"), record("1")), (entry("b"), record("2")), (entry("c"), record())) == []


def test_broken_ones_come_first_and_are_no_duplicates() -> None:
    known = [(entry("a"), record("1", num_frames=5)), (entry("b"), VideoRecord(problem="empty", content_hash="1"))]
    assert found(*known) == [("broken", "b", "empty"), ("too_short", "a", "5 frames, and a clip spans 61")]


def test_a_part_beyond_the_end_is_broken() -> None:
    ((kind, name, reason),) = found((entry("a", None, None, 12.0, 15.0), record()))
    assert (kind, name) == ("broken", "a")
    assert "begins at 12 s, and the video ends at 10.00 s" in reason


def test_damaged() -> None:
    assert found((entry("a"), record(damage="packet 7 cannot be read"))) == [
        ("damaged", "a", "packet 7 cannot be read; 100 frames can be read")
    ]


@pytest.mark.parametrize(
    ("part", "frames"), [((), 100), ((0.0, 5.0), 50), ((9.0, 20.0), 10), ((4.0,), 60), ((12.0,), 0)]
)
def test_frames_of_a_part(part: tuple[float, ...], frames: int) -> None:
    assert frames_of(entry("a", None, None, *part), record()) == frames


def test_exactly_a_clip_is_long_enough() -> None:
    assert found((entry("a"), record(num_frames=61))) == []
    assert [kind for kind, *_ in found((entry("a"), record(num_frames=60)))] == ["too_short"]


def test_copies() -> None:
    known = [(entry(name, "x", "train"), record("1")) for name in "abc"]
    assert found(*known) == [("duplicate", "a b c", "3 files with the same content")]


def test_the_same_file_twice() -> None:
    assert found((entry("a"), record("1")), (entry("a"), record("1"))) == [("repeated", "a a", "listed 2 times")]


def test_a_leak() -> None:
    known = [(entry("a", "x", "train"), record("1")), (entry("b", "x", "val"), record("1"))]
    assert found(*known) == [("leak", "a b", "the same content in train and val")]


def test_a_leak_of_one_file() -> None:
    known = [(entry("a", "x", "train"), record("1")), (entry("a", "x", "test"), record("1"))]
    assert found(*known) == [("leak", "a a", "the same content in test and train")]


def test_two_classes() -> None:
    known = [(entry("a", "x"), record("1")), (entry("b", "y"), record("1"))]
    assert found(*known) == [("conflict", "a b", "the same content in the classes x and y")]


def test_a_leak_in_two_classes_is_told_as_both() -> None:
    known = [(entry("a", "x", "train"), record("1")), (entry("b", "y", "val"), record("1"))]
    assert [kind for kind, *_ in found(*known)] == ["leak", "conflict"]


def test_parts_of_one_video_are_no_copies() -> None:
    known = [(entry("a", "x", "train", 0.0, 6.0), record("1")), (entry("a", "y", "val", 6.0, 10.0), record("1"))]
    assert found(*known, span=10) == []


def test_overlapping_parts_leak_but_may_show_different_things() -> None:
    known = [(entry("a", "x", "train", 0.0, 6.0), record("1")), (entry("a", "y", "val", 5.0, 10.0), record("1"))]
    assert [kind for kind, *_ in found(*known, span=10)] == ["leak"]


def test_the_whole_video_overlaps_its_part() -> None:
    known = [(entry("a", "x", "train"), record("1")), (entry("b", "x", "val", 5.0, 10.0), record("1"))]
    assert [kind for kind, *_ in found(*known, span=10)] == ["leak"]


def test_a_long_part_overlaps_one_that_is_not_its_neighbor() -> None:
    parts = [("train", 0.0, 9.0), ("train", 1.0, 2.0), ("val", 8.0, 10.0)]
    known = [(entry("a", "x", split, start, end), record("1")) for split, start, end in parts]
    assert [(kind, names) for kind, names, _ in found(*known, span=1)] == [("leak", "a a")]


def test_videos_without_content_are_alike_to_none() -> None:
    assert found((entry("a", "x"), record()), (entry("b", "y"), record())) == []


# --- notes -------------------------------------------------------------------------------------------------------


def notes(*known: tuple[VideoEntry, VideoRecord]) -> str:
    entries = tuple(entry for entry, _ in known)
    names = tuple(sorted({entry.label for entry in entries if entry.label}))
    return "\n".join(notes_on(Manifest(Path("data"), entries, names), known))


def test_an_even_data_set_needs_no_notes() -> None:
    assert notes(*((entry(f"{n}", "xy"[n % 2], "train"), record()) for n in range(20))) == ""


def test_notes_on_classes() -> None:
    known = [(entry(f"{n}", "x", "train"), record()) for n in range(20)]
    known += [(entry("y", "y", "train"), record()), (entry("z", "z", "val"), record()), (entry("n"), record())]
    text = notes(*known)
    assert "1 of 23 videos have no class" in text
    assert "the class z in val, but not in train" in text
    assert "fewer than 5 training videos in the class y" in text
    assert "class imbalance: 20 training videos of x, 1 of y" in text


def test_notes_on_videos() -> None:
    known = [
        (entry("a"), record(has_variable_rate=True)),
        (entry("b"), record(frames_per_second=25.0, rotation_degrees=90)),
        (entry("c"), record(width=48)),
        (entry("d"), VideoRecord(problem="broken", rotation_degrees=90)),
        (entry("e"), record(sample_aspect_ratio=4 / 3, is_interlaced=True)),
        (entry("f"), record(is_interlaced=True, is_hdr=True)),
    ]
    text = notes(*known)
    assert "frame rates differ, 10 to 25 a second" in text
    rates = (24.0, 24.0, 25.0, 30.0, 30.0, 30.0)
    many = [(entry(str(number)), VideoRecord(frames_per_second=rate)) for number, rate in enumerate(rates)]
    assert "(mostly 30)" in notes(*many)  # the commonest, and no rate that no video has
    assert "1 video with a variable frame rate" in text
    assert "1 video stored rotated" in text
    assert "1 video with pixels that are not square; frames are read as stored" in text
    assert "2 videos interlaced; each frame contains both fields" in text
    assert "1 video in HDR (PQ or HLG); colors are not tone-mapped" in text
    assert "1 video with a side of less than 64 pixels" in text


def test_findings_compare_by_content() -> None:
    assert Finding("broken", (entry("a"),), "x") == Finding("broken", (entry("a"),), "x")
