"""What a pre-trained model makes of the tubelets that it does not see."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videomae.checkpoint import Checkpoint
from videomae.core import tubelets
from videomae.core.choices import MaskName
from videomae.core.errors import ConfigError
from videomae.core.files import write_atomically
from videomae.core.masks import MASKS
from videomae.core.memory import LESS_MEMORY, memory_errors_explained
from videomae.core.precision import autocast
from videomae.data.clips import ViewClips
from videomae.datasets.manifest import VideoEntry
from videomae.processing.image_processor import VideoMAEImageProcessor
from videomae.processing.transforms import normalize
from videomae.report.pictures import encode_png, reconstruction_animation, reconstruction_sheet, save_gif, save_picture
from videomae.video.opening import open_video
from videomae.video.source import VideoSource
from videomae.video.writer import write_video

# Mean and deviation of each channel.
PixelStatistics = tuple[tuple[float, ...], tuple[float, ...]]
FORMATS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".mp4")
# Of frames that have no rate of their own.
_FRAMES_PER_SECOND = 4.0
_GRAY = 127


@dataclass(frozen=True)
class Reconstruction:
    """A clip, what the model saw of it and what it rebuilt.

    Args:
        original: (T, H, W, C) uint8.
        masked: the same with hidden tubelets gray.
        rebuilt: the same with hidden tubelets as the model rebuilt them.
        frame_indices: (T,) which frames of the video these are.
        loss: mean squared error over the hidden tubelets, as in training.
        mask_ratio: share of the tubelets that was hidden.
        caption: what is shown, and what in `rebuilt` comes from the input and not from the model.
        short_caption: the same in half a line, for moving pictures.
        frames_per_second: at which the clip's frames follow each other in the video; None where that has no rate.
    """

    original: np.ndarray
    masked: np.ndarray
    rebuilt: np.ndarray
    frame_indices: tuple[int, ...]
    loss: float
    mask_ratio: float
    caption: str
    short_caption: str = ""
    frames_per_second: float | None = None

    def __repr__(self) -> str:
        return f"Reconstruction({len(self.frame_indices)} frames, loss {self.loss:.3f}, {self.mask_ratio:.0%} masked)"

    @staticmethod
    def check_output(path: str | Path, video: str | Path) -> None:
        """Raise a ConfigError unless `path` can be the picture of `video`."""
        if Path(path).suffix.lower() not in FORMATS:
            raise ConfigError(f"--output {path}", expected=" or ".join(FORMATS), hint="change the ending of its name")
        if os.path.realpath(path) == os.path.realpath(video):
            raise ConfigError(
                f"--output {path}, which is VIDEO", expected="another file", hint="the video would be replaced"
            )

    def save(self, path: str | Path) -> Path:
        """Draw what was there, what the model saw and what it rebuilt, as rows.

        Args:
            path: .png, .jpg or .webp (frames side by side), .gif or .mp4 (moving, at the clip's own speed).

        Raises:
            ConfigError: for another suffix.
            InputError: if the folder cannot be written.
        """
        target = Path(path)
        if target.suffix.lower() not in FORMATS:
            raise ConfigError(path, expected=" or ".join(FORMATS), hint="change the ending of its name")
        if target.suffix.lower() not in (".gif", ".mp4"):
            return save_picture(target, self._sheet())
        rate = self.frames_per_second or _FRAMES_PER_SECOND
        frames = reconstruction_animation(*self._rows, caption=self.short_caption, frame_numbers=self.frame_indices)
        if target.suffix.lower() == ".gif":
            return save_gif(target, frames, frames_per_second=rate)
        # The writer itself makes no folder.
        return write_atomically(target, lambda aside: write_video(aside, frames, frames_per_second=rate))

    @property
    def _rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.original, self.masked, self.rebuilt

    def _sheet(self) -> np.ndarray:
        return reconstruction_sheet(*self._rows, caption=self.caption, frame_numbers=self.frame_indices)

    def _repr_png_(self) -> bytes:
        return encode_png(self._sheet())


def reconstruct_video(
    checkpoint: Checkpoint,
    video: VideoEntry | VideoSource,
    *,
    mask: MaskName = "tube",
    mask_ratio: float = 0.9,
    generator: torch.Generator,
    device: torch.device,
    precision: str = "auto",
) -> Reconstruction:
    """Hide tubelets of the clip in the video's center, and rebuild them.

    Args:
        checkpoint: a pre-training model; it is moved to `device`.
        video: the video, or its entry where only a part of it counts.
        mask: "tube" or "random".
        mask_ratio: share that is hidden.
        generator: draws the mask.
        device: where to compute.
        precision: of the matrix products.

    Raises:
        VideoError: if the video cannot be read.
        ConfigError: if there is no such mask, or its ratio is out of range.
    """
    require_mask(mask)
    grid = checkpoint.model.config.grid
    _, num_channels, height, width = grid.clip_shape
    views = ViewClips([video], sampling=checkpoint.sampling, image_size=(height, width), num_channels=num_channels)
    clip, frame_indices = views.read(0)
    hidden = MASKS[mask](1, grid.shape, mask_ratio, generator=generator, device="cpu")
    size = " × ".join(map(str, clip[0].shape))
    indices = tuple(frame_indices[0].tolist())
    with memory_errors_explained(f"1 clip of {size} through the network", hint=LESS_MEMORY, device=device):
        checkpoint.model.to(device)
        rebuilt = reconstruct_clip(checkpoint, clip[0].to(device), hidden, frame_indices=indices, precision=precision)
    return replace(rebuilt, frames_per_second=_rate_of(video, indices))


def _rate_of(video: VideoEntry | VideoSource, indices: tuple[int, ...]) -> float | None:
    """At which these frames follow each other in the video; None for one frame, or where the video has no rate."""
    num_steps = indices[-1] - indices[0]
    with open_video(video.path if isinstance(video, VideoEntry) else video) as reader:
        rate = reader.info.frames_per_second
    return rate * (len(indices) - 1) / num_steps if rate and num_steps > 0 else None


@torch.inference_mode()
def reconstruct_clip(
    checkpoint: Checkpoint,
    clip: Tensor,
    hidden: Tensor,
    *,
    frame_indices: tuple[int, ...],
    precision: str = "auto",
) -> Reconstruction:
    """Rebuild the hidden tubelets of one clip.

    Args:
        checkpoint: a pre-training model on the clip's device.
        clip: (T, C, H, W) uint8.
        hidden: (1, N) bool, True = hidden.
        frame_indices: which frames of the video these are.
        precision: of the matrix products.
    """
    model: Any = checkpoint.model
    grid = model.config.grid
    processor = checkpoint.processor
    pixel_values = normalize(clip.unsqueeze(0), processor.image_mean, processor.image_std)
    with autocast(clip.device, precision):
        output = model(pixel_values, hidden)
    places = tubelets.split_mask(hidden)[1].to(clip.device)
    rebuilt = output.logits.float()
    if model.config.norm_pix_loss:
        truth = model.target_pixels(pixel_values, places)
        rebuilt = tubelets.denormalize_targets(rebuilt, truth, grid.num_channels)
    rebuilt = _to_pixels(rebuilt, processor, model.config.pixel_statistics)

    tokens = tubelets.patchify(clip.unsqueeze(0), grid)
    grayed = tokens.scatter(1, _rows(places, tokens), torch.full_like(tokens, _GRAY))
    filled = tokens.scatter(1, _rows(places, tokens), (rebuilt * 255).round().clamp(0, 255).to(torch.uint8))
    ratio = float(hidden.float().mean())
    return Reconstruction(
        original=_frames(tokens, grid),
        masked=_frames(grayed, grid),
        rebuilt=_frames(filled, grid),
        frame_indices=frame_indices,
        loss=float(output.loss),
        mask_ratio=ratio,
        caption=describe(ratio, float(output.loss), model.config.norm_pix_loss),
        short_caption=f"{ratio:.0%} hidden · loss {float(output.loss):.3f}"
        + (" · their mean and variance pasted in" if model.config.norm_pix_loss else ""),
    )


def require_mask(mask: str) -> None:
    """Raise a ConfigError for a mask that does not exist."""
    if mask not in MASKS:
        raise ConfigError(f"mask={mask!r}", expected=" or ".join(MASKS), hint="choose how tubelets are hidden")


def _to_pixels(targets: Tensor, processor: VideoMAEImageProcessor, statistics: PixelStatistics | None) -> Tensor:
    """Targets (…, P) as 0–1 pixels, also where the processor's mean and deviation are not those the target assumes."""
    mean, std = targets.new_tensor(processor.image_mean), targets.new_tensor(processor.image_std)
    values = targets.unflatten(-1, (-1, len(mean)))
    if statistics is not None:  # which the target undoes, whatever the processor did
        assumed_mean, assumed_std = map(values.new_tensor, statistics)
        values = (values - assumed_mean) / assumed_std
    return (values * std + mean).flatten(-2)


def _rows(places: Tensor, tokens: Tensor) -> Tensor:
    """The index of scatter for whole rows of `tokens`."""
    return places.unsqueeze(-1).expand(-1, -1, tokens.shape[-1])


def _frames(tokens: Tensor, grid: Any) -> np.ndarray:
    return tubelets.unpatchify(tokens, grid)[0].permute(0, 2, 3, 1).cpu().numpy()


def describe(ratio: float, loss: float, norm_pix_loss: bool) -> str:
    """What a reconstruction shows, and what of it comes from the input and not from the model."""
    shown = f"{ratio:.0%} of the tubelets are hidden (gray); the visible ones are shown as they are. Loss {loss:.3f}."
    if norm_pix_loss:
        return (
            f"{shown} The model rebuilds hidden tubelets normalized (norm_pix_loss): the mean and the variance of each "
            "hidden tubelet were pasted in from the input, only the pattern within it is the model's."
        )
    return f"{shown} Nothing of the hidden tubelets was taken from the input: colors and patterns are the model's."
