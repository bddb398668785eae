"""What a data set consists of: videos, their classes and splits, and where they are listed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from videomae.core.errors import DataError
from videomae.core.files import split_suffix
from videomae.core.text import readable
from videomae.video import VideoSource

# What people have most.
_COMMON = ".mp4 .avi .mkv .webm .mov .m4v .wmv .flv .mpg .mpeg .gif .3gp .asf .m2ts .mts .ogv .ts .vob"
COMMON_SUFFIXES = tuple(_COMMON.split())
# FFmpeg also opens containers, recorders' files (.dav, .mod, .tod, .insv), and streams without a container.
_OTHERS = (
    ".3g2 .3gp2 .3gpp .amv .apng .bik .divx .dv .dvr-ms .evo .f4v .fli .flc .gxf .ismv .m1v .m2p .m2t .m2v .mj2 "
    ".mjpeg .mjpg .mk3d .mod .mp4v .mpe .mpv .mxf .nsv .nut .nuv .ogm .ogx .qt .rm .rmvb .rv .smk .tod .tp .trp .wm "
    ".wtv .xvid .dav .dif .insv .y4m .ivf .obu .h261 .h263 .264 .avc .h264 .26l .265 .hevc .h265 .266 .vvc .h266 .vc1"
)
VIDEO_SUFFIXES = (*COMMON_SUFFIXES, *_OTHERS.split())
_IS_VIDEO_SUFFIX = frozenset(VIDEO_SUFFIXES)
# Files with these suffixes are skipped without a notice: text, tables, pictures, sound, subtitles, models, programs.
_KNOWN_FILES = (
    "txt md rst json jsonl csv tsv list xml yaml yml toml ini cfg conf log html htm css js pdf doc docx xls xlsx "
    "odt ods ppt pptx tex bib nfo url lnk db sqlite "
    "jpg jpeg png bmp tif tiff webp heic svg ico psd raw dng thm "
    "wav mp3 aac m4a flac wma opus ogg mid "
    "srt vtt ass ssa sub idx lrc eaf textgrid "
    "npy npz pkl pickle pt pth ckpt safetensors h5 hdf5 mat parquet arrow feather onnx "
    "py ipynb sh bat ps1 c cc cpp h hpp java m r md5 sha1 sha256 sfv torrent license"
)
_KNOWN_SUFFIXES = frozenset(f".{suffix}" for suffix in _KNOWN_FILES.split())
_FILES_WITHOUT_SUFFIX = frozenset(
    ("authors", "changelog", "copying", "dockerfile", "license", "makefile", "notice", "readme", "version")
)
# Between the classes of a video that has several.
LABEL_SEPARATOR = "|"
# Of the number of a class.
_MAX_DIGITS = 9
SPLITS = ("train", "val", "test")
_SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_SPLIT_IN_NAME = re.compile(
    rf"(?<![a-z])({'|'.join(sorted(_SPLIT_NAMES, key=len, reverse=True))})(?:list|set)?(?![a-z])"
)


class Place(NamedTuple):
    """Where a list names a video: its file, and the number of the line or item, counted from 1."""

    file: Path
    number: int
    unit: str = "line"

    def __str__(self) -> str:
        return f"{self.file}, {self.unit} {self.number}"


@dataclass(frozen=True, slots=True)
class VideoEntry:
    """One video of a data set.

    Args:
        path: where it is.
        label: the name of its class; None where it has none, or may have several.
        labels: of a data set whose videos may have several classes: their names, sorted; () for none of the classes.
        split: train, val or test.
        start_seconds: where the part that counts begins; None for the video's start.
        end_seconds: where it ends; None for the video's end.
        group: what it shares with others that must stay on the same side of a split (a source, a person).
        start_frame: where the part begins, in frames from 0, which are exact; None for the start, or for seconds.
        end_frame: the first frame after it; None for the end, or for seconds.
        score: a number to predict, in place of classes; None without.
        place: where a list names it; None for a video found in a folder. Entries are equal whatever their place.
    """

    path: VideoSource
    label: str | None = None
    split: str | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None
    group: str | None = None
    labels: tuple[str, ...] | None = None
    start_frame: int | None = None
    end_frame: int | None = None
    score: float | None = None
    place: Place | None = field(default=None, compare=False, repr=False)

    @property
    def is_part(self) -> bool:
        """Whether only a part of the video counts."""
        return any(bound is not None for bound in self.part)

    @property
    def part(self) -> tuple[float | None, ...]:
        """What identifies the part: start and end in seconds; where it is given in frames, these too."""
        seconds = (self.start_seconds, self.end_seconds)
        frames = (self.start_frame, self.end_frame)
        return seconds if frames == (None, None) else (*seconds, *frames)

    @property
    def named(self) -> str:
        """The video for an error: its line, where there is one, and its path."""
        path = readable(str(self.path))
        return path if self.place is None else f"{self.place}: {path}"

    @property
    def classes(self) -> tuple[str, ...]:
        """Its classes, one or several; none where it is not known what it shows, and for `labels` without any."""
        if self.labels is not None:
            return self.labels
        return () if self.label is None else (self.label,)

    @property
    def label_text(self) -> str | None:
        """Its classes or score as in a table, several with `|` between them; None where they are not known."""
        if self.score is not None:
            return f"{self.score:g}"
        return self.label if self.labels is None else LABEL_SEPARATOR.join(self.labels)


def is_number(label: str) -> bool:
    """Whether a label is the number of a class; longer digits are a name."""
    return label.isdecimal() and len(label) <= _MAX_DIGITS


def split_named(text: str) -> str | None:
    """The split that people call `text` (`validation`, `Training`, ...); None if it is no name of a split."""
    return _SPLIT_NAMES.get(text) or _SPLIT_NAMES.get(text.strip().lower())


def split_in_file_name(stem: str) -> str | None:
    """The split in the name of a list: `train`, `kinetics_val`, `testlist01`; None if there is none."""
    found = _SPLIT_IN_NAME.search(stem.lower())
    return _SPLIT_NAMES[found[1]] if found else None


def bare_name(name: str) -> str:
    """A file's name without the suffix of a video."""
    stem, suffix = split_suffix(name)
    return stem if suffix in _IS_VIDEO_SUFFIX else name


def has_video_suffix(path: str) -> bool:
    """Whether the name has the suffix of a video."""
    stem, suffix = split_suffix(path.rpartition("/")[2])
    return stem != "" and suffix in _IS_VIDEO_SUFFIX


def is_passed_over(name: str) -> bool:
    """Whether a file without the suffix of a video may still be one: its suffix is not that of another kind of file."""
    stem, suffix = split_suffix(name)
    return suffix not in _KNOWN_SUFFIXES if stem and suffix else name.lower() not in _FILES_WITHOUT_SUFFIX


def read_split(text: str, place: Place) -> str | None:
    """The split in a cell of a table; None for an empty one.

    Raises:
        DataError: if it names no split.
    """
    if not text:
        return None
    split = split_named(text)
    if split is None:
        raise DataError(f"{place}: split {text!r}", expected=" or ".join(SPLITS), hint="correct the split column")
    return split
