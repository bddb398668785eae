"""What belongs together: clips of one source, of one person, of one camera."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from videomae.core.errors import DataError
from videomae.datasets.entries import SPLITS, VideoEntry

PARENT = "parent"


def assign_groups(
    entries: Sequence[VideoEntry], group: str, *, base: Path, columns: Sequence[str] = ()
) -> tuple[VideoEntry, ...]:
    """The videos with their groups.

    Args:
        entries: the videos; of a list with the column `group`, they have their groups already.
        group: a column of the list, `parent` for the folder that holds a video, or a regular expression with one pair
            of brackets, whose match in a video's path, from `base`, names the group.
        base: the folder of the data set.
        columns: names of the list's columns.

    Raises:
        DataError: if `group` is none of these, or a video has no group.
    """
    if group.lower() in columns:
        grouped = tuple(entries)
    elif group == PARENT:
        grouped = tuple(replace(entry, group=os.path.dirname(str(entry.path))) for entry in entries)
    else:
        pattern = _pattern(group, columns)
        found = ((entry, pattern.search(_below(base, str(entry.path)))) for entry in entries)
        grouped = tuple(replace(entry, group=match[1] if match else None) for entry, match in found)
    without = next((entry for entry in grouped if not entry.group), None)
    if without is not None:
        raise DataError(
            f"{without.named} without a group",
            expected=f"a group for every video, by {group!r}",
            hint="fill in the column, or give an expression that fits every path",
        )
    return grouped


def _pattern(group: str, columns: Sequence[str]) -> re.Pattern[str]:
    expected = f"{PARENT}, or a regular expression with one pair of brackets such as '(s\\d+)_'"
    if columns:
        expected = f"a column ({', '.join(columns)}), {expected}"
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise DataError(f"group {group!r} ({error})", expected=expected, hint="correct the expression") from error
    if pattern.groups != 1:
        raise DataError(
            f"group {group!r}", expected=expected, hint="put brackets round the part of the path that names the source"
        )
    return pattern


def _below(base: Path, path: str) -> str:
    """The path from `base`, so that folders above it never match; shards and videos elsewhere as they are."""
    prefix = os.path.join(str(base), "")
    return path.removeprefix(prefix).replace(os.sep, "/")


def leaking_groups(entries: Iterable[VideoEntry]) -> str | None:
    """One line about groups that have videos in train and in another split; None if there are none."""
    splits: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        if entry.group is not None and entry.split is not None:
            splits[entry.group].add(entry.split)
    leaking = sorted(group for group, found in splits.items() if len(found) > 1 and "train" in found)
    if not leaking:
        return None
    others = " and ".join(split for split in SPLITS if split != "train" and split in splits[leaking[0]])
    more = f", and so have {len(leaking) - 1} more of {len(splits)} groups" if len(leaking) > 1 else ""
    return f"group {leaking[0]!r} has videos in train and in {others}{more}: results are of groups seen in training"
