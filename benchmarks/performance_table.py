"""The newest results on each kind of hardware as tables and charts in docs/performance.md.

python benchmarks/performance_table.py

Reads what model_speed.py, pipeline_speed.py and loop_speed.py wrote; nothing is measured here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from results import RESULTS

DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- tables: benchmarks/performance_table.py -->", "<!-- end of tables -->"
NAMES = ("model_speed", "pipeline_speed", "loop_speed")
REFERENCE = "transformers sdpa"
COLORS = {"ours": "#1f77b4", REFERENCE: "#999999", "transformers eager": "#cccccc", "V1": "#e6a15c", "V2": "#c76b6b"}
Row = dict[str, Any]


def main() -> None:
    parts = []
    for hardware, documents in newest(RESULTS).items():
        parts += [heading(documents), *texts(documents)]
        rows = documents.get("model_speed", {"rows": []})["rows"]
        if any(REFERENCE in row["seconds"] for row in rows):
            path = DOCUMENT.with_name(f"performance-{hardware}.svg")
            draw(rows, path)
            parts.append(f"![Speed and memory of the rows above, transformers with SDPA = 1]({path.name})\n")
    before, rest = DOCUMENT.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n" + "\n".join(parts) + f"\n{END}{after}", encoding="utf-8")
    print(f"written: {DOCUMENT.name}")


def newest(folder: Path) -> dict[str, dict[str, Any]]:
    """Hardware → benchmark → its newest results, CPUs first."""
    found: dict[str, dict[str, Any]] = {}
    for name in NAMES:
        for path in sorted(folder.glob(f"{name}-*.json")):  # the date is at the end
            document = json.loads(path.read_text(encoding="utf-8"))
            if "machine" in document:  # older ones have other rows
                found.setdefault(document["hardware"], {})[name] = document
    return dict(sorted(found.items(), key=lambda item: (not item[0].startswith("cpu"), item[0])))


def heading(documents: dict[str, Any]) -> str:
    """One machine; of its benchmarks the newest says with which versions."""
    last = max(documents.values(), key=lambda document: document["date"])
    about = last["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    is_cpu = last["hardware"].startswith("cpu")
    cores = f" ({about['num_threads']} threads, {about['cpu_capability']})" if is_cpu else ""
    dates = " and ".join(sorted({document["date"] for document in documents.values()}))
    return f"### {about['name']}{cores}\n\n{versions}; {dates}\n"


def texts(documents: dict[str, Any]) -> Iterable[str]:
    for name in NAMES:
        rows = documents.get(name, {"rows": []})["rows"]
        if not rows:
            continue
        yield {"model_speed": model_table, "pipeline_speed": pipeline_table, "loop_speed": loop_table}[name](rows)
        if name == "model_speed" and any(row["memory"] for row in rows):
            yield memory_table(rows)
        faults = [f"{row['row']}: {peer}: {text}" for row in rows for peer, text in row["failed"].items()]
        if faults:
            yield "Not measured: " + "; ".join(faults) + "\n"


def model_table(rows: list[Row]) -> str:
    names = peers_of(rows)
    head = ["a clip", *names, "ours is faster by", "limit", "share"]
    lines = [
        [
            row["row"],
            *(duration(row["seconds"].get(name)) for name in names),
            faster(row),
            duration(row.get("limit")),
            share(row.get("share")),
        ]
        for row in rows
    ]
    return markdown(head, lines)


def memory_table(rows: list[Row]) -> str:
    """A step's memory above what stands between steps, and all of it."""
    names = peers_of(rows)
    lines = []
    for row in rows:
        if row["memory"]:
            cells = [gibibytes(row["memory"].get(name)) for name in names]
            lines.append([row["row"], *cells, share(memory_share(row, "ours"))])
    return markdown(["GiB of a step (of all)", *names, f"a step of ours / {REFERENCE}"], lines)


def pipeline_table(rows: list[Row]) -> str:
    lines = []
    for row in rows:
        others = [f"{name} {duration(seconds)}" for name, seconds in row["seconds"].items() if name != "ours"]
        memory = [f"{name} {sizes['peak'] / 2**30:.2f}" for name, sizes in row["memory"].items()]
        ours = duration(row["seconds"].get("ours"))
        lines.append([row["row"], ours, ", ".join(others), faster(row), share(row.get("share")), ", ".join(memory)])
    return markdown(["", "ours", "others", "ours is faster by", "share of the limit", "peak memory, GiB"], lines)


def loop_table(rows: list[Row]) -> str:
    lines = []
    for row in rows:
        wait, busy = share(row["data_wait_share"]), share(row["gpu_busy"])
        lines.append([row["row"], f"{row['clips_per_second']:.3g}", wait, busy, share(row["share"])])
    return markdown(["run", "clips a second", "data wait", "GPU busy", "share of the limit"], lines)


def peers_of(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row["seconds"]))


def faster(row: Row) -> str:
    return f"{row['ratio']:.2f} × ({row['best_peer']})" if row["ratio"] else ""


def memory_share(row: Row, name: str) -> float | None:
    """Of a step, against the reference; None where either is not known."""
    sizes = [row["memory"].get(peer, {}).get("step") for peer in (name, REFERENCE)]
    return sizes[0] / sizes[1] if all(sizes) else None


def duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.3g} s" if seconds >= 0.1 else f"{1000 * seconds:.3g} ms"


def gibibytes(sizes: dict[str, int] | None) -> str:
    return f"{sizes['step'] / 2**30:.2f} ({sizes['peak'] / 2**30:.2f})" if sizes else ""


def share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def markdown(head: list[str], lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *lines]) + "\n"


def draw(rows: list[Row], path: Path) -> None:
    """Bars of speed, and of a step's memory where it was measured; the reference is 1, the limit a line."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    rows = [row for row in rows if REFERENCE in row["seconds"]]
    speeds = [{name: row["seconds"][REFERENCE] / s for name, s in row["seconds"].items()} for row in rows]
    sizes = [{name: memory_share(row, name) for name in row["memory"]} for row in rows]
    panels = [("speed", speeds), *([("memory of a step", sizes)] if any(sizes) else [])]
    names = peers_of(rows)
    height = 0.8 / len(names)
    # The same results give the same file.
    with pyplot.rc_context({"svg.fonttype": "none", "svg.hashsalt": path.name, "font.size": 8}):
        figure, axes = pyplot.subplots(
            1,
            len(panels),
            figsize=(4 + 3 * len(panels), 1 + 0.5 * len(rows)),
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        for axis, (title, values) in zip(axes[0], panels, strict=True):
            for number, name in enumerate(names):
                places = [place + (number - (len(names) - 1) / 2) * height for place in range(len(rows))]
                lengths = [of_row.get(name) or 0 for of_row in values]
                axis.barh(places, lengths, height, label=name, color=COLORS.get(name))
            axis.set_title(f"{title}, {REFERENCE} = 1", fontsize=8)
            axis.axvline(1, color="black", linewidth=0.5)
            axis.spines[["top", "right"]].set_visible(False)
        for place, row in enumerate(rows):
            if row.get("limit"):
                limit = row["seconds"][REFERENCE] / row["limit"]
                axes[0][0].plot([limit, limit], [place - 0.4, place + 0.4], color="black", linestyle=":", linewidth=1)
        axes[0][0].set_yticks(range(len(rows)), [row["row"] for row in rows])
        axes[0][0].invert_yaxis()
        axes[0][0].set_xlabel("dotted: the limit of the matrix products")
        figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=len(names))
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)


if __name__ == "__main__":
    main()
