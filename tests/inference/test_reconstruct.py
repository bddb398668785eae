"""What is shown of a reconstruction: what the model saw stays, what it rebuilt is its own, and the caption says so."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from videomae.checkpoint import Checkpoint
from videomae.core import tubelets
from videomae.core.errors import ConfigError, VideoError
from videomae.core.masks import tube_mask
from videomae.core.pixels import IMAGENET_MEAN, IMAGENET_STD
from videomae.data.clips import ViewClips
from videomae.inference.reconstruct import Reconstruction, reconstruct_clip, reconstruct_video
from videomae.models.outputs import VideoMAEForPreTrainingOutput
from videomae.processing.image_processor import VideoMAEImageProcessor

GRID = (2, 4, 4)
FRAMES = tuple(range(4))


def clip_of(seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (4, 3, 16, 16), generator=torch.Generator().manual_seed(seed)).byte()


def hidden_of(seed: int = 0) -> Tensor:
    return tube_mask(1, GRID, 0.75, generator=torch.Generator().manual_seed(seed))


def pixel_mask(hidden: Tensor) -> np.ndarray:
    """(T, H, W) bool: pixels of hidden tubelets of 2 × 4 × 4 pixels."""
    return hidden.view(GRID).numpy().repeat(2, axis=0).repeat(4, axis=1).repeat(4, axis=2)


def shown(clip: Tensor) -> np.ndarray:
    return clip.permute(0, 2, 3, 1).numpy()


def with_norm(checkpoint: Checkpoint, norm_pix_loss: bool, **processor: Any) -> Checkpoint:
    checkpoint.model.config.norm_pix_loss = norm_pix_loss
    return dataclasses.replace(checkpoint, processor=VideoMAEImageProcessor(**processor)) if processor else checkpoint


def answer_with(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    """Let the network say `make(pixel_values, hidden places)` in place of its own logits."""
    model = checkpoint.model

    def forward(pixel_values: Tensor, hidden: Tensor) -> VideoMAEForPreTrainingOutput:
        places = tubelets.split_mask(hidden)[1]
        logits = make(pixel_values, places)
        return VideoMAEForPreTrainingOutput(loss=torch.tensor(0.5), logits=logits)

    monkeypatch.setattr(model, "forward", forward)


@pytest.mark.parametrize("norm_pix_loss", [True, False])
def test_visible_tubelets_are_as_they_were_and_hidden_ones_gray(pretrained: Checkpoint, norm_pix_loss: bool) -> None:
    clip, hidden = clip_of(), hidden_of()

    result = reconstruct_clip(with_norm(pretrained, norm_pix_loss), clip, hidden, frame_indices=FRAMES)

    where = pixel_mask(hidden)
    assert (result.original == shown(clip)).all()
    assert (result.masked[~where] == shown(clip)[~where]).all()
    assert (result.rebuilt[~where] == shown(clip)[~where]).all()
    assert len(np.unique(result.masked[where])) == 1
    assert (result.rebuilt[where] != shown(clip)[where]).mean() > 0.5
    assert result.mask_ratio == 0.75
    assert result.frame_indices == FRAMES
    for frames in (result.original, result.masked, result.rebuilt):
        assert frames.shape == (4, 16, 16, 3)
        assert frames.dtype == np.uint8


@pytest.mark.parametrize(
    "settings",
    [
        {"image_mean": list(IMAGENET_MEAN), "image_std": list(IMAGENET_STD)},
        {"image_mean": [0.5] * 3, "image_std": [0.5] * 3},
        {"image_mean": [0.1, 0.5, 0.9], "image_std": [0.3, 0.6, 1.0]},
    ],
)
@pytest.mark.parametrize("norm_pix_loss", [True, False])
def test_a_perfect_model_gives_the_clip_back_whatever_its_processor(
    pretrained: Checkpoint, settings: dict[str, Any], norm_pix_loss: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = with_norm(pretrained, norm_pix_loss, **settings)
    answer_with(checkpoint, monkeypatch, checkpoint.model.targets)

    result = reconstruct_clip(checkpoint, clip_of(), hidden_of(), frame_indices=FRAMES)

    assert np.abs(result.rebuilt.astype(int) - result.original.astype(int)).max() <= 1


def test_with_norm_pix_loss_the_true_mean_and_deviation_are_pasted_in(
    pretrained: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, clip, hidden = with_norm(pretrained, True), clip_of(), hidden_of()
    answer_with(checkpoint, monkeypatch, lambda _, places: torch.zeros(1, places.shape[1], 96))

    result = reconstruct_clip(checkpoint, clip, hidden, frame_indices=FRAMES)

    # A model that says nothing shows each tubelet's true mean color.
    blocks = result.rebuilt.reshape(2, 2, 4, 4, 4, 4, 3)
    means = shown(clip).astype(float).reshape(2, 2, 4, 4, 4, 4, 3).mean(axis=(1, 3, 5), keepdims=True)
    where = pixel_mask(hidden).reshape(2, 2, 4, 4, 4, 4)
    assert np.abs(blocks - np.broadcast_to(means, blocks.shape))[where].max() <= 0.51
    assert "mean and the variance of each hidden tubelet were pasted in from the input" in result.caption


def test_without_norm_pix_loss_nothing_is_pasted(pretrained: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, hidden = with_norm(pretrained, False), hidden_of()
    gray = torch.tensor([0.25, 0.5, 0.75]).repeat(32)
    answer_with(checkpoint, monkeypatch, lambda _, places: gray.expand(1, places.shape[1], 96))

    result = reconstruct_clip(checkpoint, clip_of(), hidden, frame_indices=FRAMES)

    assert np.abs(result.rebuilt[pixel_mask(hidden)] - [63.75, 127.5, 191.25]).max() <= 0.51
    assert "Nothing of the hidden tubelets was taken from the input" in result.caption
    assert "pasted" not in result.caption


def test_what_lies_behind_hidden_tubelets_changes_nothing_without_norm_pix_loss(pretrained: Checkpoint) -> None:
    checkpoint, hidden = with_norm(pretrained, False), hidden_of()
    where = torch.from_numpy(pixel_mask(hidden)).unsqueeze(1)
    other = torch.where(where, 255 - clip_of(), clip_of())

    first, second = (
        reconstruct_clip(checkpoint, clip, hidden, frame_indices=FRAMES).rebuilt for clip in (clip_of(), other)
    )

    assert (first == second).all()


def test_numbers_and_caption(pretrained: Checkpoint) -> None:
    clip, hidden = clip_of(), hidden_of()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))

    result = reconstruct_clip(pretrained, clip, hidden, frame_indices=FRAMES)

    with torch.no_grad():
        loss = pretrained.model(((clip.float() / 255 - mean) / std)[None], hidden).loss.item()
    assert result.loss == pytest.approx(loss, rel=1e-4)
    assert "75% of the tubelets are hidden" in result.caption
    assert f"Loss {result.loss:.3f}" in result.caption


def rebuild(checkpoint: Checkpoint, path: Path, seed: int = 0, **arguments: Any) -> Reconstruction:
    generator = torch.Generator().manual_seed(seed)
    return reconstruct_video(checkpoint, path, generator=generator, device=torch.device("cpu"), **arguments)


def test_the_center_clip_of_a_video(pretrained: Checkpoint, videos: list[Path]) -> None:
    result = rebuild(pretrained, videos[0], mask_ratio=0.5)

    clip, indices = ViewClips([videos[0]], sampling=pretrained.sampling, image_size=16).read(0)
    assert (result.original == shown(clip[0])).all()
    assert result.frame_indices == tuple(indices[0]) == (6, 8, 10, 12)
    assert result.mask_ratio == 0.5


@pytest.mark.parametrize("mask", ["tube", "random"])
def test_the_mask_follows_from_the_generator(pretrained: Checkpoint, videos: list[Path], mask: str) -> None:
    first, again, other = (rebuild(pretrained, videos[0], seed, mask=mask, mask_ratio=0.5) for seed in (1, 1, 2))

    assert (first.masked == again.masked).all()
    assert (first.rebuilt == again.rebuilt).all()
    assert (first.masked != other.masked).any()
    hidden = (first.masked == 127).all(axis=-1).reshape(2, 2, 4, 4, 4, 4).all(axis=(1, 3, 5))
    assert (hidden[0] == hidden[1]).all() == (mask == "tube")


def test_what_cannot_be_reconstructed(pretrained: Checkpoint, videos: list[Path], broken: Path) -> None:
    with pytest.raises(VideoError, match=r"broken\.mp4"):
        rebuild(pretrained, broken)
    with pytest.raises(ConfigError, match="mask='block': expected tube or random"):
        rebuild(pretrained, videos[0], mask="block")
    with pytest.raises(ConfigError, match=r"a mask ratio of 1\.0"):
        rebuild(pretrained, videos[0], mask_ratio=1.0)
