"""The demonstration for several seeds, and training from scratch at equal total compute.

    python benchmarks/demo_seeds.py [--seeds 0 1 2] [--output DIR]

For each seed: pre-trained then fine-tuned, from scratch with the same fine-tuning steps, and from scratch for as long
as pre-training and fine-tuning took together (more epochs on the same labelled clips). Chance is 12.5 %. Runs that DIR
holds finished are not done again, so that seeds can also be run one by one.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

from results import write_results

from videomae.demo.main_job import evaluate_demo_model, run_main_job
from videomae.demo.settings import FINETUNE, FROM_SCRATCH, PRETRAIN
from videomae.training.finetune import SCRATCH, finetune
from videomae.training.run_folder import METRICS_NAME, RECIPE_NAME, REPORT_NAME

COLUMNS = ("pretrained", "scratch", "scratch_equal_compute")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=None, help="keep the runs here")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for seed in options.seeds:
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
    seconds = {name: training_seconds(folder / name) for name in ("pretrained", "classifier", "scratch")}
    epochs = round(FROM_SCRATCH.epochs * (seconds["pretrained"] + seconds["classifier"]) / seconds["scratch"])
    longer = folder / "scratch_longer"
    if not (longer / REPORT_NAME).exists():
        finetune(folder / "clips/finetune/train", longer, replace(FROM_SCRATCH, epochs=epochs, seed=seed), init=SCRATCH)
    return {
        "seed": seed,
        "pretrained": result.pretrained.metrics.top1,
        "scratch": result.scratch.metrics.top1,
        "scratch_equal_compute": evaluate_demo_model(folder, longer.name).metrics.top1,
        "scratch_equal_compute_epochs": epochs,
        "pretrain_loss": result.pretrain_loss or float("nan"),
        **{f"seconds {name}": round(value, 1) for name, value in seconds.items()},
    }


def training_seconds(folder: Path) -> float:
    """Seconds that the steps of a run took, from its own metrics; waiting for clips is not counted."""
    recipe = json.loads((folder / RECIPE_NAME).read_text(encoding="utf-8"))
    num_clips, batch_size = recipe["num_videos"], recipe["recipe"]["batch_size"]
    steps = math.ceil(num_clips / batch_size)
    lines = [json.loads(line) for line in (folder / METRICS_NAME).read_text(encoding="utf-8").splitlines()]
    seconds, before = 0.0, 0
    for line in lines:
        clips = (line["step"] - before) * num_clips / steps
        seconds += clips / line["clips_per_second"] * (1 - line["data_wait_share"])
        before = line["step"]
    return seconds


if __name__ == "__main__":
    main()
