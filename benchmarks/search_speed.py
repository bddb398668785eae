"""Queries of a large index: milliseconds and recall, beside comparing all rows with NumPy.

    python benchmarks/search_speed.py [--rows 1000000] [--features 384] [--queries 200]

The vectors are made here: a mixture of groups in a space of few dimensions, turned into many, and noise, as features of
a network have them. Queries are vectors of the same kind that are not in the index. Recall is the share of the ten
exact nearest rows that the index finds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from measuring import machine
from results import RESULTS, write_results

from videomae.retrieval.index import IndexSettings, VideoIndex

ROWS_AT_ONCE = 50_000
NEAREST = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=384)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    vectors = features(options.rows + options.queries, options.features)
    rows, queries = vectors[: options.rows], vectors[options.rows :]
    with tempfile.TemporaryDirectory() as name:
        begin = time.perf_counter()
        index = build(Path(name) / "index", rows)
        building = time.perf_counter() - begin
        index.nearest(queries[0], NEAREST)  # opens what it reads
        seconds, found = [], []
        for query in queries:
            begin = time.perf_counter()
            matches = index.nearest(query, NEAREST)
            seconds.append(time.perf_counter() - begin)
            found.append({int(match.window.path) for match in matches})
    squares = (rows**2).sum(1)
    recalls, exact_seconds = [], []
    for query, mine in zip(queries, found, strict=True):
        begin = time.perf_counter()
        distances = squares - 2 * rows @ query
        nearest = np.argpartition(distances, NEAREST)[:NEAREST]
        exact_seconds.append(time.perf_counter() - begin)
        recalls.append(len(mine & set(nearest.tolist())) / NEAREST)
    row = {
        "rows": options.rows,
        "features": options.features,
        "building_seconds": round(building, 1),
        "median_ms": round(1e3 * statistics.median(seconds), 2),
        "p95_ms": round(1e3 * float(np.quantile(seconds, 0.95)), 2),
        "recall_at_10": round(statistics.mean(recalls), 4),
        "all_rows_numpy_ms": round(1e3 * statistics.median(exact_seconds), 2),
    }
    print("  ".join(f"{key} {value}" for key, value in row.items()))
    write_results("search_speed", "cpu", {"machine": machine("cpu"), "rows": [row]}, options.results)


def features(number: int, width: int, *, dimensions: int = 32, groups: int = 2000) -> np.ndarray:
    generator = np.random.default_rng(0)
    centers = generator.normal(size=(groups, dimensions)).astype(np.float32)
    turned = generator.normal(size=(dimensions, width)).astype(np.float32) / np.sqrt(dimensions)
    made = np.empty((number, width), np.float32)
    for start in range(0, number, ROWS_AT_ONCE):
        part = made[start : start + ROWS_AT_ONCE]
        latent = centers[generator.integers(groups, size=len(part))]
        latent = latent + 0.4 * generator.standard_normal(latent.shape, np.float32)
        part[:] = latent @ turned + 0.05 * generator.standard_normal(part.shape, np.float32)
    return made


def build(folder: Path, rows: np.ndarray) -> VideoIndex:
    settings = IndexSettings(model="made", fingerprint="made", num_features=rows.shape[1], windows=False)
    index = VideoIndex.create(folder, settings)
    fixed = {"part": "", "label": "", "start_seconds": None, "end_seconds": None, "size": 1, "mtime_ns": 1}
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = rows[start : start + ROWS_AT_ONCE]
        index.add([{**fixed, "path": str(start + number), "features": row} for number, row in enumerate(part)])
    index.finish()
    return index


if __name__ == "__main__":
    main()
