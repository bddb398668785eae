"""What earlier scans have found in the videos of a data set."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from videomae.core.text import readable
from videomae.datasets.catalog import Catalog
from videomae.datasets.entries import VideoEntry
from videomae.datasets.findings import FindingKind, find_problems

_GRAVE: dict[FindingKind, str] = {
    "broken": "broken",
    "leak": "in several splits",
    "conflict": "under several classes",
    "damaged": "damaged",
}


def known_problems(entries: Sequence[VideoEntry], *sources: object, options: str = "") -> str:
    """What earlier scans have found in these videos, as one line; "" for nothing. No video is read.

    Args:
        entries: the videos, with the splits that count.
        sources: DATA that they are from, for the command that lists the problems.
        options: further options of that command.
    """
    catalog = Catalog()
    if not catalog.path.exists():
        return ""
    known = [(entry, record) for entry in entries if (record := catalog.find(entry.path)) is not None]
    findings = find_problems(known, clip_span=1)
    found = []
    for kind, text in _GRAVE.items():
        of_kind = [finding for finding in findings if finding.kind == kind]
        if of_kind:
            # Of the same content in two places the second is what a person looks for.
            found.append(f"{len(of_kind)} {text} (such as {readable(str(of_kind[0].entries[-1].path))})")
    if not found:
        return ""
    commands = [f"`videomae scan {shlex.quote(str(source))}{options}`" for source in dict.fromkeys(sources)]
    lists = f"{' and '.join(commands)} {'lists' if len(commands) == 1 else 'list'} them"
    return f"of {len(known)} scanned videos: {', '.join(found)}; {lists}"
