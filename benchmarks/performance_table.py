"""The newest results of model_speed.py on each kind of hardware as tables in docs/performance.md.

python benchmarks/performance_table.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from results import RESULTS

DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- tables: benchmarks/performance_table.py -->", "<!-- end of tables -->"


def main() -> None:
    newest: dict[str, dict[str, Any]] = {}
    for path in sorted(RESULTS.glob("model_speed-*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        if "machine" in document:  # earlier ones have other rows
            newest[document["hardware"]] = document
    text = DOCUMENT.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    tables = "\n".join(table(document) for document in newest.values())
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{tables}\n{END}{after}", encoding="utf-8")
    print(f"written: {DOCUMENT.name}, {len(newest)} tables")


def table(document: dict[str, Any]) -> str:
    about, rows = document["machine"], document["rows"]
    names = list(dict.fromkeys(name for row in rows for name in row["seconds_per_clip"]))
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    cores = (
        f", {about['num_threads']} threads, {about['cpu_capability']}" if document["hardware"].startswith("cpu") else ""
    )
    lines = [f"**{about['name']}**{cores}; {versions}; {document['date']}", ""]
    lines += [f"| seconds a clip | {' | '.join(names)} | ours is faster by | limit | share |"]
    lines += ["|---" * (len(names) + 4) + "|"]
    for row in rows:
        times = [f"{row['seconds_per_clip'][name]:.3g}" if name in row["seconds_per_clip"] else "" for name in names]
        ratio = f"{row['ratio']:.2f} × ({row['best_peer']})" if row["ratio"] else ""
        limit, share = f"{row['limit_seconds_per_clip']:.3g}", f"{row['share_of_limit']:.0%}"
        lines.append(f"| {row['row']} | {' | '.join(times)} | {ratio} | {limit} | {share} |")
    lines.append("")
    if any(row["peak_memory_bytes"] for row in rows):
        lines += [f"| peak memory, GiB | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
        for row in rows:
            sizes = [row["peak_memory_bytes"].get(name) for name in names]
            shown = " | ".join("" if size is None else f"{size / 2**30:.2f}" for size in sizes)
            lines.append(f"| {row['row']} | {shown} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
