"""What the training loop adds to bare forward + backward + optimizer step, with the clips ready in memory.

Two equal models take turns, step by step, on the same clips: one in the loop (masks, normalization, schedule, checks of
losses and gradients, metrics, monitor), one bare, with inputs and masks made beforehand. Alternating keeps other
work on the machine from favoring one. Also measured: for how long a save makes training wait, and how long it takes in
the background.

Run: python benchmarks/loop_overhead.py [--device cuda] [--size base] [--batch-size N] [--steps N] [--precision fp32]
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from results import RESULTS, write_results

from videomae.core.masks import tube_mask
from videomae.core.pixels import IMAGENET_MEAN, IMAGENET_STD
from videomae.core.precision import autocast
from videomae.data.loader import ClipBatch
from videomae.datasets.manifest import Manifest, VideoEntry
from videomae.processing.transforms import normalize
from videomae.recipes.pretrain import PretrainRecipe
from videomae.training import trainer as trainer_module
from videomae.training.monitor import Monitor
from videomae.training.optimizer import make_optimizer, parameter_groups, set_learning_rate
from videomae.training.run_folder import RunFolder
from videomae.training.tasks.pretraining import PretrainingTask
from videomae.training.trainer import Trainer


class Bare:
    """The bare steps, on inputs made beforehand."""

    def __init__(self, model: Any, recipe: PretrainRecipe, clips: torch.Tensor) -> None:
        self.model, self.recipe = model.train(), recipe
        self.optimizer = _optimizer(model, recipe)
        set_learning_rate(self.optimizer, 1e-4)
        self.pixel_values = normalize(clips.flatten(0, 1).to(model.device), IMAGENET_MEAN, IMAGENET_STD)
        self.mask = tube_mask(len(clips), model.config.grid.shape, 0.9)

    def step(self) -> float:
        """Seconds of one step."""
        _wait(self.model.device)
        begin = time.perf_counter()
        with autocast(self.model.device, self.recipe.precision):
            loss = self.model(self.pixel_values, self.mask).loss
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        _wait(self.model.device)
        return time.perf_counter() - begin


def _optimizer(model: Any, recipe: PretrainRecipe) -> torch.optim.Optimizer:
    groups = parameter_groups(model.named_parameters(), weight_decay=recipe.weight_decay)
    return make_optimizer(groups, betas=(recipe.beta1, recipe.beta2), device=model.device)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _trainer(recipe: PretrainRecipe, device: torch.device, num_clips: int, folder: Path) -> Trainer:
    """Of a data set of which only names are used."""
    task = PretrainingTask("clips", recipe)
    task.manifest = Manifest("clips", tuple(VideoEntry(Path(f"{index}.mp4")) for index in range(num_clips)), ())
    task.build(recipe, device, print)
    return Trainer(task, RunFolder(folder, {}), Monitor())


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Medians of both kinds of steps, and of their ratio, pair by pair; seconds of a save."""
    device, batch_size, num_steps = torch.device(arguments.device), arguments.batch_size, arguments.steps
    recipe = PretrainRecipe(
        size=arguments.size,
        epochs=1,
        batch_size=batch_size,
        precision=arguments.precision,
        save_minutes=1e9,
        warmup_epochs=0.0,
    )
    pairs: list[tuple[float, float]] = []

    def batches(*_: object, **__: object) -> Iterator[ClipBatch]:
        numbers = torch.arange(batch_size)
        for _ in range(num_steps):
            alone = bare.step()
            begin = time.perf_counter()
            yield ClipBatch(clips, -torch.ones_like(numbers), numbers, numbers)
            _wait(device)
            pairs.append((alone, time.perf_counter() - begin))

    trainer_module.training_loader = batches  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(recipe, device, num_steps * batch_size, Path(folder))
        clips = torch.randint(256, (batch_size, 1, *trainer.model.config.grid.clip_shape), dtype=torch.uint8)
        clips = clips.pin_memory() if device.type == "cuda" else clips
        bare = Bare(copy.deepcopy(trainer.model), recipe, clips)
        trainer.train()
        save, wait = trainer.checkpointing.save, trainer.checkpointing.wait
        save(step=num_steps, with_weights=False)  # the memory for the copy is there now
        wait()
        begin = time.perf_counter()
        save(step=num_steps, with_weights=False)
        blocked = time.perf_counter() - begin
        wait()
        written = time.perf_counter() - begin
    pairs = pairs[2:]
    return {
        "settings": {key: str(value) for key, value in vars(arguments).items() if key != "results"},
        "bare_seconds": statistics.median(alone for alone, _ in pairs),
        "loop_seconds": statistics.median(looped for _, looped in pairs),
        "overhead": statistics.median(looped / alone for alone, looped in pairs) - 1,
        "save_blocks_seconds": blocked,
        "save_takes_seconds": written,
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", default="base")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--steps", type=int, default=22)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    results = measure(arguments)
    for name in ("bare_seconds", "loop_seconds", "overhead", "save_blocks_seconds", "save_takes_seconds"):
        print(f"{name:>20}  {results[name]:.4f}")
    write_results("loop_overhead", arguments.device, results, arguments.results)


if __name__ == "__main__":
    main()
