"""Damaged files of every container open or are refused in one line: no crash, no hang, no other exception.

VIDEOMAE_FUZZ=N tries N damaged copies of each container instead of a few.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import videomae

FUZZER = Path(__file__).parent / "fuzz_files.py"
FEW = 20
MOST_GROWN_MB = 300


def test_damaged_files(tmp_path: Path) -> None:
    count = int(os.environ.get("VIDEOMAE_FUZZ", FEW))
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(videomae.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, str(FUZZER), str(tmp_path), "0", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120 + 10 * count)
    if done.returncode:
        pytest.fail(f"{(tmp_path / 'now').read_text()}: exit {done.returncode}\n{done.stderr[-3000:]}")
    report = json.loads(done.stdout)
    assert report.pop("grown_mb") < MOST_GROWN_MB
    assert len(report) > 10
    for kind, counts in report.items():
        assert counts["opened"] + counts["refused"] == count
        assert counts["refused"] > count / 5, kind
