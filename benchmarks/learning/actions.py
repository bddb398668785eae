"""What pre-training is worth on few real clips: masks and from scratch compared, over seeds, at equal fine-tuning.

    python benchmarks/learning/actions.py DATA [--seeds 0 1 2] [--output DIR] [--size small --image-size 112 …]

DATA has the splits train and val, of other sources, such as a folder with train/CLASS and val/CLASS. For each seed: the
network is pre-trained on the train clips, labels unused, with tube masks (90 and 75 %) and random masks (90 %), and
left untrained ("scratch"). Each encoder is then fine-tuned with the same settings and judged on 5 × 3 views of the val
clips; frozen, it is judged by nearest neighbors, a linear and an attentive probe. No number is chosen on val: of every
run the last epoch counts. Runs that DIR holds finished are not done again; several seeds may run at once, each in a
process of its own (`--seeds 0 --num-workers 1`), and a last call with all of them makes the table.

The clips are packed first (`videomae pack`), so that decoding costs little.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from results import write_results

from videomae.checkpoint import Checkpoint
from videomae.cli.main import main as videomae
from videomae.core.device import choose_device
from videomae.datasets.manifest import read_manifest
from videomae.evaluation.probe_data import probe_checkpoint
from videomae.evaluation.probes import METHODS, ProbeOptions
from videomae.evaluation.validate import evaluate_classifier
from videomae.inference.embed import EmbedOptions
from videomae.inference.scores import ViewOptions
from videomae.recipes.finetune import FinetuneRecipe
from videomae.recipes.pretrain import PretrainRecipe
from videomae.training.finetune import SCRATCH, finetune
from videomae.training.pretrain import pretrain
from videomae.training.run_folder import REPORT_NAME

MASKS: dict[str, dict[str, Any]] = {
    "tube 0.9": {"mask": "tube", "mask_ratio": 0.9},
    "tube 0.75": {"mask": "tube", "mask_ratio": 0.75},
    "random 0.9": {"mask": "random", "mask_ratio": 0.9},
}
COLUMNS = ("finetuned", *METHODS)


def main() -> None:
    options = _parse()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.output or Path(temporary)
        packed = folder / "packed"
        if videomae(["pack", options.data, str(packed), "--short-side", str(max(128, options.image_size))]):
            sys.exit("packing failed")
        for seed in options.seeds:
            for arm in (SCRATCH, *MASKS):
                kept = folder / f"seed-{seed}" / f"{arm.replace(' ', '-')}.json"
                if not kept.exists():
                    begin = time.perf_counter()
                    row = {"seed": seed, "arm": arm, **measure(packed, kept.parent, arm, seed, options)}
                    if options.only_pretrain:
                        continue
                    row["minutes"] = round((time.perf_counter() - begin) / 60, 1)
                    kept.write_text(json.dumps(row))
                rows.append(json.loads(kept.read_text()))
                print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    if options.only_pretrain:
        return
    summary = {arm: {name: _spread(rows, arm, name) for name in COLUMNS} for arm in (SCRATCH, *MASKS)}
    print(table(summary))
    settings = {name: str(value) for name, value in vars(options).items() if name not in ("data", "output")}
    write_results("actions", options.device, {"settings": settings, "summary": summary, "rows": rows})


def measure(packed: Path, folder: Path, arm: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Pre-train (or not), fine-tune, probe; the numbers are top-1 accuracies on the val clips."""
    name = arm.replace(" ", "-")
    shared: dict[str, Any] = {
        "seed": seed,
        "device": options.device,
        "precision": options.precision,
        "num_workers": options.num_workers,
    }
    network = {"size": options.size, "image_size": options.image_size, "num_frames": options.num_frames}
    encoder = folder / f"{name}-pretrained"
    found = {}
    epochs = 0 if arm == SCRATCH else options.pretrain_epochs
    # The untrained encoder that the probes judge comes from one epoch at a rate of zero.
    rate = 0.0 if arm == SCRATCH else options.learning_rate
    recipe = PretrainRecipe(
        **shared,
        **network,
        **MASKS.get(arm, {}),
        epochs=max(epochs, 1),
        batch_size=16,
        views=2,
        learning_rate=rate,
        min_learning_rate=0.0,
        # With patches of 8 × 8 pixels the normalized target is mostly noise: in 250 steps the loss stayed at 0.99.
        norm_pix_loss=options.norm_pix_loss,
    )
    if not (encoder / REPORT_NAME).exists():
        pretrain(packed / "train", encoder, recipe)
    classifier = folder / f"{name}-classifier"
    if options.only_pretrain:
        return {}
    recipe_of_classifier = FinetuneRecipe(
        **shared,
        **(network if arm == SCRATCH else {}),
        epochs=options.finetune_epochs,
        batch_size=16,
        views=2,
        learning_rate=1.6e-2,
        layer_decay=1.0,  # lower layers must not be held back where they start from nothing
        drop_path=0.0,
        rand_augment="",
        erasing=0.0,
        val_every=options.finetune_epochs,  # once, at the end: nothing is chosen
    )
    if not (classifier / REPORT_NAME).exists():
        finetune(packed, classifier, recipe_of_classifier, init=SCRATCH if arm == SCRATCH else str(encoder))
    data, device = read_manifest(packed), choose_device(options.device)
    judged = evaluate_classifier(
        Checkpoint.open(classifier, task="classification"),
        data.take_split("val"),
        options=ViewOptions(5, 3, options.precision, num_workers=-1),
        device=device,
    )
    found["finetuned"] = judged.metrics.top1
    for method in METHODS:
        result = probe_checkpoint(
            Checkpoint.open(encoder, task="features"),
            data.take_split("train"),
            data.take_split("val"),
            options=ProbeOptions(method=method, seed=seed),
            embed=EmbedOptions(precision=options.precision),
            device=device,
        )
        found[method] = result.top1[0]
    return found


def table(summary: dict[str, dict[str, tuple[float, float]]]) -> str:
    """The summary as Markdown."""
    lines = ["| | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for arm, values in summary.items():
        cells = [f"{mean:.1%} ± {deviation:.1%}" for mean, deviation in (values[name] for name in COLUMNS)]
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _spread(rows: list[dict[str, Any]], arm: str, name: str) -> tuple[float, float]:
    values = [row[name] for row in rows if row["arm"] == arm]
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--output", type=Path, default=None, help="keep packed clips and runs here")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--num-workers", type=int, default=-1)
    parser.add_argument("--size", default="tiny")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--num-frames", type=int, default=8)
    parser.add_argument("--pretrain-epochs", type=int, default=70)
    parser.add_argument("--learning-rate", type=float, default=1.6e-2, help="of pre-training, for 256 clips")
    parser.add_argument("--norm-pix-loss", action="store_true")
    parser.add_argument("--only-pretrain", action="store_true", help="stop before fine-tuning; the next call goes on")
    parser.add_argument("--finetune-epochs", type=int, default=20)
    return parser.parse_args()


if __name__ == "__main__":
    main()
