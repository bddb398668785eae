"""k-fold cross-validation in which the clips of one source video, person or camera never lie on both sides.

    python examples/k_fold_by_group.py CLIPS --checkpoint pretrained --output folds --group '(source\\d+)_' --folds 5

CLIPS: a folder of class folders. The group is what the bracket of the regular expression matches in a path.
"""

from __future__ import annotations

import argparse
import csv
import random
import re
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import videomae


def main(arguments: list[str] | None = None, **settings: Any) -> list[float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    groups: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(path for path in options.data.resolve().glob("*/*") if path.is_file()):
        groups[re.search(options.group, str(path))[1]].append(path)  # a path without a group is an error
    names = sorted(groups)
    random.Random(options.seed).shuffle(names)

    scores = []
    for fold in range(options.folds):
        held_out = set(names[fold :: options.folds])
        folder = options.output / f"fold-{fold}"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "videos.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["path", "label", "split"])
            for name, paths in groups.items():
                for path in paths:
                    table.writerow([path, path.parent.name, "val" if name in held_out else "train"])
        videomae.finetune(folder / "videos.csv", output=folder / "run", init=options.checkpoint, **settings)
        result = videomae.evaluate(folder / "videos.csv", model=folder / "run", clips=1, crops=1)
        scores.append(result.top1)
        print(f"fold {fold + 1}: top-1 {scores[-1]:.1%}")
    print(f"top-1 {statistics.mean(scores):.1%} ± {statistics.stdev(scores):.1%} over {options.folds} folds")
    return scores


if __name__ == "__main__":
    main()
