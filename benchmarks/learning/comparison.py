"""What `lips.py` and `moving_crops.py` share: arms over seeds, one JSON for each, and their table.

An arm is a mask kind and ratio ("tube 0.9"), "scratch" (the same fine-tuning steps from new weights) or "scratch,
equal compute" (as many more epochs on the same labeled clips as pre-training took time: CPU time on a CPU, so that a
machine that others use too does not matter). "tube 0.9, 4 labels" and "scratch, 4 labels" fine-tune, in as many steps,
on 4 clips of each class (and of each group, where the experiment has groups), drawn anew for each seed. "tube 0.9,
probes" and "scratch, probes" are probes of the frozen encoder, pre-trained and untrained, on all labeled clips.

Of every run the last epoch counts, nothing is chosen on the test clips. What the folder holds finished is not done
again, so that a run can be stopped and continued, arm by arm and seed by seed; every call writes the table of all that
is there. Two arms are compared on the same test clips: mean difference over seeds, and its 95 % interval from 10,000
draws of the test clips (bootstrap).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from results import RESULTS, write_results

from videomae.checkpoint import Checkpoint
from videomae.core.device import choose_device
from videomae.data.clips import label_indices
from videomae.datasets.manifest import read_manifest
from videomae.evaluation.probe_data import probe_checkpoint
from videomae.evaluation.probes import METHODS, ProbeOptions
from videomae.evaluation.single_label import SingleLabelEvaluation
from videomae.evaluation.validate import evaluate_classifier
from videomae.inference.embed import EmbedOptions
from videomae.inference.scores import ViewOptions
from videomae.recipes.finetune import FinetuneRecipe
from videomae.recipes.pretrain import PretrainRecipe
from videomae.training.finetune import SCRATCH, finetune
from videomae.training.pretrain import pretrain

MASKS = {f"{kind} {ratio}": (kind, ratio) for kind in ("tube", "random") for ratio in (0.9, 0.75)}
EQUAL_COMPUTE = f"{SCRATCH}, equal compute"
PROBES = "probes"
Result = TypeVar("Result")


@dataclass(frozen=True)
class Clip:
    """A clip that lies in a folder or file, its class, and its group: who or what it was taken of."""

    path: Path
    label: str
    group: str


@dataclass(frozen=True)
class Experiment:
    """Clips and settings.

    Args:
        name: of the results.
        pretrain: its mask is the one that counts; `MASKS` has the others.
        finetune: for all labels; fewer labels have as many steps.
        unlabeled: clips to pre-train on.
        labeled: clips to fine-tune on.
        test: clips that nothing else has seen.
        few_per_group: few labels are so many of each class and group, not of each class.
        num_test_clips: views in time of each test clip.
    """

    name: str
    pretrain: PretrainRecipe
    finetune: FinetuneRecipe
    unlabeled: tuple[Clip, ...]
    labeled: tuple[Clip, ...]
    test: tuple[Clip, ...]
    few_per_group: bool = False
    num_test_clips: int = 1

    @property
    def mask(self) -> str:
        """The mask that counts."""
        return f"{self.pretrain.mask} {self.pretrain.mask_ratio}"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of every experiment."""
    parser.add_argument("--output", type=Path, required=True, help="keep clips and runs here")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=None, help="by default all, in the order of the table")
    parser.add_argument("--probes", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--num-workers", type=int, default=None, help="default: 0 on a CPU, else one for each core")
    for name in ("pretrain", "finetune"):
        parser.add_argument(f"--{name}", nargs="+", default=[], metavar="FIELD=JSON", help="changes of the recipe")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no arm after so many")
    parser.add_argument("--results", type=Path, default=RESULTS)


def with_options(experiment: Experiment, options: argparse.Namespace) -> Experiment:
    """The experiment with what the command line changes."""
    workers = options.num_workers
    shared = {
        "device": options.device,
        "num_workers": workers if workers is not None else 0 if options.device == "cpu" else -1,
        "trackers": (),
    }
    changed = {
        name: replace(getattr(experiment, name), **shared, **dict(_field(text) for text in getattr(options, name)))
        for name in ("pretrain", "finetune")
    }
    return replace(experiment, **changed)


def arms_of(experiment: Experiment, few: Sequence[int]) -> list[str]:
    """The names of all arms, the most telling first."""
    both = (experiment.mask, SCRATCH)
    return [
        *(experiment.mask, SCRATCH, EQUAL_COMPUTE),
        *(f"{start}, {number} labels" for number in few for start in both),
        *(f"{start}, {PROBES}" for start in both),
        *(mask for mask in MASKS if mask != experiment.mask),
    ]


def run_experiment(experiment: Experiment, options: argparse.Namespace, *, few: Sequence[int]) -> None:
    """Run what is not there yet of the arms and seeds that the options name; write and print the table of all."""
    begin = time.monotonic()
    for seed in options.seeds:
        for arm in options.arms or arms_of(experiment, few):
            kept = options.output / f"seed-{seed}" / f"{_file_name(arm)}.json"
            if kept.exists() or time.monotonic() - begin > 60 * options.minutes:
                continue
            kept.parent.mkdir(parents=True, exist_ok=True)
            runs = _Runs(experiment, kept.parent, seed)
            found = runs.probe(arm, options.probes) if arm.endswith(PROBES) else [{"arm": arm, **runs.measure(arm)}]
            kept.write_text(json.dumps([{"seed": seed, **row} for row in found]))
            for row in found:
                print("  ".join(f"{key} {value}" for key, value in row.items() if key != "right"), flush=True)
    paths = sorted(options.output.glob("seed-*/*.json"), key=lambda path: path.stem)
    order = [_file_name(arm) for arm in arms_of(experiment, few)]
    paths.sort(key=lambda path: order.index(path.stem) if path.stem in order else len(order))
    rows = [row for path in paths for row in json.loads(path.read_text())]
    pairs = compare(rows, experiment.mask)
    print(table(rows, pairs))
    settings = {"pretrain": experiment.pretrain.to_dict(), "finetune": experiment.finetune.to_dict()}
    counts = {name: len(getattr(experiment, name)) for name in ("unlabeled", "labeled", "test")}
    short = [{key: value for key, value in row.items() if key != "right"} for row in rows]
    written = {"num_clips": counts, "settings": settings, "pairs": pairs, "rows": short}
    write_results(experiment.name, options.device, written, options.results)


@dataclass(frozen=True)
class _Runs:
    """The runs of one seed; each is made when an arm first needs it."""

    experiment: Experiment
    folder: Path
    seed: int

    def measure(self, arm: str) -> dict[str, Any]:
        """Top-1 on the test clips, which of them are right, and the seconds of training."""
        start, _, what = arm.partition(", ")
        name, recipe, training = _file_name(arm), self.experiment.finetune, self.experiment.labeled
        if what.endswith(" labels"):
            whole = len(training)
            training = draw(training, int(what.split()[0]), self.seed, per_group=self.experiment.few_per_group)
            recipe = replace(recipe, epochs=round(recipe.epochs * whole / len(training)))
        elif arm == EQUAL_COMPUTE:
            before, after = self._pretrained(self.experiment.mask)[1], self._kept_seconds(SCRATCH)
            recipe = replace(recipe, epochs=round(recipe.epochs * (1 + before / after)))
        found: dict[str, Any] = {}
        if start == SCRATCH:
            source = self.experiment.pretrain
            clip = ("num_channels", "num_frames", "image_size", "tubelet_size", "sampling", "frame_stride", "size")
            recipe, init = replace(recipe, **{field: getattr(source, field) for field in clip}), SCRATCH
        else:
            encoder, seconds, loss = self._pretrained(start)
            init, found = str(encoder), {"pretrain_seconds": seconds, "pretrain_loss": loss}
        data = _write_list(self.folder / f"{name}.csv", training)
        # Warm-up is a share of the run, however long.
        warmup = self.experiment.finetune.warmup_epochs * recipe.epochs / self.experiment.finetune.epochs
        recipe = replace(recipe, seed=self.seed, warmup_epochs=warmup)
        classifier = self.folder / f"{name}-classifier"
        result, seconds = self._timed(lambda: finetune(data, classifier, recipe, init=init))
        judged = evaluate_classifier(
            Checkpoint.open(classifier, task="classification"),
            read_manifest(_write_list(self.folder / "test.csv", self.experiment.test)),
            options=ViewOptions(self.experiment.num_test_clips, num_workers=recipe.num_workers),
            device=choose_device(recipe.device),
        )
        assert isinstance(judged, SingleLabelEvaluation)
        right = [int(result.predicted == result.true) for result in judged.results]
        return {
            **{"top1": judged.top1, "seconds": round(seconds, 1), "epochs": recipe.epochs, "steps": result.steps},
            **{"num_labeled": len(training), **found, "right": right},
        }

    def _pretrained(self, mask: str) -> tuple[Path, float, float]:
        """The encoder, seconds and loss of pre-training with a mask; of "scratch" an untrained one."""
        folder = self.folder / f"{_file_name(mask)}-pretrained"
        kept = self.folder / f"{folder.name}.kept"
        if not kept.exists():
            kind, ratio = MASKS.get(mask, ("random", 0.9))
            recipe = replace(self.experiment.pretrain, seed=self.seed, mask=kind, mask_ratio=ratio)
            clips, name = self.experiment.unlabeled, "unlabeled"
            if mask == SCRATCH:  # one step at a rate of zero
                rates = ("learning_rate", "min_learning_rate", "start_learning_rate", "warmup_epochs")
                recipe = replace(recipe, epochs=1, **dict.fromkeys(rates, 0.0))
                clips, name = clips[: recipe.batch_size], "one-step"
            data = _write_list(self.folder / f"{name}.csv", clips)
            result, seconds = self._timed(lambda: pretrain(data, folder, recipe))
            kept.write_text(json.dumps({"seconds": round(seconds, 1), "loss": result.loss}))
        values = json.loads(kept.read_text())
        return folder, values["seconds"], values["loss"]

    def probe(self, arm: str, methods: Sequence[str]) -> list[dict[str, Any]]:
        """A row for each method, as of `measure`, of the encoder that an arm of probes names."""
        start = arm.partition(", ")[0]
        encoder = self._pretrained(start)[0]
        labeled, test = (
            read_manifest(_write_list(self.folder / f"{name}.csv", getattr(self.experiment, name)))
            for name in ("labeled", "test")
        )
        rows = []
        for method in methods:
            work = partial(
                probe_checkpoint,
                Checkpoint.open(encoder, task="features"),
                labeled,
                test,
                options=ProbeOptions(method=method, seed=self.seed),
                embed=EmbedOptions(num_workers=self.experiment.pretrain.num_workers),
                device=choose_device(self.experiment.pretrain.device),
            )
            result, seconds = self._timed(work)
            run = result.runs[0]
            right = run.scores.probabilities.argmax(1) == np.array(label_indices(test.entries, result.class_names))
            rows.append(
                {
                    **{"arm": f"{start}, {method} probe", "top1": run.metrics.top1, "seconds": round(seconds, 1)},
                    **{"num_labeled": run.num_train, "right": right.astype(int).tolist()},
                }
            )
        return rows

    def _kept_seconds(self, arm: str) -> float:
        path = self.folder / f"{_file_name(arm)}.json"
        if not path.exists():
            raise SystemExit(f"the arm {arm!r} must be finished first: its seconds are needed")
        return float(json.loads(path.read_text())[0]["seconds"])

    def _timed(self, work: Callable[[], Result]) -> tuple[Result, float]:
        is_cpu = self.experiment.pretrain.device == "cpu"
        begin = _cpu_seconds() if is_cpu else time.perf_counter()
        result = work()
        return result, (_cpu_seconds() if is_cpu else time.perf_counter()) - begin


def draw(clips: Sequence[Clip], number: int, seed: int, *, per_group: bool) -> tuple[Clip, ...]:
    """So many clips of each class, or of each class of each group, at random."""
    together: dict[tuple[str, str], list[Clip]] = defaultdict(list)
    for clip in clips:
        together[clip.label, clip.group if per_group else ""].append(clip)
    generator = np.random.default_rng(seed)
    return tuple(
        members[index]
        for members in together.values()
        for index in generator.choice(len(members), number, replace=False)
    )


def compare(rows: Sequence[dict[str, Any]], mask: str) -> list[dict[str, Any]]:
    """Each arm against its counterpart from scratch, over the seeds that both have."""
    right: dict[str, dict[int, list[int]]] = defaultdict(dict)
    for row in rows:
        right[row["arm"]][row["seed"]] = row["right"]
    generator, pairs = np.random.default_rng(0), []
    for arm in right:
        if arm.startswith(SCRATCH):
            continue
        what = arm.partition(", ")[2]
        others = [f"{SCRATCH}, {what}" if what else SCRATCH, *([EQUAL_COMPUTE] if arm == mask else [])]
        for other in others:
            seeds = sorted(right[arm].keys() & right.get(other, {}).keys())
            if not seeds:
                continue
            gain = np.array([np.subtract(right[arm][seed], right[other][seed]) for seed in seeds])
            drawn = generator.integers(gain.shape[1], size=(10_000, gain.shape[1]))
            low, high = np.quantile(gain.mean(0)[drawn].mean(1), (0.025, 0.975))
            pairs.append(
                {
                    **{"arm": arm, "against": other, "seeds": len(seeds), "mean": float(gain.mean())},
                    **{"by_seed": gain.mean(1).tolist(), "interval": [float(low), float(high)]},
                }
            )
    return pairs


def table(rows: Sequence[dict[str, Any]], pairs: Sequence[dict[str, Any]]) -> str:
    """Arms and comparisons as Markdown."""
    values: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        values[row["arm"]].append(row)
    lines = ["| | seeds | labeled clips | epochs | top-1 | seconds in all |", "|---|---|---|---|---|---|"]
    for arm, found in values.items():
        spent = statistics.mean(row["seconds"] + row.get("pretrain_seconds", 0.0) for row in found)
        epochs = f"{statistics.mean(row['epochs'] for row in found):.0f}" if "epochs" in found[0] else ""
        top1 = [row["top1"] for row in found]
        deviation = f" ± {statistics.stdev(top1):.1%}" if len(top1) > 1 else ""
        cells = (len(found), found[0]["num_labeled"], epochs, f"{statistics.mean(top1):.1%}{deviation}", f"{spent:.0f}")
        lines.append(f"| {arm} | " + " | ".join(map(str, cells)) + " |")
    lines += ["", "| | against | seeds | difference | 95 % interval |", "|---|---|---|---|---|"]
    for pair in pairs:
        low, high = pair["interval"]
        each = ", ".join(f"{100 * value:+.1f}" for value in pair["by_seed"])
        lines.append(
            f"| {pair['arm']} | {pair['against']} | {pair['seeds']} | {100 * pair['mean']:+.1f} points ({each}) "
            f"| {100 * low:+.1f} to {100 * high:+.1f} |"
        )
    return "\n".join(lines)


def _field(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    return name, json.loads(value)


def _write_list(path: Path, clips: Sequence[Clip]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        writer.writerows([clip.path, clip.label] for clip in clips)
    return path


def _file_name(arm: str) -> str:
    return arm.replace(", ", "-").replace(" ", "-")


def _cpu_seconds() -> float:
    """Of this process and the children that it has waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system
