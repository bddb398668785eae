"""One step of VideoMAE as each code base computes it, on the same input: what `model_speed.py` times.

MCG-NJU/VideoMAE (V1) and OpenGVLab/VideoMAEv2 (V2) are loaded from folders that the user names; they need timm. What
their training scripts compute outside the model, the targets, is written here by their formula: all tokens are
normalized, then the hidden ones are taken.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measuring import Step
from torch import Tensor, nn
from torch.nn import functional as F

import videomae
from videomae.core.pixels import IMAGENET_MEAN, IMAGENET_STD
from videomae.recipes.sizes import SIZES, size_keywords
from videomae.training.compiling import compile_layers, whole_network

NUM_CLASSES = 400
JOBS = ("classify", "finetune", "pretrain", "dual")
FROM_PIXELS = ("classify", "finetune")


@dataclass(frozen=True)
class Row:
    """What is timed: `job` is classify, finetune, pretrain or dual (V2's second mask)."""

    job: str
    size: str
    precision: str
    batch_size: int
    compile: bool = False

    @classmethod
    def parse(cls, text: str) -> Row:
        """JOB/SIZE/PRECISION/BATCH, with /compiled behind it or not."""
        job, size, precision, batch, *rest = [*text.split("/"), "", "", ""][: max(4, text.count("/") + 1)]
        known = job in JOBS and size in SIZES and precision in ("fp32", "bf16") and batch.isdigit() and int(batch)
        if not known or rest not in ([], ["compiled"]):
            raise argparse.ArgumentTypeError(f"{text!r}: expected {'|'.join(JOBS)}/SIZE/fp32|bf16/BATCH[/compiled]")
        return cls(job, size, precision, int(batch), bool(rest))

    def __str__(self) -> str:
        compiled = " compiled" if self.compile else ""
        return f"{self.job} {self.size} {self.precision} batch {self.batch_size}{compiled}"

    @property
    def config(self) -> dict[str, Any]:
        """Keywords of a configuration, ours and transformers'."""
        pixels = {"image_size": 64 if self.size == "tiny" else 224, "num_frames": 16, "num_labels": NUM_CLASSES}
        return {**size_keywords(self.size), **pixels, "use_mean_pooling": self.job in FROM_PIXELS}

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens in time, height and width."""
        side = self.config["image_size"] // self.config.get("patch_size", 16)
        return 8, side, side

    def inputs(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Clips (B, T, C, H, W), hidden and not rebuilt tokens (B, N), classes."""
        batch, grid, side = self.batch_size, self.grid, self.config["image_size"]
        clips = torch.randn(batch, 16, 3, side, side, generator=torch.Generator().manual_seed(0))
        hidden = videomae.tube_mask(batch, grid, 0.9, generator=torch.Generator().manual_seed(1))
        left = videomae.running_cell_mask(batch, grid, 0.5, generator=torch.Generator().manual_seed(2))
        labels = torch.arange(batch) % NUM_CLASSES
        return clips.to(device), hidden.to(device), left.to(device), labels.to(device)


def train_step(model: nn.Module, loss: Callable[[], Tensor], row: Row, device: torch.device) -> Step:
    """Forward, backward, AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def step() -> None:
        with autocast(row, device):
            value = loss()
        value.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def autocast(row: Row, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=row.precision == "bf16")


def inference(call: Callable[[], Any], row: Row, device: torch.device) -> Step:
    def step() -> None:
        with torch.inference_mode(), autocast(row, device):
            call()

    return step


def hugging_face(module: Any, row: Row, device: torch.device, attention: str | None = None) -> Step | None:
    """Ours or transformers': the same interface."""
    if module is not videomae and (row.job == "dual" or (row.compile and attention == "eager")):
        return None
    clips, hidden, left, labels = row.inputs(device)
    if module is videomae and row.job not in FROM_PIXELS:  # as training gives them
        clips, hidden, left = clips.mul(40).add(120).clamp(0, 255).byte(), hidden.cpu(), left.cpu()
    config = module.VideoMAEConfig(**row.config)
    if attention is not None:
        config._attn_implementation = attention
    torch.manual_seed(0)
    kind = module.VideoMAEForVideoClassification if row.job in FROM_PIXELS else module.VideoMAEForPreTraining
    model = kind(config).to(device)
    call = compiled(model, row, is_ours=module is videomae) if row.compile else model
    if row.job == "classify":
        model.eval()
        return inference(lambda: call(clips), row, device)
    model.train()
    if row.job == "finetune":
        return train_step(model, lambda: F.cross_entropy(call(clips).logits.float(), labels), row, device)
    more = {"decoder_masked_pos": left} if row.job == "dual" else {}
    return train_step(model, lambda: call(clips, bool_masked_pos=hidden, **more).loss, row, device)


def compiled(model: Any, row: Row, *, is_ours: bool) -> Any:
    """Ours as a training run compiles it, another as a whole."""
    if not is_ours:
        return torch.compile(model)
    if model.device.type == "cuda":
        return whole_network(model, row.batch_size, cuda_graphs=True)
    num_time, height, width = row.grid
    spatial = height * width
    tokens = num_time * (spatial if row.job in FROM_PIXELS else spatial - int(0.9 * spatial))

    def fail(note: str) -> None:
        raise RuntimeError(note)

    compile_layers(model, (row.batch_size, tokens), precision=row.precision, note=fail)
    return model


def original(folder: Path, version: int, row: Row, device: torch.device) -> Step | None:
    """V1's or V2's modules; their authors do not compile."""
    if row.compile or (row.job == "dual") != (version == 2 and row.job not in FROM_PIXELS):
        return None
    prefix = "models." if version == 2 else ""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    with warnings.catch_warnings(action="ignore"):  # each says that timm has models of these names
        finetune, pretrain = (importlib.import_module(f"{prefix}modeling_{name}") for name in ("finetune", "pretrain"))
    clips, hidden, left, labels = row.inputs(device)
    clips = clips.transpose(1, 2).contiguous()  # (B, C, T, H, W)
    sizes, norm = row.config, partial(nn.LayerNorm, eps=1e-6)
    patch = sizes.get("patch_size", 16)
    torch.manual_seed(0)
    if row.job in FROM_PIXELS:
        model = finetune.VisionTransformer(
            patch_size=patch,
            embed_dim=sizes["hidden_size"],
            depth=sizes["num_hidden_layers"],
            num_heads=sizes["num_attention_heads"],
            mlp_ratio=sizes["intermediate_size"] / sizes["hidden_size"],
            qkv_bias=True,
            norm_layer=norm,
            img_size=sizes["image_size"],
            num_classes=NUM_CLASSES,
            all_frames=16,
            init_values=0.0,
        ).to(device)
        if row.job == "classify":
            model.eval()
            return inference(lambda: model(clips), row, device)
        model.train()
        return train_step(model, lambda: F.cross_entropy(model(clips).float(), labels), row, device)
    model = pretrain.PretrainVisionTransformer(
        img_size=sizes["image_size"],
        patch_size=patch,
        encoder_embed_dim=sizes["hidden_size"],
        encoder_depth=sizes["num_hidden_layers"],
        encoder_num_heads=sizes["num_attention_heads"],
        encoder_num_classes=0,
        decoder_num_classes=2 * patch * patch * 3,
        decoder_embed_dim=sizes["decoder_hidden_size"],
        decoder_depth=sizes["decoder_num_hidden_layers"],
        decoder_num_heads=sizes["decoder_num_attention_heads"],
        mlp_ratio=sizes["intermediate_size"] / sizes["hidden_size"],
        qkv_bias=True,
        norm_layer=norm,
        init_values=0.0,
    ).to(device)
    model.train()

    def loss() -> Tensor:
        with torch.no_grad():
            targets = original_targets(clips, patch)
        if version == 1:
            wanted = targets[hidden].reshape(len(clips), -1, targets.shape[-1])
            return F.mse_loss(model(clips, hidden).float(), wanted)
        wanted = targets[~left].reshape(len(clips), -1, targets.shape[-1])
        per_token = (model(clips, hidden, left).float() - wanted).square().mean(dim=-1)
        counted = hidden[~left].reshape(len(clips), -1)
        return (per_token * counted).sum() / counted.sum()

    return train_step(model, loss, row, device)


def original_targets(clips: Tensor, patch: int) -> Tensor:
    """(B, C, T, H, W) to (B, N, P): all tubelets, normalized per channel."""
    mean, std = (
        torch.tensor(values, device=clips.device).view(1, 3, 1, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD)
    )
    pixels = (clips * std + mean).unfold(2, 2, 2).unfold(3, patch, patch).unfold(4, patch, patch)
    tokens = pixels.permute(0, 2, 3, 4, 5, 6, 7, 1).flatten(4, 6).flatten(1, 3)  # (B, N, pixels, C)
    variance, centre = torch.var_mean(tokens, dim=-2, unbiased=True, keepdim=True)
    return ((tokens - centre) / (variance.sqrt() + 1e-6)).flatten(-2)


def peers(v1: Path | None, v2: Path | None) -> dict[str, Callable[[Row, torch.device], Step | None]]:
    """Name → what builds its step, None where it has no such job."""
    found: dict[str, Callable[[Row, torch.device], Step | None]] = {"ours": partial(hugging_face, videomae)}
    try:
        transformers = importlib.import_module("transformers")
    except ImportError:
        print("transformers is not installed: not measured")
    else:
        for attention in ("sdpa", "eager"):
            found[f"transformers {attention}"] = partial(hugging_face, transformers, attention=attention)
    for version, folder in ((1, v1), (2, v2)):
        if folder is not None:
            found[f"V{version}"] = partial(original, folder, version)
    return found
