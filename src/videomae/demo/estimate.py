"""How long the demonstration will take on this machine, before it begins."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable

import torch

from videomae.core.device import choose_device, synchronize
from videomae.core.machine import usable_cores
from videomae.core.masks import random_mask
from videomae.core.precision import autocast
from videomae.demo.clips import write_clips
from videomae.demo.settings import FINETUNE, NUM_TRAIN_PER_CLASS, NUM_UNLABELLED, NUM_VAL_PER_CLASS, PRETRAIN
from videomae.models.modeling import VideoMAEForPreTraining
from videomae.training.optimizer import make_optimizer
from videomae.training.setup import new_config

_NUM_CLASSES = 8
# Writing a clip and reading one take about as long as each other; what else a step does is this share of it.
_MORE = 1.15


def estimate_seconds(device_name: str = "auto") -> float:
    """Seconds of the whole demonstration, from a few steps of pre-training and a few clips; takes a second or two.

    Args:
        device_name: as for `choose_device`.
    """
    device = choose_device(device_name)
    step_seconds, clip_seconds = _step_seconds(device), _clip_seconds()
    num_labelled = NUM_TRAIN_PER_CLASS * _NUM_CLASSES
    num_clips = NUM_UNLABELLED + num_labelled + NUM_VAL_PER_CLASS * _NUM_CLASSES
    num_steps = PRETRAIN.epochs * NUM_UNLABELLED // PRETRAIN.batch_size
    num_read = PRETRAIN.epochs * NUM_UNLABELLED + 2 * FINETUNE.epochs * num_labelled
    # A step of fine-tuning, of all tokens of as many clips, takes about two of pre-training; there are two runs.
    computing = (num_steps + 2 * 2 * FINETUNE.epochs * num_labelled // FINETUNE.batch_size) * step_seconds * _MORE
    reading = num_read * clip_seconds
    # On a CPU the same cores do both.
    share = reading / usable_cores()
    return num_clips * clip_seconds + (computing + share if device.type == "cpu" else max(computing, reading))


def _step_seconds(device: torch.device) -> float:
    """Of one step of pre-training."""
    config = new_config(PRETRAIN, norm_pix_loss=PRETRAIN.norm_pix_loss, use_mean_pooling=False)
    with torch.random.fork_rng():
        model = VideoMAEForPreTraining(config).to(device).train()
    optimizer = make_optimizer([{"params": list(model.parameters())}], betas=(0.9, 0.95), device=device)
    num_clips = PRETRAIN.batch_size * PRETRAIN.views
    generator = torch.Generator().manual_seed(0)
    clips = torch.rand(num_clips, config.num_frames, 3, *config.grid.clip_shape[2:], generator=generator).to(device)
    mask = random_mask(num_clips, config.grid.shape, PRETRAIN.mask_ratio, generator=generator)

    def step() -> None:
        with autocast(device, PRETRAIN.precision):
            loss = model(clips, mask).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        synchronize(device)

    return _shortest(step)


def _clip_seconds() -> float:
    """Of writing one clip."""
    with tempfile.TemporaryDirectory() as folder:
        written = {"num_train_per_class": 0, "num_val_per_class": 0, "num_unlabelled": 4}
        return _shortest(lambda: write_clips(folder, seed=0, **written)) / 4


def _shortest(work: Callable[[], object]) -> float:
    """Seconds of the quickest of a few times, without the first, which also prepares."""
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return min(seconds[1:])
