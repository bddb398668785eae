"""What a person should know of a data set: pure functions of its entries and of what is known of their videos."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import mode
from typing import Literal

from videomae.datasets.catalog import VideoRecord
from videomae.datasets.manifest import Manifest, VideoEntry

FindingKind = Literal["broken", "damaged", "too_short", "leak", "conflict", "repeated", "duplicate"]
Known = tuple[VideoEntry, VideoRecord]

_FEW_VIDEOS = 5
_SKEW = 5.0
_MIXED_RATES = 1.2
_SMALL_PIXELS = 64


@dataclass(frozen=True)
class Finding:
    """Something wrong with one video, or between several.

    Args:
        kind: "broken": it cannot be used; "damaged": data is missing or cannot be decoded; "too_short": fewer frames
            than a clip spans; "leak": the same content in several splits; "conflict": under several classes;
            "repeated": the same file and part, listed several times; "duplicate": the same content in several files.
        entries: the videos.
        reason: one line.
    """

    kind: FindingKind
    entries: tuple[VideoEntry, ...]
    reason: str


def find_problems(known: Sequence[Known], *, clip_span: int) -> tuple[Finding, ...]:
    """All findings, the gravest kinds first.

    Args:
        known: the entries of a data set, in its order, with what is known of their videos.
        clip_span: frames from the first to the last of a clip, both counted.
    """
    broken = [Finding("broken", (entry,), reason) for entry, record in known if (reason := _why_broken(entry, record))]
    lost = {id(finding.entries[0]) for finding in broken}
    usable = [(entry, record) for entry, record in known if id(entry) not in lost]
    return (
        *broken,
        *_between(usable),
        *(
            Finding("damaged", (entry,), f"{record.damage}; {record.num_frames} frames can be read")
            for entry, record in usable
            if record.damage
        ),
        *(
            Finding("too_short", (entry,), f"{count} frames, and a clip spans {clip_span}")
            for entry, record in usable
            if (count := frames_of(entry, record)) < clip_span
        ),
    )


def notes_on(manifest: Manifest, known: Iterable[Known]) -> tuple[str, ...]:
    """What is no fault, but may explain what training gives, in one line each."""
    usable = [(entry, record) for entry, record in known if not record.problem]
    return tuple(filter(None, (*_notes_on_classes(manifest), *_notes_on_videos([record for _, record in usable]))))


def clip_span(num_frames: int, frame_stride: int) -> int:
    """Frames of a video from the first to the last of a clip, both counted."""
    return (num_frames - 1) * frame_stride + 1


def frames_of(entry: VideoEntry, record: VideoRecord) -> int:
    """Frames of the entry's part of the video; of one in seconds about, as many as its share of the time."""
    if entry.start_frame is not None or entry.end_frame is not None:
        end = record.num_frames if entry.end_frame is None else min(entry.end_frame, record.num_frames)
        return max(0, end - (entry.start_frame or 0))
    if record.duration_seconds is None or (entry.start_seconds is None and entry.end_seconds is None):
        return record.num_frames
    until = float("inf") if entry.end_seconds is None else entry.end_seconds
    share = (min(until, record.duration_seconds) - (entry.start_seconds or 0.0)) / record.duration_seconds
    return max(0, round(record.num_frames * share))


# --- single videos -----------------------------------------------------------------------------------------------


def _why_broken(entry: VideoEntry, record: VideoRecord) -> str | None:
    if record.problem:
        return record.problem
    if max(entry.start_frame or 0, (entry.end_frame or 1) - 1) >= record.num_frames:
        return (
            f"its part goes from frame {entry.start_frame or 0} to {entry.end_frame or 'the end'}, and the video has "
            f"{record.num_frames}; correct start_frame and end_frame of this entry"
        )
    start, end = entry.start_seconds or 0.0, record.duration_seconds
    if end is not None and start >= end:
        return f"its part begins at {start:g} s, and the video ends at {end:.2f} s; correct the start of this entry"
    return None


def _part(entry: VideoEntry) -> tuple[float, float]:
    """Start and end: in frames where these are given, else in seconds; parts of one video mostly have one unit."""
    if entry.start_frame is not None or entry.end_frame is not None:
        return entry.start_frame or 0, float("inf") if entry.end_frame is None else entry.end_frame
    return entry.start_seconds or 0.0, float("inf") if entry.end_seconds is None else entry.end_seconds


# --- between videos ----------------------------------------------------------------------------------------------


def _between(usable: Sequence[Known]) -> Iterator[Finding]:
    groups: dict[str, list[VideoEntry]] = defaultdict(list)
    for entry, record in usable:
        if record.content_hash is not None:
            groups[record.content_hash].append(entry)
    shared = [entries for entries in groups.values() if len(entries) > 1]
    for find in (_leak, _conflict, _repeats, _duplicates):
        for entries in shared:
            yield from find(entries)


def _leak(entries: list[VideoEntry]) -> Iterator[Finding]:
    leaking = _overlapping(entries, lambda entry: entry.split)
    if leaking:
        splits = " and ".join(sorted({entry.split for entry in leaking if entry.split}))
        yield Finding("leak", leaking, f"the same content in {splits}")


def _conflict(entries: list[VideoEntry]) -> Iterator[Finding]:
    conflicting = _overlapping(entries, lambda entry: entry.label_text)
    # Parts of one video may well show different things; the same part may not.
    same = [entry for entry in conflicting if any(_is_repeat(entry, other) for other in conflicting)]
    labels = sorted({entry.label_text or "(none)" for entry in same if entry.label_text is not None})
    if len(labels) > 1:
        yield Finding("conflict", tuple(same), f"the same content in the classes {' and '.join(labels)}")


def _repeats(entries: list[VideoEntry]) -> Iterator[Finding]:
    """The same file and part, in the same split and class."""
    for same in _grouped(entries, lambda e: (e.path, e.part, e.split, e.label_text)):
        yield Finding("repeated", same, f"listed {len(same)} times")


def _duplicates(entries: list[VideoEntry]) -> Iterator[Finding]:
    """The same part in several files of one split and class; other combinations are leaks or conflicts."""
    for same in _grouped(entries, lambda e: (e.part, e.split, e.label_text)):
        files = {entry.path: entry for entry in same}
        if len(files) > 1:
            yield Finding("duplicate", tuple(files.values()), f"{len(files)} files with the same content")


def _grouped(entries: list[VideoEntry], key: Callable[[VideoEntry], object]) -> list[tuple[VideoEntry, ...]]:
    groups: dict[object, list[VideoEntry]] = defaultdict(list)
    for entry in entries:
        groups[key(entry)].append(entry)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _overlapping(entries: list[VideoEntry], side: Callable[[VideoEntry], str | None]) -> tuple[VideoEntry, ...]:
    """Those of which another one on another side shows a part of the same seconds."""
    by_start = sorted(entries, key=_part)
    found: dict[int, VideoEntry] = {}
    for place, first in enumerate(by_start):
        for second in by_start[place + 1 :]:
            if _part(second)[0] >= _part(first)[1]:
                break
            if side(first) != side(second) and side(first) is not None and side(second) is not None:
                found |= {id(first): first, id(second): second}
    return tuple(entry for entry in entries if id(entry) in found)


def _is_repeat(first: VideoEntry, second: VideoEntry) -> bool:
    return first is not second and _part(first) == _part(second) and first.label_text != second.label_text


# --- notes -------------------------------------------------------------------------------------------------------


def _notes_on_classes(manifest: Manifest) -> Iterator[str]:
    if not manifest.class_names:
        return
    unlabelled = sum(not entry.classes for entry in manifest.entries)
    if unlabelled:
        what = "show none of the classes" if manifest.is_multi_label else "have no class"
        yield f"{unlabelled} of {len(manifest)} videos {what}"
    training = [entry for entry in manifest.entries if entry.split in (None, "train")]
    counts = Counter(name for entry in training for name in entry.classes)
    if not counts:
        return
    for split in ("val", "test"):
        there = {name for entry in manifest.entries if entry.split == split for name in entry.classes}
        if missing := sorted(there - set(counts)):
            yield f"{_listed(missing)} in {split}, but not in train: no model can learn {_it(missing)}"
    if few := sorted(name for name, count in counts.items() if count < _FEW_VIDEOS):
        yield f"fewer than {_FEW_VIDEOS} training videos in {_listed(few)}"
    (most, largest), (least, smallest) = counts.most_common()[0], counts.most_common()[-1]
    if largest >= _SKEW * smallest:
        yield f"class imbalance: {largest} training videos of {most}, {smallest} of {least}"


def _notes_on_videos(records: Sequence[VideoRecord]) -> Iterator[str]:
    if not records:
        return
    rates = sorted(record.frames_per_second for record in records if record.frames_per_second)
    if rates and rates[-1] > _MIXED_RATES * rates[0]:
        yield (
            f"frame rates differ, {rates[0]:.4g} to {rates[-1]:.4g} a second (mostly {mode(rates):.4g}): "
            "clips of the same number of frames have different durations"
        )
    if count := sum(record.has_variable_rate for record in records):
        yield f"{_videos(count)} with a variable frame rate"
    if count := sum(record.rotation_degrees != 0 for record in records):
        yield f"{_videos(count)} stored rotated; frames are rotated as a player does"
    if count := sum(record.sample_aspect_ratio != 1 for record in records):
        yield f"{_videos(count)} with pixels that are not square; frames are read as stored, not stretched"
    if count := sum(record.is_interlaced for record in records):
        yield f"{_videos(count)} interlaced; each frame contains both fields"
    if count := sum(record.is_hdr for record in records):
        yield f"{_videos(count)} in HDR (PQ or HLG); colors are not tone-mapped and look pale"
    if count := sum(min(record.width, record.height) < _SMALL_PIXELS for record in records):
        yield f"{_videos(count)} with a side of less than {_SMALL_PIXELS} pixels"


def _videos(count: int) -> str:
    return "1 video" if count == 1 else f"{count} videos"


def _listed(names: list[str], most: int = 5) -> str:
    shown = ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
    return f"{'the class' if len(names) == 1 else 'the classes'} {shown}"


def _it(names: list[str]) -> str:
    return "it" if len(names) == 1 else "them"
