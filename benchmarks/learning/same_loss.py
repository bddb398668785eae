"""Our pre-training loss beside transformers': same first weights, clips, masks and optimizer, step for step in float32.

    python benchmarks/learning/same_loss.py DATA [--steps 50]

Prints both curves and the largest difference, and writes benchmarks/results/same_loss-*.json.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers

sys.path.insert(0, str(Path(__file__).parents[1]))

from results import write_results

import videomae
from videomae.core.pixels import IMAGENET_MEAN, IMAGENET_STD
from videomae.data.clips import Crop, TrainingClips
from videomae.data.loader import training_loader
from videomae.data.order import BatchOrder
from videomae.datasets.manifest import read_manifest
from videomae.models.initialization import init_for_pretraining
from videomae.processing.transforms import normalize
from videomae.training.optimizer import make_optimizer, parameter_groups, set_learning_rate
from videomae.training.schedule import Schedule
from videomae.video.sampling import ClipSampling


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--image-size", type=int, default=64)
    options = parser.parse_args()
    torch.manual_seed(0)
    config = videomae.VideoMAEConfig(
        image_size=options.image_size,
        num_frames=8,
        hidden_size=192,
        num_hidden_layers=6,
        num_attention_heads=3,
        intermediate_size=768,
        decoder_hidden_size=96,
        decoder_num_hidden_layers=2,
        decoder_num_attention_heads=3,
        decoder_intermediate_size=384,
        use_mean_pooling=False,
    )
    ours = videomae.VideoMAEForPreTraining(config)
    init_for_pretraining(ours)
    with tempfile.TemporaryDirectory() as folder:
        ours.save_pretrained(folder)
        theirs = transformers.VideoMAEForPreTraining.from_pretrained(folder)
    curves = {name: _Run(model, options) for name, model in (("ours", ours), ("transformers", theirs))}
    for step, (pixel_values, mask) in enumerate(_batches(options, config)):
        losses = {name: run.step(pixel_values, mask) for name, run in curves.items()}
        difference = abs(losses["ours"] - losses["transformers"])
        print(
            f"step {step + 1:3}  ours {losses['ours']:.7f}  transformers {losses['transformers']:.7f}  {difference:.1e}"
        )
    pairs = list(zip(*(run.losses for run in curves.values()), strict=True))
    largest = max(abs(a - b) for a, b in pairs)
    print(f"largest difference over {len(pairs)} steps: {largest:.1e}; loss {pairs[0][0]:.4f} → {pairs[-1][0]:.4f}")
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    results = {"options": {**vars(options), "data": Path(options.data).name}, "versions": versions}
    write_results(
        "same_loss",
        "cpu",
        {**results, "largest_difference": largest, "losses": {name: run.losses for name, run in curves.items()}},
    )


class _Run:
    """A model with its optimizer."""

    def __init__(self, model: Any, options: argparse.Namespace) -> None:
        self.model = model.train()
        groups = parameter_groups(model.named_parameters(), weight_decay=0.05)
        self.optimizer = make_optimizer(groups, betas=(0.9, 0.95), device=torch.device("cpu"))
        rate = options.learning_rate
        self.schedule = Schedule(options.steps, warmup_steps=options.steps // 5, peak=rate, minimum=0.0, start=0.0)
        self.losses: list[float] = []

    def step(self, pixel_values: torch.Tensor, mask: torch.Tensor) -> float:
        set_learning_rate(self.optimizer, self.schedule.at(len(self.losses) + 1))
        loss = self.model(pixel_values, bool_masked_pos=mask).loss
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.losses.append(float(loss))
        return self.losses[-1]


def _batches(options: argparse.Namespace, config: Any) -> Any:
    entries = read_manifest(options.data).take_split("train").entries
    clips = TrainingClips(
        entries,
        (),
        sampling=ClipSampling(num_frames=config.num_frames),
        crop=Crop("multi-scale"),
        image_size=options.image_size,
        seed=0,
    )
    epochs = -(-options.steps * options.batch_size // len(entries)) + 1
    order = BatchOrder(len(entries), batch_size=options.batch_size, epochs=epochs, seed=0)
    loader = training_loader(clips, order, num_workers=1, pin_memory=False)
    generator = torch.Generator().manual_seed(0)
    for _, batch in zip(range(options.steps), loader, strict=False):
        pixel_values = normalize(batch.clips.flatten(0, 1), IMAGENET_MEAN, IMAGENET_STD)
        yield pixel_values, videomae.tube_mask(len(pixel_values), config.grid.shape, 0.9, generator=generator)


if __name__ == "__main__":
    main()
