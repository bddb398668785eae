"""A whole video rebuilt, clip after clip, as a moving picture."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from videomae.checkpoint import Checkpoint
from videomae.core.choices import MaskName
from videomae.core.errors import ConfigError, VideoError
from videomae.core.files import require_writable
from videomae.core.masks import MASKS
from videomae.core.memory import LESS_MEMORY, memory_errors_explained
from videomae.datasets.entries import VideoEntry
from videomae.inference.reconstruct import describe, reconstruct_clip, require_mask
from videomae.inference.window_clips import VideoWindows, read_ahead
from videomae.inference.window_layout import WindowOptions
from videomae.report.pictures import reconstruction_animation, save_gif
from videomae.video.source import VideoSource
from videomae.video.writer import VideoWriter

FORMATS = (".mp4", ".gif")
# Pillow holds all frames of a GIF in memory, and browsers play long ones badly.
_MAX_GIF_FRAMES = 600


@dataclass(frozen=True)
class WholeReconstruction:
    """What became of a whole video.

    Args:
        output: the file that was written.
        num_clips: that follow one another.
        num_frames: of the file.
        frames_per_second: of the file, so that it plays as fast as the video.
        loss: mean squared error over the hidden tubelets, as in training, mean over the clips.
        mask_ratio: share of the tubelets that was hidden.
        caption: what is shown, and what of it comes from the input and not from the model.
        ended: why it ended before the video did; None where it did not.
    """

    output: Path
    num_clips: int
    num_frames: int
    frames_per_second: float
    loss: float
    mask_ratio: float
    caption: str
    ended: str | None = None


def reconstruct_whole_video(
    checkpoint: Checkpoint,
    video: VideoEntry | VideoSource | str,
    output: Path,
    *,
    mask: MaskName = "tube",
    mask_ratio: float = 0.9,
    generator: torch.Generator,
    device: torch.device,
    precision: str = "auto",
    max_seconds: float | None = None,
    on_clip: Callable[[float, float], object] = lambda seconds, duration: None,
) -> WholeReconstruction:
    """Rebuild a video clip after clip, and write original, masked and rebuilt side by side as they come.

    Args:
        checkpoint: a pre-training model; it is moved to `device`.
        video: the video, its entry where only a part of it counts, or a stream.
        output: .mp4, or .gif for at most 600 frames.
        mask: "tube" or "random".
        mask_ratio: share that is hidden.
        generator: draws a mask for each clip.
        device: where to compute.
        precision: of the matrix products.
        max_seconds: of the video; None for all of it.
        on_clip: called with the seconds that are done, and those that there are.

    Raises:
        VideoError: the video cannot be read, or the file not be written.
        ConfigError: there is no such mask, its ratio is out of range, or a GIF would be too long.
    """
    require_mask(mask)
    check_whole_output(output)
    require_writable(output)
    grid = checkpoint.model.config.grid
    _, num_channels, height, width = grid.clip_shape
    windows = VideoWindows(
        video,
        sampling=checkpoint.sampling,
        image_size=(height, width),
        num_channels=num_channels,
        options=WindowOptions(max_seconds=max_seconds),
    )
    checkpoint.model.to(device)
    animation = _Animation(output, windows)
    losses: list[float] = []
    ended: VideoError | None = None
    with memory_errors_explained("1 clip through the network", hint=LESS_MEMORY, device=device), animation:
        try:
            with closing(read_ahead(windows, max_waiting=2)) as clips:
                for window, views in clips:
                    layout = windows.layout
                    assert layout is not None
                    hidden = MASKS[mask](1, grid.shape, mask_ratio, generator=generator, device="cpu")
                    moments = window.start_seconds + layout.offsets[0]
                    rebuilt = reconstruct_clip(
                        checkpoint,
                        views[0].to(device),
                        hidden,
                        frame_indices=tuple((moments / layout.frame_seconds).round().astype(int).tolist()),
                        precision=precision,
                    )
                    losses.append(rebuilt.loss)
                    animation.add(
                        reconstruction_animation(
                            rebuilt.original,
                            rebuilt.masked,
                            rebuilt.rebuilt,
                            caption=f"{rebuilt.mask_ratio:.0%} hidden",
                            frame_numbers=rebuilt.frame_indices,
                        )
                    )
                    on_clip(window.end_seconds, layout.duration_seconds)
        except VideoError as error:
            if not losses:
                raise
            ended = error
    loss = float(np.mean(losses))
    return WholeReconstruction(
        output=output,
        num_clips=len(losses),
        num_frames=animation.num_frames,
        frames_per_second=animation.frames_per_second,
        loss=loss,
        mask_ratio=rebuilt.mask_ratio,
        caption=describe(rebuilt.mask_ratio, loss, checkpoint.model.config.norm_pix_loss),
        ended=None if ended is None else str(ended),
    )


def check_whole_output(output: str | Path) -> None:
    """Raise a ConfigError for the name of a file that cannot hold a moving picture."""
    if Path(output).suffix.lower() not in FORMATS:
        raise ConfigError(f"--output {output}", expected=" or ".join(FORMATS), hint="change the ending of its name")


class _Animation:
    """Frames on their way to an MP4, or gathered for a GIF. A context manager; the file is there when it ends well."""

    def __init__(self, output: Path, windows: VideoWindows) -> None:
        self._output, self._windows = output, windows
        self._writer: VideoWriter | None = None
        self._gathered: list[np.ndarray] = []
        self._shape: tuple[int, ...] = ()
        self.num_frames = 0
        self.frames_per_second = 0.0

    def add(self, frames: np.ndarray) -> None:
        """Append the frames of a clip, uint8 (T, H, W, 3)."""
        if not self.num_frames:
            self._begin(frames)
        # A longer frame number may take a line more: the first clip sets the size.
        fitted = np.full((len(frames), *self._shape), 255, dtype=np.uint8)
        height, width = (min(a, b) for a, b in zip(frames.shape[1:3], self._shape[:2], strict=True))
        fitted[:, :height, :width] = frames[:, :height, :width]
        self.num_frames += len(frames)
        if self._writer is None:
            self._gathered.append(fitted)
            return
        for frame in fitted:
            self._writer.add(frame)

    def _begin(self, frames: np.ndarray) -> None:
        layout = self._windows.layout
        assert layout is not None
        self._shape = frames.shape[1:]
        self.frames_per_second = len(frames) / layout.hop_seconds
        number = (layout.num_windows or 0) * len(frames)
        if self._output.suffix.lower() == ".mp4":
            self._writer = VideoWriter(self._output, frames_per_second=self.frames_per_second).__enter__()
        elif number > _MAX_GIF_FRAMES:
            raise ConfigError(
                f"{self._output} of {number} frames",
                expected=f"at most {_MAX_GIF_FRAMES} in a GIF",
                hint="write an .mp4, or give --max-seconds",
            )

    def __enter__(self) -> _Animation:
        return self

    def __exit__(self, *about: object) -> None:
        if self._writer is not None:
            self._writer.__exit__(*about)  # type: ignore[arg-type]
        elif self._gathered and about[0] is None:
            save_gif(self._output, np.concatenate(self._gathered), frames_per_second=self.frames_per_second)
