"""The lines at the end of the data benchmark: each value beside its target."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]


def target(name: str, value: float, least: float, *, is_most: bool = False) -> Row:
    """One line of the final table."""
    met = value <= least if is_most else value >= least
    return {"name": name, "value": value, "target": least, "is_most": is_most, "met": bool(met)}


def print_table(rows: dict[str, Row]) -> None:
    print(f"\n{'':<64} {'value':>8} {'target':>9}")
    for row in rows.values():
        for line in row["targets"]:
            sign = "≤" if line["is_most"] else "≥"
            verdict = "" if line["met"] else "  NOT MET"
            print(f"{line['name']:<64} {line['value']:8.2f} {sign} {line['target']:7.2f}{verdict}")
        if row.get("note"):
            print(f"  {row['note']}")
