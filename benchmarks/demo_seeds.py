"""The demonstration for several seeds, and training from scratch at equal total compute.

    python benchmarks/demo_seeds.py [--seeds 3] [--output DIR]

For each seed: pre-trained then fine-tuned, from scratch with the same fine-tuning steps, and from scratch for as long
as pre-training and fine-tuning took together (more epochs on the same labelled clips). Chance is 12.5 %.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

from results import write_results

from videomae.demo.main_job import judge_demo_model, run_main_job
from videomae.demo.settings import FINETUNE, FROM_SCRATCH, PRETRAIN
from videomae.training.finetune import SCRATCH, finetune

COLUMNS = ("pretrained", "scratch", "scratch_equal_compute")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=None, help="keep the runs here")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for seed in range(options.seeds):
            rows.append(measure((options.output or Path(temporary)) / f"seed-{seed}", seed))
            print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    summary = {
        name: {
            "mean": statistics.mean(row[name] for row in rows),
            "deviation": statistics.stdev(row[name] for row in rows) if len(rows) > 1 else 0.0,
        }
        for name in COLUMNS
    }
    for name, values in summary.items():
        print(f"{name:<24} {values['mean']:.1%} ± {values['deviation']:.1%}")
    settings = {"pretrain": PRETRAIN.to_dict(), "finetune": FINETUNE.to_dict()}
    write_results("demo_seeds", "cpu", {"summary": summary, "rows": rows, "settings": settings})


def measure(folder: Path, seed: int) -> dict[str, float]:
    result = run_main_job(folder, seed=seed)
    ours = result.seconds["pre-training"] + result.seconds["fine-tuning"]
    epochs = round(FROM_SCRATCH.epochs * ours / result.seconds["from scratch"])
    longer = replace(FROM_SCRATCH, epochs=epochs, warmup_epochs=FROM_SCRATCH.warmup_epochs, seed=seed)
    finetune(folder / "clips/finetune/train", folder / "scratch_longer", longer, init=SCRATCH)
    return {
        "seed": seed,
        "pretrained": result.pretrained.metrics.top1,
        "scratch": result.scratch.metrics.top1,
        "scratch_equal_compute": judge_demo_model(folder, "scratch_longer").metrics.top1,
        "scratch_equal_compute_epochs": epochs,
        "pretrain_loss": result.pretrain_loss or float("nan"),
        **{f"seconds {name}": round(seconds, 1) for name, seconds in result.seconds.items()},
    }


if __name__ == "__main__":
    main()
