"""Where benchmark results go: one JSON for each benchmark, hardware kind and day."""

from __future__ import annotations

import datetime
import json
import os
import re
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


def hardware(device: torch.device | str = "cpu") -> str:
    """A short name of what the benchmark ran on, such as `cpu2-avx2` (two cores) or `nvidia-h200`."""
    device = torch.device(device)
    if device.type == "cuda":
        return re.sub(r"[^a-z0-9]+", "-", torch.cuda.get_device_name(device).lower()).strip("-")
    kind = "amx" if torch.cpu.get_capabilities().get("amx_bf16") else torch.backends.cpu.get_cpu_capability().lower()
    return f"cpu{len(os.sched_getaffinity(0))}-{kind}"


def write_results(
    name: str, device: torch.device | str, results: dict[str, Any], folder: Path = RESULTS, *, quiet: bool = False
) -> Path:
    """Write `results` with the date and the hardware; prints (unless quiet) and returns where."""
    kind, date = hardware(device), datetime.date.today().isoformat()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{kind}-{date}.json"
    document = {"benchmark": name, "hardware": kind, "date": date, **results}
    path.write_text(json.dumps(document, indent=2, default=str) + "\n", encoding="utf-8")
    if not quiet:
        print(f"written: {path.name}")
    return path


def add_row(
    name: str, device: torch.device | str, machine: dict[str, Any], row: dict[str, Any], folder: Path = RESULTS
) -> Path:
    """Write one more row into the results of this day; one of the same name is replaced, so that a run can be repeated.

    Each row is there as soon as it is measured: what ends the next one does not take it away.
    """
    path = folder / f"{name}-{hardware(device)}-{datetime.date.today().isoformat()}.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    rows = [old for old in rows if old["row"] != row["row"]]
    return write_results(name, device, {"machine": machine, "rows": [*rows, row]}, folder, quiet=True)
