"""Forward, fine-tuning and pre-training step of VideoMAE beside its peers, and beside what the matrices alone cost.

    python benchmarks/model_speed.py [--device cuda] [--rows JOB/SIZE/PRECISION/BATCH[/compiled] …]
        [--v1 FOLDER] [--v2 FOLDER] [--row-seconds 30]

A shell writes many rows in short: --rows {classify,finetune,pretrain,dual}/base/bf16/{8,32}{,/compiled}. Peers:
transformers with SDPA and eager attention, and, where FOLDERs with checkouts of MCG-NJU/VideoMAE (V1) and
OpenGVLab/VideoMAEv2 (V2) are given, those (pip install timm). All peers of a row take turns in one process; times are
medians, the ratio is the median over the rounds of the fastest peer's time by ours. A compiled row has ours as a run
with `compile` compiles it, and transformers with SDPA under `torch.compile`. Memory is in bytes: all that a peer took,
and what a step takes above weights and the optimizer's state. Rows go to benchmarks/results one by one, beside those
that were measured earlier on that day; performance_table.py puts them into docs/performance.md.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from limits import flops, limit_seconds
from measuring import as_text, compare, machine
from model_peers import Row, peers
from results import RESULTS, add_row

from videomae.core.precision import choose_precision

# The most telling first. Those of a CPU take some 20 minutes on two AVX2 cores.
CPU_ROWS = """pretrain/base/PRECISION/1 classify/base/PRECISION/1 finetune/base/PRECISION/1 dual/base/PRECISION/1
pretrain/base/PRECISION/2 pretrain/small/PRECISION/8 pretrain/base/PRECISION/1/compiled classify/large/PRECISION/1"""
GPU_ROWS = """pretrain/base/bf16/32 finetune/base/bf16/16 classify/base/bf16/32 pretrain/base/bf16/32/compiled
finetune/base/bf16/16/compiled classify/base/bf16/32/compiled dual/base/bf16/32 pretrain/large/bf16/32
finetune/large/bf16/8 classify/large/bf16/32 pretrain/base/bf16/128 finetune/base/bf16/64 pretrain/small/bf16/64
pretrain/base/fp32/32 finetune/base/fp32/16 classify/base/fp32/32"""


def main() -> None:
    options = parse()
    device = torch.device(options.device)
    # What libraries set up once is nobody's time and memory.
    compare({"ours": partial(peers(None, None)["ours"], Row("pretrain", "tiny", "fp32", 1), device)}, device, seconds=0)
    for row in options.rows or default_rows(device):
        try:
            found = measure(row, options, device)
        except Exception as error:  # one row costs no other one
            print(f"{row} failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            continue
        print(as_text(found), flush=True)
        add_row("model_speed", device, machine(device), found, options.results)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rows", type=Row.parse, nargs="+")
    parser.add_argument("--row-seconds", type=float, default=30.0, help="of a row's rounds; at least two are made")
    parser.add_argument("--v1", type=Path)
    parser.add_argument("--v2", type=Path)
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


def default_rows(device: torch.device) -> list[Row]:
    if device.type == "cuda":
        return [Row.parse(text) for text in GPU_ROWS.split()]
    precisions = ["fp32", "bf16"] if choose_precision("auto", device).name == "bf16" else ["fp32"]
    return [Row.parse(text.replace("PRECISION", name)) for text in CPU_ROWS.split() for name in precisions]


def measure(row: Row, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Seconds and memory of each peer, the ratio, and the limit."""
    builds = {name: partial(build, row, device) for name, build in peers(options.v1, options.v2).items()}
    found = compare(builds, device, seconds=options.row_seconds, clips=row.batch_size)
    limit = limit_seconds(row, device) / row.batch_size
    ours = found["seconds"].get("ours")
    rate = flops(row) / (limit * row.batch_size)
    return {
        "row": str(row),
        **vars(row),
        **found,
        "limit": limit,
        "share": limit / ours if ours else None,
        "flops_per_second": rate,
    }


if __name__ == "__main__":
    main()
